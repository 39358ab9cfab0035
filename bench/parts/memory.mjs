// What an uncommitted offset costs, and whether a long run grows.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { median, number } from '../lib/report.mjs'

const MIB = 1024 * 1024
const SAMPLES = 20

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const count = 100_000
  const few = await runSubject('window-memory', { count, keys: 1000 }, { execArgv: ['--expose-gc'] })
  const many = await runSubject('window-memory', { count, keys: count }, { execArgv: ['--expose-gc'] })

  // Its size goes up and down with the garbage collector, by a quarter and without a trend: the highest of either half tells.
  const total = 2_000_000 * scale
  const rssAt = Array.from({ length: SAMPLES }, (_, n) => total / SAMPLES * (n + 1))
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-memory'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % 10_000}`), value: Buffer.alloc(100, 'x') })
  })
  const rounds_ = []
  for (let round = 0; round < rounds; round++) {
    const { rss } = await runSubject('sluice-consumer', { bootstrapServers, topic, groupId: uniqueName('bench'), total, rssAt })
    const early = Math.max(...rss.slice(0, SAMPLES / 2))
    const late = Math.max(...rss.slice(SAMPLES / 2))
    say(`round ${round + 1}: at most ${number(early / MIB)} MiB in the first half, ${number(late / MIB)} MiB in the second`)
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
    what: `highest resident size in the second half of ${number(total)} records`,
    result: `${number(median(rounds_.map(round => round.late)) / MIB)} MiB`,
    beside: `in the first: ${number(median(rounds_.map(round => round.early)) / MIB)} MiB`,
    figure: number(growth, 2),
    goal: '≤ 1.10',
    reached: growth <= 1.1
  }]
}
