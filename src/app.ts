import { existsSync, readFileSync } from 'node:fs'
import type { Server } from 'node:http'
import Fastify, { type FastifyHttpOptions, type FastifyInstance, type FastifyServerOptions } from 'fastify'
import auth, { type AuthObserver } from '../plugins/auth.js'
import bodyBudget from '../plugins/body-budget.js'
import cancelledRequests from '../plugins/cancelled-requests.js'
import closing from '../plugins/closing.js'
import connections from '../plugins/connections.js'
import consumer, { type ConsumerPluginOptions } from '../plugins/consumer.js'
import cors from '../plugins/cors.js'
import errors from '../plugins/errors.js'
import idempotency from '../plugins/idempotency.js'
import metrics from '../plugins/metrics.js'
import pageHeaders from '../plugins/page-headers.js'
import producer, { type ProducerPluginOptions } from '../plugins/producer.js'
import respondAsync from '../plugins/respond-async.js'
import reader, { type ReaderPluginOptions } from '../plugins/reader.js'
import swagger from '../plugins/swagger.js'
import tlsFiles from '../plugins/tls.js'
import transactions, { type TransactionsPluginOptions } from '../plugins/transactions.js'
import unreadBodies from '../plugins/unread-bodies.js'
import cloudEventsRoute from '../routes/cloud-events.js'
import confluentMetadata from '../routes/confluent-metadata.js'
import confluentV2 from '../routes/confluent-v2.js'
import confluentV3Batch from '../routes/confluent-v3-batch.js'
import confluentV3 from '../routes/confluent-v3.js'
import consumerRoute from '../routes/consumer.js'
import healthRoutes from '../routes/health.js'
import metricsRoute from '../routes/metrics.js'
import rawRoute from '../routes/raw.js'
import recordsRoute from '../routes/records.js'
import sendMessageRoute from '../routes/send-message.js'
import topicsRoute from '../routes/topics.js'
import transactionsRoute from '../routes/transactions.js'
import type { ClientProperties, Config, ConsumerConfig } from './config.js'
import { startEmbeddedBroker } from './kafka/embedded-broker.js'
import type { StreamSettings } from './ndjson-answer.js'
import type { ProducerObserver } from './kafka/record-producer.js'
import { HeaderAllowlist } from './header-allowlist.js'
import { serverOptions } from './server-options.js'
import { StreamShares } from './stream-shares.js'
import { transportOptions } from './tls.js'
import { WebhookSignatures } from './webhook-signature.js'

/** What a caller wants to know, and parts that tests put in place of the configured ones. */
export interface Overrides {
  readonly logger?: FastifyServerOptions['logger']
  readonly producer?: ProducerPluginOptions['producer']
  readonly transactions?: TransactionsPluginOptions['transactions']
  readonly reader?: ReaderPluginOptions['reader']
  readonly handler?: ConsumerPluginOptions['handler']
  readonly connect?: ConsumerPluginOptions['connect']
  readonly onFenced?: ConsumerPluginOptions['onFenced']
}

/** What a drain leaves of the time to close: the last commit, leaving the group, disconnecting. */
const RESERVED_FOR_LEAVING_MS = 10_000
/** What the producer gets to deliver what handlers and requests have just handed over. */
const PRODUCER_CLOSE_MS = 10_000
/** What transactions get that are still open once all requests have ended or were cut off. */
const TRANSACTIONS_CLOSE_MS = 3_000
/** What reads of stored records get. Nothing is lost with them. */
const READER_CLOSE_MS = 2_000

// One level up from the sources, two from what is built.
const manifest = ['../package.json', '../../package.json'].map(path => new URL(path, import.meta.url)).find(url => existsSync(url))!
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }

/**
 * Makes the process: the one ordered list of its plugins and routes. What comes later may use what comes before, and is
 * closed earlier: the consumer drains while its handlers can still produce.
 */
