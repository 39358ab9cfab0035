import { Assignment, type FetchBudget } from './assignment.js'
import { PartitionGivenUpError } from './attempt-errors.js'
import type { Committer } from './committer.js'
import { Entry } from './entry.js'
import { DUPLICATE, REWOUND } from './offset-window.js'
import { Collected } from './outputs.js'
import type { OwnedPartition, WindowLimits } from './owned-partition.js'
import type { Runner } from './runner.js'
import { PollError, type Batch, type Clock, type Deferral, type Observer, type Source } from './types.js'
import type { KafkaRecord } from '../record.js'

/** At most this many records a poll: larger batches gain little, and hold up the event loop. */
const BATCH_MAX = 1000
/** A fetch of fewer than this is put off a little, so that a full window is not topped up record by record. */
const BATCH_WORTH_FETCHING = 100
const WAIT_FOR_ROOM_MS = 20
const POLL_FAILED_WAIT_MS = 200

export interface IntakePorts {
  readonly source: Source
  readonly clock: Clock
  readonly observer: Observer
  /** What a record says that was sent to be handled later; `null` for any other. Absent where there is no retry topic. */
  readonly deferralOf?: (record: KafkaRecord) => Deferral | null
}

/**
 * Brings records in: as many as the windows have room for, each into the window of its partition and then to the runner.
 * Nothing else admits.
 */
export class Intake {
  readonly assignment: Assignment
  readonly #runner: Runner
  readonly #committer: Committer
  readonly #source: Source
  readonly #clock: Clock
  readonly #observer: Observer
  readonly #deferralOf: IntakePorts['deferralOf']
  readonly #worthFetching: number
  // The next poll, begun while the handlers of the last batch start: the client works in a thread of its own.
  #ahead: Promise<Batch> | null = null
  #pollError: Error | null = null
  #standingError: PollError | null = null
  // Set while there is a wait for room in this partition.
  #tightest: OwnedPartition | null = null
  #wake: (() => void) | null = null
  /** Something has happened that a topic that is deleted, or made anew, brings about as well. Whoever looks into it resets it. */
  troubled = false
  /** Monotonic time at which something was last asked of the source. */
  lastPollAt: number

  constructor (limits: WindowLimits, totalMaxBytes: number, runner: Runner, committer: Committer, ports: IntakePorts) {
    const { source, clock, observer } = ports
    this.assignment = new Assignment(limits, totalMaxBytes)
    this.#deferralOf = ports.deferralOf
    this.#runner = runner
    this.#committer = committer
    this.#source = source
    this.#clock = clock
    this.#observer = observer
    this.#worthFetching = Math.max(1, Math.min(BATCH_WORTH_FETCHING, Math.floor(limits.maxRecords / 8)))
    this.lastPollAt = clock.now()
  }

