// The callers: a process of its own, so that what it uses is not counted as the server's.

import autocannon from 'autocannon'
import { answer, input } from '../lib/subject.mjs'

const { url, duration, connections, body, headers = {} } = await input()
const result = await autocannon({
  url, duration, connections, method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body
})
answer({
  total: result['2xx'],
  duration: result.duration,
  p50: result.latency.p50,
  p99: result.latency.p99,
  non2xx: result.non2xx,
  errors: result.errors
})
