import { Assignment, type FetchBudget } from './assignment.js'
import { Committer } from './committer.js'
import { Entry } from './entry.js'
import { DUPLICATE, REWOUND } from './offset-window.js'
import type { OwnedPartition } from './owned-partition.js'
import { Runner, type RunnerOptions } from './runner.js'
import {
  CommitError, PollError,
  type Batch, type Clock, type Handler, type Observer, type RebalanceEvent, type Sink, type Source, type TopicPartition
} from './types.js'
import type { KafkaRecord } from '../record.js'

export interface EngineOptions extends RunnerOptions {
  readonly maxRecordsBeforeCommit: number
  readonly commitIntervalMs: number
  /** Window of a partition, in records. */
  readonly windowMaxRecords: number
  /** Window of a partition, in bytes of uncompleted records. */
  readonly windowMaxBytes: number
  /** How long handlers in flight may go on when their partition is revoked. */
  readonly drainTimeoutMs: number
}

export interface EnginePorts {
  readonly source: Source
  readonly handler: Handler
  readonly sink: Sink
  readonly clock: Clock
  readonly observer: Observer
}

/** One partition as operators see it. */
export interface PartitionState extends TopicPartition {
  readonly inFlight: number
  /** Admitted records that the commit offset has not passed. */
  readonly windowRecords: number
  /** From the commit offset to the last admitted one. */
  readonly windowSpan: number
  readonly windowBytes: number
  /** −1 while unknown. */
  readonly commitOffset: number
  /** What the broker acknowledged, −1 for nothing. */
  readonly committedOffset: number
  /** The highest offset read, −1 for none. */
  readonly lastAdmitted: number
  readonly paused: boolean
}

export interface EngineState {
  readonly phase: 'joining' | 'running' | 'draining' | 'stopped'
  readonly partitions: PartitionState[]
  readonly inFlight: number
  readonly waiting: number
  readonly retrying: number
  readonly deadLettering: number
  readonly abandoned: number
  readonly blocked: number
  /** What keeps it from doing its work, in sentences for an operator. Empty when all is well. */
  readonly problems: string[]
  /** Monotonic time of the loop's last turn, in milliseconds. */
  readonly lastTurnAt: number
}

/** At most this many records a poll: larger batches gain little, and hold up the event loop. */
const BATCH_MAX = 1000
/** A fetch of fewer than this is put off a little, so that a full window is not topped up record by record. */
const BATCH_WORTH_FETCHING = 100
const WAIT_FOR_ROOM_MS = 20
const POLL_MS = 100
/** While something is awaited that only polling brings about. */
const POLL_SHORT_MS = 10
const POLL_FAILED_WAIT_MS = 200
/** What aborted handlers get to settle, and a drain's last commit to be acknowledged. */
const ABORT_GRACE_MS = 1000
const LAST_COMMIT_MS = 5000
const LEAVE_MS = 5000

/**
 * The loop that ties window, scheduler, runner and committer together over the ports.
 *
 * One loop changes the state: it takes a rebalance event or polls, admits what came, lets the runner start what may
 * start, and commits when that is due. Handlers end in between and only complete records.
 */
export class Engine {
  readonly #options: EngineOptions
  readonly #source: Source
  readonly #clock: Clock
  readonly #observer: Observer
  readonly #assignment: Assignment
  readonly #runner: Runner
  readonly #committer: Committer
  readonly #worthFetching: number
  #phase: EngineState['phase'] = 'joining'
  #stopping = false
  #stopDeadline = Infinity
  #answering = false
  #ended: Promise<void> | null = null
  #lastTurnAt: number
  #commit: Promise<void> | null = null
  #commitError: Error | null = null
  #pollError: Error | null = null
  #standingError: Error | null = null
  // Set while the loop waits for room in this partition.
  #tightest: OwnedPartition | null = null
  #wake: (() => void) | null = null

