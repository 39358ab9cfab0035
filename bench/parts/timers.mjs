// I/O-bound work: handlers that wait 10 ms, 100 at once, against 100 such timers without Kafka.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const LIMIT = 100
const HANDLER_MS = 10
const KEYS = 10_000

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 20_000 * scale
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-timers'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % KEYS}`), value: Buffer.alloc(100, 'x') })
  })
  const sluice = order => () => runSubject('sluice-consumer', {
    bootstrapServers,
    topic,
    groupId: uniqueName('bench'),
    total,
    handlerMs: HANDLER_MS,
    env: { KAFKA_ORDER: order, KAFKA_MAX_PROC_COUNT: String(LIMIT) }
  })
  const results = await takeTurns({
    unordered: sluice('unordered'),
    timers: () => runSubject('timers', { total, limit: LIMIT, handlerMs: HANDLER_MS }),
    key: sluice('key')
  }, rounds, say)
  return ['unordered', 'key'].map(order => {
    const ratio = results[order].perSecond / results.timers.perSecond
    return {
      what: `${number(total)} records, handler of ${HANDLER_MS} ms, limit ${LIMIT}, ${order}`,
      result: `${number(results[order].perSecond)}/s`,
      cpu: `${number(results[order].cpuPer1000, 1)} : ${number(results.timers.cpuPer1000, 1)}`,
      beside: `${LIMIT} timers without Kafka ${number(results.timers.perSecond)}/s`,
      figure: number(ratio, 3),
      goal: '≥ 0.960',
      reached: ratio >= 0.96
    }
  })
}
