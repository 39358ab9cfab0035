// Callers that come at a steady rate, whether or not earlier ones have been answered. autocannon's own limit sends what is due in a second
// at once at its beginning, and then waits: that measures bursts.

import { Pool } from 'undici'
import { answer, input } from '../lib/subject.mjs'

/** `perSecond`: requests that are due, evenly spread; `duration` in seconds. Latency counts from when a request was due. */
const { url, duration, connections, body, headers = {}, perSecond } = await input()
const { origin, pathname } = new URL(url)
const pool = new Pool(origin, { connections, pipelining: 1 })
const latencies = []
let non2xx = 0
let errors = 0
let sent = 0

async function call (dueAt) {
  try {
    const response = await pool.request({ path: pathname, method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
    await response.body.dump()
    if (response.statusCode >= 200 && response.statusCode < 300) latencies.push(performance.now() - dueAt)
    else non2xx++
  } catch {
    errors++
  }
}

const startedAt = performance.now()
const calls = []
await new Promise(resolve => {
  const timer = setInterval(() => {
    const elapsed = Math.min(performance.now() - startedAt, duration * 1000)
    for (; sent < elapsed / 1000 * perSecond; sent++) calls.push(call(startedAt + sent / perSecond * 1000))
    if (elapsed === duration * 1000) {
      clearInterval(timer)
      resolve()
    }
  }, 1)
})
await Promise.all(calls)
await pool.close()
latencies.sort((a, b) => a - b)
const at = share => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))]
answer({ total: latencies.length, duration, p50: at(0.5), p99: at(0.99), non2xx, errors })