  constructor (options: EngineOptions, ports: EnginePorts) {
    this.#options = options
    this.#source = ports.source
    this.#clock = ports.clock
    this.#observer = ports.observer
    this.#lastTurnAt = ports.clock.now()
    this.#assignment = new Assignment({ maxRecords: options.windowMaxRecords, maxBytes: options.windowMaxBytes })
    this.#committer = new Committer(
      { maxRecords: options.maxRecordsBeforeCommit, intervalMs: options.commitIntervalMs }, this.#lastTurnAt)
    this.#runner = new Runner(options, ports, entry => this.#completed(entry))
    this.#worthFetching = Math.max(1, Math.min(BATCH_WORTH_FETCHING, Math.floor(options.windowMaxRecords / 8)))
  }

  /**
   * Runs until `stop` is called. Calling it again returns the same promise.
   *
   * @throws {PollError} of kind `fatal`: the member must be made anew; what was in flight counts as lost
   */
  run (): Promise<void> {
    this.#ended ??= this.#run()
    return this.#ended
  }

  /**
   * Stops admitting, lets what is in flight finish, aborts it near the deadline, commits, leaves the group. Resolves
   * when that is done: a few seconds after the deadline at the latest. Uncommitted work is delivered again.
   */
  async stop (timeoutMs: number): Promise<void> {
    this.#stopDeadline = Math.min(this.#stopDeadline, this.#clock.now() + timeoutMs)
    this.#stopping = true
    this.#wake?.()
    // A fatal end is for the caller of `run`; for the one who stops, it has stopped.
    await this.#ended?.catch(() => {})
  }

  get state (): EngineState {
    return {
      phase: this.#phase,
      partitions: Array.from(this.#assignment, stateOf),
      inFlight: this.#runner.inFlight,
      waiting: this.#runner.scheduler.waiting,
      retrying: this.#runner.retrying,
      deadLettering: this.#runner.deadLettering,
      abandoned: this.#runner.abandoned,
      blocked: this.#runner.blocked,
      problems: this.#problems(),
      lastTurnAt: this.#lastTurnAt
    }
  }

  async #run (): Promise<void> {
    try {
      while (!this.#stopping) {
        await this.#answerEvents()
        if (!this.#stopping) await this.#turn()
      }
      await this.#finish()
    } finally {
      for (const owned of [...this.#assignment]) this.#endEpoch(owned, new Error('the consumer has stopped'))
      this.#phase = 'stopped'
    }
  }

  async #turn (): Promise<void> {
    this.#keepHouse()
    const budget = this.#budget()
    if (budget.max < this.#worthFetching) {
      await this.#waitForRoom(budget.tightest)
      if (budget.max === 0) return
    }
    await this.#poll(budget.max, POLL_MS)
  }

  #keepHouse (): void {
    this.#lastTurnAt = this.#clock.now()
    this.#runner.sweep()
    if (this.#committer.due(this.#lastTurnAt)) this.#beginCommit()
  }

  #budget (): FetchBudget {
    // Handlers that never settle would fill the process one by one: at their cap nothing more is admitted.
    if (this.#runner.saturatedByAbandoned) {
      this.#pause([...this.#assignment].filter(owned => !owned.paused))
      return { max: 1, tightest: null, pause: [], resume: [] }
    }
    const budget = this.#assignment.budget(BATCH_MAX, this.#lastTurnAt)
    this.#pause(budget.pause)
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

  #pause (partitions: OwnedPartition[]): void {
    if (partitions.length === 0) return
    for (const owned of partitions) owned.paused = true
    this.#source.pause(partitions)
    this.#observer.pausedOrResumed('paused', partitions)
  }

  #waitForRoom (tightest: OwnedPartition | null): Promise<void> {
    this.#tightest = tightest
    return this.#sleep(WAIT_FOR_ROOM_MS)
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

  async #poll (max: number, timeoutMs: number): Promise<void> {
    this.#lastTurnAt = this.#clock.now()
    let batch
    try {
      batch = await this.#source.poll(max, timeoutMs)
      this.#pollError = null
    } catch (error) {
      if (error instanceof PollError && error.kind === 'fatal') throw error
      if (error instanceof PollError && error.kind === 'standing') this.#standingError = error
      this.#pollError = error as Error
      this.#observer.pollFailed(this.#pollError)
      await this.#sleep(POLL_FAILED_WAIT_MS)
      return
    }
    this.#admitAll(batch)
  }

