/** How far back the rate looks. */
const windowSeconds = 10
const maxSeconds = 60

/**
 * How fast a queue empties: what left it in each of the last ten seconds.
 *
 * Ten slots, one a second, used in turn; O(1) for each record that leaves. Times are milliseconds of any steady clock.
 */
export class DrainRate {
  readonly #records = new Float64Array(windowSeconds)
  readonly #bytes = new Float64Array(windowSeconds)
  /** The second that the newest slot is for. */
  #second = -Infinity
  /** The second that something left in first, of those that the slots may still hold. */
  #since = -Infinity

  /** Something has left the queue. */
  left (bytes: number, now: number): void {
    const second = this.#turnTo(now)
    const slot = second % windowSeconds
    this.#records[slot]!++
    this.#bytes[slot]! += bytes
  }

  /**
   * Whole seconds until so much more has left, from 1 to 60; undefined while nothing has left in the last ten seconds: then
   * nobody knows.
   */
  secondsFor (records: number, bytes: number, now: number): number | undefined {
    const second = this.#turnTo(now)
    let leftRecords = 0
    let leftBytes = 0
    for (const count of this.#records) leftRecords += count
    for (const count of this.#bytes) leftBytes += count
    if (leftRecords === 0) return undefined
    // The second that has just begun counts for as much of it as has passed, and all of them together for half a second at least.
    const elapsed = Math.max(Math.min(now / 1000 - this.#since, windowSeconds - 1 + now / 1000 - second), 0.5)
    // A record may have no bytes at all.
    const forBytes = leftBytes === 0 ? 0 : bytes * elapsed / leftBytes
    return Math.min(Math.max(Math.ceil(Math.max(records * elapsed / leftRecords, forBytes)), 1), maxSeconds)
  }

  /** Empties the slots of seconds in which nothing left. */
  #turnTo (now: number): number {
    const second = Math.floor(now / 1000)
    if (second - this.#second >= windowSeconds) {
      this.#records.fill(0)
      this.#bytes.fill(0)
      this.#since = now / 1000
    } else {
      for (let next = this.#second + 1; next <= second; next++) this.#records[next % windowSeconds] = this.#bytes[next % windowSeconds] = 0
    }
    this.#second = Math.max(this.#second, second)
    return this.#second
  }
}
