// HTTP push to a plain server in a process of its own, 100 at once, each answered after 10 ms: beside what limit and latency allow,
// and beside the same requests made by a bare loop over undici.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject, startServer } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const LIMIT = 100
const ANSWER_MS = 10
const KEYS = 10_000
const BOUND = LIMIT * 1000 / ANSWER_MS

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 60_000 * scale
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-push'), {
    records: total, recordOf: n => ({ key: Buffer.from(`key-${n % KEYS}`), value: Buffer.alloc(100, 'x') })
  })
  const target = await startServer('push-target', { answerMs: ANSWER_MS })
  try {
    const { sluice, loop } = await takeTurns({
      sluice: () => runSubject('sluice-push', {
        bootstrapServers, topic, groupId: uniqueName('bench'), total, url: target.url, env: { KAFKA_MAX_PROC_COUNT: String(LIMIT) }
      }),
      loop: () => runSubject('push-loop', { url: target.url, total, limit: LIMIT })
    }, rounds, say)
    const what = `${number(total)} pushes, answered after ${ANSWER_MS} ms, limit ${LIMIT}`
    const cpu = `${number(sluice.cpuPer1000, 1)} : ${number(loop.cpuPer1000, 1)}`
    return [{
      what,
      result: `${number(sluice.perSecond)}/s`,
      cpu,
      beside: `limit and latency allow ${number(BOUND)}/s; bare loop over undici ${number(loop.perSecond)}/s`,
      figure: number(sluice.perSecond / BOUND, 3),
      goal: '≥ 0.950',
      reached: sluice.perSecond / BOUND >= 0.95
    }, {
      what: `${what}: CPU`,
      result: `${number(sluice.cpuPer1000, 1)} ms`,
      cpu,
      beside: `bare loop over undici ${number(loop.cpuPer1000, 1)} ms`,
      figure: number(sluice.cpuPer1000 / loop.cpuPer1000, 2),
      goal: '≤ 1.30',
      reached: sluice.cpuPer1000 / loop.cpuPer1000 <= 1.3
    }]
  } finally {
    await target.end()
  }
}
