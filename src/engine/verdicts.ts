import { asError } from './attempt-errors.js'
import { DelayQueue } from './delay-queue.js'
import type { Entry } from './entry.js'
import type { OwnedPartition } from './owned-partition.js'
import { isDrop, retryDelay, type RetryPolicy } from './retry.js'
import type { Scheduler } from './scheduler.js'
import type { Clock, Observer, Outcome, Sink } from './types.js'

export interface VerdictOptions {
  readonly retry: RetryPolicy
  /** What becomes of a record whose attempts are used up. */
  readonly exhausted: 'dead-letter' | 'block' | 'skip'
  /** A wait of at least this goes through the retry topic instead of holding the record's key here. `null`: there is none. */
  readonly deferAfterMs: number | null
}

/** What is to be known of a failed attempt beside its error. */
export interface Circumstances {
  /** It does not count: something else is to blame. */
  readonly excused: boolean
  /** Nothing more is tried with the record here, whatever its attempts. */
  readonly last: boolean
  /** It was made in a batch of many that failed as a whole: nobody knows whether the record is at fault. */
  readonly suspect: boolean
}

/** Where attempts are written down, so that they outlive the process. */
export interface AttemptLog {
  /** The attempts of a partition have changed: answers the number of the commit that says so. */
  note (): number
  /** Commits up to this number have been acknowledged, or have failed. */
  readonly settled: number
}

/** Is told of a record that is done for good; `value` is what its handler answered for it. */
export type Completed = (entry: Entry, value: unknown) => void

/** A dead letter that could not be sent is tried again, at first after this. */
const SINK_RETRY_MS = 500
const SINK_RETRY_MAX_MS = 30_000

/**
 * What becomes of a record once an attempt at it has ended: it is completed, waits to be tried again, or is sent to the
 * dead-letter topic or the retry topic. Its lane is held until then.
 */
export class Verdicts {
  readonly #options: VerdictOptions
  readonly #scheduler: Scheduler
  readonly #sink: Sink
  readonly #clock: Clock
  readonly #observer: Observer
  readonly #log: AttemptLog
  readonly #completed: Completed
  readonly #pump: () => void
  // Between two attempts, or between two tries to send them off.
  readonly #delayed: DelayQueue
  // Due again, but what is to be remembered of their attempts is not written down yet.
  #unwritten: Entry[] = []
  readonly #blocked = new Set<Entry>()
  #sending = 0
  /** Why the last dead letter could not be sent, `null` once one could. */
  deadLetterError: Error | null = null

  /** @param pump something may be started: called after what happens by itself */
  constructor (
    options: VerdictOptions,
    ports: { sink: Sink, clock: Clock, observer: Observer },
    scheduler: Scheduler,
    log: AttemptLog,
    completed: Completed,
    pump: () => void
  ) {
    this.#options = options
    this.#scheduler = scheduler
    this.#sink = ports.sink
    this.#clock = ports.clock
    this.#observer = ports.observer
    this.#log = log
    this.#completed = completed
    this.#pump = pump
    this.#delayed = new DelayQueue(ports.clock, entries => this.#due(entries))
  }

