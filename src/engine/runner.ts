import {
  asError, AttemptsUsedUpError, DivertedError, HandlerNeverSettledError, HandlerTimeoutError, PartitionGivenUpError
} from './attempt-errors.js'
import { Breaker, type BreakerOptions } from './breaker.js'
import { DelayQueue } from './delay-queue.js'
import { Entry, Run } from './entry.js'
import type { OwnedPartition } from './owned-partition.js'
import { isDrop, isOutage, isRetriable, retryDelay, type RetryPolicy } from './retry.js'
import { Scheduler, type Order } from './scheduler.js'
import type { Clock, Handler, Observer, Outcome, Sink } from './types.js'

export interface RunnerOptions {
  readonly order: Order
  /** Handlers in flight at once, in the whole process. */
  readonly maxInFlight: number
  /** After this a handler's signal is aborted. */
  readonly handlerTimeoutMs: number
  /** How long after that it may take to settle before its slot is taken from it. */
  readonly handlerGraceMs: number
  /** Handlers that never settled, at most: at the cap they keep their slots, and admission stops. */
  readonly maxAbandoned: number
  readonly retry: RetryPolicy
  /** What becomes of a record whose attempts are used up. */
  readonly exhausted: 'dead-letter' | 'block' | 'skip'
  /** A wait of at least this goes through the retry topic instead of holding the record's key here. `null`: there is none. */
  readonly deferAfterMs: number | null
  readonly breaker: BreakerOptions
}

/** Where attempts are written down, so that they outlive the process. */
export interface AttemptLog {
  /** The attempts of a partition have changed: answers the number of the commit that says so. */
  note (): number
  /** Commits up to this number have been acknowledged, or have failed. */
  readonly settled: number
}

/** A record that is started with care: its attempt is announced, which takes a commit, before it is made. */
interface Alone { readonly entry: Entry, announced: boolean, started: boolean }

/** A dead letter that could not be sent is tried again, at first after this. */
const SINK_RETRY_MS = 500
const SINK_RETRY_MAX_MS = 30_000

/**
 * Runs handlers: never more than the limit at once, in the scheduler's order, with retries, time limits and dead
 * letters. It knows nothing of fetching and committing: `completed` is called for every record that is done for good.
 */
export class Runner {
  readonly scheduler: Scheduler
  readonly #options: RunnerOptions
  readonly #handler: Handler
  readonly #sink: Sink
  readonly #clock: Clock
  readonly #observer: Observer
  readonly #completed: (entry: Entry) => void
  readonly breaker: Breaker
  readonly #log: AttemptLog
  // Between two attempts, or between two tries to send them off.
  readonly #delayed: DelayQueue
  // Due again, but what is to be remembered of their attempts is not written down yet.
  #unwritten: Entry[] = []
  readonly #blocked = new Set<Entry>()
  // Told to end because they hold up their partition.
  readonly #diverted = new Set<Entry>()
  // A record that is started with care, until its attempt has ended: see `#goOnAlone`. Nothing else is started meanwhile.
  #alone: Alone | null = null
  #limit: number
  // How many may run now: the limit, or less while the breaker is not closed.
  #startLimit: number
  #inFlight = 0
  #abandoned = 0
  #sending = 0
  // Attempts that ended well, ever.
  #handled = 0
  #oldest: Entry | null = null
  #newest: Entry | null = null
  #pumping = false
  /** Why the last dead letter could not be sent, `null` once one could. */
  deadLetterError: Error | null = null

  constructor (
    options: RunnerOptions,
    ports: { handler: Handler, sink: Sink, clock: Clock, observer: Observer },
    log: AttemptLog,
    completed: (entry: Entry) => void
  ) {
    this.#options = options
    this.#handler = ports.handler
    this.#sink = ports.sink
    this.#clock = ports.clock
    this.#observer = ports.observer
    this.#log = log
    this.#completed = completed
    this.#limit = this.#startLimit = options.maxInFlight
    this.scheduler = new Scheduler(options.order)
    this.breaker = new Breaker(options.breaker)
    this.#delayed = new DelayQueue(ports.clock, entries => this.#due(entries))
  }

