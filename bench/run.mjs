// `npm run bench`: measures Sluice beside its alternatives and prints one table.
//
// Each row compares contenders that take turns within one run, round after round, so that whatever else this machine does
// falls on all of them; it shows medians and the ratio. CPU is what the measured process used, user and system.
//
//   npm run bench                       everything, three rounds
//   npm run bench -- consume memory     some parts
//   npm run bench -- --rounds 5
//   npm run bench -- --quick            a tenth of the records and seconds: to see that it runs, not to quote

import { parseArgs } from 'node:util'
import { findRuntime, prepareRuntime, startBrokers } from '../scripts/lib-kafka.mjs'
import { buildDist, main, setup } from '../scripts/setup.mjs'
import { machine, printTable } from './lib/report.mjs'
import * as access from './parts/access.mjs'
import * as adaptive from './parts/adaptive.mjs'
import * as batches from './parts/batches.mjs'
import * as consume from './parts/consume.mjs'
import * as exactlyOnce from './parts/exactly-once.mjs'
import * as handlerBatches from './parts/handler-batches.mjs'
import * as hotKey from './parts/hot-key.mjs'
import * as memory from './parts/memory.mjs'
import * as metadata from './parts/metadata.mjs'
import * as pressure from './parts/pressure.mjs'
import * as partitions from './parts/partitions.mjs'
import * as processes from './parts/processes.mjs'
import * as produce from './parts/produce.mjs'
import * as push from './parts/push.mjs'
import * as threads from './parts/threads.mjs'
import * as timers from './parts/timers.mjs'
import * as window from './parts/window.mjs'

const parts = {
  produce,
  batches,
  access,
  consume,
  timers,
  adaptive,
  push,
  threads,
  'handler-batches': handlerBatches,
  'exactly-once': exactlyOnce,
  'hot-key': hotKey,
  processes,
  metadata,
  window,
  memory,
  pressure,
  partitions
}

await main(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: 'string', default: '3' }, quick: { type: 'boolean', default: false } }
  })
  const unknown = positionals.find(name => !(name in parts))
  if (unknown !== undefined) throw new Error(`there is no part ${unknown}; there are ${Object.keys(parts).join(', ')}`)
  await setup()
  await buildDist()

  const runtime = findRuntime()
  if (runtime.kind === null) throw new Error(`the measurements need a real Kafka: ${runtime.reason}`)
  const brokers = await startBrokers(await prepareRuntime(runtime.kind, line => console.error(line)))
  const rows = []
  try {
    for (const name of positionals.length > 0 ? positionals : Object.keys(parts)) {
      console.error(`bench: ${name}`)
      const context = {
        bootstrapServers: brokers.bootstrapServers,
        rounds: Number(values.rounds),
        scale: values.quick ? 0.1 : 1,
        say: line => console.error(`bench: ${name}: ${line}`)
      }
      rows.push(...await parts[name].run(context))
    }
  } finally {
    await brokers.stop()
  }
  console.log(machine())
  printTable(rows)
  if (values.quick) console.log('\nA quick run: too short to quote.')
})
