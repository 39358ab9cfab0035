// One record a request over 64 connections: against the same route without Kafka, and against the minimal way.

import { loadConfig } from '../../dist/src/config.js'
import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { number, takeTurns } from '../lib/report.mjs'
import { measureRequests, recordBody as body } from '../lib/requests.mjs'

const CONNECTIONS = 64

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-produce'), { partitions: 4 })
  const { config: { producer: { lingerMs } } } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: bootstrapServers })
  const seconds = Math.max(2, 10 * scale)
  const serve = (subject, input = {}, load = {}) => () =>
    measureRequests(subject, { bootstrapServers, topic, ...input }, { connections: CONNECTIONS, seconds, ...load })
  const { sluice, bare, minimal, lingering } = await takeTurns({
    sluice: serve('sluice-server'),
    bare: serve('bare-server'),
    minimal: serve('minimal-server'),
    lingering: serve('minimal-server', { lingerMs })
  }, rounds, say)
  const perSecond = Math.round(sluice.perSecond / 2)
  const { half, bareHalf } = await takeTurns({
    half: serve('sluice-server', {}, { perSecond }),
    bareHalf: serve('bare-server', {}, { perSecond })
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
    row('bare route, no Kafka', bare, 0.6),
    row('minimal send(), as the library sets it up', minimal, 3),
    row(`minimal send(), linger ${lingerMs} ms`, lingering, 1.5),
    {
      what: `single produce at half of that load, ${number(half.perSecond)}/s, evenly spread`,
      result: `p50 ${number(half.p50, 1)} ms, p99 ${number(half.p99, 1)} ms`,
      cpu: `${number(half.cpuPer1000, 1)} : ${number(bareHalf.cpuPer1000, 1)}`,
      beside: `bare route p50 ${number(bareHalf.p50, 1)} ms, p99 ${number(bareHalf.p99, 1)} ms`,
      figure: number(half.p99 / half.p50, 2),
      goal: '≤ 2.00',
      reached: half.p99 <= 2 * half.p50
    }
  ]
}
