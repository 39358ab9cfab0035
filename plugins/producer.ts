import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { ClientProperties, ProducerConfig } from '../src/config.js'
import { KafkaProducer } from '../src/kafka/producer.js'
import type { ProducerObserver, RecordProducer } from '../src/kafka/record-producer.js'
import { TopicDirectory, type TopicSource } from '../src/kafka/topics.js'

declare module 'fastify' {
  interface FastifyInstance {
    producer: RecordProducer
    topics: TopicDirectory
  }
}

export interface ProducerPluginOptions {
  /** librdkafka properties of any client, `bootstrap.servers` among them. */
  readonly client: ClientProperties
  readonly settings: ProducerConfig
  /** How long the close may wait for delivery reports. */
  readonly closeTimeoutMs: number
  /** True for the embedded broker. */
  readonly embedded?: boolean
  readonly observer?: ProducerObserver
  /** Used in place of a Kafka producer, and not closed. */
  readonly producer?: RecordProducer & TopicSource
}

/**
 * Decorates `fastify.producer` and `fastify.topics`. Starting does not wait for Kafka: until it is connected, producing is
 * refused with 503 and readiness says why.
 *
 * A configuration that Kafka's client does not take stops the start.
 */
async function producer (fastify: FastifyInstance, options: ProducerPluginOptions): Promise<void> {
  const { settings } = options
  const used = options.producer ?? await connectedProducer(fastify, options)
  fastify.decorate('producer', used)
  fastify.decorate('topics', new TopicDirectory(used, { createsTopics: settings.allowAutoCreateTopics }))
}

async function connectedProducer (fastify: FastifyInstance, options: ProducerPluginOptions): Promise<KafkaProducer> {
  const { client, settings, closeTimeoutMs, embedded = false, observer } = options
  const log = fastify.log.child({ component: 'producer' })
  const producer = new KafkaProducer({ client, settings, log, reportsTimestamps: !embedded, ...(observer && { observer }) })
  fastify.addHook('onClose', async () => { await producer.close(closeTimeoutMs) })
  // The embedded broker is there already. For a real one the start does not wait, but a wrong configuration is thrown before
  // anything is awaited: one turn is enough to see it.
  if (embedded) {
    await producer.connect()
    return producer
  }
  let failure: unknown
  producer.connect().catch((err: unknown) => { failure = err })
  await new Promise(resolve => { setImmediate(resolve) })
  if (failure !== undefined) throw failure
  return producer
}

export default fp(producer, { name: 'producer', dependencies: ['errors'], fastify: '5.x' })
