import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { ClientProperties, ProducerConfig, TransactionsConfig } from '../src/config.js'
import { TransactionalProducerPool } from '../src/kafka/transactional-producer-pool.js'
import type { TransactionObserver, Transactions } from '../src/kafka/transactions.js'

declare module 'fastify' {
  interface FastifyInstance {
    transactions: Transactions
  }
}

export interface TransactionsPluginOptions {
  /** librdkafka properties of any client, `bootstrap.servers` among them. */
  readonly client: ClientProperties
  readonly producer: ProducerConfig
  readonly settings: TransactionsConfig
  /** How long the close may wait for what is open. */
  readonly closeTimeoutMs: number
  /** True for the embedded broker. */
  readonly embedded?: boolean
  /** Used in place of Kafka's, and not closed. */
  readonly transactions?: Transactions
}

/**
 * Decorates `fastify.transactions`. Nothing connects before the first transaction, unless a prefix of transactional ids is
 * configured: then an earlier process may have left something open under them, which is aborted as soon as Kafka is there.
 */
async function transactions (fastify: FastifyInstance, options: TransactionsPluginOptions): Promise<void> {
  if (options.transactions !== undefined) {
    fastify.decorate('transactions', options.transactions)
    return
  }
  const { client, producer, settings, closeTimeoutMs, embedded = false } = options
  const pool = new TransactionalProducerPool({
    client,
    producer,
    settings,
    log: fastify.log.child({ component: 'transactions' }),
    isReachable: () => fastify.producer.state.reachable,
    reportsTimestamps: !embedded,
    ...(fastify.hasDecorator('metrics') && { observer: observerOf(fastify) })
  })
  fastify.decorate('transactions', pool)
  fastify.addHook('onClose', async () => { await pool.close(closeTimeoutMs) })
  if (settings.idPrefix !== null) pool.prepare()
}

function observerOf (fastify: FastifyInstance): TransactionObserver {
  const { duration, ended, records, open, waiting, bytes, replaced } = fastify.metrics.transactions
  fastify.metrics.onScrape(() => {
    const { state } = fastify.transactions
    open.set(state.open)
    waiting.set(state.waiting)
    bytes.set(state.bytes)
  })
  return {
    ended (result, count, seconds) {
      ended.inc({ result })
      if (result !== 'refused') duration.observe(seconds)
      if (result === 'committed') records.inc(count)
    },
    replaced (reason) { replaced.inc({ reason }) }
  }
}

export default fp(transactions, { name: 'transactions', dependencies: ['errors', 'producer'], fastify: '5.x' })
