import { randomUUID } from 'node:crypto'
import type { ClientProperties, ProducerConfig, TransactionsConfig } from '../config.js'
import { SluiceError } from '../errors.js'
import type { OutgoingRecord, Receipt } from '../record.js'
import { prepareRecord, type PreparedRecord } from './prepared-record.js'
import { producerProperties } from './producer-properties.js'
import type { Log } from './record-producer.js'
import { atRecord, isRefusedAsBatch, notCommitted, withdrawn } from './transaction-errors.js'
import { TransactionalProducer, type TransactionalProducerOptions } from './transactional-producer.js'
import type { TransactionObserver, TransactionResult, Transactions, TransactionsState } from './transactions.js'

export interface TransactionalProducerPoolOptions {
  /** librdkafka properties for any client: brokers, security. */
  readonly client: ClientProperties
  readonly producer: ProducerConfig
  readonly settings: TransactionsConfig
  readonly log: Log
  readonly observer?: TransactionObserver
  /** Whether Kafka answers: while it does not, nothing is begun. */
  readonly isReachable: () => boolean
  /** False for the embedded broker, whose reports all say 1234. */
  readonly reportsTimestamps?: boolean
  /** Makes the producers; absent: Kafka's. */
  readonly open?: (options: TransactionalProducerOptions) => Promise<PooledProducer>
}

/** What the pool asks of a producer. */
export type PooledProducer = Pick<TransactionalProducer, 'run' | 'abandon' | 'close' | 'spent'>

/** How long to wait before a producer that is wanted at the start is tried again. */
const retryPauseMs = 1_000
/** How long the clients may take to be let go. */
const closeLimitMs = 5_000

/** A request, from its arrival to its answer. */
interface Job {
  readonly records: readonly PreparedRecord[]
  readonly size: number
  readonly arrivedAt: number
  readonly deadline: number
  readonly resolve: (receipts: Receipt[]) => void
  readonly reject: (error: unknown) => void
  /** It was answered, or nobody waits any more, before its transaction began. */
  over: boolean
  timer?: NodeJS.Timeout
}

/** A place for one producer, under one transactional id. */
interface Slot { readonly index: number, producer: PooledProducer | null, busy: boolean }

/**
 * Runs transactions on a few producers, each of which has one at a time; the others wait in the order of their arrival.
 *
 * Bounds: `settings.producers` open, `maxWaiting` waiting, and all their records together have the bytes of the producer's
 * queue at most (KAFKA_QUEUE_MAX_BYTES).
 */
export class TransactionalProducerPool implements Transactions {
  readonly #options: TransactionalProducerPoolOptions
  readonly #slots: Slot[]
  readonly #waiting: Job[] = []
  readonly #serving = new Set<Promise<void>>()
  #prefix: string
  #bytes = 0
  #closing: Promise<void> | null = null
  #timer: NodeJS.Timeout | undefined

  constructor (options: TransactionalProducerPoolOptions) {
    this.#options = options
    this.#prefix = options.settings.idPrefix ?? ownPrefix()
    this.#slots = Array.from({ length: options.settings.producers }, (_, index) => ({ index, producer: null, busy: false }))
  }

