import { SluiceError } from '../errors.js'
import type { Receipt } from '../record.js'
import { scrubber, withoutThread } from './connection-reason.js'
import { refusedByClient } from './delivery-errors.js'
import { disconnectWithin } from './disconnecting.js'
import {
  beginTransaction, codes, connect, newProducer, sendOffsets, transactionStep,
  type DriverError, type DriverLogLine, type GroupOffsets, type NativeProducer, type TransactionError, type TransactionStep
} from './driver.js'
import { awaitingReport } from './late-report.js'
import type { PreparedRecord } from './prepared-record.js'
import type { Log, Outcome } from './record-producer.js'
import { lateReceipts } from './transaction-receipts.js'
import { atRecord, failedRecord, isFenced, isGivenUp, notCommitted, notOpened, outcomeUnknown } from './transaction-errors.js'

export interface TransactionalProducerOptions {
  /** All of the client's properties, `transactional.id` among them. */
  readonly properties: Readonly<Record<string, string | number | boolean>>
  readonly transactionTimeoutMs: number
  readonly messageMaxBytes: number
  readonly reportsTimestamps: boolean
  readonly log: Log
}

const connectTimeoutMs = 5_000
const initLimitMs = 15_000
/** Each call holds a thread of libuv's pool until it returns: short ones, and a pause between them, leave some to others. */
const stepMs = 1_000
const pauseMs = 250
/** How much longer than the transaction's own time a commit or an abort is tried. */
const patienceMs = 15_000
const disconnectLimitMs = 5_000
/** How long a report that carries no reason waits for the one that does. */
const reasonWaitMs = 50

/** What is known of a transaction that has ended for its producer. */
export type TransactionEnd = 'committed' | 'aborted' | 'unknown'

/** A transaction under way. */
export interface OpenTransaction {
  /** What the caller is told. */
  readonly answer: Promise<Receipt[]>
  /** Resolves once the producer has nothing more to do for it, which may be later. Never rejects. */
  readonly ended: Promise<TransactionEnd>
}

/** Why a producer takes no more transactions. `fenced`: another one has its transactional id. */
export type SpentReason = 'aborted' | 'fatal' | 'fenced'

interface Report { readonly partition: number, readonly offset: number, readonly timestamp?: number, readonly opaque?: unknown }

/** The records of one transaction between `produce()` and their reports. Travels through the client as their opaque. */
class Delivery {
  readonly receipts: Receipt[] = []
  left: number
  failure: SluiceError | null = null
  /** The failure says no more than that the client gave up. */
  isVague = false
  settle: () => void = () => {}
  readonly settled: Promise<void>
  constructor (readonly records: readonly PreparedRecord[]) {
    this.left = records.length
    this.settled = new Promise(resolve => { this.settle = resolve })
  }

  fail (error: SluiceError, isVague = false): void {
    if (this.failure !== null && !(this.isVague && !isVague)) return
    this.failure = error
    this.isVague = isVague
  }
}

/**
 * One transactional client: one transaction at a time.
 *
 * What decides how a transaction ends, for its caller:
 *
 * 1. Before the commit is called, every end is an abort: the records will never be seen by a reader with `read_committed`, even
 *    if the abort does not reach Kafka, which aborts by itself after the transaction's time.
 * 2. Once it is called, only its acknowledgement says that they were written, and nothing says that they were not: an answer may
 *    have been lost, and the client's second attempt be told another thing.
 */
export class TransactionalProducer {
  readonly #options: TransactionalProducerOptions
  readonly #client: NativeProducer
  readonly #scrub: (line: string) => string
  #calling: Promise<unknown> = Promise.resolve()
  #current: Delivery | null = null
  /** Why it takes no more transactions. */
  #spent: SpentReason | null = null
  #begunAt = 0
  #closing = false
  /** Being disconnected: a call that comes then would end the process. */
  #released = false
  /** What the client's log gave as the reason of the transaction's failure. */
  #reason: string | null = null

  private constructor (options: TransactionalProducerOptions) {
    this.#options = options
    this.#client = newProducer(options.properties)
    this.#scrub = scrubber(options.properties)
    this.#client.on('event.log', (line: DriverLogLine) => { this.#heard(line) })
    this.#client.on('delivery-report', this.#report)
  }