  get inFlight (): number { return this.#inFlight }
  get abandoned (): number { return this.#abandoned }
  /** Dead letters, and records for the retry topic, that wait for their acknowledgement. */
  get deadLettering (): number { return this.#sending }
  /** Records between two attempts, or between two tries to send them off. */
  get retrying (): number { return this.#delayed.size + this.#unwritten.length }
  /** Records whose attempts are used up, and that hold their key for want of a dead-letter topic. */
  get blocked (): number { return this.#blocked.size }
  get saturatedByAbandoned (): boolean { return this.#abandoned >= this.#options.maxAbandoned }

  /** Handlers in flight at once, in the whole process. What is in flight above a new limit ends in its own time. */
  get limit (): number { return this.#limit }
  set limit (limit: number) {
    this.#limit = limit
    this.#relimit()
    this.pump()
  }

  /** @param delayMs it is not due before that */
  add (entry: Entry, delayMs = 0): void {
    // Whoever blocks rather than loses gets another attempt from a process that starts anew.
    const { exhausted, retry } = this.#options
    if (exhausted === 'block' && entry.attempts >= retry.maxAttempts) entry.attempts = retry.maxAttempts - 1
    if (delayMs > 0) this.#delayed.push(entry, delayMs)
    else if (entry.partition.begunBy > this.#log.settled) this.#unwritten.push(entry)
    else this.scheduler.add(entry)
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
        if (this.#inFlight >= this.#startLimit) break
        const entry = this.scheduler.take() as Entry | null
        if (entry === null) break
        if (entry.attempts >= this.#options.retry.maxAttempts) this.#usedUp(entry, new AttemptsUsedUpError(entry.attempts))
        else if (entry.partition.careful > 0) this.#alone = { entry, announced: false, started: false }
        else this.#start(entry)
      }
    } finally {
      this.#pumping = false
    }
  }

  /** Looks for handlers whose time is over. Called every turn of the loop: limits are kept to about 100 ms. */
  sweep (): void {
    const { handlerTimeoutMs, handlerGraceMs } = this.#options
    const now = this.#clock.now()
    for (let entry = this.#oldest; entry !== null;) {
      const run = entry.run!
      const next = run.after
      // The list is in the order of starting, so the first that still has time ends the search.
      if (now - run.startedAt < handlerTimeoutMs) break
      if (run.expiredAt === null) {
        run.expiredAt = now
        run.abort(new HandlerTimeoutError(handlerTimeoutMs))
      } else if (now - run.expiredAt >= handlerGraceMs && !this.saturatedByAbandoned) {
        this.#abandon(entry, run)
      }
      entry = next
    }
    for (const entry of this.#diverted) {
      const run = entry.run!
      if (run.settled || run.abandoned) this.#diverted.delete(entry)
      else if (now - run.expiredAt! >= handlerGraceMs && !this.saturatedByAbandoned) this.#abandon(entry, run)
    }
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
    const ofIt = (entry: Entry) => entry.partition === partition
    const dropped = [...this.#delayed.remove(ofIt), ...this.#unwritten.filter(ofIt), ...[...this.#blocked].filter(ofIt)]
    if (this.#unwritten.length > 0) this.#unwritten = this.#unwritten.filter(entry => !ofIt(entry))
    if (this.#alone?.entry.partition === partition) {
      if (!this.#alone.started) dropped.push(this.#takeBack(this.#alone))
      this.#alone = null
    }
    for (const entry of dropped) {
      this.#blocked.delete(entry)
      this.#leaveLane(entry)
    }
  }

  /** Aborts the signals of a partition's handlers. */
  abort (partition: OwnedPartition, reason: Error): void {
    for (let entry = this.#oldest; entry !== null; entry = entry.run!.after) {
      if (entry.partition === partition) entry.run!.abort(reason)
    }
  }

  /**
   * Takes a record out of the way of its partition: told to end where it runs, and sent off with its attempts as they are.
   * Returns it, or `null` where nothing can be done about it: it waits for its turn, is on its way already, or is meant to block.
   */
  divert (partition: OwnedPartition, sequence: number): Entry | null {
    const wanted = (entry: Entry) => entry.partition === partition && entry.sequence === sequence
    for (let entry = this.#oldest; entry !== null; entry = entry.run!.after) {
      if (!wanted(entry)) continue
      if (entry.diverted) return null
      entry.trouble.diverted = true
      entry.run!.expiredAt ??= this.#clock.now()
      entry.run!.abort(new DivertedError())
      this.#diverted.add(entry)
      return entry
    }
    const waiting = this.#delayed.find(wanted) ?? this.#unwritten.find(wanted)
    if (waiting === undefined || waiting.failure !== null) return null
    this.#delayed.remove(wanted)
    this.#unwritten = this.#unwritten.filter(entry => entry !== waiting)
    waiting.trouble.diverted = true
    this.#usedUp(waiting, new DivertedError())
    return waiting
  }

  /** A commit has been acknowledged, or has failed: what waited for it to be written down goes on. */
  attemptsWritten (): void {
    if (this.#unwritten.length === 0 && this.#alone === null) return
    const due = this.#unwritten
    this.#unwritten = []
    this.#due(due)
  }

  #start (entry: Entry): void {
    const run = new Run(++entry.attempts, this.#clock.now())
    run.probe = this.breaker.state === 'probing'
    entry.run = run
    this.#inFlight++
    entry.partition.inFlight++
    this.#link(entry, run)
    let result
    try {
      result = this.#handler(entry.record, run)
      // What only looks like a promise may settle twice, or throw: made into a real one, it can't.
      if (isThenable(result) && !(result instanceof Promise)) result = Promise.resolve(result)
    } catch (error) {
      this.#ended(entry, run, error, true)
      return
    }
    if (result instanceof Promise) {
      result.then(() => this.#ended(entry, run, null, false), error => this.#ended(entry, run, error, true))
    } else {
      this.#ended(entry, run, null, false)
    }
  }

  #ended (entry: Entry, run: Run, error: unknown, failed: boolean): void {
    run.settled = true
    if (run.abandoned) {
      this.#abandoned--
      // Where its record is done for already, its key has waited for this moment.
      if (run.recordDone) this.#leaveLane(entry)
      this.pump()
      return
    }
    this.#leaveSlot(entry, run)
    const seconds = (this.#clock.now() - run.startedAt) / 1000
    this.#observer.attemptEnded(entry.record, failed ? (run.expiredAt === null ? 'failed' : 'timed-out') : 'ok', seconds)
    if (!entry.partition.owned) {
      // 1. The record was in flight. 2. Its partition was revoked or lost. 3. Its handler ends here.
      // Its epoch is over: whoever owns the partition now decides about the record.
      this.#leaveLane(entry)
    } else if (!failed) {
      this.#handled++
      if (run.probe || this.breaker.closed) this.#tellBreaker(entry, run, null)
      this.#complete(entry, 'handled')
    } else {
      this.#failed(entry, run, asError(error))
    }
    this.pump()
  }

  #failed (entry: Entry, run: Run, error: Error): void {
    const retriable = isRetriable(error)
    const { draining } = entry.partition
    if (!entry.diverted && !draining) this.#tellBreaker(entry, run, retriable ? error : null)
    // What fails during an outage does not lose attempts by it: neither what opened the breaker nor what comes after.
    const excused = retriable && !run.abandoned && ((isOutage(error) && this.#isOutageStill(entry)) || !this.breaker.closed)
    if (draining) {
      // An attempt that was cut short is none.
      if (excused || run.abortReason instanceof PartitionGivenUpError) entry.attempts--
      this.#remember(entry)
      this.#observer.attemptFailed(entry.record, run.attempt, error, 'given-back', null)
      this.#leaveLane(entry)
      return
    }
    if (excused) entry.attempts--
    const last = run.abandoned || entry.diverted
    const delayMs = last ? null : retryDelay(this.#options.retry, entry.attempts, error, this.#clock.random(), entry.excuses)
    this.#remember(entry)
    if (isDrop(error)) {
      this.#observer.attemptFailed(entry.record, run.attempt, error, 'drop', null)
      this.#complete(entry, 'skipped')
    } else if (delayMs === null) {
      this.#usedUp(entry, error)
    } else if (this.#options.deferAfterMs !== null && delayMs >= this.#options.deferAfterMs) {
      this.#observer.attemptFailed(entry.record, run.attempt, error, 'defer', delayMs)
      entry.trouble.failure = error
      entry.trouble.deferMs = delayMs
      this.#sendOff(entry)
    } else {
      this.#observer.attemptFailed(entry.record, run.attempt, error, 'retry', delayMs)
      this.#delayed.push(entry, delayMs)
    }
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

  /** Nothing more is tried with it here. */
  #usedUp (entry: Entry, error: Error): void {
    const { exhausted, deferAfterMs, retry } = this.#options
    entry.trouble.failure = error
    if (entry.diverted && deferAfterMs !== null && entry.attempts < retry.maxAttempts) entry.trouble.deferMs = deferAfterMs
    const then = entry.deferMs === null ? exhausted : 'defer'
    this.#observer.attemptFailed(entry.record, entry.attempts, error, then, entry.deferMs)
    if (then === 'skip') this.#complete(entry, 'skipped')
    else if (then === 'block') this.#blocked.add(entry)
    else this.#sendOff(entry)
  }

  /** Sends it to the dead-letter topic, or to the retry topic. */
  #sendOff (entry: Entry): void {
    const { partition } = entry
    partition.deadLettering++
    this.#sending++
    const sent = () => {
      this.deadLetterError = null
      if (partition.owned) this.#complete(entry, entry.deferMs === null ? 'dead-lettered' : 'deferred')
      else this.#leaveLane(entry)
    }
    const refused = (error: unknown) => {
      this.deadLetterError = asError(error)
      // What the retry topic does not take waits in place after all, or is a dead letter where it may not wait.
      const waits = entry.deferMs !== null && !entry.diverted
      const delayMs = waits ? entry.deferMs! : Math.min(SINK_RETRY_MAX_MS, SINK_RETRY_MS * 2 ** entry.trouble.refusals++)
      this.#observer.deadLetterRefused(entry.record, this.deadLetterError, delayMs)
      if (waits) entry.trouble.failure = null
      entry.trouble.deferMs = null
      if (partition.owned && !partition.draining) this.#delayed.push(entry, delayMs)
      else this.#leaveLane(entry)
    }
    const arrived = (then: () => void) => {
      partition.deadLettering--
      this.#sending--
      then()
      this.pump()
    }
    let sending
    try {
      sending = this.#sink({ record: entry.record, attempts: entry.attempts, error: entry.failure!, retryInMs: entry.deferMs })
    } catch (error) {
      sending = Promise.reject(error)
    }
    sending.then(() => arrived(sent), error => arrived(() => refused(error)))
  }

  /** Notes the attempts of a record that is not done, to be committed with the offsets. */
  #remember (entry: Entry): void {
    entry.partition.remember(entry.record, entry.attempts)
    entry.trouble.ticket = this.#log.note()
  }

  /**
   * Starts a record with care: once nothing else is in flight, and its attempt is written down. Whatever ends the process then
   * is this one, and it is counted. Returns whether that changed anything.
   */
  #goOnAlone (alone: Alone): boolean {
    const { entry } = alone
    if (alone.started || this.#inFlight > 0) return false
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
    alone.started = true
    this.#start(entry)
    return true
  }

  /** It is not started after all: its attempt is none. */
  #takeBack ({ entry, announced }: Alone): Entry {
    if (announced) entry.partition.remember(entry.record, entry.attempts)
    return entry
  }

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
    this.#startLimit = state === 'closed' ? this.#limit : state === 'probing' ? 1 : 0
  }

  #abandon (entry: Entry, run: Run): void {
    run.abandoned = true
    this.#abandoned++
    this.#leaveSlot(entry, run)
    const seconds = (this.#clock.now() - run.startedAt) / 1000
    this.#observer.attemptEnded(entry.record, 'abandoned', seconds)
    if (entry.partition.owned) this.#failed(entry, run, new HandlerNeverSettledError(run.attempt, seconds))
    else this.#leaveLane(entry)
  }

  #complete (entry: Entry, outcome: Outcome): void {
    const { partition } = entry
    this.#observer.completed(entry.record, outcome, entry.attempts)
    if (partition.attempts.size > 0) partition.attempts.delete(entry.record.offset)
    if (partition.careful > 0) partition.careful--
    this.#leaveLane(entry)
    this.#completed(entry)
  }

  /** Ends a record here. The lane of an abandoned run stays held until that run settles. */
  #leaveLane (entry: Entry): void {
    const { run } = entry
    if (run !== null) run.recordDone = true
    const running = run !== null && run.abandoned && !run.settled
    if (!running && entry.lane !== null) this.scheduler.release(entry)
  }

  #due (entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.failure !== null) this.#sendOff(entry)
      else if (Math.max(entry.ticket, entry.partition.begunBy) > this.#log.settled) this.#unwritten.push(entry)
      else if (entry.lane === null) this.scheduler.add(entry)
      else this.scheduler.putBack(entry)
    }
    this.pump()
  }

  #leaveSlot (entry: Entry, run: Run): void {
    this.#unlink(run)
    this.#inFlight--
    entry.partition.inFlight--
    if (this.#alone?.entry === entry) this.#alone = null
  }

  #link (entry: Entry, run: Run): void {
    run.before = this.#newest
    if (this.#newest === null) this.#oldest = entry
    else this.#newest.run!.after = entry
    this.#newest = entry
  }

  #unlink (run: Run): void {
    if (run.before === null) this.#oldest = run.after
    else run.before.run!.after = run.after
    if (run.after === null) this.#newest = run.before
    else run.after.run!.before = run.before
    run.before = run.after = null
  }
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}
