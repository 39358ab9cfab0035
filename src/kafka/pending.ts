import { LinkedList } from '../engine/linked-list.js'
import type { NativeProducer } from './driver.js'
import type { Flight } from './flights.js'
import type { PreparedRecord } from './prepared-record.js'
import type { Outcome } from './record-producer.js'

/** A record between its admission and its report. Travels through the client as its opaque. */
export class Pending {
  flight: Flight | null = null
  order = 0
  returns = 0
  /** What is to be produced, until it is settled: what was handed to the client may have to go again. */
  record: PreparedRecord | null
  /** The client has it. */
  handed = false
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
  /** Nobody has said yet how it ended. */
  open = true

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

/** A native client and what was handed to it. */
export class Session {
  /** Kafka gave it no producer id. */
  denied = false
  /** A record of it was acknowledged, or refused by itself: it had a producer id. */
  proven = false
  onEmpty: (() => void) | null = null
  readonly client: NativeProducer
  /** Oldest first. */
  readonly pending = new LinkedList<Pending>()

  constructor (client: NativeProducer) {
    this.client = client
  }
}
