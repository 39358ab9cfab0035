import type { Assignment } from './assignment.js'
import { Committer } from './committer.js'
import { Intake } from './intake.js'
import type { OwnedPartition } from './owned-partition.js'
import { Runner, type RunnerOptions } from './runner.js'
import {
  CommitError,
  type Clock, type Handler, type Observer, type RebalanceEvent, type Sink, type Source, type TopicPartition
} from './types.js'

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

const POLL_MS = 100
/** While something is awaited that only polling brings about. */
const POLL_SHORT_MS = 10
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
  readonly #intake: Intake
  #phase: EngineState['phase'] = 'joining'
  #stopping = false
  #stopDeadline = Infinity
  #answering = false
  #ended: Promise<void> | null = null
  #lastTurnAt: number
  #commit: Promise<void> | null = null
  #commitError: Error | null = null

  constructor (options: EngineOptions, ports: EnginePorts) {
    this.#options = options
    this.#source = ports.source
    this.#clock = ports.clock
    this.#observer = ports.observer
    this.#lastTurnAt = ports.clock.now()
    this.#committer = new Committer(
      { maxRecords: options.maxRecordsBeforeCommit, intervalMs: options.commitIntervalMs }, this.#lastTurnAt)
    this.#runner = new Runner(options, ports, entry => this.#intake.completed(entry))
    const limits = { maxRecords: options.windowMaxRecords, maxBytes: options.windowMaxBytes }
    this.#intake = new Intake(limits, this.#runner, this.#committer, ports)
    this.#assignment = this.#intake.assignment
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
    this.#intake.wake()
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
      lastTurnAt: Math.max(this.#lastTurnAt, this.#intake.lastPollAt)
    }
  }

  async #run (): Promise<void> {
    try {
      while (!this.#stopping) {
        await this.#answerEvents()
        if (this.#stopping) break
        this.#keepHouse()
        await this.#intake.fetch(POLL_MS)
      }
      await this.#finish()
    } finally {
      for (const owned of [...this.#assignment]) this.#intake.endEpoch(owned, new Error('the consumer has stopped'))
      this.#phase = 'stopped'
    }
  }

  #keepHouse (): void {
    this.#lastTurnAt = this.#clock.now()
    this.#runner.sweep()
    if (this.#committer.due(this.#lastTurnAt)) this.#beginCommit()
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
      while (this.#commit !== null && this.#clock.now() < deadline) await this.#intake.poll(1, POLL_SHORT_MS)
      if (this.#commitError instanceof CommitError && this.#commitError.kind === 'lost') return
      // What was completed while an earlier commit was under way is committed in the next round.
      if (this.#commitError !== null) await this.#intake.poll(1, POLL_MS)
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
        this.#intake.failed(error as Error)
        await this.#intake.poll(1, POLL_MS)
      }
    }
    for (const owned of this.#assignment.among(partitions)) this.#intake.endEpoch(owned, new Error('assigned anew'))
    for (const offset of committed) this.#assignment.own(offset)
    this.#source.assign(committed)
    if (partitions.length > 0) this.#intake.standingErrorIsOver()
    this.#phase = 'running'
  }

  async #revoked ({ partitions }: RebalanceEvent): Promise<void> {
    const owned = this.#assignment.among(partitions)
    await this.#drain(owned, this.#clock.now() + this.#options.drainTimeoutMs)
    if (owned.length > 0) await this.#commitNow(this.#clock.now() + LAST_COMMIT_MS)
    this.#source.unassign(partitions)
    for (const one of owned) this.#intake.endEpoch(one, new Error('the partition was revoked'))
  }

  #lost ({ partitions }: RebalanceEvent): void {
    // Others may own them already: what is in flight can only do harm there, and commits nothing here.
    for (const owned of this.#assignment.among(partitions)) this.#intake.endEpoch(owned, new Error('the partition was lost'))
    this.#source.unassign(partitions)
  }

  /** Lets what is in flight of these partitions end. The others go on. */
  async #drain (partitions: OwnedPartition[], deadline: number): Promise<void> {
    const startedAt = this.#clock.now()
    const fresh = partitions.filter(owned => !owned.draining)
    for (const owned of fresh) {
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
    // While the process stops, the group takes back what has been drained already.
    if (fresh.length > 0) this.#observer.drained(partitions, (this.#clock.now() - startedAt) / 1000, left)
  }

  async #serve (): Promise<void> {
    this.#keepHouse()
    await this.#intake.poll(1, POLL_SHORT_MS)
    // While the process stops, the loop below this drain takes no events.
    if (this.#stopping) await this.#answerEvents()
  }

  /** The end of the process, or of this consumer. */
  async #finish (): Promise<void> {
    this.#phase = 'draining'
    const all = [...this.#assignment]
    this.#intake.pause(all.filter(owned => !owned.paused))
    await this.#drain(all, this.#stopDeadline)
    await this.#commitNow(this.#clock.now() + LAST_COMMIT_MS)
    this.#source.leave()
    const leftBy = this.#clock.now() + LEAVE_MS
    while (!this.#source.left && this.#clock.now() < leftBy) {
      await this.#intake.poll(1, POLL_SHORT_MS)
      await this.#answerEvents()
    }
  }

  #problems (): string[] {
    const { abandoned, blocked, deadLetterError, saturatedByAbandoned } = this.#runner
    const problems = this.#intake.problems
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
