// Sluice's consumer with handlers that end in any order, and what it says with its commits: timed, or left out.

import { buildApp } from '../../dist/src/app.js'
import { loadConfig } from '../../dist/src/config.js'
import { OwnedPartition } from '../../dist/src/engine/owned-partition.js'
import { answer, input, stopwatch } from '../lib/subject.mjs'

/** `metadata`: false leaves it out, which no setting can. */
const { bootstrapServers, topic, groupId, total, handlerMaxMs, metadata, env } = await input()
const { config } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: bootstrapServers,
  KAFKA_TOPIC: topic,
  KAFKA_GROUP_ID: groupId,
  KAFKA_DEAD_LETTER_TOPIC: 'off',
  LOG_LEVEL: 'error',
  ...env
})

const encoded = { count: 0, ms: 0, length: 0 }
const encode = OwnedPartition.prototype.metadata
OwnedPartition.prototype.metadata = metadata
  ? function (maxBytes) {
    const from = performance.now()
    const text = encode.call(this, maxBytes)
    encoded.ms += performance.now() - from
    encoded.count++
    encoded.length += text.length
    return text
  }
  : () => ''

const watch = stopwatch(total)
// The same wait for a record in every run, spread as if by chance.
const waitMs = ({ offset, partition }) => Math.imul(offset * 8 + partition + 1, 0x9E3779B1) >>> 8 & 0xFFFF
const app = await buildApp(config, {
  handler: async record => {
    await new Promise(resolve => setTimeout(resolve, waitMs(record) / 0x10000 * handlerMaxMs))
    watch.count()
  }
})
await app.listen({ port: 0, host: '127.0.0.1' })
const result = await watch.done
const { count, ms, length } = encoded
await app.close()
answer({
  ...result,
  encodePer1000: ms / total * 1000,
  encodings: count / result.seconds,
  encodeMicros: count === 0 ? 0 : ms * 1000 / count,
  bytes: count === 0 ? 0 : length / count
})
