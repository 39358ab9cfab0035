import type { OutgoingRecord, Receipt } from '../record.js'
import type { SpentReason } from './transactional-producer.js'

export interface TransactionsState {
  readonly open: number
  readonly waiting: number
  /** Of the records of both. */
  readonly bytes: number
}

/** How a transaction ended. `unknown`: nobody knows whether it was committed, or not yet. */
export type TransactionResult = 'committed' | 'aborted' | 'unknown' | 'refused'

export interface TransactionObserver {
  ended (result: TransactionResult, records: number, seconds: number): void
  /** A producer was thrown away. */
  replaced (reason: SpentReason): void
}

/** What writes records all or none. */
export interface Transactions {
  /**
   * Writes all of these records in one transaction of Kafka's, and resolves once its commit was acknowledged.
   *
   * @param timeoutMs how long the caller waits
   * @returns one receipt a record, in order
   * @throws {SluiceError} 503 and 4xx: none of them is, or will be, seen by a reader with isolation `read_committed`;
   * SLUICE_TRANSACTION_UNKNOWN: all of them or none
   */
  run (records: readonly OutgoingRecord[], timeoutMs: number): Promise<Receipt[]>
  readonly state: TransactionsState
}
