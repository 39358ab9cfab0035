import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { ClientProperties, ConsumerConfig } from '../src/config.js'
import { createConsumer, excludedTopics, type Consumer, type ConsumerPorts, type RunningConsumer } from '../src/consumer.js'
import { resetPartitions } from '../src/consumer-gauges.js'
import { SlotPool } from '../src/engine/slots.js'
import type { ConnectedSource } from '../src/group-member.js'
import { ofGroup } from '../src/group-metrics.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The consumers of this process, in the order of their configuration; none where it only produces. */
    consumers: readonly Consumer[]
  }
}

export interface ConsumerPluginOptions {
  /** Of different names and groups. None: this process only produces. */
  readonly configs: readonly ConsumerConfig[]
  /** Handlers in flight at once, of all of them together: one for each at least. `null`: each has only its own limit. */
  readonly maxInFlightTotal: number | null
  /** Properties common to all clients. */
  readonly client: ClientProperties
  /** The largest record that may be produced: dead letters must fit. */
  readonly messageMaxBytes: number
  /** How transactions are made: for exactly once. */
  readonly transactions: ConsumerPorts['transactions']
  /** How long the drain of all of them may take when the process closes. */
  readonly closeTimeoutMs: number
  /** Told that another process has this one's group instance id: a group is consumed no more, and the process should end. */
  readonly onFenced?: (error: Error) => void
  /** Instead of the configured handlers. */
  readonly handler?: ConsumerPorts['handler']
  /** Instead of a member of a group in Kafka. */
  readonly connect?: (config: ConsumerConfig) => Promise<ConnectedSource>
}

/** Runs the consumers from when the process is ready until it closes: then they drain, all at the same time. */
export default fp<ConsumerPluginOptions>(async (app, options) => {
  const { configs, maxInFlightTotal, handler, connect, onFenced = () => {}, ...ports } = options
  const consumers: RunningConsumer[] = []
  app.decorate('consumers', consumers)
  if (configs.length === 0) return
  if (maxInFlightTotal !== null) app.metrics.consumers.inFlightLimit.set(maxInFlightTotal)
  app.metrics.onScrape(() => {
    resetPartitions(app.metrics.consumer)
    for (const consumer of consumers) consumer.scrape()
  })
  app.addHook('onReady', async () => {
    for (const consumer of consumers) consumer.start()
  })
  const stop = () => Promise.all(consumers.map(consumer => consumer.stop()))
  // It begins beside the HTTP server's own close, which waits for the requests that are under way: they must not use up
  // the time to drain. It is awaited before what was registered earlier closes, the producer above all.
  app.addHook('preClose', async () => { stop() })
  app.addHook('onClose', async () => { await stop() })
  // What one of them writes is no other one's to find by chance.
  const excluded = excludedTopics(configs)
  const several = configs.length > 1
  const pool = maxInFlightTotal === null ? undefined : new SlotPool(maxInFlightTotal)
  // After the hooks: where one of them cannot be made, those before it are closed again.
  for (const config of configs) {
    const { groupId } = config
    const making = createConsumer(config, {
      ...ports,
      log: app.log.child({ group: groupId }),
      metrics: ofGroup(app.metrics.consumer, groupId),
      producer: app.producer,
      topics: app.topics,
      isMissing: topic => isMissing(app, topic),
      excludedTopics: excluded,
      onFenced,
      ...(pool && { pool }),
      ...(handler && { handler }),
      ...(connect && { connect: () => connect(config) })
    })
    consumers.push(await making.catch(error => { throw several ? whose(error, config.name) : error }))
  }
}, { name: 'consumer', dependencies: ['metrics', 'producer'], fastify: '5.x' })

function whose (error: Error, name: string): Error {
  return new Error(`${name}: ${error.message}`, { cause: error })
}

/** Whether a topic is known not to exist: while the brokers cannot be asked, nothing is known. */
async function isMissing (app: FastifyInstance, topic: string): Promise<boolean> {
  try {
    await app.topics.partitions(topic)
    return false
  } catch (error) {
    return (error as { code?: string }).code === 'SLUICE_UNKNOWN_TOPIC'
  }
}
