import Fastify, { type FastifyInstance } from 'fastify'
import errors from '../../plugins/errors.js'
import producer from '../../plugins/producer.js'
import reader from '../../plugins/reader.js'
import transactions from '../../plugins/transactions.js'
import topicsRoute from '../../routes/topics.js'
import transactionsRoute from '../../routes/transactions.js'
import type { Principal } from '../../src/access.js'
import type { PartitionBounds, ReadRequest, RecordPage, RecordReader } from '../../src/kafka/record-reader.js'
import type { Transactions } from '../../src/kafka/transactions.js'
import type { KafkaRecord, OutgoingRecord, Receipt } from '../../src/record.js'
import { serverOptions } from '../../src/server-options.js'
import { FakeProducer } from './fake-producer.js'
import { bodyLimitBytes, producerSettings } from './produce-app.js'

/** Keeps what it is asked, and answers with what a test puts into it. */
export class FakeReader implements RecordReader {
  readonly asked: ReadRequest[] = []
  records: KafkaRecord[] = []
  failure: Error | null = null
  readonly state = { reading: 0, waiting: 0, clients: 0 }

  async read (request: ReadRequest): Promise<RecordPage> {
    this.asked.push(request)
    if (this.failure !== null) throw this.failure
    return { beginOffset: 0, endOffset: 10, records: this.records, nextOffset: 10 }
  }

  async bounds (_topic: string, partitions: number): Promise<PartitionBounds[]> {
    if (this.failure !== null) throw this.failure
    const bounds = { leader: 1, beginOffset: 0, endOffset: 5, stableOffset: null }
    return Array.from({ length: partitions }, (_, partition) => ({ partition, ...bounds }))
  }
}

/** Keeps what it is given. */
export class FakeTransactions implements Transactions {
  readonly ran: OutgoingRecord[][] = []
  readonly timeouts: number[] = []
  failure: Error | null = null
  readonly state = { open: 0, waiting: 0, bytes: 0 }

  async run (records: readonly OutgoingRecord[], timeoutMs: number): Promise<Receipt[]> {
    this.timeouts.push(timeoutMs)
    if (this.failure !== null) throw this.failure
    this.ran.push([...records])
    return records.map(({ topic, partition }, offset) => ({ topic, partition: partition ?? 0, offset, timestamp: 1767225600000 }))
  }
}

/** The routes for looking in and for transactions, over fakes. Topics: `a` and `b`, and two that are reserved. */
export async function readerApp (principal: Principal): Promise<{
  app: FastifyInstance, kafka: FakeProducer, reader: FakeReader, transactions: FakeTransactions
}> {
  const kafka = new FakeProducer()
  kafka.partitions.set('b', 2)
  const fakes = { reader: new FakeReader(), transactions: new FakeTransactions() }
  const app = Fastify(serverOptions({ bodyLimitBytes }))
  await app.register(errors)
  app.decorateRequest('principal', { getter: () => principal })
  app.decorate('access', { problems: [], refused () {} })
  await app.register(producer, { client: {}, settings: producerSettings, closeTimeoutMs: 1_000, producer: kafka })
  await app.register(reader, {
    client: {}, settings: { clients: 1, maxWaiting: 1, maxBytes: 10 }, closeTimeoutMs: 1_000, reader: fakes.reader
  })
  await app.register(transactions, {
    client: {},
    producer: producerSettings,
    settings: { idPrefix: null, producers: 1, maxWaiting: 1, maxBytes: 1_000, timeoutMs: 1_000 },
    closeTimeoutMs: 1_000,
    transactions: fakes.transactions
  })
  await app.register(topicsRoute, { readMaxBytes: 10 })
  await app.register(transactionsRoute, { requestTimeoutMs: 5_000 })
  await app.ready()
  await kafka.refreshTopics()
  return { app, kafka, ...fakes }
}
