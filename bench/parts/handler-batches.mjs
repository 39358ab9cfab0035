// Handlers of which a call costs 5 ms, whatever it gets: batches of up to 100 records against one record a call, 10 calls at once.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const LIMIT = 10
const HANDLER_MS = 5
const BATCH_SIZE = 100
const KEYS = 10_000

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 40_000 * scale
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-batches'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % KEYS}`), value: Buffer.alloc(100, 'x') })
  })
  const sluice = env => () => runSubject('sluice-consumer', {
    bootstrapServers, topic, groupId: uniqueName('bench'), total, handlerMs: HANDLER_MS, env: { KAFKA_MAX_PROC_COUNT: String(LIMIT), ...env }
  })
  const { batches, singles } = await takeTurns({
    batches: sluice({ KAFKA_HANDLER_BATCH_SIZE: String(BATCH_SIZE) }),
    singles: sluice({})
  }, rounds, say)
  const ratio = batches.perSecond / singles.perSecond
  return [{
    what: `${number(total)} records, ${HANDLER_MS} ms a call, limit ${LIMIT}: batches of ${BATCH_SIZE}`,
    result: `${number(batches.perSecond)}/s`,
    cpu: `${number(batches.cpuPer1000, 1)} : ${number(singles.cpuPer1000, 1)}`,
    beside: `one by one ${number(singles.perSecond)}/s`,
    figure: number(ratio, 1),
    goal: '≥ 10.0',
    reached: ratio >= 10
  }]
}
