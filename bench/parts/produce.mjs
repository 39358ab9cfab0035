// One record a request over 64 connections: against the same route without Kafka, and against the minimal way.

import { loadConfig } from '../../dist/src/config.js'
import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject, startServer } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const CONNECTIONS = 64
// With the members around it the value makes a body of 100 bytes.
const body = JSON.stringify({ key: 'customer-7', value: { order: 4711, total: 1250, note: 'x'.repeat(34) } })

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-produce'), { partitions: 4 })
  const { config: { producer: { lingerMs } } } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: bootstrapServers })
  const serve = (subject, input = {}) => () => measure(subject, { bootstrapServers, topic, ...input }, Math.max(2, 10 * scale))
  const { sluice, bare, minimal, lingering } = await takeTurns({
    sluice: serve('sluice-server'),
    bare: serve('bare-server'),
    minimal: serve('minimal-server'),
    lingering: serve('minimal-server', { lingerMs })
  }, rounds, say)
  const row = (beside, other, goal) => {
    const ratio = sluice.perSecond / other.perSecond
    return {
      what: `single produce, ${CONNECTIONS} connections, ${body.length} bytes`,
      result: `${number(sluice.perSecond)}/s, p50 ${number(sluice.p50, 1)} ms, p99 ${number(sluice.p99, 1)} ms`,
      cpu: `${number(sluice.cpuPer1000, 1)} : ${number(other.cpuPer1000, 1)}`,
      beside: `${beside} ${number(other.perSecond)}/s, p99 ${number(other.p99, 1)} ms`,
      figure: number(ratio, 2),
      goal: `≥ ${number(goal, 2)}`,
      reached: ratio >= goal
    }
  }
  return [
    row('bare route, no Kafka', bare, 0.5),
    row('minimal send(), as the library sets it up', minimal, 2.5),
    row(`minimal send(), linger ${lingerMs} ms`, lingering, 1.5)
  ]
}

async function measure (subject, input, seconds) {
  const server = await startServer(subject, input)
  const url = `${server.url}/topics/${input.topic}/records`
  await load(url, 2)
  const cpuBefore = await server.cpu()
  const result = await load(url, seconds)
  const cpu = await server.cpu() - cpuBefore
  await server.end()
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${subject}: ${result.non2xx} answers were no success, ${result.errors} requests failed`)
  return { perSecond: result.total / result.duration, p50: result.p50, p99: result.p99, cpuPer1000: cpu / result.total * 1000 }
}

function load (url, duration) {
  return runSubject('load', { url, duration, connections: CONNECTIONS, body })
}
