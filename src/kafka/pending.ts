import type { NativeProducer } from './driver.js'
import type { Flight } from './flights.js'
import type { PreparedRecord } from './prepared-record.js'
import type { Outcome } from './record-producer.js'

/** A record between its admission and its report. Travels through the client as its opaque. */
export class Pending {
  flight: Flight | null = null
  /** What is to be produced, until it was handed to the client. */
  record: PreparedRecord | null
  /** Set once the caller waits no longer: told how the record ended after all. */
  reported: ((outcome: Outcome) => void) | null = null
  timer: NodeJS.Timeout | undefined
  readonly session: Session
  readonly topic: string
  readonly size: number
  /** −1: the client's own. */
  readonly timestamp: number
  readonly enqueuedAt: number
  readonly #index: number
  readonly #settled: (index: number, outcome: Outcome) => void
  // Links of its session's list.
  before: Pending | null = null
  after: Pending | null = null
  /** In that list: nobody has said yet how it ended. */
  open = false

  constructor (
    session: Session, record: PreparedRecord, timestamp: number, enqueuedAt: number,
    index: number, settled: (index: number, outcome: Outcome) => void
  ) {
    this.session = session
    this.record = record
    this.topic = record.topic
    this.size = record.size
    this.timestamp = timestamp
    this.enqueuedAt = enqueuedAt
    this.#index = index
    this.#settled = settled
  }

  settle (outcome: Outcome): void { this.#settled(this.#index, outcome) }
}

/** A native client and what was handed to it, oldest first. */
export class Session {
  /** Kafka gave it no producer id. */
  denied = false
  /** A record of it was acknowledged, or refused by itself: it had a producer id. */
  proven = false
  onEmpty: (() => void) | null = null
  readonly client: NativeProducer
  #size = 0
  #oldest: Pending | null = null
  #newest: Pending | null = null

  constructor (client: NativeProducer) {
    this.client = client
  }

  /** Records that are pending. */
  get size (): number { return this.#size }
  get oldest (): Pending | null { return this.#oldest }

  add (pending: Pending): void {
    pending.before = this.#newest
    if (this.#newest === null) this.#oldest = pending
    else this.#newest.after = pending
    this.#newest = pending
    pending.open = true
    this.#size++
  }

  remove (pending: Pending): void {
    const { before, after } = pending
    if (before === null) this.#oldest = after
    else before.after = after
    if (after === null) this.#newest = before
    else after.before = before
    pending.before = pending.after = null
    pending.open = false
    this.#size--
  }
}
