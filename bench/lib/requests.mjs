import { runSubject, startServer } from './processes.mjs'

// With the members around it the value makes a body of 100 bytes.
export const benchRecord = { key: 'customer-7', value: { order: 4711, total: 1250, note: 'x'.repeat(34) } }
export const recordBody = JSON.stringify(benchRecord)

/**
 * Starts a server, lets it warm up, and measures what it answers. Every answer must be a success.
 *
 * @param load `connections`, `seconds`, and what `subjects/load.mjs` takes beside them; with `perSecond` the callers come at that rate
 */
export async function measureRequests (subject, input, { seconds, body = recordBody, ...load }) {
  const server = await startServer(subject, input)
  const url = `${server.url}/topics/${input.topic}/records`
  const run = duration => runSubject(load.perSecond === undefined ? 'load' : 'steady-load', { url, duration, body, ...load })
  await run(2)
  const cpuBefore = await server.cpu()
  const result = await run(seconds)
  const cpu = await server.cpu() - cpuBefore
  await server.end()
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${subject}: ${result.non2xx} answers were no success, ${result.errors} requests failed`)
  return { perSecond: result.total / result.duration, p50: result.p50, p99: result.p99, cpuPer1000: cpu / result.total * 1000 }
}
