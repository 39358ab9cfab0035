import type { ErrorCode, SluiceError } from '../errors.js'
import type { OutgoingRecord, Receipt } from '../record.js'

export type Outcome = Receipt | SluiceError

export interface ProducerState {
  /** A client has connected, at some time. */
  readonly connected: boolean
  /** Kafka answered when it was last asked, or has acknowledged something since. */
  readonly reachable: boolean
  /** Handed to Kafka's client and not reported yet. */
  readonly pendingRecords: number
  readonly pendingBytes: number
  /** Why it is not reachable, as Kafka's client says it, or `null`. For operators: it names brokers. */
  readonly lastError: string | null
}

/** What routes and the engine's dead letters produce with. */
export interface RecordProducer {
  /**
   * Produces one record and resolves once the broker has acknowledged it with acks=all.
   *
   * @param timeoutMs how long to wait for the report; absent: as long as Kafka's client tries
   * @throws {SluiceError} 503 and 4xx: not produced; SLUICE_DELIVERY_UNKNOWN: nobody knows, and the room stays taken until
   *   the report, which `lateReport` waits for
   */
  send (record: OutgoingRecord, timeoutMs?: number): Promise<Receipt>
  /**
   * Produces many, in the order given. Room is reserved for all or none; one record that fails stops no other.
   *
   * @returns one outcome a record, in order
   * @throws {SluiceError} if nothing was enqueued
   */
  sendBatch (records: readonly OutgoingRecord[], timeoutMs?: number): Promise<Outcome[]>
  /**
   * Enqueues many, in the order given, without a promise for each: for those who do not wait, and for streams. Room is reserved
   * for all or none. `settled` is called once for each record, with its index: for what is wrong with a record by itself before
   * this returns, else when its report comes. It must not throw.
   *
   * @throws {SluiceError} if nothing was enqueued; then `settled` is never called
   */
  enqueue (records: readonly OutgoingRecord[], settled: (index: number, outcome: Outcome) => void): void
  readonly state: ProducerState
}

/** Told about every record that was handed to Kafka's client, or refused before. */
export interface ProducerObserver {
  acknowledged (topic: string, seconds: number): void
  failed (code: ErrorCode): void
  /** A client had a fatal error, and another one takes its place. */
  replaced? (): void
}

/** The part of a pino logger that is used here. */
export interface Log {
  debug (fields: object, message: string): void
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
  error (fields: object, message: string): void
}
