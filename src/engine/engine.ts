import type { Assignment } from './assignment.js'
import { PartitionGivenUpError } from './attempt-errors.js'
import type { BreakerState } from './breaker.js'
import { Committer } from './committer.js'
import { Controls } from './controls.js'
import { Diversion } from './diversion.js'
import { Intake, type IntakePorts } from './intake.js'
import { offsetResets } from './offset-reset.js'
import type { OwnedPartition } from './owned-partition.js'
import { byPartition, partitionId } from './partition-id.js'
import { topicIdIn } from './progress.js'
import { RefusedOutputs } from './refused-outputs.js'
import { Runner, type RunnerOptions, type RunnerPorts } from './runner.js'
import { Suspensions } from './suspensions.js'
import { TopicIdentity } from './topic-identity.js'
import {
  CommitError, OutputRefusedError, PollError,
  type Clock, type CommittedOffset, type Observer, type Position, type RebalanceEvent, type ResetPolicy, type Source, type TopicPartition
} from './types.js'

export interface EngineOptions extends RunnerOptions {
  readonly maxRecordsBeforeCommit: number
  readonly commitIntervalMs: number
  readonly autoOffsetReset: ResetPolicy
  /** Window of a partition, in records. */
  readonly windowMaxRecords: number
  /** Window of a partition, in bytes of uncompleted records. */
  readonly windowMaxBytes: number
  /** All windows together, in bytes of uncompleted records. */
  readonly windowTotalMaxBytes: number
  /** Records that may be told to make way because they hold up their partition; 0: none. */
  readonly diversionMaxPerMinute: number
  /** How long handlers in flight may go on when their partition is revoked. */
  readonly drainTimeoutMs: number
  /**
   * Exactly once: what a handler's value (and the sink's) asks to be written, a Collected, is written in one transaction with the
   * commit that tells of its record.
   */
  readonly transactional?: boolean
}

