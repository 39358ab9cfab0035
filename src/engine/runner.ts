import type { AdaptiveLimit } from './adaptive-limit.js'
import {
  asError, AttemptsUsedUpError, BatchFailedError, DivertedError, HandlerNeverSettledError, PartitionGivenUpError
} from './attempt-errors.js'
import { DONE, readAnswer, type BatchResult } from './batch-answer.js'
import { whichStand } from './batch-order.js'
import { Breaker, type BreakerOptions } from './breaker.js'
import { Breather } from './breather.js'
import { BatchRun, Run, type Entry } from './entry.js'
import { InFlight, type TimeLimits } from './in-flight.js'
import type { OwnedPartition } from './owned-partition.js'
import { withRealPromise } from './real-promise.js'
import { adviceOf, isOutage, isRetriable } from './retry.js'
import { Scheduler, type Order } from './scheduler.js'
import type { Slots } from './slots.js'
import type { BatchedHandler, Clock, Handler, Observer, Sink } from './types.js'
import { Verdicts, type AttemptLog, type Completed, type VerdictOptions } from './verdicts.js'

export interface RunnerOptions extends TimeLimits, VerdictOptions {
  readonly order: Order
  /** Handlers in flight at once, in the whole process. A batch is one. */
  readonly maxInFlight: number
  readonly breaker: BreakerOptions
}

/** A record that is started with care: its attempt is announced, which takes a commit, before it is made. */
interface Alone { readonly entry: Entry, announced: boolean, started: boolean }

export interface RunnerPorts {
  readonly handler: Handler | BatchedHandler
  readonly sink: Sink
  readonly clock: Clock
  readonly observer: Observer
  /** Where several engines share a total of handlers in flight. */
  readonly slots?: Slots
  /** The limit of what is in flight follows from how attempts end; the engine's own is the most that it may be. */
  readonly adaptive?: AdaptiveLimit
}

/**
 * Runs handlers: never more than the limit at once, in the scheduler's order, for one record or for one batch, with time limits
 * and the breaker. What becomes of the records then is up to the verdicts. It knows nothing of fetching and committing.
 */
export class Runner {
  readonly scheduler: Scheduler
  readonly #options: RunnerOptions
  readonly #handler: Handler | null
  /** Instead of it: records are handled in batches. */
  readonly #batched: BatchedHandler | null
  // Beside the limit, where several runners share a total.
  readonly #slots: Slots | null
  readonly #breather: Breather
  // Below the limit, where it follows what the target can do.
  readonly #adaptive: AdaptiveLimit | null
  readonly #clock: Clock
  readonly #observer: Observer
  readonly breaker: Breaker
  readonly #log: AttemptLog
  readonly #verdicts: Verdicts
  readonly #inFlight: InFlight
  // A record that is started with care, until its attempt has ended: see `#goOnAlone`. Nothing else is started meanwhile.
  #alone: Alone | null = null
  #limit: number
  // How many may run now: the limit, or less while the breaker is not closed.
  #startLimit: number
  // Attempts that ended well, ever.
  #handled = 0
  #pumping = false

