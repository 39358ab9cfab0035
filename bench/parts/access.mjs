// What it costs to know who calls, and to count what it uses: single records with an API key, with and without limits.

import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { number, takeTurns } from '../lib/report.mjs'
import { measureRequests } from '../lib/requests.mjs'

const CONNECTIONS = 64
const PRINCIPALS = 100
/** So high that nothing is refused. */
const limits = { requestsPerSecond: 1e9, bytesPerSecond: 1e12, requestsPerDay: 1e12, bytesPerDay: 1e15 }

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-access'), { partitions: 4 })
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-bench-'))
  const keys = Array.from({ length: PRINCIPALS }, () => randomBytes(32).toString('base64url'))
  const file = (name, more) => {
    const principals = keys.map((key, n) => ({
      name: `caller-${n}`,
      keys: [createHash('sha256').update(key).digest('hex')],
      rules: [{ rights: ['read'], topics: ['other-*'] }, { rights: ['produce'], topics: ['bench-*'] }],
      ...more
    }))
    writeFileSync(path.join(folder, name), JSON.stringify({ principals }))
    return { AUTH_FILE: path.join(folder, name) }
  }
  const serve = (env, headers) => () => measureRequests('sluice-server', { bootstrapServers, topic, env },
    { connections: CONNECTIONS, seconds: Math.max(2, 8 * scale), headers })
  const key = { authorization: `Bearer ${keys[PRINCIPALS - 1]}` }
  try {
    const { open, known, limited } = await takeTurns({
      open: serve({}, {}), known: serve(file('keys.json', {}), key), limited: serve(file('limits.json', { limits }), key)
    }, rounds, say)
    const row = (what, measured) => ({
      what,
      result: `${number(measured.perSecond)}/s, p99 ${number(measured.p99, 1)} ms`,
      cpu: `${number(measured.cpuPer1000, 1)} : ${number(open.cpuPer1000, 1)}`,
      beside: `nobody has to say who it is ${number(open.perSecond)}/s`,
      figure: number(measured.perSecond / open.perSecond, 2)
    })
    return [row(`single produce with an API key, ${PRINCIPALS} principals`, known), row('single produce with an API key and limits', limited)]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