export async function buildApp (config: Config, overrides: Overrides = {}): Promise<FastifyInstance> {
  const server = serverOptions(config.http)
  // The type of the server is that of plain HTTP for all that use it.
  const options = { ...server, ...transportOptions(config.http, server.http), logger: overrides.logger ?? { level: config.logLevel } }
  const app = Fastify(options as FastifyHttpOptions<Server>)
  try {
    const client = await clientProperties(app, config)
    const signatures = new WebhookSignatures(config.webhooks.signatures)
    await app.register(errors)
    await app.register(unreadBodies)
    if (config.http.http2) await app.register(cancelledRequests)
    await app.register(closing, { requestsTimeoutMs: timeBefore(PRODUCER_CLOSE_MS, config) })
    await app.register(metrics)
    await app.register(connections, { max: config.http.maxConnections })
    await app.register(pageHeaders)
    const { tls, corsOrigins } = config.http
    if (tls !== null) await app.register(tlsFiles, { tls, onCertificate: end => app.metrics.auth.certificateEnd.set(end) })
    if (corsOrigins.length > 0) await app.register(cors, { origins: corsOrigins })
    await app.register(auth, { ...config.http, observer: authMetrics(app), signatures })
    await app.register(bodyBudget, { maxBytes: config.http.bodiesMaxBytes })
    await app.register(swagger, { version, authenticated: config.http.auth === 'on' })
    await app.register(producer, {
      client,
      settings: config.producer,
      closeTimeoutMs: Math.min(PRODUCER_CLOSE_MS, config.shutdownTimeoutMs),
      embedded: config.kafka.embedded,
      observer: produceMetrics(app),
      ...(overrides.producer && { producer: overrides.producer })
    })
    await app.register(transactions, {
      client,
      producer: config.producer,
      settings: config.transactions,
      closeTimeoutMs: Math.min(TRANSACTIONS_CLOSE_MS, config.shutdownTimeoutMs),
      embedded: config.kafka.embedded,
      ...(overrides.transactions && { transactions: overrides.transactions })
    })
    await app.register(reader, {
      client, settings: config.reader, closeTimeoutMs: READER_CLOSE_MS, ...(overrides.reader && { reader: overrides.reader })
    })
    await app.register(consumer, {
      configs: config.consumers,
      maxInFlightTotal: config.maxInFlightTotal,
      client,
      messageMaxBytes: config.producer.messageMaxBytes,
      transactions: { producer: config.producer, settings: config.transactions },
      closeTimeoutMs: timeBefore(RESERVED_FOR_LEAVING_MS, config),
      ...(overrides.handler && { handler: overrides.handler }),
      ...(overrides.connect && { connect: overrides.connect }),
      ...(overrides.onFenced && { onFenced: overrides.onFenced })
    })
    await app.register(respondAsync)
    await app.register(idempotency, config.idempotency)
    await app.register(sendMessageRoute, { topic: config.producer.topic, requestTimeoutMs: config.http.requestTimeoutMs })
    const streams = streamSettings(config)
    const shares = new StreamShares(streams)
    await app.register(recordsRoute, { requestTimeoutMs: config.http.requestTimeoutMs, streams: { ...streams, shares } })
    await app.register(rawRoute, {
      requestTimeoutMs: config.http.requestTimeoutMs, allowlist: new HeaderAllowlist(config.webhooks.recordHeaders), signatures
    })
    await app.register(cloudEventsRoute, { requestTimeoutMs: config.http.requestTimeoutMs, signatures })
    await app.register(transactionsRoute, { requestTimeoutMs: config.http.requestTimeoutMs })
    await app.register(topicsRoute, { readMaxBytes: config.reader.maxBytes })
    await app.register(confluentV2, { requestTimeoutMs: config.http.requestTimeoutMs })
    for (const prefix of ['/v3', '/kafka/v3'] as const) {
      const { requestTimeoutMs, bodyLimitBytes } = config.http
      await app.register(confluentV3, { prefix, requestTimeoutMs, bodyLimitBytes, idleTimeoutMs: config.streams.idleTimeoutMs, shares })
      await app.register(confluentV3Batch, { prefix, requestTimeoutMs })
    }
    await app.register(confluentMetadata, { clusterId: config.kafka.clusterId })
    await app.register(consumerRoute, { maxInFlightTotal: config.maxInFlightTotal })
    await app.register(healthRoutes)
    await app.register(metricsRoute)
    return app
  } catch (error) {
    // What was started already must not keep the process alive.
    await app.close().catch(() => {})
    throw error
  }
}

