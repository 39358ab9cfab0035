// Sluice with a handler module that keeps a processor busy, in the main thread or in worker threads, as the environment says.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { buildApp } from '../../dist/src/app.js'
import { loadConfig } from '../../dist/src/config.js'
import { answer, input } from '../lib/subject.mjs'

const { bootstrapServers, topic, groupId, total, iterations, env = {} } = await input()
process.env.BENCH_ITERATIONS = String(iterations)
const { config } = loadConfig({
  KAFKA_BOOTSTRAP_SERVERS: bootstrapServers,
  KAFKA_TOPIC: topic,
  KAFKA_GROUP_ID: groupId,
  KAFKA_DEAD_LETTER_TOPIC: 'off',
  KAFKA_HANDLER: fileURLToPath(new URL('../lib/busy-handler.mjs', import.meta.url)),
  KAFKA_SESSION_TIMEOUT_MS: '6000',
  KAFKA_MAX_POLL_INTERVAL_MS: '6000',
  KAFKA_DRAIN_TIMEOUT_MS: '3000',
  KAFKA_COMMIT_INTERVAL_SECONDS: '1',
  LOG_LEVEL: 'error',
  ...env
})
const app = await buildApp(config)
await app.listen({ port: 0, host: '127.0.0.1' })

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
const done = () => app.consumers[0].state.partitions.reduce((sum, { commitOffset }) => sum + Math.max(0, commitOffset), 0)
while (done() === 0) await pause(10)
const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()
const before = { done: done(), at: performance.now(), cpu: process.cpuUsage() }
while (done() < total) await pause(50)
delay.disable()
const records = total - before.done
const seconds = (performance.now() - before.at) / 1000
const { user, system } = process.cpuUsage(before.cpu)
// Whether the membership was kept shows in what comes next: the commit is acknowledged, or the partitions are lost.
const rebalances = async () => {
  const samples = (await app.metrics.scrape()).split('\n').filter(line => line.startsWith('sluice_consumer_rebalances_total'))
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0) - 1
}
const committed = () => app.consumers[0].state.partitions.reduce((sum, { committedOffset }) => sum + Math.max(0, committedOffset), 0)
while (committed() < total && await rebalances() === 0) await pause(50)
const seen = await rebalances()
await app.close()
answer({
  perSecond: records / seconds,
  cpuPer1000: (user + system) / 1000 / records * 1000,
  delayP99Ms: delay.percentile(99) / 1e6,
  // Beyond the first assignment.
  rebalances: seen
})
