import type { KafkaRecord, OutgoingRecord } from '../record.js'

/** What each record weighs in memory beside its bytes, so that small ones are bounded in their number as well. */
const OVERHEAD_BYTES = 128

/** Records that are written in one transaction with the completion of the record that they come from. */
export class Collected {
  readonly records: readonly OutgoingRecord[]
  /** They go to the dead-letter topic, or to the retry topic. */
  readonly isLetter: boolean
  readonly bytes: number

  /** @param bytes of key, value and headers of all of them */
  constructor (records: readonly OutgoingRecord[], bytes: number, isLetter = false) {
    this.records = records
    this.isLetter = isLetter
    this.bytes = bytes + records.length * OVERHEAD_BYTES
  }
}

/** What a completed record has left to be written. */
export interface Output {
  /** Kept, and counted, until it is written: what Kafka refuses becomes a dead letter of it. */
  readonly record: KafkaRecord
  readonly attempts: number
  collected: Collected
  /** Times that Kafka refused it. */
  refusals: number
}

/**
 * What the completed records of one partition have left to be written, in the order of their completion: it waits for the next
 * transaction, or is in the one that is under way.
 */
export class Outputs {
  #waiting: Output[] = []
  #taken: Output[] = []

  /** Waiting or under way. */
  get size (): number { return this.#waiting.length + this.#taken.length }
  get waiting (): number { return this.#waiting.length }

  add (output: Output): void {
    this.#waiting.push(output)
  }

  /** What goes into a transaction that begins now. */
  take (): readonly Output[] {
    this.#taken = this.#waiting
    this.#waiting = []
    return this.#taken
  }

  /** The transaction is committed: forgets what was in it, and answers the bytes that are free again. */
  written (): number {
    const bytes = this.#taken.reduce((sum, output) => sum + weightOf(output), 0)
    this.#taken = []
    return bytes
  }

  /** It is aborted: what was in it waits again, in front of what has come since. */
  takeBack (): void {
    if (this.#taken.length === 0) return
    this.#waiting = [...this.#taken, ...this.#waiting]
    this.#taken = []
  }
}

/** Bytes that it holds. */
export function weightOf ({ record, collected }: Output): number {
  return record.size + collected.bytes
}