export interface EnginePorts extends IntakePorts, RunnerPorts {
  /** What operators have paused, where that is to outlive this engine. */
  readonly suspensions?: Suspensions
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
  /** Fetching is paused, for want of room or by an operator. */
  readonly paused: boolean
  /** An operator has paused it. */
  readonly suspended: boolean
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
  /** Handlers that may be in flight at once. */
  readonly limit: number
  readonly breaker: BreakerState
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
/** So many owners in a row that ended at the same place are no accident. */
const SUSPICIOUS_STARTS = 3

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
  readonly #diversion: Diversion
  readonly #topics: TopicIdentity
  readonly #refusedOutputs: RefusedOutputs
  readonly #suspensions: Suspensions
  /** What operators may ask for while it runs. */
  readonly controls: Controls
  #restart: PollError | null = null
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
    const { maxRecordsBeforeCommit: maxRecords, commitIntervalMs: intervalMs, transactional = false } = options
    this.#committer = new Committer({ maxRecords, intervalMs, transactional }, this.#lastTurnAt)
    this.#runner = new Runner(options, ports, this.#committer, (entry, value) => this.#intake.completed(entry, value))
    const limits = { maxRecords: options.windowMaxRecords, maxBytes: options.windowMaxBytes }
    this.#intake = new Intake(limits, options.windowTotalMaxBytes, this.#runner, this.#committer, ports)
    this.#assignment = this.#intake.assignment
    this.#diversion = new Diversion(options.diversionMaxPerMinute, this.#runner, ports)
    this.#topics = new TopicIdentity(ports)
    this.#suspensions = ports.suspensions ?? new Suspensions()
    this.#refusedOutputs = new RefusedOutputs(options, this.#intake, ports)
    this.controls = new Controls(this.#intake, this.#runner, this.#committer, {
      ...ports, suspensions: this.#suspensions, ...(transactional && { commitFirst: () => this.#commitBeforeSeek() })
    })
  }

  /** Handlers in flight at once. */
  get limit (): number { return this.#runner.limit }
  set limit (limit: number) { this.#runner.limit = limit }

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
      limit: this.#runner.limit,
      breaker: this.#runner.breaker.state,
      problems: this.#problems(),
      lastTurnAt: Math.max(this.#lastTurnAt, this.#intake.lastPollAt)
    }
  }

  async #run (): Promise<void> {
    try {
      while (!this.#stopping && this.#restart === null) {
        await this.#answerEvents()
        if (this.#stopping) break
        if (this.controls.pending) {
          await this.#intake.settle()
          await this.controls.serve()
        }
        this.#keepHouse()
        this.#lookAtTopics()
        await this.#intake.fetch(this.#committer.urgent ? POLL_SHORT_MS : POLL_MS)
      }
      this.controls.end()
      if (this.#restart !== null) this.#stopDeadline = Math.min(this.#stopDeadline, this.#clock.now() + this.#options.drainTimeoutMs)
      await this.#finish()
      if (this.#restart !== null && !this.#stopping) throw this.#restart
    } finally {
      this.controls.end()
      for (const owned of [...this.#assignment]) this.#intake.endEpoch(owned, new PartitionGivenUpError('the consumer has stopped'))
      this.#phase = 'stopped'
    }
  }

  #keepHouse (): void {
    this.#lastTurnAt = this.#clock.now()
    this.#runner.sweep()
    this.#diversion.look(this.#assignment)
    if (this.#committer.due(this.#lastTurnAt)) this.#beginCommit()
    if (this.#committer.giveUpWriting(this.#lastTurnAt)) this.#runner.attemptsWritten()
  }

  /**
   * A topic that was made anew is read by a client that knows nothing of the old one: what is owned of it counts as lost, and
   * the member is made anew. Its next life finds the other id, and begins at the beginning.
   */
  #lookAtTopics (): void {
    this.#topics.lookSometimes(this.#assignment, this.#intake.troubled)
    this.#intake.troubled = false
    this.#loseChanged()
  }

  /** Nothing is committed of topics that were made anew. What stays with this member of them needs a new one. */
  #loseChanged (): void {
    const changed = this.#topics.changed(this.#assignment, () => this.#committer.moved())
    for (const owned of changed) this.#intake.endEpoch(owned, new PartitionGivenUpError('the topic was deleted and made again'))
    const kept = new Set(changed.filter(({ draining }) => !draining).map(({ topic }) => topic))
    if (kept.size > 0) this.#restart ??= new PollError('fatal', `${[...kept].join(', ')} was deleted and made again`)
  }

  // ---- commits

  #beginCommit (): void {
    const startedAt = this.#clock.now()
    const commit = this.#committer.begin(this.#assignment, startedAt)
    if (this.#committer.transactional) for (const owned of this.#assignment) this.#intake.release(owned)
    if (commit === null) {
      this.#commitError = null
      this.#runner.attemptsWritten()
      return
    }
    const seconds = () => (this.#clock.now() - startedAt) / 1000
    const outputs = commit.outputs.flatMap(({ output }) => output.collected.records)
    this.#commit = this.#source.commit(commit.offsets, outputs).then(() => {
      this.#committer.succeeded(commit, this.#clock.now())
      for (const owned of commit.partitions) this.#intake.written(owned, owned.outputs.written())
      this.#refusedOutputs.written(commit.partitions)
      this.#commitError = null
      this.#observer.committed(commit.offsets, seconds())
      this.#runner.attemptsWritten()
    }, (error: Error) => {
      // Also where the group has gone on without this member: it says so by an event, or lets a later commit pass.
      // Until then the partitions stay owned here, since records that are dropped meanwhile would not come again.
      this.#committer.failed(this.#clock.now())
      for (const owned of commit.partitions) owned.outputs.takeBack()
      if (error instanceof OutputRefusedError) this.#refusedOutputs.refused(commit, error)
      else if (error instanceof CommitError && error.kind === 'unknown') this.#loseAll(error)
      this.#commitError = error
      this.#observer.commitFailed(error, seconds())
      this.#runner.attemptsWritten()
    }).finally(() => { this.#commit = null })
  }

  /**
   * 1. A transaction is to be committed. 2. Whether it is nobody can tell any more. To write the same again might write it twice, to
   * forget it might lose it. So it is as if the process had ended here: the next life of this member asks the group, which answers
   * once the transaction is decided, and goes on from there.
   */
  #loseAll (error: CommitError): void {
    for (const owned of [...this.#assignment]) this.#intake.endEpoch(owned, new PartitionGivenUpError('nobody knows whether the last commit was taken'))
    this.#restart ??= new PollError('fatal', `nobody knows whether the last commit was taken: ${error.message}`, { cause: error })
    this.#intake.wake()
  }

  /** @throws {Error} where that cannot be done: what is done would be forgotten by a seek */
  async #commitBeforeSeek (): Promise<void> {
    const deadline = this.#clock.now() + LAST_COMMIT_MS
    // Fetching goes on as usual: nothing stands still here, as it does in a rebalance.
    const acknowledged = async () => {
      while (this.#commit !== null && this.#clock.now() < deadline) await this.#intake.fetch(POLL_SHORT_MS)
    }
    await acknowledged()
    if (this.#commit === null) this.#beginCommit()
    await acknowledged()
    await this.#intake.settle()
    if (this.#commit === null && this.#commitError === null) return
    throw new Error(`what is done cannot be committed first: ${this.#commitError?.message ?? 'Kafka does not answer'}`)
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
    if (this.#answering || !this.#source.hasEvent) return
    this.#answering = true
    try {
      await this.#intake.settle()
      for (let event = this.#source.takeEvent(); event !== undefined; event = this.#source.takeEvent()) {
        if (event.whole === true) this.#loseBefore()
        this.#observer.rebalanced(event)
        if (event.type === 'assigned') await this.#assigned(event)
        else if (event.type === 'revoked') await this.#revoked(event)
        else this.#lost(event)
      }
    } finally {
      this.#answering = false
    }
  }

  /**
   * 1. The client holds an assignment ready, and the process, which was frozen, has not taken it. 2. The member has to join once more;
   * the client takes nothing back, since nothing was taken. 3. The process takes that assignment. 4. The next one comes. What the first
   * one named others may have had since 2: to commit it now would take the group back to where this member had found it.
   */
  #loseBefore (): void {
    const before = [...this.#assignment]
    if (before.length === 0) return
    this.#observer.rebalanced({ type: 'lost', partitions: before.map(({ topic, partition }) => ({ topic, partition })) })
    for (const owned of before) this.#intake.endEpoch(owned, new PartitionGivenUpError('the partition was lost'))
  }

  async #assigned ({ partitions }: RebalanceEvent): Promise<void> {
    // The position is the group's offset, never a guess: as long as it cannot be read, nothing starts.
    let begins
    while (begins === undefined) {
      if (this.#stopping || this.#restart !== null) return this.#source.assign([])
      try {
        begins = await this.#whereToBegin(partitions)
      } catch (error) {
        this.#intake.failed(error as Error)
        await this.#intake.poll(1, POLL_MS)
      }
    }
    for (const owned of this.#assignment.among(partitions)) this.#intake.endEpoch(owned, new PartitionGivenUpError('assigned anew'))
    const fresh = begins.map(({ committed, topicId }) => this.#own(committed, topicId))
    this.#source.assign(begins.map(({ committed }) => committed))
    this.#intake.pause(fresh.filter(({ suspended }) => suspended))
    // Before anything is handled it is told that somebody has begun here: whoever comes next can tell if this one ends at once.
    // The group may have no offset yet: then the first record decides what is told.
    for (const owned of fresh) owned.begunBy = owned.startsAt < 0 ? Infinity : this.#committer.note()
    if (partitions.length > 0) this.#intake.standingErrorIsOver()
    this.#phase = 'running'
    this.#tellResets(begins.map(({ committed }) => committed))
  }

  /** Looks, beside the work, where the policy decides in the group's stead: that may lose records, and the client does it silently. */
  async #tellResets (committed: readonly CommittedOffset[]): Promise<void> {
    if (committed.length === 0) return
    const at = (position: Position) => this.#source.offsetsAt(position, committed).catch(() => [])
    const [beginnings, ends] = await Promise.all([at('beginning'), at('end')])
    for (const { reason, skipped, ...partition } of offsetResets(committed, beginnings, ends, this.#options.autoOffsetReset)) {
      this.#observer.offsetReset(partition, reason, skipped)
    }
  }

  /** The group's offsets, but for topics that were made anew since: they begin at their beginning. */
  async #whereToBegin (partitions: readonly TopicPartition[]): Promise<{ committed: CommittedOffset, topicId: string }[]> {
    const [committed, ids] = await Promise.all([this.#source.committed(partitions), this.#topics.of(partitions.map(({ topic }) => topic))])
    const madeAnew: CommittedOffset[] = []
    const begins = committed.map(one => {
      const before = topicIdIn(one.metadata)
      const topicId = ids.get(one.topic) ?? before
      if (before !== '' && before !== topicId) madeAnew.push(one)
      return { committed: one, topicId }
    })
    if (madeAnew.length === 0) return begins
    const beginnings = await this.#source.offsetsAt('beginning', madeAnew)
    for (const topic of new Set(beginnings.map(({ topic }) => topic))) {
      this.#observer.topicMadeAnew(topic, beginnings.filter(one => one.topic === topic))
    }
    const beginsAt = byPartition(beginnings)
    return begins.map(begin => {
      const { topic, partition } = begin.committed
      const offset = beginsAt.get(partitionId(topic, partition))
      return offset === undefined ? begin : { ...begin, committed: { topic, partition, offset, metadata: '' } }
    })
  }

  #own (committed: CommittedOffset, topicId: string): OwnedPartition {
    const owned = this.#assignment.own(committed)
    owned.topicId = topicId
    owned.suspended = this.#suspensions.has(owned) || (owned.unreadable && this.#committer.transactional)
    if (owned.suspended) this.#runner.scheduler.suspend(owned.topic, owned.partition, true)
    if (owned.starts >= SUSPICIOUS_STARTS) {
      owned.careful = this.#runner.limit
      this.#observer.suspected(owned, owned.starts)
    }
    return owned
  }

  async #revoked ({ partitions }: RebalanceEvent): Promise<void> {
    const owned = this.#assignment.among(partitions)
    await this.#drain(owned, this.#clock.now() + this.#options.drainTimeoutMs)
    if (owned.length > 0) await this.#lastCommit(owned)
    this.#source.unassign(partitions)
    for (const one of owned) this.#intake.endEpoch(one, new PartitionGivenUpError('the partition was revoked'))
  }

  /** Commits what partitions that are drained have, unless their topic is another one by now. */
  async #lastCommit (partitions: readonly OwnedPartition[]): Promise<void> {
    const looked = this.#topics.beginLook(partitions)
    while (!looked()) await this.#intake.poll(1, POLL_SHORT_MS)
    this.#loseChanged()
    await this.#commitNow(this.#clock.now() + LAST_COMMIT_MS)
  }

  #lost ({ partitions }: RebalanceEvent): void {
    // Others may own them already: what is in flight can only do harm there, and commits nothing here.
    for (const owned of this.#assignment.among(partitions)) this.#intake.endEpoch(owned, new PartitionGivenUpError('the partition was lost'))
    this.#source.unassign(partitions)
  }

  /** Nothing of these partitions is admitted or started any more. Answers those of which that is news. */
  #stopStarting (partitions: OwnedPartition[]): OwnedPartition[] {
    const fresh = partitions.filter(owned => !owned.draining)
    for (const owned of fresh) owned.draining = true
    this.#runner.drop(fresh)
    return fresh
  }

  /** Lets what is in flight of these partitions end. The others go on. */
  async #drain (partitions: OwnedPartition[], deadline: number, fresh = this.#stopStarting(partitions)): Promise<void> {
    const startedAt = this.#clock.now()
    const busy = () => partitions.some(owned => owned.busy)
    while (busy() && this.#clock.now() < Math.min(deadline, this.#stopDeadline)) await this.#serve()
    if (busy()) {
      for (const owned of partitions) this.#runner.abort(owned, new PartitionGivenUpError('the partition has to be given up'))
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
    // First of all: the poll that is still under way may bring records, and acknowledgements that others wait for.
    const fresh = this.#stopStarting(all)
    await this.#intake.settle()
    this.#intake.pause(all.filter(owned => !owned.paused))
    await this.#drain(all, this.#stopDeadline, fresh)
    await this.#lastCommit(all)
    this.#source.leave()
    const leftBy = this.#clock.now() + LEAVE_MS
    while (!this.#source.left && this.#clock.now() < leftBy) {
      await this.#intake.poll(1, POLL_SHORT_MS)
      await this.#answerEvents()
    }
  }

  #problems (): string[] {
    const { abandoned, blocked, breaker, deadLetterError, saturatedByAbandoned } = this.#runner
    const problems = this.#intake.problems
    if (this.#commitError !== null) problems.push(`offsets cannot be committed: ${this.#commitError.message}`)
    if (deadLetterError !== null) problems.push(`dead letters cannot be sent: ${deadLetterError.message}`)
    if (blocked > 0) problems.push(`${blocked} failed records hold their keys, because dead letters are off`)
    if (breaker.reason !== null) problems.push(breaker.reason)
    problems.push(...this.#refusedOutputs.problems)
    for (const { topic, partition, unreadable, suspended, committedOffset } of this.#committer.transactional ? this.#assignment : []) {
      if (unreadable && suspended) {
        problems.push(`${topic}/${partition} is not read: what the group holds beside its offset (${committedOffset}) is not understood here, and may ` +
          'say that records above it are done. Let a group member that wrote it commit once more, commit the offset without metadata, seek, or resume it')
      }
    }
    if (this.#diversion.problem !== null) problems.push(this.#diversion.problem)
    if (this.#assignment.full) problems.push('the windows hold as many bytes as they may together (KAFKA_WINDOW_TOTAL_MAX_BYTES): nothing more is fetched')
    if (saturatedByAbandoned) problems.push(`${abandoned} handlers never settled: nothing more is fetched until they do`)
    return problems
  }
}

function stateOf (owned: OwnedPartition): PartitionState {
  const { topic, partition, window, inFlight, bytes, committedOffset, paused, suspended } = owned
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
    paused,
    suspended
  }
}
