/**
 * A budget that fills at a steady rate, up to what may be spent at once.
 *
 * Whoever finds at least one unit in it may spend more than there is: a body that is larger than the whole bucket gets
 * through, and the debt is waited for afterwards. Times are milliseconds of a clock that does not jump. O(1), no timers.
 */
export class TokenBucket {
  readonly #perMs: number
  readonly burst: number
  #level: number
  #at: number

  /** @param perSecond above 0, fractions are fine @param burst at least 1 */
  constructor (perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000
    this.burst = burst
    this.#level = burst
    this.#at = nowMs
  }

  /** What is in it; negative where more was spent. */
  level (nowMs: number): number {
    if (nowMs > this.#at) {
      this.#level = Math.min(this.burst, this.#level + (nowMs - this.#at) * this.#perMs)
      this.#at = nowMs
    }
    return this.#level
  }

  /** How long until there is one unit in it, as long as nobody spends; 0: there is. */
  waitMs (nowMs: number): number {
    // What a rounding error keeps away from a whole unit is not waited for.
    const missing = 1 - this.level(nowMs)
    return missing <= 1e-9 ? 0 : missing / this.#perMs
  }

  /** How long until nothing is owed, as long as nobody spends; 0: nothing is. */
  debtMs (nowMs: number): number {
    const debt = -this.level(nowMs)
    return debt <= 1e-9 ? 0 : debt / this.#perMs
  }

  /** How long until it is full. */
  fullInMs (nowMs: number): number {
    return (this.burst - this.level(nowMs)) / this.#perMs
  }

  spend (units: number): void {
    this.#level -= units
  }
}