  #admitAll (batch: Batch): void {
    for (const record of batch.records) {
      const owned = this.#assignment.get(record.topic, record.partition)
      // Not ours any more, or about to be given up: whoever owns it next reads it from the commit offset.
      if (owned === undefined || owned.draining) continue
      this.#admit(owned, record)
    }
    // Only now: an end is reported before the records of its batch, and would let the commit offset pass them.
    for (const { topic, partition, offset } of batch.ends) {
      const owned = this.#assignment.get(topic, partition)
      // Not one that is being given up, either: what was just dropped lies below its end.
      if (owned === undefined || owned.draining) continue
      if (owned.window.reachEnd(offset)) this.#committer.movedByEnd()
    }
    this.#runner.pump()
  }

  #admit (owned: OwnedPartition, record: KafkaRecord): void {
    let sequence = owned.window.admit(record.offset, record.leaderEpoch)
    if (sequence === DUPLICATE) {
      this.#observer.unexpected('duplicate', record)
      return
    }
    if (sequence === REWOUND) {
      this.#observer.unexpected('rewound', record)
      this.#endEpoch(owned, new Error('the log was truncated or made anew'))
      const { paused } = owned
      owned = this.#assignment.own({ topic: record.topic, partition: record.partition, offset: -1 })
      owned.paused = paused
      sequence = owned.window.admit(record.offset, record.leaderEpoch)
    }
    owned.addBytes(record.size)
    this.#runner.add(new Entry(record, owned, sequence))
  }

  #completed ({ partition, sequence, record }: Entry): void {
    partition.bytes -= record.size
    this.#committer.completed(partition.window.complete(sequence))
    if (partition === this.#tightest && partition.room >= this.#worthFetching) this.#wake?.()
  }

  // ---- commits

  #beginCommit (): void {
    const commit = this.#committer.begin(this.#assignment)
    if (commit === null) return
    const startedAt = this.#clock.now()
    const seconds = () => (this.#clock.now() - startedAt) / 1000
    this.#commit = this.#source.commit(commit.offsets).then(() => {
      this.#committer.succeeded(commit, this.#clock.now())
      this.#commitError = null
      this.#observer.committed(commit.offsets, seconds())
    }, (error: Error) => {
      // Also where the group has gone on without this member: it says so by an event, or lets a later commit pass.
      // Until then the partitions stay owned here, since records that are dropped meanwhile would not come again.
      this.#committer.failed(this.#clock.now())
      this.#commitError = error
      this.#observer.commitFailed(error, seconds())
    }).finally(() => { this.#commit = null })
  }

  /** Commits what can be committed and waits for the acknowledgement, trying again until the deadline. */
  async #commitNow (deadline: number): Promise<void> {
    while (this.#clock.now() < deadline) {
      if (this.#commit === null) {
        this.#beginCommit()
        if (this.#commit === null) return
      }
      while (this.#commit !== null && this.#clock.now() < deadline) await this.#poll(1, POLL_SHORT_MS)
      if (this.#commitError instanceof CommitError && this.#commitError.kind === 'lost') return
      // What was completed while an earlier commit was under way is committed in the next round.
      if (this.#commitError !== null) await this.#poll(1, POLL_MS)
    }
  }

  // ---- rebalances

  async #answerEvents (): Promise<void> {
    // A drain comes back here while the process stops; the event that it belongs to is answered first.
    if (this.#answering) return
    this.#answering = true
    try {
      for (let event = this.#source.takeEvent(); event !== undefined; event = this.#source.takeEvent()) {
        this.#observer.rebalanced(event)
        if (event.type === 'assigned') await this.#assigned(event)
        else if (event.type === 'revoked') await this.#revoked(event)
        else this.#lost(event)
      }
    } finally {
      this.#answering = false
    }
  }

  async #assigned ({ partitions }: RebalanceEvent): Promise<void> {
    // The position is the group's offset, never a guess: as long as it cannot be read, nothing starts.
    let committed
    while (committed === undefined) {
      if (this.#stopping) return this.#source.assign([])
      try {
        committed = await this.#source.committed(partitions)
      } catch (error) {
        this.#pollError = error as Error
        this.#observer.pollFailed(this.#pollError)
        await this.#poll(1, POLL_MS)
      }
    }
    for (const owned of this.#assignment.among(partitions)) this.#endEpoch(owned, new Error('assigned anew'))
    for (const offset of committed) this.#assignment.own(offset)
    this.#source.assign(committed)
    if (partitions.length > 0) this.#standingError = null
    this.#phase = 'running'
  }

  async #revoked ({ partitions }: RebalanceEvent): Promise<void> {
    const owned = this.#assignment.among(partitions)
    await this.#drain(owned, this.#clock.now() + this.#options.drainTimeoutMs)
    if (owned.length > 0) await this.#commitNow(this.#clock.now() + LAST_COMMIT_MS)
    this.#source.unassign(partitions)
    for (const one of owned) this.#endEpoch(one, new Error('the partition was revoked'))
  }

  #lost ({ partitions }: RebalanceEvent): void {
    // Others may own them already: what is in flight can only do harm there, and commits nothing here.
    for (const owned of this.#assignment.among(partitions)) this.#endEpoch(owned, new Error('the partition was lost'))
    this.#source.unassign(partitions)
  }

  #endEpoch (owned: OwnedPartition, reason: Error): void {
    this.#assignment.disown(owned)
    this.#runner.drop(owned)
    this.#runner.abort(owned, reason)
  }

  /** Lets what is in flight of these partitions end. The others go on. */
  async #drain (partitions: OwnedPartition[], deadline: number): Promise<void> {
    const startedAt = this.#clock.now()
    for (const owned of partitions) {
      owned.draining = true
      this.#runner.drop(owned)
    }
    const busy = () => partitions.some(owned => owned.busy)
    while (busy() && this.#clock.now() < Math.min(deadline, this.#stopDeadline)) await this.#serve()
    if (busy()) {
      for (const owned of partitions) this.#runner.abort(owned, new Error('the partition has to be given up'))
      const graceEnd = Math.min(this.#clock.now(), this.#stopDeadline) + ABORT_GRACE_MS
      while (busy() && this.#clock.now() < graceEnd) await this.#serve()
    }
    const left = partitions.reduce((sum, owned) => sum + owned.inFlight + owned.deadLettering, 0)
    if (partitions.length > 0) this.#observer.drained(partitions, (this.#clock.now() - startedAt) / 1000, left)
  }

  async #serve (): Promise<void> {
    this.#keepHouse()
    await this.#poll(1, POLL_SHORT_MS)
    // While the process stops, the loop below this drain takes no events.
    if (this.#stopping) await this.#answerEvents()
  }

  /** The end of the process, or of this consumer. */
  async #finish (): Promise<void> {
    this.#phase = 'draining'
    const all = [...this.#assignment]
    this.#pause(all.filter(owned => !owned.paused))
    await this.#drain(all, this.#stopDeadline)
    await this.#commitNow(this.#clock.now() + LAST_COMMIT_MS)
    this.#source.leave()
    const leftBy = this.#clock.now() + LEAVE_MS
    while (!this.#source.left && this.#clock.now() < leftBy) {
      await this.#poll(1, POLL_SHORT_MS)
      await this.#answerEvents()
    }
  }

  #problems (): string[] {
    const { abandoned, blocked, deadLetterError, saturatedByAbandoned } = this.#runner
    const problems = []
    if (this.#standingError !== null) problems.push(this.#standingError.message)
    if (this.#pollError !== null && this.#pollError !== this.#standingError) problems.push(this.#pollError.message)
    if (this.#commitError !== null) problems.push(`offsets cannot be committed: ${this.#commitError.message}`)
    if (deadLetterError !== null) problems.push(`dead letters cannot be sent: ${deadLetterError.message}`)
    if (blocked > 0) problems.push(`${blocked} failed records hold their keys, because dead letters are off`)
    if (saturatedByAbandoned) problems.push(`${abandoned} handlers never settled: nothing more is fetched until they do`)
    return problems
  }
}

function stateOf (owned: OwnedPartition): PartitionState {
  const { topic, partition, window, inFlight, bytes, committedOffset, paused } = owned
  return {
    topic,
    partition,
    inFlight,
    windowRecords: window.size,
    windowSpan: window.span,
    windowBytes: bytes,
    commitOffset: window.commitOffset,
    committedOffset,
    lastAdmitted: window.lastAdmitted,
    paused
  }
}
