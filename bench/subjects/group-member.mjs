// One of several processes of a group. It tells what it owns and what it has handled until it is told to end.

import { buildApp } from '../../dist/src/app.js'
import { loadConfig } from '../../dist/src/config.js'
import { cpuMs, input } from '../lib/subject.mjs'

const TELL_EVERY_MS = 50

const { bootstrapServers, topic, groupId, handlerMs, env } = await input()
const { config } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: bootstrapServers,
  KAFKA_TOPIC: topic,
  KAFKA_GROUP_ID: groupId,
  KAFKA_DEAD_LETTER_TOPIC: 'off',
  LOG_LEVEL: 'error',
  ...env
})

let handled = 0
let firstAt = null
let lastAt = null
let cpu
let cpuUsed = 0
// The processes' own clocks begin when they do; what they are compared by is the time of the day, in fractions of a millisecond.
const now = () => performance.timeOrigin + performance.now()
const app = await buildApp(config, {
  handler: async () => {
    if (firstAt === null) {
      firstAt = now()
      cpu = process.cpuUsage()
    }
    await new Promise(resolve => setTimeout(resolve, handlerMs))
    handled++
    lastAt = now()
  }
})
await app.listen({ port: 0, host: '127.0.0.1' })
const telling = setInterval(() => {
  if (cpu !== undefined) cpuUsed = cpuMs(cpu)
  process.send({ partitions: app.consumers[0].state.partitions.length, handled, firstAt, lastAt, cpuMs: cpuUsed })
}, TELL_EVERY_MS)
process.on('message', async () => {
  clearInterval(telling)
  await app.close()
  process.exit(0)
})