  /**
   * Connects, and makes the transactional id this client's: what another one has left open under it is aborted.
   *
   * @throws {SluiceError} SLUICE_BROKER_UNAVAILABLE, SLUICE_NOT_AUTHORIZED
   */
  static async open (options: TransactionalProducerOptions): Promise<TransactionalProducer> {
    const producer = new TransactionalProducer(options)
    try {
      await connect(producer.#client, connectTimeoutMs)
    } catch (err) {
      throw notOpened(err as TransactionError)
    }
    producer.#client.setPollInBackground(true)
    const error = await producer.#step('initTransactions', performance.now() + initLimitMs)
    if (error !== null) {
      await producer.close()
      throw notOpened(error)
    }
    return producer
  }

  /** Why it takes no more transactions, or `null`: only after a commit it does. */
  get spent (): SpentReason | null { return this.#spent }

  /**
   * Runs one transaction; not to be called before the last one has ended.
   *
   * @param deadline by `performance.now()`: until it the caller waits
   * @param offsets of a consumer group, committed with the records; where the group does not take them, the error's cause is its answer
   */
  run (records: readonly PreparedRecord[], deadline: number, offsets: GroupOffsets | null = null): OpenTransaction {
    let tell: (receipts: Receipt[]) => void = () => {}
    let refuse: (error: SluiceError) => void = () => {}
    const answer = new Promise<Receipt[]>((resolve, reject) => { tell = resolve; refuse = reject })
    const ended = this.#transact(records, deadline, offsets, tell, refuse).catch((err: unknown): TransactionEnd => {
      this.#options.log.error({ err }, 'a transaction ended with an unexpected error')
      this.#spent ??= 'fatal'
      refuse(outcomeUnknown(err))
      return 'unknown'
    })
    return { answer, ended }
  }

  /** Has the transaction aborted, unless its commit was called already. */
  abandon (error: SluiceError): void {
    this.#closing = true
    const delivery = this.#current
    if (delivery === null) return
    delivery.fail(error)
    delivery.settle()
  }

  /** Lets go of the client, once the call that is under way has returned. A transaction that is open is left to Kafka to abort. */
  async close (): Promise<void> {
    this.#closing = this.#released = true
    this.#spent ??= 'fatal'
    await this.#calling
    if (this.#client.isConnected()) await disconnectWithin(disconnectLimitMs, done => this.#client.disconnect(0, () => done()))
  }

  async #transact (
    records: readonly PreparedRecord[], deadline: number, offsets: GroupOffsets | null,
    tell: (receipts: Receipt[]) => void, refuse: (error: SluiceError) => void
  ): Promise<TransactionEnd> {
    this.#reason = null
    this.#begunAt = performance.now()
    const begun = await beginTransaction(this.#client)
    if (begun !== null) {
      this.#broken(begun)
      refuse(notCommitted('Kafka\'s client could not begin it.', begun))
      return 'aborted'
    }
    const delivered = await this.#write(records, offsets, deadline)
    if (delivered instanceof SluiceError) {
      refuse(delivered)
      const failed = await this.#step('abortTransaction', performance.now() + this.#options.transactionTimeoutMs + patienceMs)
      // 1. A record is refused, and its transaction aborted. 2. Of the next one librdkafka gives up all records for the same
      // partition: it has counted the refused one. A new client begins to count anew.
      if (failed === null) this.#spent ??= 'aborted'
      else this.#broken(failed)
      return 'aborted'
    }
    let late: ((outcome: Outcome) => void) | undefined
    const timer = setTimeout(() => {
      const { error, reported } = awaitingReport(outcomeUnknown())
      late = reported
      refuse(error)
    }, Math.max(1, deadline - performance.now()))
    const failed = await this.#step('commitTransaction', performance.now() + this.#options.transactionTimeoutMs + patienceMs)
    clearTimeout(timer)
    if (failed === null) {
      tell(delivered)
      late?.(lateReceipts(delivered))
      return 'committed'
    }
    this.#broken(failed)
    refuse(outcomeUnknown(failed))
    late?.(outcomeUnknown(failed))
    return 'unknown'
  }

  /** Everything before the commit: the receipts, or why the transaction has to be aborted. */
  async #write (records: readonly PreparedRecord[], offsets: GroupOffsets | null, deadline: number): Promise<Receipt[] | SluiceError> {
    const delivered = records.length === 0 ? [] : await this.#deliver(records, deadline)
    if (offsets === null || delivered instanceof SluiceError) return delivered
    const failed = await this.#untilDone('sendOffsetsToTransaction', timeoutMs => sendOffsets(this.#client, offsets, timeoutMs), deadline)
    return failed === null ? delivered : notCommitted(`The group's offsets were not taken: ${failed.message}.`, failed)
  }