  /** What keeps it from reading, in sentences for an operator. */
  get problems (): string[] {
    const errors = new Set([this.#standingError, this.#pollError])
    return Array.from(errors).flatMap(error => error === null ? [] : [error.message])
  }

  /**
   * Fetches what there is room for, waiting up to `timeoutMs` for the first record; with little room it waits for more of
   * that first, and with none it fetches nothing.
   */
  async fetch (timeoutMs: number): Promise<void> {
    if (this.#ahead !== null) return this.#poll(BATCH_MAX, timeoutMs, true)
    const { max: mostNow, tightest } = this.#budget()
    let max = mostNow
    if (max < this.#worthFetching) {
      this.#tightest = tightest
      await this.#sleep(WAIT_FOR_ROOM_MS)
      // Records have ended meanwhile, and what they leave to be written takes room.
      if (max > 0 && this.#committer.transactional) max = Math.min(max, this.#budget().max)
      if (max === 0) return
    }
    await this.#poll(max, timeoutMs, true)
  }

  /** Ends a poll that was begun ahead: nothing may be assigned, taken back, paused or moved while it is under way. */
  async settle (): Promise<void> {
    if (this.#ahead !== null) await this.poll(1, 0)
  }

  /** Polls, whatever room there is: for rebalances and acknowledgements, which only a poll brings. */
  poll (max: number, timeoutMs: number): Promise<void> {
    return this.#poll(max, timeoutMs, false)
  }

  async #poll (max: number, timeoutMs: number, mayPollAhead: boolean): Promise<void> {
    this.lastPollAt = this.#clock.now()
    let batch
    try {
      const polling = this.#ahead ?? this.#source.poll(max, timeoutMs)
      this.#ahead = null
      batch = await polling
      this.#pollError = null
      if (this.#standingError?.kind === 'denied' && batch.records.length > 0) this.#standingError = null
    } catch (error) {
      if (error instanceof PollError && error.kind === 'fatal') throw error
      if (error instanceof PollError && error.kind !== 'passing') this.#standingError = error
      this.failed(error as Error)
      await this.#sleep(POLL_FAILED_WAIT_MS)
      return
    }
    this.#admitAll(batch)
    // A small batch has emptied the client: there is nothing to hurry for.
    if (mayPollAhead && batch.records.length >= this.#worthFetching) this.#pollAhead(timeoutMs)
    this.#runner.pump()
  }

  #pollAhead (timeoutMs: number): void {
    if (this.#source.hasEvent || this.#runner.saturatedByAbandoned) return
    const { max, pause, resume } = this.assignment.budget(BATCH_MAX, this.#clock.now())
    if (max < this.#worthFetching || pause.length > 0 || resume.length > 0) return
    this.#ahead = this.#source.poll(max, timeoutMs)
    // Whoever waits for it is told; until then nobody does.
    this.#ahead.catch(() => {})
  }

  /** The source failed and goes on: that is a problem until the next poll that succeeds. */
  failed (error: Error): void {
    this.#pollError = error
    this.troubled = true
    this.#observer.pollFailed(error)
  }

  /** Something was assigned: what stood in the way of that is over. */
  standingErrorIsOver (): void {
    this.#standingError = null
  }

  /** A record is done for good: its room is free again, but for what it has left to be written. */
  completed (entry: Entry, value: unknown): void {
    const { partition, sequence, record } = entry
    partition.bytes -= record.size
    partition.open--
    this.assignment.bytes -= record.size
    partition.window.complete(sequence)
    if (value instanceof Collected) this.#collect(entry, value)
    this.#committer.completed()
    if (partition === this.#tightest && partition.room >= this.#worthFetching) this.#wake?.()
  }

  #collect ({ partition, record, attempts }: Entry, collected: Collected): void {
    this.assignment.bytes += partition.addOutput({ record, attempts, collected, refusals: 0 })
    // A partition that cannot be committed before more of it is completed must go on.
    if (partition.held || partition.unfit) return
    // What stands in the way of fetching is not to wait for the next commit's usual time.
    if (partition.outputsKeepItPaused || this.assignment.full) this.#committer.note()
    if (!partition.fullOfOutputs) return
    partition.held = true
    this.#runner.scheduler.suspend(partition.topic, partition.partition, true)
  }

  /** So much of what a partition had left to be written weighs no more. */
  written (partition: OwnedPartition, bytes: number): void {
    // Where its epoch is over it was freed as a whole.
    if (!partition.owned) return
    partition.freeOutput(bytes)
    this.assignment.bytes -= bytes
    this.release(partition)
    if (partition === this.#tightest && partition.room >= this.#worthFetching) this.#wake?.()
  }

  /** Lets a partition start again that was held because of what it has left to be written, where that is over. */
  release (partition: OwnedPartition): void {
    if (!partition.held || (partition.fullOfOutputs && !partition.unfit)) return
    partition.held = false
    if (partition.suspended || partition.draining) return
    this.#runner.scheduler.suspend(partition.topic, partition.partition, false)
    this.#runner.pump()
  }

  /** Nothing of these partitions is fetched from now on. */
  pause (partitions: OwnedPartition[]): void {
    if (partitions.length === 0) return
    for (const owned of partitions) owned.paused = true
    this.#source.pause(partitions)
    this.#observer.pausedOrResumed('paused', partitions)
  }

  /** Ends an epoch: what has not started is forgotten, what is in flight can change nothing any more. */
  endEpoch (owned: OwnedPartition, reason: Error): void {
    this.assignment.disown(owned)
    this.#runner.drop([owned])
    this.#runner.abort(owned, reason)
  }

  /** Ends an epoch of a partition that stays owned, and begins another at a place of its log; −1 where the next record decides. */
  beginAnew (owned: OwnedPartition, offset: number, reason: Error): OwnedPartition {
    this.endEpoch(owned, reason)
    const fresh = this.assignment.anew(owned, offset)
    if (fresh.suspended) this.#runner.scheduler.suspend(fresh.topic, fresh.partition, true)
    return fresh
  }

  /** Ends a wait early, if there is one. */
  wake (): void {
    this.#wake?.()
  }

  #budget (): FetchBudget {
    // Handlers that never settle would fill the process one by one: at their cap nothing more is admitted.
    if (this.#runner.saturatedByAbandoned) {
      this.pause([...this.assignment].filter(owned => !owned.paused))
      return { max: 1, tightest: null, pause: [], resume: [] }
    }
    const budget = this.assignment.budget(BATCH_MAX, this.#clock.now())
    this.pause(budget.pause)
    if (budget.resume.length > 0) {
      for (const owned of budget.resume) {
        owned.paused = false
        owned.fullSince = null
      }
      this.#source.resume(budget.resume)
      this.#observer.pausedOrResumed('resumed', budget.resume)
    }
    return budget
  }

  #admitAll (batch: Batch): void {
    for (const record of batch.records) {
      const owned = this.assignment.get(record.topic, record.partition)
      // Not ours any more, or about to be given up: whoever owns it next reads it from the commit offset.
      if (owned === undefined || owned.draining) continue
      this.#admit(owned, record)
    }
    // Only now: an end is reported before the records of its batch, and would let the commit offset pass them.
    for (const { topic, partition, offset } of batch.ends) {
      const owned = this.assignment.get(topic, partition)
      // Not one that is being given up, either: what was just dropped lies below its end.
      if (owned === undefined || owned.draining) continue
      if (owned.window.reachEnd(offset)) this.#committer.moved()
    }
  }

  #admit (owned: OwnedPartition, record: KafkaRecord): void {
    let sequence = owned.window.admit(record.offset, record.leaderEpoch)
    if (sequence === DUPLICATE) {
      this.#observer.unexpected('duplicate', record)
      return
    }
    if (sequence === REWOUND) {
      this.#observer.unexpected('rewound', record)
      this.troubled = true
      // 1. A record is under way. 2. Another one comes above it, where there was none, or another: the log was truncated there. 3. To
      // begin there would forget the first one. And exactly once: was the log truncated at all, or is this only delivered twice? The
      // group knows what is done: a member that is made anew goes on from there, and finds below it only what the log has left.
      const { firstOpen, lastAdmitted } = owned.window
      if ((firstOpen >= 0 && firstOpen < record.offset) || (this.#committer.transactional && lastAdmitted >= 0)) {
        throw new PollError('fatal', `the log of ${owned.topic}/${owned.partition} was truncated or made anew`)
      }
      owned = this.beginAnew(owned, -1, new PartitionGivenUpError('the log was truncated or made anew'))
      sequence = owned.window.admit(record.offset, record.leaderEpoch)
    }
    if (owned.begunBy === Infinity) {
      owned.startsAt = owned.window.commitOffset
      owned.begunBy = this.#committer.note()
    }
    if (owned.completedBefore?.has(record.offset, record.leaderEpoch) === true) {
      if (owned.window.complete(sequence)) this.#committer.moved()
      this.#observer.completedBefore(record)
      return
    }
    owned.addBytes(record.size)
    owned.open++
    this.assignment.bytes += record.size
    const deferral = this.#deferralOf?.(record) ?? null
    const attempts = Math.max(owned.attemptsBefore(record), deferral?.attempts ?? 0)
    this.#runner.add(new Entry(record, owned, sequence, attempts), deferral?.waitMs)
  }

  #sleep (ms: number): Promise<void> {
    return new Promise(resolve => {
      const cancel = this.#clock.schedule(ms, () => this.#wake?.())
      this.#wake = () => {
        this.#wake = null
        this.#tightest = null
        cancel()
        resolve()
      }
    })
  }
}
