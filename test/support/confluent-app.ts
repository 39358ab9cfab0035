import Fastify, { type FastifyInstance } from 'fastify'
import auth from '../../plugins/auth.js'
import closing from '../../plugins/closing.js'
import errors from '../../plugins/errors.js'
import idempotency from '../../plugins/idempotency.js'
import metrics from '../../plugins/metrics.js'
import producer from '../../plugins/producer.js'
import confluentMetadata from '../../routes/confluent-metadata.js'
import confluentV2 from '../../routes/confluent-v2.js'
import confluentV3 from '../../routes/confluent-v3.js'
import confluentV3Batch from '../../routes/confluent-v3-batch.js'
import { serverOptions } from '../../src/server-options.js'
import { FakeProducer } from './fake-producer.js'
import { bodyLimitBytes, idempotencyLimits, producerSettings } from './produce-app.js'

/** Confluent's wire over a fake producer. */
export async function confluentApp (): Promise<{ app: FastifyInstance, kafka: FakeProducer }> {
  const kafka = new FakeProducer()
  const app = Fastify(serverOptions({ bodyLimitBytes }))
  await app.register(errors)
  await app.register(closing, { requestsTimeoutMs: 5_000 })
  await app.register(metrics)
  await app.register(auth, { host: '127.0.0.1', allowedHosts: [], auth: 'loopback' })
  await app.register(producer, { client: {}, settings: producerSettings, closeTimeoutMs: 1_000, producer: kafka })
  await app.register(idempotency, idempotencyLimits)
  await app.register(confluentV2, { requestTimeoutMs: 5_000 })
  for (const prefix of ['/v3', '/kafka/v3'] as const) {
    await app.register(confluentV3, { prefix, requestTimeoutMs: 5_000, bodyLimitBytes, idleTimeoutMs: 60_000 })
    await app.register(confluentV3Batch, { prefix, requestTimeoutMs: 5_000 })
  }
  await app.register(confluentMetadata, { clusterId: 'cluster-1' })
  await app.ready()
  await kafka.refreshTopics()
  return { app, kafka }
}
