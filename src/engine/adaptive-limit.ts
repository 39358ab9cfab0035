/** How an attempt ended, as far as it says something about how much may be in flight. */
export interface AttemptEnd {
  /** Monotonic, in milliseconds. */
  readonly startedAt: number
  readonly endedAt: number
  /** `overloaded`: what was asked says that it is too much. `failed`: for reasons of its own. */
  readonly outcome: 'done' | 'overloaded' | 'failed'
  /** As many were in flight as may be, and more waited: the limit is what held back. */
  readonly saturated: boolean
}

/** What a limit that follows its target may be. */
export interface AdaptiveLimitOptions {
  /** 1 or more. It begins here. */
  readonly min: number
  readonly max: number
}

/** Attempts that are looked at together: as many as the limit, but not fewer than this. */
const WINDOW_MIN = 10
/** Up to this much above the time that an attempt takes by itself, nothing waits in the target: more may be tried. */
const CALM = 1.1
/** From this much on the target's queue has become long, and less is tried. */
const CROWDED = 1.25
/** No window takes more than half away. */
const DECREASE_MAX = 0.5
/** The share by which it grows; doubled with each window that bears it, and begun again after each decrease. */
const STEP_MIN = 0.05
const STEP_MAX = 0.5
/** The share by which it shrinks where attempts are refused; doubled while that goes on. */
const BACK_OFF_MIN = 0.05
/** Where refusals were met, so many windows have to be calm before more is tried again. */
const PATIENCE = 10
/** And up to this much above it grows in small steps. */
const NEAR = 1.3
/** Of a window, this share of refusals is enough: the others need not be waited for. */
const OVERLOADED_SHARE = 0.1
const OVERLOADED_MIN = 2

/**
 * How many handlers may be in flight, found from how attempts end: as many as the target works on at the same time, and few more.
 *
 * Beyond what a target can do at once, more attempts only wait in it: each takes longer, and no more get done. So attempts are looked
 * at in windows, all of them begun under the same limit. Where a window took about as long as attempts take by themselves and the
 * limit is what held back, it grows. Where it took clearly longer, it shrinks to what, by Little's law, would not have waited. Where
 * attempts were refused as too much, it shrinks by their share.
 *
 * How long attempts take by themselves is the least mean of a window so far, and is questioned: where a limit that has shrunk makes
 * nothing quicker, it was not the limit that made it slow. Then that is how long they take now, and the limit is what it was.
 *
 * Never below `min` nor above `max`. Reads no clock. O(1) an attempt.
 */
export class AdaptiveLimit {
  readonly #min: number
  #max: number
  #limit: number
  #step = STEP_MAX
  #backOff = BACK_OFF_MIN
  /** The last window was crowded. */
  #crowded = false
  /** What an attempt takes by itself, `null` while that is not known. */
  #alone: number | null = null
  /** From where it shrank because attempts took this long. To be judged by the next window. */
  #shrunk: { readonly from: number, readonly meanMs: number } | null = null
  /** The limit at which attempts were last refused. */
  #refusedAt = 0
  /** For a while it does not grow beyond this, because more was refused. */
  #ceiling = Infinity
  /** Calm windows since it was reached. */
  #patience = 0
  /** Only this window has a lower limit, to see what an attempt takes by itself. */
  #returnTo: number | null = null
  // The window: what was begun since the limit last changed.
  #since = -Infinity
  #done = 0
  #sumMs = 0
  #overloaded = 0
  #saturated = 0

  constructor ({ min, max }: AdaptiveLimitOptions) {
    this.#min = min
    this.#max = Math.max(min, max)
    this.#limit = min
  }

