/** How long to say nothing after a line. */
const pauseMs = 1_000

/** Lets one line a second through, and counts the others, so that what goes wrong a thousand times does not fill the disk. */
export class BoundedLog {
  readonly #now: () => number
  #lastAt = -Infinity
  #unsaid = 0

  constructor (now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** @param write is told how many lines were left out since the last */
  line (write: (unsaid: number) => void): void {
    const now = this.#now()
    if (now - this.#lastAt < pauseMs) { this.#unsaid++; return }
    const unsaid = this.#unsaid
    this.#lastAt = now
    this.#unsaid = 0
    write(unsaid)
  }
}
