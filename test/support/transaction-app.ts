import Fastify, { type FastifyInstance } from 'fastify'
import errors from '../../plugins/errors.js'
import producer from '../../plugins/producer.js'
import transactions from '../../plugins/transactions.js'
import transactionsRoute from '../../routes/transactions.js'
import { anyone } from '../../src/access.js'
import type { ProducerConfig, TransactionsConfig } from '../../src/config.js'
import { serverOptions } from '../../src/server-options.js'
import { waitFor, type Kafka } from './kafka.js'
import { producerSettings } from './produce-app.js'

export const transactionSettings: TransactionsConfig = {
  idPrefix: null, producers: 2, maxWaiting: 100, maxBytes: 8_000_000, timeoutMs: 10_000
}

/** The part of the gateway that runs transactions, over a real broker. */
export async function transactionGateway (
  kafka: Kafka, { settings = {}, produce = {} }: { settings?: Partial<TransactionsConfig>, produce?: Partial<ProducerConfig> } = {}
): Promise<FastifyInstance> {
  const app = Fastify(serverOptions({ bodyLimitBytes: 12_000_000 }))
  const client = { 'bootstrap.servers': kafka.bootstrapServers }
  const producerConfig = { ...producerSettings, queueMaxRecords: 100_000, queueMaxBytes: 100_000_000, ...produce }
  await app.register(errors)
  app.decorateRequest('principal', { getter: () => anyone })
  await app.register(producer, { client, settings: producerConfig, closeTimeoutMs: 5_000 })
  await app.register(transactions, {
    client, producer: producerConfig, settings: { ...transactionSettings, ...settings }, closeTimeoutMs: 3_000
  })
  await app.register(transactionsRoute, { requestTimeoutMs: 15_000 })
  await app.ready()
  await waitFor('the producer', () => app.producer.state.reachable)
  return app
}

export interface TransactionRecord { topic: string, value: unknown, [member: string]: unknown }

export async function transact (app: FastifyInstance, records: readonly TransactionRecord[], headers: Record<string, string> = {}) {
  return await app.inject({ method: 'POST', url: '/transactions', payload: { records }, headers })
}
