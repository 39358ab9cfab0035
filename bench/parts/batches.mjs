// Many records a request: batches and streams, beside a bare loop over the native producer with the same records.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject, startServer } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'
import { benchRecord, measureRequests } from '../lib/requests.mjs'

const BATCH = 100
const BATCH_CONNECTIONS = 16
const STREAMS = 4

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-batches'), { partitions: 4 })
  const total = 600_000 * scale
  const key = benchRecord.key
  const value = JSON.stringify(benchRecord.value)
  const seconds = Math.max(2, 8 * scale)
  const body = JSON.stringify({ records: Array.from({ length: BATCH }, () => benchRecord) })
  const { bare, batch, stream } = await takeTurns({
    bare: () => runSubject('bare-producer', { bootstrapServers, topic, total, key, value }),
    batch: async () => {
      const { perSecond, cpuPer1000, p99 } = await measureRequests('sluice-server', { bootstrapServers, topic }, { connections: BATCH_CONNECTIONS, seconds, body })
      return { perSecond: perSecond * BATCH, cpuPer1000: cpuPer1000 / BATCH, p99 }
    },
    stream: () => streams({ bootstrapServers, topic }, total)
  }, rounds, say)
  const row = (what, measured) => ({
    what,
    result: `${number(measured.perSecond)} records/s`,
    cpu: `${number(measured.cpuPer1000, 1)} : ${number(bare.cpuPer1000, 1)}`,
    beside: `bare loop over the native producer ${number(bare.perSecond)}/s`,
    figure: number(measured.perSecond / bare.perSecond, 2),
    goal: '≥ 0.70',
    reached: measured.perSecond / bare.perSecond >= 0.7
  })
  return [
    row(`batches of ${BATCH}, ${BATCH_CONNECTIONS} connections`, batch),
    row(`NDJSON, ${STREAMS} streams of ${number(total / STREAMS)} records, a result for each`, stream)
  ]
}

async function streams (input, total) {
  const server = await startServer('sluice-server', input)
  const load = records => runSubject('stream-load', {
    url: `${server.url}/topics/${input.topic}/records`, streams: STREAMS, records, line: JSON.stringify(benchRecord)
  })
  await load(total / STREAMS / 10)
  const cpuBefore = await server.cpu()
  const { seconds, succeeded } = await load(total / STREAMS)
  const cpu = await server.cpu() - cpuBefore
  await server.end()
  if (succeeded !== total) throw new Error(`of ${total} records ${succeeded} were acknowledged`)
  return { perSecond: total / seconds, cpuPer1000: cpu / total * 1000 }
}