/** What all clients share; without a cluster to talk to, one is started here. */
async function clientProperties (app: FastifyInstance, { kafka, producer, consumers }: Config): Promise<ClientProperties> {
  if (!kafka.embedded) return kafka.client
  const topics = new Set([...consumers.flatMap(topicsOf), ...(producer.topic === null ? [] : [producer.topic])])
  const broker = await startEmbeddedBroker({ topics: [...topics] })
  // Registered before everything else, hence run after everything else.
  app.addHook('onClose', () => broker.close())
  app.log.warn({ brokers: broker.bootstrapServers, topics: [...topics] },
    'no KAFKA_BOOTSTRAP_SERVERS: an embedded broker runs in this process, in memory, for trying things out; it keeps nothing')
  return { ...kafka.client, 'bootstrap.servers': broker.bootstrapServers }
}

/** What a consumer needs of topics, as far as their names are known. */
function topicsOf ({ topics, deadLetterTopic }: ConsumerConfig): string[] {
  const literal = topics.filter(topic => !topic.startsWith('^'))
  const deadLetters = deadLetterTopic.kind === 'topic'
    ? [deadLetterTopic.name]
    : deadLetterTopic.kind === 'suffix' ? literal.map(topic => topic + deadLetterTopic.suffix) : []
  return [...literal, ...deadLetters]
}

/** What of the time to close is left for what comes before something that needs this long; half of it at least. */
function timeBefore (reservedMs: number, { shutdownTimeoutMs }: Config): number {
  return Math.max(shutdownTimeoutMs - reservedMs, shutdownTimeoutMs / 2)
}

/** All streams together leave half of the queue to everybody else. */
function streamSettings ({ streams, producer }: Config): StreamSettings {
  return { ...streams, totalRecords: Math.floor(producer.queueMaxRecords / 2), totalBytes: Math.floor(producer.queueMaxBytes / 2) }
}

function authMetrics (app: FastifyInstance): AuthObserver {
  const { refusals, rulesCurrent, keyFetches } = app.metrics.auth
  return {
    refused (reason) { refusals.inc({ reason }) },
    rulesRead (current) { rulesCurrent.set(current ? 1 : 0) },
    keysFetched (fetched) { keyFetches.inc({ result: fetched ? 'ok' : 'failed' }) }
  }
}

function produceMetrics (app: FastifyInstance): ProducerObserver {
  const { duration, records, failures, replaced, pendingRecords, pendingBytes, reachable } = app.metrics.producer
  const durations = duration.of()
  // Counted here, for it happens with every record, and given to the counter when somebody looks.
  const acknowledgedOf = new Map<string, { count: number }>()
  app.metrics.onScrape(() => {
    const { state } = app.producer
    pendingRecords.set(state.pendingRecords)
    pendingBytes.set(state.pendingBytes)
    reachable.set(state.reachable ? 1 : 0)
    for (const [topic, acknowledged] of acknowledgedOf) {
      records.inc({ topic }, acknowledged.count)
      acknowledged.count = 0
    }
  })
  return {
    acknowledged (topic, seconds) {
      durations.observe(seconds)
      let acknowledged = acknowledgedOf.get(topic)
      if (acknowledged === undefined) acknowledgedOf.set(topic, acknowledged = { count: 0 })
      acknowledged.count++
    },
    failed (code) { failures.inc({ code }) },
    replaced () { replaced.inc() }
  }
}
