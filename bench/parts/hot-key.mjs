// 80 % of the records on one key, by key: the others must not wait for it.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { median, number } from '../lib/report.mjs'

const HANDLER_MS = 10

export async function run ({ bootstrapServers, rounds, say }) {
  const total = 2000
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-hot'), {
    records: total, recordOf: n => ({ key: Buffer.from(n % 5 < 4 ? 'hot' : `cold-${n}`), value: Buffer.alloc(100, 'x') })
  })
  const results = []
  for (let round = 0; round < rounds; round++) {
    const { others, hot } = await runSubject('sluice-consumer', {
      bootstrapServers, topic, groupId: uniqueName('bench'), total, handlerMs: HANDLER_MS, hotKey: 'hot', env: { KAFKA_MAX_PROC_COUNT: '100' }
    })
    say(`round ${round + 1}: the others ended after ${number(others, 2)} s, the hot key after ${number(hot, 1)} s`)
    results.push({ others, hot })
  }
  const others = median(results.map(result => result.others))
  return [{
    what: `80 % of ${number(total)} records on one key, handler of ${HANDLER_MS} ms, by key`,
    result: `others end after ${number(others, 2)} s`,
    beside: `the hot key alone ${number(median(results.map(result => result.hot)), 1)} s`,
    figure: `${number(others, 2)} s`,
    goal: '≤ 1 s',
    reached: others <= 1
  }]
}