  /** Produces all of them and waits for their reports: the receipts, or why the transaction has to be aborted. */
  async #deliver (records: readonly PreparedRecord[], deadline: number): Promise<Receipt[] | SluiceError> {
    const delivery = this.#current = new Delivery(records)
    const timer = setTimeout(() => {
      delivery.fail(notCommitted('Kafka did not acknowledge the records in time.'))
      delivery.settle()
    }, Math.max(1, deadline - performance.now()))
    if (this.#closing) this.abandon(new SluiceError('SLUICE_CLOSING', 'This process is about to end. Nothing was produced.'))
    for (const [i, record] of records.entries()) {
      if (delivery.failure !== null) break
      const timestamp = record.timestamp ?? (this.#options.reportsTimestamps ? undefined : Date.now())
      delivery.receipts[i] = { topic: record.topic, partition: -1, offset: -1, timestamp: timestamp ?? -1 }
      try {
        this.#client.produce(record.topic, record.partition, record.value, record.key, timestamp, { delivery, i }, record.headers)
      } catch (err) {
        const refusal = refusedByClient(err, record.topic, this.#options.messageMaxBytes)
        delivery.fail(refusal === null ? notCommitted('Kafka\'s client took no more records.', err) : atRecord(refusal, i))
        delivery.settle()
      }
    }
    await delivery.settled
    // The reason may be in the log a moment after the first report that gives none.
    if (delivery.isVague) await new Promise(resolve => { setTimeout(resolve, reasonWaitMs) })
    clearTimeout(timer)
    this.#current = null
    const { failure } = delivery
    if (failure === null) return delivery.receipts
    return delivery.isVague ? failedRecord(failure.cause as DriverError, '', 0, this.#reason) : failure
  }

  /** A delivery report. Whatever is thrown in here would be an uncaught exception: nothing is. */
  readonly #report = (error: DriverError | null, report: Report): void => {
    const { delivery, i } = (report.opaque ?? {}) as { delivery?: Delivery, i?: number }
    if (delivery === undefined || i === undefined || delivery !== this.#current) return
    try {
      const receipt = delivery.receipts[i]
      if (receipt === undefined) return
      if (error) {
        const failure = failedRecord(error, receipt.topic, this.#options.messageMaxBytes, this.#reason)
        delivery.fail(isGivenUp(error) ? failure : atRecord(failure, i), isGivenUp(error))
        delivery.settle()
        return
      }
      receipt.partition = report.partition
      receipt.offset = Math.max(report.offset, -1)
      if (this.#options.reportsTimestamps && report.timestamp !== undefined) receipt.timestamp = report.timestamp
      if (--delivery.left === 0) delivery.settle()
    } catch (err) {
      this.#options.log.error({ err }, 'a delivery report of a transaction could not be handled')
      delivery.fail(notCommitted('A report could not be read.', err))
      delivery.settle()
    }
  }

  #step (step: TransactionStep, giveUpAt: number): Promise<TransactionError | null> {
    return this.#untilDone(step, timeoutMs => transactionStep(this.#client, step, timeoutMs), giveUpAt)
  }

  /** Makes a call again until it is through, fails for good, or its time is over. */
  async #untilDone (
    step: string, call: (timeoutMs: number) => Promise<TransactionError | null>, giveUpAt: number
  ): Promise<TransactionError | null> {
    for (;;) {
      if (this.#released) return { code: codes.state, message: 'the client is being disconnected' }
      const calling = call(stepMs)
      this.#calling = calling
      const error = await calling
      if (error === null || error.isFatal || !error.isRetriable || performance.now() >= giveUpAt) return error
      this.#options.log.debug({ step, reason: error.message }, 'a call of a transaction is made again')
      await new Promise(resolve => { setTimeout(resolve, pauseMs) })
    }
  }

  #broken (error: TransactionError): void {
    // 1. A transaction takes longer than its time. 2. Kafka aborts it. That looks the same, but nobody else is there.
    const isYoung = performance.now() - this.#begunAt < this.#options.transactionTimeoutMs
    this.#spent = isFenced(error) && isYoung ? 'fenced' : 'fatal'
    this.#options.log.warn({ code: error.code, reason: this.#scrub(error.message) }, 'a producer for transactions is of no more use')
  }

  #heard (line: DriverLogLine): void {
    const message = this.#scrub(withoutThread(line.message))
    if (line.fac === 'TXNERR') this.#reason ??= /\(([A-Z_]+)[^()]*\)\s*$/.exec(message)?.[1] ?? null
    this.#options.log.debug({ facility: line.fac, severity: line.severity, line: message }, 'Kafka client for transactions')
  }
}
