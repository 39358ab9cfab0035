// The engine over a source in memory, with handlers that ask a target whose capacity changes while it is measured.

import { systemClock } from '../../dist/src/clock.js'
import { loadConfig } from '../../dist/src/config.js'
import { AdaptiveLimit } from '../../dist/src/engine/adaptive-limit.js'
import { Engine } from '../../dist/src/engine/engine.js'
import { MemorySource } from '../lib/memory-source.mjs'
import { answer, cpuMs, input } from '../lib/subject.mjs'

/** What the target takes for each, and how many may wait in it. It refuses the others, as an HTTP target does with 429. */
const SERVICE_MS = 10
const QUEUE = 20
const RETRY_AFTER_MS = 100

/** `limit`: handlers in flight, `adaptive`: at most so many. `capacities`: each for so many `seconds`. */
const { limit, adaptive, capacities, seconds } = await input()

let capacity = capacities[0]
let busy = 0
const queue = []
let refused = 0
let succeeded = 0
let lost = 0

function serve (done) {
  busy++
  setTimeout(() => {
    busy--
    succeeded++
    done()
    while (busy < capacity && queue.length > 0) serve(queue.shift())
  }, SERVICE_MS)
}

const ask = () => new Promise((resolve, reject) => {
  if (busy < capacity) serve(resolve)
  else if (queue.length < QUEUE) queue.push(resolve)
  else {
    refused++
    reject(Object.assign(new Error('too many requests'), { retryAfterMs: RETRY_AFTER_MS }))
  }
})

const { config: { consumers: [consumer] } } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: 'unused:9092',
  KAFKA_TOPIC: 't',
  KAFKA_GROUP_ID: 'g',
  KAFKA_ORDER: 'unordered',
  KAFKA_MAX_PROC_COUNT: String(limit),
  // What is refused comes again: a fixed limit is to lose nothing but the asking.
  KAFKA_RETRY_MAX_ATTEMPTS: '1000',
  ...(adaptive && { KAFKA_CONCURRENCY: 'adaptive' })
})
const observer = new Proxy({}, { get: () => () => {} })
const engine = new Engine(
  { ...consumer, exhausted: 'dead-letter', deferAfterMs: null },
  {
    source: new MemorySource(0),
    handler: ask,
    sink: async () => { lost++ },
    clock: systemClock,
    observer,
    ...(adaptive && { adaptive: new AdaptiveLimit({ min: consumer.minInFlight, max: limit }) })
  })
engine.run()

const cpu = process.cpuUsage()
const limits = []
for (const next of capacities) {
  capacity = next
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
  limits.push(engine.state.limit)
}
answer({
  perSecond: succeeded / (seconds * capacities.length),
  refused,
  lost,
  cpuPer1000: cpuMs(cpu) / succeeded * 1000,
  ...Object.fromEntries(limits.map((limit, n) => [`limit${n + 1}`, limit]))
})
