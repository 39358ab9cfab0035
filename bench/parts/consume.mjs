// Reading with a handler that does nothing: what the engine costs over the bare loop.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const KEYS = 10_000

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 500_000 * scale
  const value = Buffer.alloc(1024, 'x')
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-consume'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % KEYS}`), value })
  })
  const read = subject => () => runSubject(subject, { bootstrapServers, topic, groupId: uniqueName('bench'), total })
  const { sluice, bare } = await takeTurns({ sluice: read('sluice-consumer'), bare: read('bare-consumer') }, rounds, say)
  const ratio = sluice.perSecond / bare.perSecond
  return [{
    what: `consume ${number(total)} × 1 KB, empty handler, key order`,
    result: `${number(sluice.perSecond)}/s`,
    cpu: `${number(sluice.cpuPer1000, 1)} : ${number(bare.cpuPer1000, 1)}`,
    beside: `bare consume(1000) loop ${number(bare.perSecond)}/s`,
    figure: number(ratio, 2),
    goal: '≥ 0.85',
    reached: ratio >= 0.85
  }]
}
