/** How long an unanswered record may wait, and how long a broken connection may be, before Kafka is asked if it is there. */
const patienceMs = 1_000
/** How long to wait between two questions while it is away. */
const awayPauseMs = 500
/** How often it is asked although nothing suggests that it is away. */
const idleMs = 10_000

/**
 * Whether Kafka is there, judged by its answers. A stopped broker keeps its connections open, so that only silence tells.
 *
 * It keeps no time of its own: every `now` is in milliseconds, monotonic.
 */
export class Reachability {
  #reachable = false
  #suspicious = false
  #answeredAt = -Infinity
  #askedAt = -Infinity
  #doneAt = -Infinity
  #missed = 0

  get reachable (): boolean { return this.#reachable }
  /** A connection has failed since the last time that a question was answered. */
  get suspicious (): boolean { return this.#suspicious }

  /** Anything that only a broker can have said. Returns true where that is news. */
  answered (now: number): boolean {
    this.#answeredAt = this.#doneAt = now
    this.#missed = 0
    const news = !this.#reachable
    this.#reachable = true
    return news
  }

  /** A connection failed. Others may be well. */
  suspect (): void { this.#suspicious = true }

  /** A question was answered: what was suspected before holds no longer. */
  trust (): void { this.#suspicious = false }

  asked (now: number): void { this.#askedAt = this.#doneAt = now }

  /**
   * The question got no answer. It goes to one broker; where there are others, a second one is asked before Kafka counts as
   * away. Returns true where that is news.
   */
  missed (now: number, brokers: number): boolean {
    this.#doneAt = now
    // A record was acknowledged meanwhile.
    if (this.#answeredAt >= this.#askedAt) return false
    this.#missed++
    if (!this.#reachable || this.#missed < Math.min(brokers, 2)) return false
    this.#reachable = false
    return true
  }

  /** Whether to ask now. `waitingSince` is when the oldest unanswered record was handed over. */
  shouldAsk (now: number, waitingSince: number | undefined): boolean {
    const pause = now - this.#doneAt
    if (!this.#reachable) return pause >= awayPauseMs
    const silent = waitingSince !== undefined && now - Math.max(waitingSince, this.#answeredAt) >= patienceMs
    if (silent || this.#missed > 0) return pause >= patienceMs
    // A record's report does not clear a suspicion, but it postpones the question.
    return this.#suspicious ? now - this.#askedAt >= patienceMs : pause >= idleMs
  }
}
