// What exactly once costs beside at least once: a handler that answers one record for each.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const KEYS = 10_000

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 100_000 * scale
  const value = Buffer.alloc(1024, 'x')
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-transform'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % KEYS}`), value })
  })
  const out = await filledTopic(bootstrapServers, uniqueName('bench-transformed'), { partitions: 4 })
  const transform = env => () => runSubject('sluice-consumer', {
    bootstrapServers, topic, groupId: uniqueName('bench'), total, producesTo: out, env: { KAFKA_MAX_PROC_COUNT: '1000', ...env }
  })
  const { once, atLeast } = await takeTurns({
    once: transform({ KAFKA_DELIVERY: 'exactly-once' }),
    atLeast: transform({})
  }, rounds, say)
  const ratio = once.perSecond / atLeast.perSecond
  return [{
    what: `transform ${number(total)} × 1 KB, one record answered for each, exactly once`,
    result: `${number(once.perSecond)}/s`,
    cpu: `${number(once.cpuPer1000, 1)} : ${number(atLeast.cpuPer1000, 1)}`,
    beside: `at least once ${number(atLeast.perSecond)}/s`,
    figure: number(ratio, 2)
  }]
}
