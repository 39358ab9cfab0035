// The engine alone, over a source in memory, with so many records in the window all the time.

import { systemClock } from '../../dist/src/clock.js'
import { Engine } from '../../dist/src/engine/engine.js'
import { loadConfig } from '../../dist/src/config.js'
import { MemorySource } from '../lib/memory-source.mjs'
import { answer, cpuMs, input } from '../lib/subject.mjs'

/** How often in a window there is a record that holds it up. */
const STUCK = 10
const KEYS = 10_000
// No multiple of a batch.
const SAMPLE_EVERY = 9973

/**
 * `window`: records in it. `what`: `completed`, nearly all of them behind a few handlers that go on, without order; or
 * `waiting`, all of them for one of 50 handlers, by key. `warmUp` records are handled before `total` are measured.
 */
const { window, what, warmUp, total } = await input()
const waiting = what === 'waiting'
const { config: { consumers: [consumer] } } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: 'unused:9092',
  KAFKA_TOPIC: 't',
  KAFKA_GROUP_ID: 'g',
  KAFKA_ORDER: waiting ? 'key' : 'unordered',
  KAFKA_WINDOW_MAX_RECORDS: String(waiting ? window : 2 * window),
  KAFKA_WINDOW_MAX_BYTES: String(1 << 30),
  KAFKA_WINDOW_TOTAL_MAX_BYTES: String(1 << 30)
})
const observer = new Proxy({}, { get: () => () => {} })
const source = new MemorySource(waiting ? KEYS : 0)

let handled = 0
let cpu
let startedAt
let before
let finish
const done = new Promise(resolve => { finish = resolve })
const sizes = []
const count = () => {
  handled++
  if (handled === warmUp) {
    startedAt = performance.now()
    before = { commits: source.commits, metadataBytes: source.metadataBytes }
    cpu = process.cpuUsage()
  }
  if (handled > warmUp && handled % SAMPLE_EVERY === 0) sizes.push(engine.state.partitions[0].windowRecords)
  if (handled === warmUp + total) {
    const commits = source.commits - before.commits
    finish({
      cpuPer1000: cpuMs(cpu) / total * 1000,
      perSecond: total / (performance.now() - startedAt) * 1000,
      commits,
      metadataBytes: (source.metadataBytes - before.metadataBytes) / commits,
      windowRecords: sizes.reduce((sum, size) => sum + size, 0) / sizes.length
    })
  }
}

// Every so many records one goes on until a whole window has come after it: then the next one holds the window.
const every = window / STUCK
const stuck = []
const holdUp = async ({ offset }) => {
  if (offset % every === 0) await new Promise(resolve => stuck.push({ until: offset + window, resolve }))
  else if (stuck.length > 0 && offset >= stuck[0].until) stuck.shift().resolve()
  count()
}
// They all end in one go, once a turn of the event loop: as quick as can be, and still only 50 of them at once.
let turn = []
const takeTurns = () => {
  const ending = turn
  turn = []
  for (const end of ending) end()
}
const oneTurn = async () => {
  await new Promise(resolve => {
    if (turn.push(resolve) === 1) setImmediate(takeTurns)
  })
  count()
}

const engine = new Engine(
  { ...consumer, exhausted: 'block', deferAfterMs: null },
  { source, handler: waiting ? oneTurn : holdUp, sink: async () => {}, clock: systemClock, observer })
engine.run()
answer(await done)
