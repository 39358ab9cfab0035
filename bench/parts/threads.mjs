// CPU-bound work: a handler that computes for 20 ms, in worker threads and in the main thread.

import { iterationsFor } from '../lib/busy-handler.mjs'
import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const HANDLER_MS = 20
const THREADS = 2

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 500 * scale
  const iterations = iterationsFor(HANDLER_MS)
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-threads'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n}`), value: Buffer.alloc(1024, 'x') })
  })
  const read = threads => () => runSubject('busy-consumer', {
    bootstrapServers, topic, groupId: uniqueName('bench'), total, iterations, env: { KAFKA_HANDLER_THREADS: String(threads) }
  })
  const { threads, main } = await takeTurns({ threads: read(THREADS), main: read(0) }, rounds, say)
  const row = (name, { perSecond, cpuPer1000, delayP99Ms, rebalances }) => ({
    what: `${number(total)} records of ${HANDLER_MS} ms of computing, ${name}`,
    result: `${number(perSecond, 1)}/s`,
    cpu: number(cpuPer1000),
    beside: `event loop delay p99 ${number(delayP99Ms)} ms`,
    figure: `${number(rebalances)} rebalances`
  })
  return [
    { ...row(`${THREADS} worker threads`, threads), goal: '0', reached: threads.rebalances === 0 },
    row('in the main thread', main)
  ]
}
