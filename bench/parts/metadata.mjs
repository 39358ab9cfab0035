// What it costs to say with every commit what is completed above it: handlers that end in any order, with and without.

import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const LIMIT = 100
const HANDLER_MAX_MS = 20

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 50_000 * scale
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-metadata'), {
    records: total, recordOf: n => ({ value: Buffer.alloc(100, 'x'), partition: n % 4 })
  })
  const read = metadata => () => runSubject('metadata-cost', {
    bootstrapServers,
    topic,
    groupId: uniqueName('bench'),
    total,
    handlerMaxMs: HANDLER_MAX_MS,
    metadata,
    env: { KAFKA_ORDER: 'unordered', KAFKA_MAX_PROC_COUNT: String(LIMIT) }
  })
  const { told, untold } = await takeTurns({ told: read(true), untold: read(false) }, rounds, say)
  const records = `${number(total)} records, handlers of 0 to ${HANDLER_MAX_MS} ms, limit ${LIMIT}, unordered`
  return [{
    what: `${records}: commits with metadata`,
    result: `${number(told.perSecond)}/s`,
    cpu: `${number(told.cpuPer1000, 1)} : ${number(untold.cpuPer1000, 1)}`,
    beside: `without ${number(untold.perSecond)}/s`,
    figure: number(told.cpuPer1000 / untold.cpuPer1000, 2)
  }, {
    what: `encoding it, ${number(told.bytes)} bytes, ${number(told.encodings)} times a second`,
    result: `${number(told.encodeMicros)} µs each`,
    cpu: number(told.encodePer1000, 2),
    beside: 'all CPU of the process',
    figure: `${number(told.encodePer1000 / told.cpuPer1000 * 100, 1)} %`
  }]
}
