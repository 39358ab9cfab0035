// Sluice as it ships, pushing a topic to a URL, to its end.

import { buildApp } from '../../dist/src/app.js'
import { loadConfig } from '../../dist/src/config.js'
import { ofGroup } from '../../dist/src/group-metrics.js'
import { createHandler } from '../../dist/src/handlers/index.js'
import { answer, input, stopwatch } from '../lib/subject.mjs'

const { bootstrapServers, topic, groupId, total, url, env = {} } = await input()
const { config } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: bootstrapServers,
  KAFKA_TOPIC: topic,
  KAFKA_GROUP_ID: groupId,
  KAFKA_DEAD_LETTER_TOPIC: 'off',
  KAFKA_HANDLER: url,
  LOG_LEVEL: 'error',
  ...env
})
const watch = stopwatch(total)
// Made once the application is there, which has the metrics, and before it consumes.
const made = {}
const app = await buildApp(config, {
  handler: async (record, attempt) => {
    await made.push.handle(record, attempt)
    watch.count()
  }
})
made.push = await createHandler(config.consumers[0], {
  log: app.log, producer: app.producer, metrics: ofGroup(app.metrics.consumer, groupId)
})
await app.listen({ port: 0, host: '127.0.0.1' })
const result = await watch.done
await app.close()
await made.push.close()
answer(result)
