// What an uncommitted offset costs, and whether a long run grows.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { median, number } from '../lib/report.mjs'

const MIB = 1024 * 1024

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const count = 100_000
  const few = await runSubject('window-memory', { count, keys: 1000 }, { execArgv: ['--expose-gc'] })
  const many = await runSubject('window-memory', { count, keys: count }, { execArgv: ['--expose-gc'] })

  const total = 1_000_000 * scale
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-memory'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % 10_000}`), value: Buffer.alloc(100, 'x') })
  })
  const rounds_ = []
  for (let round = 0; round < rounds; round++) {
    const { rss: [early, late] } = await runSubject('sluice-consumer', {
      bootstrapServers, topic, groupId: uniqueName('bench'), total, rssAt: [total / 10, total]
    })
    say(`round ${round + 1}: ${number(early / MIB)} MiB after ${number(total / 10)} records, ${number(late / MIB)} MiB after ${number(total)}`)
    rounds_.push({ early, late, growth: late / early })
  }
  const growth = median(rounds_.map(round => round.growth))
  return [{
    what: `ring, per uncommitted offset at ${number(count)} in the window`,
    result: `${number(many.ring, 1)} bytes`,
    figure: number(many.ring, 1),
    goal: '≤ 16 bytes',
    reached: many.ring <= 16
  }, {
    what: 'entry and scheduler, per waiting record',
    result: `${number(few.waiting)} bytes with 1,000 keys, ${number(many.waiting)} with a key each`,
    figure: number(many.waiting)
  }, {
    what: `resident size after ${number(total)} records`,
    result: `${number(median(rounds_.map(round => round.late)) / MIB)} MiB`,
    beside: `after ${number(total / 10)}: ${number(median(rounds_.map(round => round.early)) / MIB)} MiB`,
    figure: number(growth, 2),
    goal: '≤ 1.10',
    reached: growth <= 1.1
  }]
}
