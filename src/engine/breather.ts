import type { Clock } from './types.js'

/** What handlers may compute, all of them together, before everything else in the process has its turn. */
const BURST_MAX_MS = 20

/**
 * Lets the rest of the process breathe. A handler that computes before it returns, or that awaits nothing real, ends within the turn of
 * the event loop in which it was started; the next one would be started at once, and as long as there are records nothing else would
 * come to its turn: no request, no poll, no commit. In the end the group would take the partitions away.
 */
export class Breather {
  readonly #clock: Clock
  readonly #goOn: () => void
  // When handlers were first started since the event loop last came round; `null`: none were.
  #since: number | null = null
  #due = false

  /** @param goOn called once the others had their turn, after `due` was true */
  constructor (clock: Clock, goOn: () => void) {
    this.#clock = clock
    this.#goOn = goOn
  }

  /** Asked before each start: whether the others are to have their turn first. */
  get due (): boolean {
    if (this.#due) return true
    const now = this.#clock.now()
    if (this.#since === null) {
      this.#since = now
      this.#clock.schedule(0, this.#cameRound)
    } else if (now - this.#since >= BURST_MAX_MS) {
      this.#due = true
    }
    return this.#due
  }

  readonly #cameRound = (): void => {
    this.#since = null
    if (!this.#due) return
    this.#due = false
    this.#goOn()
  }
}
