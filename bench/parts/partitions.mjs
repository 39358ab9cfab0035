// One process with a thousand partitions, and with a few: the same records, an empty handler.

import { deleteTopic, filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const MANY = 1000
const FEW = 8
const MIB = 1024 * 1024

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 200_000 * scale
  const value = Buffer.alloc(100, 'x')
  const topicOf = partitions => filledTopic(bootstrapServers, uniqueName(`bench-partitions-${partitions}`), {
    partitions, records: total, recordOf: n => ({ key: Buffer.from(`key-${n % 10_000}`), value, partition: n % partitions })
  })
  const many = await topicOf(MANY)
  const few = await topicOf(FEW)
  const read = (subject, topic) => async () => {
    const { rss: [rss], ...result } = await runSubject(subject, {
      bootstrapServers, topic, groupId: uniqueName('bench'), total, rssAt: [total]
    })
    return { ...result, rss }
  }
  const results = await takeTurns({
    many: read('sluice-consumer', many),
    few: read('sluice-consumer', few),
    bareMany: read('bare-consumer', many),
    bareFew: read('bare-consumer', few)
  }, rounds, say)
  await deleteTopic(bootstrapServers, many)
  const row = (who, many, few) => ({
    what: `${who}, ${number(total)} × 100 bytes from ${number(MANY)} partitions`,
    result: `${number(many.perSecond)}/s, ${number(many.rss / MIB)} MiB`,
    cpu: `${number(many.cpuPer1000, 1)} : ${number(few.cpuPer1000, 1)}`,
    beside: `from ${FEW} partitions ${number(few.perSecond)}/s, ${number(few.rss / MIB)} MiB`,
    figure: number(many.perSecond / few.perSecond, 2)
  })
  return [row('consume', results.many, results.few), row('bare consume(1000) loop', results.bareMany, results.bareFew)]
}
