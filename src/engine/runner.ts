import TinyQueue from 'tinyqueue'
import { Entry, Run } from './entry.js'
import type { OwnedPartition } from './owned-partition.js'
import { retryDelay, type RetryPolicy } from './retry.js'
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
}

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
  // Waiting between attempts, the next due first.
  #waiting = queueByDue([])
  readonly #blocked = new Set<Entry>()
  #inFlight = 0
  #abandoned = 0
  #deadLettering = 0
  #oldest: Entry | null = null
  #newest: Entry | null = null
  #pumping = false
  #cancelTimer: (() => void) | null = null
  #timerAt = Infinity
  /** Why the last dead letter could not be sent, `null` once one could. */
  deadLetterError: Error | null = null

  constructor (
    options: RunnerOptions,
    ports: { handler: Handler, sink: Sink, clock: Clock, observer: Observer },
    completed: (entry: Entry) => void
  ) {
    this.#options = options
    this.#handler = ports.handler
    this.#sink = ports.sink
    this.#clock = ports.clock
    this.#observer = ports.observer
    this.#completed = completed
    this.scheduler = new Scheduler(options.order)
  }

  get inFlight (): number { return this.#inFlight }
  get abandoned (): number { return this.#abandoned }
  get deadLettering (): number { return this.#deadLettering }
  /** Records between two attempts, or between two tries to dead-letter them. */
  get retrying (): number { return this.#waiting.length }
  /** Records whose attempts are used up, and that hold their key for want of a dead-letter topic. */
  get blocked (): number { return this.#blocked.size }
  get saturatedByAbandoned (): boolean { return this.#abandoned >= this.#options.maxAbandoned }

  add (entry: Entry): void { this.scheduler.add(entry) }

  /** Starts what may start. Called whenever something was added or has ended. */
  pump (): void {
    // A handler that ends at once comes back here from within the loop below, which goes on anyway.
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#inFlight < this.#options.maxInFlight) {
        const entry = this.scheduler.take() as Entry | null
        if (entry === null) break
        this.#start(entry)
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
    this.pump()
  }

  /** Forgets what has not started of a partition: the next owner gets it. What is in flight goes on. */
  drop (partition: OwnedPartition): void {
    this.scheduler.drop(partition.topic, partition.partition)
    const dropped = [...this.#waiting.data, ...this.#blocked].filter(entry => entry.partition === partition)
    if (dropped.length > 0) {
      this.#waiting = queueByDue(this.#waiting.data.filter(entry => entry.partition !== partition))
      // A timer for what is forgotten would keep the process alive, for a day where a handler asked for that.
      this.#resetTimer()
      for (const entry of dropped) {
        this.#blocked.delete(entry)
        this.#leaveLane(entry)
      }
    }
    this.pump()
  }

  /** Aborts the signals of a partition's handlers. */
  abort (partition: OwnedPartition, reason: Error): void {
    for (let entry = this.#oldest; entry !== null; entry = entry.run!.after) {
      if (entry.partition === partition) entry.run!.abort(reason)
    }
  }

  #start (entry: Entry): void {
    const run = new Run(++entry.attempts, this.#clock.now())
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
      if (entry.finished) this.#leaveLane(entry)
      this.pump()
      return
    }
    this.#unlink(run)
    this.#inFlight--
    entry.partition.inFlight--
    const seconds = (this.#clock.now() - run.startedAt) / 1000
    this.#observer.attemptEnded(entry.record, failed ? (run.expiredAt === null ? 'failed' : 'timed-out') : 'ok', seconds)
    if (!entry.partition.owned) {
      // 1. The record was in flight. 2. Its partition was revoked or lost. 3. Its handler ends here.
      // Its epoch is over: whoever owns the partition now decides about the record.
      this.#leaveLane(entry)
    } else if (!failed) {
      this.#complete(entry, 'handled')
    } else {
      this.#failed(entry, run, asError(error))
    }
    this.pump()
  }

  #failed (entry: Entry, run: Run, error: Error): void {
    const delayMs = run.abandoned ? null : retryDelay(this.#options.retry, run.attempt, error, this.#clock.random())
    if (entry.partition.draining) {
      this.#observer.attemptFailed(entry.record, run.attempt, error, 'given-back', null)
      this.#leaveLane(entry)
    } else if (delayMs !== null) {
      this.#observer.attemptFailed(entry.record, run.attempt, error, 'retry', delayMs)
      this.#wait(entry, delayMs)
    } else {
      this.#observer.attemptFailed(entry.record, run.attempt, error, this.#options.exhausted, null)
      entry.failure = error
      if (this.#options.exhausted === 'dead-letter') this.#deadLetter(entry)
      else if (this.#options.exhausted === 'skip') this.#complete(entry, 'skipped')
      else this.#blocked.add(entry)
    }
  }

  #deadLetter (entry: Entry): void {
    const { partition } = entry
    partition.deadLettering++
    this.#deadLettering++
    const sent = () => {
      this.deadLetterError = null
      if (partition.owned) this.#complete(entry, 'dead-lettered')
      else this.#leaveLane(entry)
    }
    const refused = (error: unknown) => {
      this.deadLetterError = asError(error)
      const delayMs = Math.min(SINK_RETRY_MAX_MS, SINK_RETRY_MS * 2 ** entry.refusals++)
      this.#observer.deadLetterRefused(entry.record, this.deadLetterError, delayMs)
      if (partition.owned && !partition.draining) this.#wait(entry, delayMs)
      else this.#leaveLane(entry)
    }
    const arrived = (then: () => void) => {
      partition.deadLettering--
      this.#deadLettering--
      then()
      this.pump()
    }
    let sending
    try {
      sending = this.#sink({ record: entry.record, attempts: entry.attempts, error: entry.failure! })
    } catch (error) {
      sending = Promise.reject(error)
    }
    sending.then(() => arrived(sent), error => arrived(() => refused(error)))
  }

  #abandon (entry: Entry, run: Run): void {
    run.abandoned = true
    this.#abandoned++
    this.#unlink(run)
    this.#inFlight--
    entry.partition.inFlight--
    const seconds = (this.#clock.now() - run.startedAt) / 1000
    this.#observer.attemptEnded(entry.record, 'abandoned', seconds)
    if (entry.partition.owned) this.#failed(entry, run, new HandlerNeverSettledError(run.attempt, seconds))
    else this.#leaveLane(entry)
  }

  #complete (entry: Entry, outcome: Outcome): void {
    this.#observer.completed(entry.record, outcome, entry.attempts)
    this.#leaveLane(entry)
    this.#completed(entry)
  }

  /** Ends a record here. The lane of an abandoned run stays held until that run settles. */
  #leaveLane (entry: Entry): void {
    entry.finished = true
    const running = entry.run?.abandoned === true && !entry.run.settled
    if (!running && entry.lane !== null) this.scheduler.release(entry)
  }

  #wait (entry: Entry, delayMs: number): void {
    entry.dueAt = this.#clock.now() + delayMs
    this.#waiting.push(entry)
    this.#setTimer()
  }

  #setTimer (): void {
    const next = this.#waiting.peek()
    if (next === undefined || next.dueAt >= this.#timerAt) return
    this.#cancelTimer?.()
    this.#timerAt = next.dueAt
    this.#cancelTimer = this.#clock.schedule(Math.max(0, next.dueAt - this.#clock.now()), () => {
      this.#timerAt = Infinity
      this.#cancelTimer = null
      this.#takeDue()
    })
  }

  #resetTimer (): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#timerAt = Infinity
    this.#setTimer()
  }

  #takeDue (): void {
    const now = this.#clock.now()
    for (let entry = this.#waiting.peek(); entry !== undefined && entry.dueAt <= now; entry = this.#waiting.peek()) {
      this.#waiting.pop()
      if (entry.failure !== null) this.#deadLetter(entry)
      else this.scheduler.putBack(entry)
    }
    this.#setTimer()
    this.pump()
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

/** The reason of a handler's aborted signal once its time limit has passed. */
export class HandlerTimeoutError extends Error {
  constructor (limitMs: number) {
    super(`the handler did not finish within ${limitMs} ms`)
    this.name = 'HandlerTimeoutError'
  }
}

/** What a dead letter says of a record whose handler ignored its signal. */
export class HandlerNeverSettledError extends Error {
  constructor (attempt: number, seconds: number) {
    super(`attempt ${attempt} of the handler had not settled ${seconds.toFixed(1)} s after it began, and did not react to its signal`)
    this.name = 'HandlerNeverSettledError'
  }
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

function asError (thrown: unknown): Error {
  if (thrown instanceof Error) return thrown
  const error = new Error(`the handler threw what is not an Error: ${textOf(thrown).slice(0, 200)}`)
  // An object may still say whether and when it is worth another attempt.
  return typeof thrown === 'object' && thrown !== null ? Object.assign(error, pick(thrown)) : error
}

function pick ({ retriable, retryAfterMs }: { retriable?: unknown, retryAfterMs?: unknown }): object {
  return { retriable, retryAfterMs }
}

function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return typeof value
  }
}

function queueByDue (entries: Entry[]): TinyQueue<Entry> {
  return new TinyQueue(entries, (a, b) => a.dueAt - b.dueAt)
}
