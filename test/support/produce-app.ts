import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import Fastify, { type FastifyHttpOptions, type FastifyInstance } from 'fastify'
import auth from '../../plugins/auth.js'
import bodyBudget from '../../plugins/body-budget.js'
import errors from '../../plugins/errors.js'
import idempotency from '../../plugins/idempotency.js'
import metrics from '../../plugins/metrics.js'
import producer from '../../plugins/producer.js'
import respondAsync from '../../plugins/respond-async.js'
import swagger from '../../plugins/swagger.js'
import unreadBodies from '../../plugins/unread-bodies.js'
import cloudEvents from '../../routes/cloud-events.js'
import raw from '../../routes/raw.js'
import records from '../../routes/records.js'
import sendMessage from '../../routes/send-message.js'
import type { ProducerConfig } from '../../src/config.js'
import { HeaderAllowlist } from '../../src/header-allowlist.js'
import type { IdempotencyLimits } from '../../src/idempotency-table.js'
import type { StreamSettings } from '../../src/ndjson-answer.js'
import { serverOptions } from '../../src/server-options.js'
import { WebhookSignatures, type SignatureRule } from '../../src/webhook-signature.js'
import { FakeProducer } from './fake-producer.js'

export const producerSettings: ProducerConfig = {
  topic: 'a',
  client: {},
  lingerMs: 0.5,
  compression: 'none',
  messageMaxBytes: 1_000_000,
  queueMaxRecords: 1_000,
  queueMaxBytes: 10_000_000,
  deliveryTimeoutMs: 10_000,
  allowAutoCreateTopics: false
}

export const idempotencyLimits: IdempotencyLimits = { maxEntries: 1_000, maxBytes: 10_000_000, lifetimeMs: 60_000 }

export const streamSettings: StreamSettings = {
  maxStreams: 3, maxRecords: 1_000, maxBytes: 1_000_000, totalRecords: 2_000, totalBytes: 2_000_000, idleTimeoutMs: 10_000
}

export const bodyLimitBytes = 2_000_000
export const bodiesMaxBytes = 3_000_000

/** The producing half of the gateway over a fake producer, and what it logged. */
export async function produceApp (
  { topic = 'a', settings = producerSettings, recordHeaders = ['*'], signatures = [], now, idempotency: idempotencySettings, streams, server = {} }: {
    topic?: string | null
    settings?: ProducerConfig
    recordHeaders?: readonly string[]
    signatures?: readonly SignatureRule[]
    now?: () => number
    idempotency?: Partial<IdempotencyLimits>
    streams?: Partial<StreamSettings>
    /** In place of the server's own options. */
    server?: FastifyHttpOptions<Server>
  } = {}
): Promise<{ app: FastifyInstance, kafka: FakeProducer, logged: Record<string, unknown>[] }> {
  const kafka = new FakeProducer()
  const logged: Record<string, unknown>[] = []
  const stream = { write (line: string) { logged.push(JSON.parse(line) as Record<string, unknown>) } }
  const app = Fastify({ ...serverOptions({ bodyLimitBytes }), ...server, logger: { level: 'info', stream } })
  await app.register(errors)
  await app.register(unreadBodies)
  await app.register(metrics)
  const webhookSignatures = new WebhookSignatures(signatures, now)
  await app.register(auth, { host: '127.0.0.1', allowedHosts: ['gateway.example'], auth: 'loopback', signatures: webhookSignatures })
  await app.register(bodyBudget, { maxBytes: bodiesMaxBytes })
  await app.register(swagger, { version: '0.0.0' })
  await app.register(producer, { client: {}, settings, closeTimeoutMs: 1_000, producer: kafka })
  await app.register(respondAsync)
  await app.register(idempotency, { ...idempotencyLimits, ...idempotencySettings })
  await app.register(records, { requestTimeoutMs: 5_000, streams: { ...streamSettings, ...streams } })
  await app.register(raw, { requestTimeoutMs: 5_000, allowlist: new HeaderAllowlist(recordHeaders), signatures: webhookSignatures })
  await app.register(cloudEvents, { requestTimeoutMs: 5_000, signatures: webhookSignatures })
  await app.register(sendMessage, { topic, requestTimeoutMs: 5_000 })
  await app.ready()
  // As after the first connection: the list of topics is at hand, and no request waits for it.
  await kafka.refreshTopics()
  return { app, kafka, logged }
}

/** The same, and it listens; connections that are still open are cut when the test ends. */
export async function listeningApp (t: Test) {
  const { app, kafka } = await produceApp()
  t.teardown(() => {
    app.server.closeAllConnections()
    return app.close()
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { app, kafka, port: (app.server.address() as AddressInfo).port }
}
