// Sluice's consumer as it ships, with the whole application around it, reading a topic to its end.

import { buildApp } from '../../dist/src/app.js'
import { loadConfig } from '../../dist/src/config.js'
import { answer, input, stopwatch } from '../lib/subject.mjs'

// `producesTo`: a topic that each record goes to, counted when its handler answers.
/** `rssAt`: record counts at which the resident size is taken. `hotKey`: tells when its records and the others ended. */
const { bootstrapServers, topic, groupId, total, handlerMs = 0, env = {}, rssAt = [], hotKey, producesTo } = await input()
const { config } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: bootstrapServers,
  KAFKA_TOPIC: topic,
  KAFKA_GROUP_ID: groupId,
  KAFKA_DEAD_LETTER_TOPIC: 'off',
  LOG_LEVEL: 'error',
  ...env
})

const watch = stopwatch(total)
const rss = []
const seconds = {}
let startedAt

const count = () => {
  if (watch.counted + 1 === rssAt[rss.length]) rss.push(process.memoryUsage().rss)
  watch.count()
}
const wait = () => new Promise(resolve => setTimeout(resolve, handlerMs))
const handlers = {
  // Nothing to wait for: not even for a promise that is resolved already.
  empty: async () => { count() },
  producing: async ({ key, value }) => {
    count()
    return { produce: [{ topic: producesTo, key, value }] }
  },
  waiting: async () => {
    await wait()
    count()
  },
  timing: async record => {
    await wait()
    startedAt ??= performance.now() - handlerMs
    seconds[record.key.toString() === hotKey ? 'hot' : 'others'] = (performance.now() - startedAt) / 1000
    count()
  }
}

const handleBatch = async records => {
  if (handlerMs > 0) await wait()
  for (let n = 0; n < records.length; n++) count()
}
const single = handlers[producesTo !== undefined ? 'producing' : hotKey !== undefined ? 'timing' : handlerMs > 0 ? 'waiting' : 'empty']
const { batches } = config.consumers[0]
const app = await buildApp(config, { handler: batches === null ? single : { batches, handle: handleBatch } })
await app.listen({ port: 0, host: '127.0.0.1' })
const result = await watch.done
await app.close()
answer({ ...result, rss, ...seconds })
