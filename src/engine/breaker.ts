/** When to stop working because hardly anything succeeds. */
export interface BreakerOptions {
  /** Share of the last records whose newest attempt failed, above 0 and up to 1, at which it opens. 0: never. */
  readonly failureShare: number
  /** How many different records are looked at. Fewer never open it: one that fails for ever is not an outage. */
  readonly records: number
  /** From opening to the first probe; it doubles with each probe that fails. */
  readonly probeMs: number
  /** What the doubling stops at. */
  readonly probeMaxMs: number
}

/** `open`: nothing is started. `probing`: one record at a time, until one succeeds. */
export type BreakerState = 'closed' | 'open' | 'probing'

/**
 * Tells an outage of what the handler depends on from records that are bad themselves: where most of the last records
 * failed with errors that are worth a retry, more attempts would only use up theirs, and flush a topic into the dead letters.
 *
 * It counts records, not attempts: each one by its newest attempt. Only failures that are worth a retry count; an answer
 * that a record is no good is an answer.
 */
export class Breaker {
  readonly #options: BreakerOptions
  // The last different records, oldest overwritten first. Empty as long as nothing fails: success costs nothing then.
  #records: (object | null)[]
  #failed: boolean[]
  #next = 0
  #noted = 0
  #failures = 0
  #state: BreakerState = 'closed'
  #probeAt = 0
  #waitMs = 0
  #reason: string | null = null

  constructor (options: BreakerOptions) {
    this.#options = options
    this.#records = new Array(options.records).fill(null)
    this.#failed = new Array(options.records).fill(false)
  }

  get state (): BreakerState { return this.#state }
  get closed (): boolean { return this.#state === 'closed' }
  /** Why it is not closed, in a sentence for an operator; `null` while it is. */
  get reason (): string | null { return this.#reason }

  /** An attempt ended while it was closed. Returns whether that opened it. */
  note (record: object, failure: Error | null, now: number): boolean {
    const failed = failure !== null
    if (!failed && this.#failures === 0) return false
    const { failureShare, records } = this.#options
    if (failureShare === 0) return false
    let slot = this.#records.indexOf(record)
    if (slot === -1) {
      slot = this.#next
      this.#next = (slot + 1) % records
      this.#noted = Math.min(records, this.#noted + 1)
    }
    this.#failures += Number(failed) - Number(this.#failed[slot])
    this.#records[slot] = record
    this.#failed[slot] = failed
    if (!failed || this.#noted < records || this.#failures < failureShare * records) {
      if (this.#failures === 0) this.#forget()
      return false
    }
    this.#reason = `${this.#failures} of the last ${records} records failed with errors that are worth a retry: ` +
      `handling is paused, and one record is tried from time to time; the last error: ${failure!.message.slice(0, 200)}`
    this.#forget()
    this.#state = 'open'
    this.#waitMs = this.#options.probeMs
    this.#probeAt = now + this.#waitMs
    return true
  }

  /** A record that was started while `probing` ended. */
  probed (succeeded: boolean, now: number): void {
    if (this.#state !== 'probing') return
    if (succeeded) {
      this.#state = 'closed'
      this.#reason = null
    } else {
      this.#state = 'open'
      this.#waitMs = Math.min(this.#options.probeMaxMs, this.#waitMs * 2)
      this.#probeAt = now + this.#waitMs
    }
  }

  /** Time has passed. Returns whether it begins to probe now. */
  tick (now: number): boolean {
    if (this.#state !== 'open' || now < this.#probeAt) return false
    this.#state = 'probing'
    return true
  }

  #forget (): void {
    this.#records.fill(null)
    this.#failed.fill(false)
    this.#next = this.#noted = this.#failures = 0
  }
}
