import type { KafkaRecord } from '../record.js'
import type { OwnedPartition } from './owned-partition.js'
import type { Lane, Schedulable } from './lanes.js'
import { LazySignal } from './lazy-signal.js'
import type { Attempt, BatchAttempt } from './types.js'

/** One call of the handler: what it sees of it, and what the runner knows of it. */
export class Run extends LazySignal implements Attempt {
  /** Its record, the first of a batch. */
  readonly entry: Entry
  readonly attempt: number
  readonly startedAt: number
  /** The handler has returned, or thrown. */
  settled = false
  /** Its time limit has passed and its signal is aborted; when that happened. */
  expiredAt: number | null = null
  /** It did not settle within the grace after that: its slot is free again, its lane is not. */
  abandoned = false
  /** Started while the breaker probed: how it ends decides whether the others go on. */
  probe = false
  // Links of the list of what is in flight, oldest first.
  before: Run | null = null
  after: Run | null = null
  #listener: ((reason: Error) => void) | null = null

  constructor (entry: Entry, startedAt: number) {
    super()
    this.entry = entry
    this.attempt = entry.attempts
    this.startedAt = startedAt
  }

  get entries (): readonly Entry[] { return [this.entry] }

  override abort (reason: Error): void {
    if (this.abortReason !== null) return
    super.abort(reason)
    this.#listener?.(reason)
  }

  onAbort (listener: (reason: Error) => void): void {
    this.#listener = listener
    if (this.abortReason !== null) listener(this.abortReason)
  }
}

/** One call of a handler of batches. */
export class BatchRun extends Run implements BatchAttempt {
  readonly #entries: readonly Entry[]
  readonly attempts: readonly number[]

  constructor (entries: readonly Entry[], startedAt: number) {
    super(entries[0], startedAt)
    this.#entries = entries
    this.attempts = entries.map(({ attempts }) => attempts)
  }

  override get entries (): readonly Entry[] { return this.#entries }
}

/** What is to be known of a record that failed, or waits for a time. */
class Trouble {
  /** The commit that tells of its attempts: the next one waits for it. 0: there is nothing to tell. */
  ticket = 0
  /** Why its attempts are used up; from then on it only waits to be dead-lettered. */
  failure: Error | null = null
  /** It held up its partition, and goes to the dead letters whatever its attempts. */
  diverted = false
  /** When it is to come back from the retry topic, where it is sent there. */
  deferMs: number | null = null
  /** Attempts that failed with an outage and were not counted, and how many records had been handled at the last one. */
  excuses = 0
  handledBefore = -1
  /** Times that its dead letter could not be sent. */
  refusals = 0
  /** When it is due again, while it waits between attempts. */
  dueAt = 0
  /** A batch with it failed as a whole. */
  suspect = false
  /** Its run was abandoned, and what becomes of it is decided though that has not settled. */
  decided = false
  /** Nothing more will be done for it here, though its lane is held until its run settles. */
  done = false
}

/** A record on its way through the engine, from admission to completion or to the end of its epoch. */
export class Entry implements Schedulable {
  readonly record: KafkaRecord
  readonly partition: OwnedPartition
  readonly sequence: number
  lane: Lane | null = null
  next: Entry | null = null
  /** Attempts made, those of predecessors included. */
  attempts = 0
  run: Run | null = null
  #trouble: Trouble | null = null

  constructor (record: KafkaRecord, partition: OwnedPartition, sequence: number, attempts = 0) {
    this.attempts = attempts
    this.record = record
    this.partition = partition
    this.sequence = sequence
  }

  /** What only records have that do not end well at once: most never need it, and many wait. */
  get trouble (): Trouble {
    this.#trouble ??= new Trouble()
    return this.#trouble
  }

  /** It may be its fault if a batch with it fails, or if the process ends. */
  get alone (): boolean {
    return this.attempts > 0 || this.partition.careful > 0 || (this.#trouble !== null && this.#trouble.suspect)
  }

  get failure (): Error | null { return this.#trouble === null ? null : this.#trouble.failure }
  get decided (): boolean { return this.#trouble !== null && this.#trouble.decided }
  get done (): boolean { return this.#trouble !== null && this.#trouble.done }
  get diverted (): boolean { return this.#trouble !== null && this.#trouble.diverted }
  get deferMs (): number | null { return this.#trouble === null ? null : this.#trouble.deferMs }
  get excuses (): number { return this.#trouble === null ? 0 : this.#trouble.excuses }
  get ticket (): number { return this.#trouble === null ? 0 : this.#trouble.ticket }
}