  /** Dead letters, and records for the retry topic, that wait for their acknowledgement. */
  get sending (): number { return this.#sending }
  /** Records between two attempts, or between two tries to send them off. */
  get retrying (): number { return this.#delayed.size + this.#unwritten.length }
  /** Records whose attempts are used up, and that hold their key for want of a dead-letter topic. */
  get blocked (): number { return this.#blocked.size }

  /** @param delayMs it is not due before that */
  add (entry: Entry, delayMs: number): void {
    // Whoever blocks rather than loses gets another attempt from a process that starts anew.
    const { exhausted, retry } = this.#options
    if (exhausted === 'block' && entry.attempts >= retry.maxAttempts) entry.attempts = retry.maxAttempts - 1
    if (delayMs > 0) this.#delayed.push(entry, delayMs)
    else if (entry.partition.begunBy > this.#log.settled) this.#unwritten.push(entry)
    else this.#scheduler.add(entry)
  }

  complete (entry: Entry, outcome: Outcome, value?: unknown): void {
    const { partition } = entry
    this.#observer.completed(entry.record, outcome, entry.attempts)
    if (partition.attempts.size > 0) partition.attempts.delete(entry.record.offset)
    if (partition.careful > 0) partition.careful--
    this.leaveLane(entry)
    this.#completed(entry, value)
  }

  failed (entry: Entry, error: Error, { excused, last, suspect }: Circumstances): void {
    const attempt = entry.attempts
    // In a drain as well: what came after it in its batch may be done.
    if (isDrop(error)) {
      this.#observer.attemptFailed(entry.record, attempt, error, 'drop', null)
      this.complete(entry, 'skipped')
      return
    }
    if (excused) entry.attempts--
    else if (suspect) this.suspect(entry)
    if (entry.partition.draining) {
      this.remember(entry)
      this.#observer.attemptFailed(entry.record, attempt, error, 'given-back', null)
      this.leaveLane(entry)
      return
    }
    const delayMs = last ? null : retryDelay(this.#options.retry, entry.attempts, error, this.#clock.random(), entry.excuses)
    this.remember(entry)
    if (delayMs === null) {
      this.usedUp(entry, error)
    } else if (this.#options.deferAfterMs !== null && delayMs >= this.#options.deferAfterMs) {
      this.#observer.attemptFailed(entry.record, attempt, error, 'defer', delayMs)
      entry.trouble.failure = error
      entry.trouble.deferMs = delayMs
      this.#sendOff(entry)
    } else {
      this.#observer.attemptFailed(entry.record, attempt, error, 'retry', delayMs)
      this.#delayed.push(entry, delayMs)
    }
  }

  /** Nothing more is tried with it here. */
  usedUp (entry: Entry, error: Error): void {
    const { exhausted, deferAfterMs, retry } = this.#options
    entry.trouble.failure = error
    if (entry.diverted && deferAfterMs !== null && entry.attempts < retry.maxAttempts) entry.trouble.deferMs = deferAfterMs
    const then = entry.deferMs === null ? exhausted : 'defer'
    this.#observer.attemptFailed(entry.record, entry.attempts, error, then, entry.deferMs)
    if (then === 'skip') this.complete(entry, 'skipped')
    else if (then === 'block') this.#blocked.add(entry)
    else this.#sendOff(entry)
  }

  /** What was taken with a record that came before it in its lane and failed is the next of that lane again. */
  giveBack (entry: Entry): void {
    if (entry.partition.owned && !entry.partition.draining) this.#scheduler.putBack(entry)
    else this.leaveLane(entry)
  }

  /** A batch of many with it failed as a whole: it goes alone from now on, and the attempt counts, but not as its last. */
  suspect (entry: Entry): void {
    entry.trouble.suspect = true
    if (entry.attempts >= this.#options.retry.maxAttempts) entry.attempts--
  }

  /** Notes the attempts of a record that is not done, to be committed with the offsets. */
  remember (entry: Entry): void {
    entry.partition.remember(entry.record, entry.attempts)
    entry.trouble.ticket = this.#log.note()
  }

  /** Ends a record here. The lane of an abandoned run stays held until that run settles. */
  leaveLane (entry: Entry): void {
    const { run } = entry
    if (run !== null && run.abandoned && !run.settled) entry.trouble.done = true
    else if (entry.lane !== null) this.#scheduler.release(entry)
  }

  /** Takes a record out that waits for its next attempt, and sends it off as it is. `null`: it does not wait for one. */
  divert (wanted: (entry: Entry) => boolean, error: Error): Entry | null {
    const waiting = this.#delayed.find(wanted) ?? this.#unwritten.find(wanted)
    if (waiting === undefined || waiting.failure !== null) return null
    this.#delayed.remove(wanted)
    this.#unwritten = this.#unwritten.filter(entry => entry !== waiting)
    waiting.trouble.diverted = true
    this.usedUp(waiting, error)
    return waiting
  }

  /** Forgets what waits of a partition. */
  drop (partition: OwnedPartition): void {
    const ofIt = (entry: Entry) => entry.partition === partition
    const dropped = [...this.#delayed.remove(ofIt), ...this.#unwritten.filter(ofIt), ...[...this.#blocked].filter(ofIt)]
    if (this.#unwritten.length > 0) this.#unwritten = this.#unwritten.filter(entry => !ofIt(entry))
    for (const entry of dropped) {
      this.#blocked.delete(entry)
      this.leaveLane(entry)
    }
  }

  /** A commit has been acknowledged, or has failed: what waited for it to be written down goes on. */
  attemptsWritten (): void {
    if (this.#unwritten.length === 0) return
    const due = this.#unwritten
    this.#unwritten = []
    this.#due(due)
  }

  #due (entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.failure !== null) this.#sendOff(entry)
      else if (Math.max(entry.ticket, entry.partition.begunBy) > this.#log.settled) this.#unwritten.push(entry)
      else if (entry.lane === null) this.#scheduler.add(entry)
      else this.#scheduler.putBack(entry)
    }
    this.#pump()
  }

  /** Sends it to the dead-letter topic, or to the retry topic. */
  #sendOff (entry: Entry): void {
    const { partition } = entry
    partition.deadLettering++
    this.#sending++
    const sent = (value: unknown) => {
      this.deadLetterError = null
      if (partition.owned) this.complete(entry, entry.deferMs === null ? 'dead-lettered' : 'deferred', value)
      else this.leaveLane(entry)
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
      else this.leaveLane(entry)
    }
    const arrived = (then: () => void) => {
      partition.deadLettering--
      this.#sending--
      then()
      this.#pump()
    }
    let sending
    try {
      sending = this.#sink({ record: entry.record, attempts: entry.attempts, error: entry.failure!, retryInMs: entry.deferMs })
    } catch (error) {
      sending = Promise.reject(error)
    }
    sending.then(value => arrived(() => sent(value)), error => arrived(() => refused(error)))
  }
}
