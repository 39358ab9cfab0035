// The same requests as a push makes, by a bare loop over undici and without Kafka: `limit` of them kept under way.

import { Pool } from 'undici'
import { answer, input, stopwatch } from '../lib/subject.mjs'

const { url, total, limit } = await input()
const { origin, pathname: path } = new URL(url)
const pool = new Pool(origin, { connections: limit })
const value = Buffer.alloc(100, 'x')
const watch = stopwatch(total)
let started = 0
const next = async () => {
  while (started < total) {
    const n = started++
    const { statusCode, body } = await pool.request({
      path,
      method: 'POST',
      headers: [
        'ce-specversion', '1.0', 'ce-id', `partition:0/offset:${n}`, 'ce-source', '/clusters/sluice/topics/bench', 'ce-type', 'sluice.kafka.record',
        'ce-subject', `key-${n}`, 'ce-time', '2026-01-01T00:00:00.000Z', 'content-type', 'application/json', 'user-agent', 'sluice'
      ],
      body: value
    })
    await body.dump()
    if (statusCode !== 204) throw new Error(`answered ${statusCode}`)
    watch.count()
  }
}
for (let n = 0; n < limit; n++) next()
answer(await watch.done)