  get state (): TransactionsState {
    return { open: this.#slots.filter(({ busy }) => busy).length, waiting: this.#waiting.length, bytes: this.#bytes }
  }

  /** Makes all producers now, and tries until it has: what an earlier process left open under their ids is aborted then. */
  prepare (): void {
    if (this.#closing !== null) return
    const slot = this.#slots.find(({ busy, producer }) => !busy && producer === null)
    if (slot === undefined) return
    const again = (): void => { this.#timer = setTimeout(() => this.prepare(), retryPauseMs).unref() }
    if (!this.#options.isReachable()) { again(); return }
    this.#occupy(slot, async () => {
      try {
        await this.#producerOf(slot)
        setImmediate(() => this.prepare())
      } catch (err) {
        this.#options.log.warn({ reason: (err as Error).message }, 'a producer for transactions is not ready yet; trying again')
        again()
      }
    })
  }

  async run (records: readonly OutgoingRecord[], timeoutMs: number): Promise<Receipt[]> {
    const arrivedAt = performance.now()
    let prepared: readonly PreparedRecord[]
    let size: number
    try {
      prepared = this.#check(records)
      size = prepared.reduce((sum, record) => sum + record.size, 0)
      this.#admit(size)
    } catch (err) {
      this.#ended('refused', records.length, arrivedAt)
      throw err
    }
    return await new Promise((resolve, reject) => {
      const job: Job = { records: prepared, size, arrivedAt, deadline: arrivedAt + timeoutMs, resolve, reject, over: false }
      job.timer = setTimeout(() => { this.#withdraw(job, withdrawn()) }, timeoutMs)
      this.#bytes += size
      this.#waiting.push(job)
      this.#next()
    })
  }

  /**
   * Takes nothing more, refuses what waits, and gives what is open until the deadline: what is not committing by then is aborted,
   * what is gets its answer or SLUICE_TRANSACTION_UNKNOWN from its own time limit.
   */
  close (timeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(timeoutMs)
    return this.#closing
  }

  async #close (timeoutMs: number): Promise<void> {
    clearTimeout(this.#timer)
    for (const job of [...this.#waiting]) this.#withdraw(job, closing())
    const all = async (): Promise<void> => {
      for (const { producer } of this.#slots) producer?.abandon(closing())
      await Promise.allSettled(this.#serving)
    }
    await within(timeoutMs, all())
    await within(closeLimitMs, Promise.allSettled(this.#slots.map(({ producer }) => producer?.close())))
  }

  #check (records: readonly OutgoingRecord[]): PreparedRecord[] {
    return records.map((record, i) => {
      try {
        return prepareRecord(record, this.#options.producer.messageMaxBytes)
      } catch (err) {
        throw err instanceof SluiceError ? atRecord(err, i) : err
      }
    })
  }

  #admit (size: number): void {
    const { settings: { maxBytes, maxWaiting }, producer: { queueMaxBytes } } = this.#options
    const limit = Math.min(maxBytes, queueMaxBytes)
    if (this.#closing !== null) throw closing()
    if (size > limit) {
      throw new SluiceError('SLUICE_BATCH_TOO_LARGE', `The records of a transaction may have ${limit} bytes together.`, { limit })
    }
    if (!this.#options.isReachable()) {
      throw new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'Kafka cannot be reached. Nothing was produced.')
    }
    if (this.#bytes + size > queueMaxBytes || (this.#waiting.length >= maxWaiting && !this.#slots.some(({ busy }) => !busy))) {
      throw new SluiceError('SLUICE_QUEUE_FULL', `${this.#waiting.length} transactions wait already. Nothing of this one was produced.`)
    }
  }

  #next (): void {
    while (this.#waiting.length > 0) {
      // One that is connected already, before one that has to be made.
      const slot = this.#slots.find(({ busy, producer }) => !busy && producer !== null) ?? this.#slots.find(({ busy }) => !busy)
      if (slot === undefined) return
      const job = this.#waiting.shift() as Job
      this.#occupy(slot, () => this.#serve(slot, job))
    }
  }

  #occupy (slot: Slot, work: () => Promise<void>): void {
    slot.busy = true
    const serving = work().catch((err: unknown) => { this.#options.log.error({ err }, 'a producer for transactions failed') }).finally(() => {
      this.#serving.delete(serving)
      slot.busy = false
      if (this.#closing === null) this.#next()
    })
    this.#serving.add(serving)
  }

  async #serve (slot: Slot, job: Job): Promise<void> {
    let producer: PooledProducer
    try {
      producer = await this.#producerOf(slot)
    } catch (err) {
      this.#withdraw(job, err)
      return
    }
    if (job.over) return
    if (this.#closing !== null) { this.#withdraw(job, closing()); return }
    clearTimeout(job.timer)
    const isRefusedAsBatch = await this.#transact(slot, job, producer, job.records.length > 1)
    if (isRefusedAsBatch) await this.#serveOneByOne(slot, job)
    this.#bytes -= job.size
  }

  /**
   * The client sends many records as one batch, and Kafka refuses it whole: which of them is not valid, or too large, if any is, only
   * a batch of each one's own can tell.
   */
  async #serveOneByOne (slot: Slot, job: Job): Promise<void> {
    try {
      if (this.#closing !== null) throw closing()
      if (performance.now() >= job.deadline) throw notCommitted('Kafka refused a batch, and there was no time to send its records one by one.')
      const producer = await this.#producerOf(slot, batchesOfOne)
      await this.#transact(slot, job, producer, false)
      // It is slow, and the next transaction may be for another topic.
      if (slot.producer === producer) {
        slot.producer = null
        await producer.close()
      }
    } catch (err) {
      this.#ended('aborted', job.records.length, job.arrivedAt)
      job.reject(err)
    }
  }

  /** Returns whether it was refused as a batch, of which nobody was told then. */
  async #transact (slot: Slot, job: Job, producer: PooledProducer, mayGoAgain: boolean): Promise<boolean> {
    const { answer, ended } = producer.run(job.records, job.deadline)
    let goesAgain = false
    const told = answer.then(
      receipts => {
        this.#ended('committed', receipts.length, job.arrivedAt)
        job.resolve(receipts)
        return null
      },
      (err: SluiceError) => {
        goesAgain = mayGoAgain && isRefusedAsBatch(err)
        if (goesAgain) return null
        this.#ended(err.code === 'SLUICE_TRANSACTION_UNKNOWN' ? 'unknown' : 'aborted', job.records.length, job.arrivedAt)
        job.reject(err)
        return err.code
      })
    const end = await ended
    const code = await told
    if (code === 'SLUICE_TRANSACTION_UNKNOWN') {
      this.#options.log.info({ end, records: job.records.length }, 'a transaction whose caller was told that its outcome is unknown has ended')
    }
    if (producer.spent !== null) await this.#throwAway(slot, producer)
    return goesAgain
  }

  async #producerOf (slot: Slot, batches: ClientProperties = {}): Promise<PooledProducer> {
    if (slot.producer !== null) return slot.producer
    const { client, producer, settings, log, reportsTimestamps = true, open = TransactionalProducer.open } = this.#options
    const transactionalId = `${this.#prefix}-${slot.index}`
    slot.producer = await open({
      properties: { ...transactionalProperties(producerProperties(client, producer), transactionalId, settings.timeoutMs), ...batches },
      transactionTimeoutMs: settings.timeoutMs,
      messageMaxBytes: producer.messageMaxBytes,
      reportsTimestamps,
      log
    })
    log.info({ transactionalId }, 'a producer for transactions is ready')
    return slot.producer
  }

  async #throwAway (slot: Slot, producer: PooledProducer): Promise<void> {
    this.#options.observer?.replaced(producer.spent ?? 'fatal')
    // Two processes with the same ids would go on taking them from each other. Whoever was there first gives way, for good.
    if (producer.spent === 'fenced') {
      this.#prefix = ownPrefix()
      this.#options.log.warn({ prefix: this.#prefix },
        'another process uses the same transactional ids (KAFKA_TRANSACTIONAL_ID_PREFIX); this one goes on with ids of its own')
    }
    slot.producer = null
    await producer.close()
  }

  /** Answers a request whose transaction has not begun. */
  #withdraw (job: Job, error: unknown): void {
    if (job.over) return
    job.over = true
    clearTimeout(job.timer)
    this.#bytes -= job.size
    this.#ended('refused', job.records.length, job.arrivedAt)
    const i = this.#waiting.indexOf(job)
    if (i >= 0) this.#waiting.splice(i, 1)
    job.reject(error)
  }

  #ended (result: TransactionResult, records: number, arrivedAt: number): void {
    this.#options.observer?.ended(result, records, (performance.now() - arrivedAt) / 1000)
  }
}

/** Ids that no other process has. What is left open under them ends with the transaction's time. */
const ownPrefix = (): string => `sluice-${randomUUID()}`

const closing = (): SluiceError => new SluiceError('SLUICE_CLOSING', 'This process is about to end. Nothing was produced.')

/** For a producer that sends each record by itself. */
export const batchesOfOne: ClientProperties = { 'batch.num.messages': 1, 'linger.ms': 0 }

/** The client's own times must not be longer than the transaction's. */
export function transactionalProperties (properties: ClientProperties, transactionalId: string, timeoutMs: number): ClientProperties {
  return {
    ...properties,
    'transactional.id': transactionalId,
    'transaction.timeout.ms': timeoutMs,
    'message.timeout.ms': Math.min(Number(properties['message.timeout.ms'] ?? timeoutMs), timeoutMs),
    'socket.timeout.ms': Math.min(Number(properties['socket.timeout.ms'] ?? 60_000), timeoutMs - 100)
  }
}

async function within (ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => { timer = setTimeout(resolve, ms) })
  await Promise.race([promise, late])
  clearTimeout(timer)
}