  /** @param completed is told of every record that is done for good */
  constructor (
    options: RunnerOptions,
    ports: RunnerPorts,
    log: AttemptLog,
    completed: Completed
  ) {
    const { handler, clock } = ports
    this.#options = options
    this.#handler = typeof handler === 'function' ? handler : null
    this.#batched = typeof handler === 'function' ? null : handler
    this.#clock = clock
    this.#observer = ports.observer
    this.#log = log
    this.#slots = ports.slots ?? null
    if (this.#slots !== null) this.#slots.wake = () => this.pump()
    this.#adaptive = ports.adaptive ?? null
    this.#limit = options.maxInFlight
    if (this.#adaptive !== null) this.#adaptive.max = this.#limit
    this.#startLimit = this.limit
    const pump = () => this.pump()
    this.#breather = new Breather(clock, pump)
    this.scheduler = new Scheduler(options.order, this.#batched === null ? null : { policy: this.#batched.batches, clock, due: pump })
    this.#verdicts = new Verdicts(options, ports, this.scheduler, log, completed, pump)
    this.#inFlight = new InFlight(options, this.#slots, run => this.#abandoned(run))
    this.breaker = new Breaker(options.breaker)
  }

  get inFlight (): number { return this.#inFlight.count }
  get abandoned (): number { return this.#inFlight.abandoned }
  get saturatedByAbandoned (): boolean { return this.#inFlight.saturatedByAbandoned }
  get deadLettering (): number { return this.#verdicts.sending }
  get retrying (): number { return this.#verdicts.retrying }
  get blocked (): number { return this.#verdicts.blocked }
  get deadLetterError (): Error | null { return this.#verdicts.deadLetterError }

  /** Handlers in flight at once, in the whole process. What is in flight above a new limit ends in its own time. */
  get limit (): number { return this.#adaptive === null ? this.#limit : this.#adaptive.limit }
  /** Where it is adaptive, this is the most that it may be. */
  set limit (limit: number) {
    this.#limit = limit
    if (this.#adaptive !== null) this.#adaptive.max = limit
    this.#relimit()
    this.pump()
  }

  /** @param delayMs it is not due before that */
  add (entry: Entry, delayMs = 0): void {
    this.#verdicts.add(entry, delayMs)
  }

  /** Starts what may start. Called whenever something was added or has ended. */
  pump (): void {
    // A handler that ends at once comes back here from within the loop below, which goes on anyway.
    if (this.#pumping) return
    this.#pumping = true
    try {
      for (;;) {
        if (this.#alone !== null) {
          if (!this.#goOnAlone(this.#alone)) break
          continue
        }
        if (this.#inFlight.count >= this.#startLimit || this.scheduler.waiting === 0 || this.#breather.due) break
        if (!this.#hasSlot() || !this.#startNext()) break
      }
    } finally {
      this.#pumping = false
    }
    this.#slots?.handOn()
  }

  /** Looks for handlers whose time is over. Called every turn of the loop: limits are kept to about 100 ms. */
  sweep (): void {
    const now = this.#clock.now()
    this.#inFlight.sweep(now)
    if (this.breaker.tick(now)) {
      this.#observer.breakerMoved('probing', null)
      this.#relimit()
    }
    this.pump()
  }

  /** Forgets what has not started of these partitions: the next owner gets it. What is in flight goes on. */
  drop (partitions: readonly OwnedPartition[]): void {
    for (const partition of partitions) this.#dropOne(partition)
    // Not in between: of those that come next in the list nothing is to be started either.
    this.pump()
  }

  #dropOne (partition: OwnedPartition): void {
    this.scheduler.drop(partition.topic, partition.partition)
    this.#verdicts.drop(partition)
    if (this.#alone?.entry.partition !== partition) return
    if (!this.#alone.started) this.#verdicts.leaveLane(this.#takeBack(this.#alone))
    this.#alone = null
  }

  /** Aborts the signals of a partition's handlers. */
  abort (partition: OwnedPartition, reason: Error): void {
    this.#inFlight.abort(partition, reason)
  }

  /**
   * Takes a record out of the way of its partition: told to end where it runs, with its batch, and sent off with its attempts as
   * they are. Returns it, or `null` where nothing can be done about it: it waits for its turn, is on its way already, or is meant
   * to block.
   */
  divert (partition: OwnedPartition, sequence: number): Entry | null {
    const wanted = (entry: Entry) => entry.partition === partition && entry.sequence === sequence
    const running = this.#inFlight.divert(wanted, this.#clock.now())
    if (running !== null) {
      if (running.diverted) return null
      running.trouble.diverted = true
      return running
    }
    const lingering = this.#inFlight.findLingering(wanted)
    if (lingering === null) return this.#verdicts.divert(wanted, new DivertedError())
    if (lingering.decided) return null
    this.#sendOffUndecided(lingering)
    return lingering
  }

  /** A commit has been acknowledged, or has failed: what waited for it to be written down goes on. */
  attemptsWritten (): void {
    this.#verdicts.attemptsWritten()
    if (this.#alone !== null) this.pump()
  }

  // ---- starting

  /** Returns whether there was anything to start. */
  #startNext (): boolean {
    if (this.#batched === null) {
      const entry = this.scheduler.take() as Entry | null
      if (entry === null) return false
      if (this.#mayStart(entry)) this.#start(entry)
      return true
    }
    // An outage is probed with one record.
    const entries = this.scheduler.takeBatch(this.breaker.closed ? this.#batched.batches.maxRecords : 1) as Entry[]
    if (entries.length === 0) return false
    if (this.#mayStart(entries[0])) this.#startBatch(entries)
    return true
  }

  /** Whether the total that is shared leaves one for what waits here. Where not, `pump` is called once that may have changed. */
  #hasSlot (): boolean {
    return this.#slots === null || this.#slots.ask()
  }

  /** Whether a record that was taken is to be started like any other. Those that are not come alone. */
  #mayStart (entry: Entry): boolean {
    if (entry.attempts >= this.#options.retry.maxAttempts) this.#verdicts.usedUp(entry, new AttemptsUsedUpError(entry.attempts))
    else if (entry.partition.careful > 0) this.#alone = { entry, announced: false, started: false }
    else return true
    return false
  }

  #start (entry: Entry): void {
    entry.attempts++
    const run = new Run(entry, this.#clock.now())
    entry.run = run
    this.#inFlight.add(run)
    run.probe = this.breaker.state === 'probing'
    let result
    try {
      result = withRealPromise(this.#handler!(entry.record, run))
    } catch (error) {
      this.#ended(run, error, true)
      return
    }
    if (result instanceof Promise) {
      result.then(value => this.#ended(run, value, false), error => this.#ended(run, error, true))
    } else {
      this.#ended(run, result, false)
    }
  }

  #startBatch (entries: readonly Entry[]): void {
    for (const entry of entries) entry.attempts++
    const run = new BatchRun(entries, this.#clock.now())
    for (const entry of entries) entry.run = run
    this.#inFlight.add(run)
    run.probe = this.breaker.state === 'probing'
    const records = entries.map(({ record }) => record)
    let answer
    try {
      answer = withRealPromise(this.#batched!.handle(records, run))
    } catch (error) {
      this.#batchFailed(run, error)
      return
    }
    if (answer instanceof Promise) {
      answer.then(answer => this.#batchAnswered(run, answer), error => this.#batchFailed(run, error))
    } else {
      this.#batchAnswered(run, answer)
    }
  }

  // ---- ending

  /** @param result what the handler answered, or why it failed */
  #ended (run: Run, result: unknown, failed: boolean): void {
    const { entry } = run
    this.#learn(run, failed ? asError(result) : null)
    this.#settled(run)
    if (!run.abandoned) {
      this.#tellEnded(run, entry, failed, this.#secondsOf(run))
      this.#conclude(run, entry, result, failed)
    } else if (entry.done) {
      // Its key has waited for this moment.
      this.#verdicts.leaveLane(entry)
    }
    this.pump()
  }

  #batchAnswered (run: BatchRun, answer: unknown): void {
    let results
    try {
      results = readAnswer(answer, run.entries.length)
    } catch (error) {
      this.#batchFailed(run, error)
      return
    }
    const failure = results?.find(({ failed }) => failed)
    this.#learn(run, failure?.failed === true ? failure.error : null)
    this.#batchEnded(run, results, false)
  }

  #batchFailed (run: BatchRun, thrown: unknown): void {
    const { entries } = run
    const error = asError(thrown)
    this.#learn(run, error)
    const ofMany = entries.length > 1 ? new BatchFailedError(entries.length, error) : error
    this.#batchEnded(run, entries.map(({ diverted }) => ({ failed: true, error: diverted ? error : ofMany })), true)
  }

  /** @param results `null`: all are done */
  #batchEnded (run: BatchRun, results: readonly BatchResult[] | null, asAWhole: boolean): void {
    const { entries } = run
    this.#settled(run)
    const stands = whichStand(entries, results)
    // The call took its time once, whatever the number of its records.
    let seconds: number | null = this.#secondsOf(run)
    for (const [index, entry] of entries.entries()) {
      if (entry.decided) {
        if (entry.done) this.#verdicts.leaveLane(entry)
      } else if (stands[index]) {
        const result = results === null ? DONE : results[index]
        // Of an abandoned one it was told when that happened.
        if (!run.abandoned) this.#tellEnded(run, entry, result.failed, seconds)
        seconds = null
        this.#conclude(run, entry, result.failed ? result.error : result.value, result.failed)
      }
    }
    // From the last to the first: each is put in front of those that come after it.
    for (let index = entries.length - 1; index > 0; index--) {
      const entry = entries[index]
      if (stands[index] || entry.decided) continue
      if (asAWhole) entry.trouble.suspect = true
      // Its attempt was none. That of an abandoned batch has been written down.
      if (!run.abandoned) entry.attempts--
      this.#verdicts.giveBack(entry)
    }
    this.pump()
  }

  #conclude (run: Run, entry: Entry, result: unknown, failed: boolean): void {
    if (!entry.partition.owned) {
      // 1. The record was in flight. 2. Its partition was revoked or lost. 3. Its handler ends here.
      // Its epoch is over: whoever owns the partition now decides about the record.
      this.#verdicts.leaveLane(entry)
    } else if (failed) {
      this.#failed(run, entry, asError(result))
    } else {
      this.#handled++
      if (run.probe || this.breaker.closed) this.#tellBreaker(entry, run, null)
      this.#verdicts.complete(entry, 'handled', result)
    }
  }

  #failed (run: Run, entry: Entry, error: Error): void {
    const { draining } = entry.partition
    const { abortReason } = run
    const suspect = error instanceof BatchFailedError
    const retriable = isRetriable(suspect ? error.cause : error)
    // Told to end because another record of its batch has to make way: that says nothing of this one.
    const bystander = abortReason instanceof DivertedError && !entry.diverted
    // A call that failed as a whole is one failure, whatever the number of its records.
    const counts = !entry.diverted && !bystander && !draining && !this.#isAnsweredByLimit(run, error) && (!suspect || entry === run.entry)
    if (counts) this.#tellBreaker(entry, run, retriable ? error : null)
    // What fails during an outage does not lose attempts by it: neither what opened the breaker nor what comes after.
    const outage = retriable && !run.abandoned && ((isOutage(error) && this.#isOutageStill(entry)) || !this.breaker.closed)
    // An attempt that was cut short is none.
    const excused = outage || bystander || (draining && abortReason instanceof PartitionGivenUpError)
    const last = entry.diverted || (run.abandoned && !run.settled)
    this.#verdicts.failed(entry, error, { excused, last, suspect })
  }

  /** A target that says it is too much is alive, and is asked less. The breaker is for one that refuses the least as well. */
  #isAnsweredByLimit ({ probe, startedAt }: Run, error: Error): boolean {
    return !probe && isRefusal(error) && !isOutage(error) && this.#adaptive?.answers(startedAt) === true
  }

  /**
   * Whether an attempt that failed with an outage does not count. It does once another record was handled after the one before:
   * what serves others and not this record again and again is no outage, and its key would wait for ever.
   */
  #isOutageStill ({ trouble }: Entry): boolean {
    const still = trouble.handledBefore === -1 || trouble.handledBefore === this.#handled
    trouble.handledBefore = this.#handled
    if (still) trouble.excuses++
    return still
  }

  /** A call has lost its slot: it has not settled, and may never. */
  #abandoned (run: Run): void {
    const { entries } = run
    if (this.#alone?.entry === run.entry) this.#alone = null
    const seconds = this.#secondsOf(run)
    for (const entry of entries) {
      this.#observer.attemptEnded(entry.record, 'abandoned', entry === run.entry ? seconds : null)
      if (entries.length === 1) {
        entry.trouble.decided = true
        if (entry.partition.owned) this.#failed(run, entry, new HandlerNeverSettledError(run.attempt, seconds))
        else this.#verdicts.leaveLane(entry)
      } else if (entry.partition.owned) {
        // Of many, nobody knows which is at fault, and all are in its hands still: they wait until it settles, and where it never
        // does, a next owner tries each alone. What holds up its partition does not wait.
        this.#verdicts.suspect(entry)
        this.#verdicts.remember(entry)
        if (entry.diverted && !entry.partition.draining) this.#sendOffUndecided(entry)
      }
    }
  }

  #sendOffUndecided (entry: Entry): void {
    entry.trouble.decided = true
    entry.trouble.diverted = true
    this.#verdicts.usedUp(entry, new DivertedError())
  }

  /** @param error why it failed, `null` where it did not */
  #learn ({ startedAt, abandoned, expiredAt, probe }: Run, error: unknown): void {
    const adaptive = this.#adaptive
    if (adaptive === null || abandoned || probe || !this.breaker.closed) return
    const before = adaptive.limit
    // One that took all of its time tells how long attempts take, like one that is done.
    const outcome = isRefusal(error)
      ? 'overloaded'
      : error === null || expiredAt !== null ? 'done' : 'failed'
    const saturated = this.#inFlight.count >= this.#startLimit && this.scheduler.waiting > 0
    adaptive.ended({ startedAt, endedAt: this.#clock.now(), outcome, saturated })
    if (adaptive.limit !== before) this.#relimit()
  }

  #settled (run: Run): void {
    this.#inFlight.settled(run)
    if (this.#alone !== null && this.#alone.entry === run.entry) this.#alone = null
  }

  #tellEnded (run: Run, { record }: Entry, failed: boolean, seconds: number | null): void {
    this.#observer.attemptEnded(record, failed ? (run.expiredAt === null ? 'failed' : 'timed-out') : 'ok', seconds)
  }

  #secondsOf ({ startedAt }: Run): number {
    return (this.#clock.now() - startedAt) / 1000
  }

  // ---- with care

  /**
   * Starts a record with care: once nothing else is in flight, and its attempt is written down. Whatever ends the process then
   * is this one, and it is counted. Returns whether that changed anything.
   */
  #goOnAlone (alone: Alone): boolean {
    const { entry } = alone
    if (alone.started || this.#inFlight.count > 0) return false
    if (this.#startLimit === 0 || entry.partition.suspended) {
      this.#alone = null
      this.scheduler.putBack(this.#takeBack(alone))
      return true
    }
    if (!alone.announced) {
      alone.announced = true
      entry.partition.remember(entry.record, entry.attempts + 1)
      entry.trouble.ticket = this.#log.note()
    }
    if (entry.ticket > this.#log.settled) return false
    if (this.#slots?.ask() === false) return false
    alone.started = true
    if (this.#batched === null) this.#start(entry)
    else this.#startBatch([entry])
    return true
  }

  /** It is not started after all: its attempt is none. */
  #takeBack ({ entry, announced }: Alone): Entry {
    if (announced) entry.partition.remember(entry.record, entry.attempts)
    return entry
  }

  // ---- the breaker

  #tellBreaker (entry: Entry, run: Run, failure: Error | null): void {
    const { breaker } = this
    if (breaker.closed) {
      if (!breaker.note(entry, failure, this.#clock.now())) return
    } else if (run.probe) {
      breaker.probed(failure === null, this.#clock.now())
    } else {
      return
    }
    this.#observer.breakerMoved(breaker.state, breaker.reason)
    this.#relimit()
  }

  #relimit (): void {
    const { state } = this.breaker
    this.#startLimit = state === 'closed' ? this.limit : state === 'probing' ? 1 : 0
  }
}

/** Whether what was asked says that it is too much now. */
function isRefusal (error: unknown): boolean {
  const { retryAfterMs } = adviceOf(error)
  return typeof retryAfterMs === 'number' && retryAfterMs > 0
}