  /** A whole number. */
  get limit (): number { return Math.min(this.#max, Math.max(this.#min, Math.round(this.#limit))) }

  /** An operator's own limit may be lower than `min`, and holds. */
  get max (): number { return this.#max }
  set max (max: number) { this.#max = max }

  /**
   * Whether a lower limit is the answer to a refusal of what began then: it began under another limit, or this one can still shrink.
   * Where not, the target refuses even the least.
   */
  answers (startedAt: number): boolean { return startedAt <= this.#since || this.limit > this.#min }

  /** An attempt has ended: the limit may be another one afterwards. */
  ended ({ startedAt, endedAt, outcome, saturated }: AttemptEnd): void {
    // What began earlier tells of another limit.
    if (startedAt <= this.#since || outcome === 'failed') return
    if (saturated) this.#saturated++
    if (outcome === 'overloaded') this.#overloaded++
    else {
      this.#done++
      this.#sumMs += endedAt - startedAt
    }
    const window = Math.max(WINDOW_MIN, this.limit)
    if (this.#overloaded >= Math.max(OVERLOADED_MIN, window * OVERLOADED_SHARE)) this.#refused(endedAt)
    else if (this.#done + this.#overloaded >= window) {
      if (this.#overloaded > 0) this.#refused(endedAt)
      else this.#look(endedAt)
    }
  }

  #refused (now: number): void {
    // Not by their share: refusals come back quickly, and are soon the most of all ends.
    const next = Math.max(this.#min, Math.min(this.limit - 1, this.limit * (1 - this.#backOff)))
    this.#backOff = Math.min(DECREASE_MAX, this.#backOff * 2)
    this.#shrunk = this.#returnTo = null
    this.#crowded = false
    this.#step = STEP_MIN
    this.#refusedAt = this.limit
    this.#ceiling = next
    this.#patience = PATIENCE
    this.#begin(next, now)
  }

  #look (now: number): void {
    const meanMs = this.#sumMs / this.#done
    const { limit } = this
    // An attempt that takes no time is waited for by nobody.
    const alone = this.#alone ??= meanMs
    if (this.#shrunk !== null) {
      const { from, meanMs: before } = this.#shrunk
      this.#shrunk = null
      const helped = meanMs <= before * (1 - (1 - limit / from) / 2)
      if (!helped && this.#isSaturated) {
        this.#alone = meanMs
        this.#begin(from, now)
        return
      }
    }
    this.#alone = Math.min(alone, meanMs)
    if (this.#returnTo !== null) {
      const limit = this.#returnTo
      this.#returnTo = null
      this.#begin(limit, now)
      return
    }
    if (meanMs * CALM < alone && limit > this.#min) {
      // It has become quicker than it ever was, and nobody knows how much of this is waiting: for one window, nothing is to wait.
      this.#returnTo = limit
      this.#crowded = false
      this.#begin(limit * DECREASE_MAX, now)
      return
    }
    this.#backOff = BACK_OFF_MIN
    const crowding = this.#alone > 0 ? meanMs / this.#alone : 1
    const wasCrowded = this.#crowded
    this.#crowded = this.#isSaturated && crowding > CROWDED
    if (!this.#isSaturated || (crowding > CALM && crowding <= CROWDED)) {
      this.#begin(limit, now)
    } else if (crowding <= CALM) {
      this.#grow(now)
    } else if (!wasCrowded) {
      // Something has changed while this window lasted. Only one that begins now shows what it has come to.
      this.#since = now
      this.#begin(limit, now)
    } else {
      this.#crowded = false
      this.#step = STEP_MIN
      const next = limit * Math.max(DECREASE_MAX, CALM / crowding)
      if (Math.round(next) < limit && limit > this.#min) this.#shrunk = { from: limit, meanMs }
      this.#begin(next, now)
    }
  }

  #grow (now: number): void {
    if (this.limit >= Math.floor(this.#ceiling) && --this.#patience <= 0) this.#ceiling = Infinity
    const next = this.limit + Math.max(1, this.limit * this.#step)
    // Near to where refusals were met, it is felt for in small steps.
    const near = this.#ceiling < Infinity || next < this.#refusedAt * NEAR
    this.#step = near ? STEP_MIN : Math.min(STEP_MAX, this.#step * 2)
    this.#begin(Math.min(next, this.#ceiling), now)
  }

  get #isSaturated (): boolean { return this.#saturated * 2 >= this.#done + this.#overloaded }

  /** Another window, under this limit. What is in flight still began under another. */
  #begin (limit: number, now: number): void {
    const changed = Math.round(limit) !== this.limit
    this.#limit = Math.min(this.#max, Math.max(this.#min, limit))
    if (changed) this.#since = now
    this.#done = this.#sumMs = this.#overloaded = this.#saturated = 0
  }
}
