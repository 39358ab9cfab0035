/** What may have to go again; the fields are for whoever hands records over. */
export interface Repeatable {
  /** Its place among all that was pushed. */
  order: number
  /** How often its batch was refused. */
  returns: number
}

/** A batch of the client's has at most about so many bytes (its `batch.size`), but for a single record that is larger. */
export const BATCH_BYTES = 1_000_000
/** So much later it is tried whether the topic takes twice as much by now. A refusal holds up all of the client's topics for a moment. */
const GROW_AFTER_MS = 600_000
/** Halved as often as this, a batch has one record. Who comes back more often is in bad company, and is told to come later. */
const RETURNS_MAX = 20

/**
 * One topic of which Kafka has refused a batch: how much of it may go together, and which records wait to go again.
 *
 * Kafka refuses a batch as a whole, and the client says of each of its records that it was refused. Which of them is at fault, or whether
 * each is small enough and only all together are not, shows when less goes together: half of it, and half of that again,
 * down to one record, which then is the one to blame. What was learned of sizes is kept: they are the topic's. A record that is
 * invalid says nothing of those that come after it.
 */
export class SmallBatches<T extends Repeatable> {
  #sizeBytes = Infinity
  // Only until what was refused has gone again.
  #trialBytes = Infinity
  #shrunkAt = 0
  #returned: { readonly record: T, readonly partition: number }[] = []
  // The last record that was written to each partition since the first one was refused.
  readonly #written = new Map<number, number>()

  /** What goes together; one record always may. */
  get maxBytes (): number { return Math.min(this.#sizeBytes, this.#trialBytes) }

  /** Some were refused, and wait for all that is under way. */
  get holds (): boolean { return this.#returned.length > 0 }

  /** @param together bytes of all that may have been in its batch */
  refused (record: T, partition: number, together: number, isTooLarge: boolean, now: number): void {
    // Once for all that were refused together.
    if (!this.holds) {
      const half = Math.min(this.maxBytes, together, BATCH_BYTES) / 2
      if (isTooLarge) {
        this.#sizeBytes = half
        this.#shrunkAt = now
      } else {
        this.#trialBytes = half
      }
    }
    record.returns++
    this.#returned.push({ record, partition })
  }

  written ({ order }: T, partition: number): void {
    if (this.holds) this.#written.set(partition, Math.max(order, this.#written.get(partition) ?? 0))
  }

  /** Nothing else is under way any more: those that go again, in order, and those that later ones of their partition have overtaken. */
  release (): { again: T[], overtaken: T[] } {
    const again: T[] = []
    const overtaken: T[] = []
    for (const { record, partition } of this.#returned) {
      const isLate = record.returns > RETURNS_MAX || (this.#written.get(partition) ?? 0) > record.order
      if (isLate) overtaken.push(record)
      else again.push(record)
    }
    this.takeBack()
    return { again: again.sort((one, other) => one.order - other.order), overtaken }
  }

  /** Those that wait, when there is no waiting any more. */
  takeBack (): T[] {
    this.#written.clear()
    return this.#returned.splice(0).map(({ record }) => record)
  }

  /**
   * Allows more, when nothing is under way; returns whether the topic is like any other again.
   *
   * @param next goes next
   */
  outgrown (next: T | undefined, now: number): boolean {
    // Those that go again come first.
    if (next === undefined || next.returns === 0) this.#trialBytes = Infinity
    if (this.#sizeBytes < BATCH_BYTES && now - this.#shrunkAt >= GROW_AFTER_MS) {
      this.#sizeBytes *= 2
      this.#shrunkAt = now
    }
    return this.maxBytes >= BATCH_BYTES
  }
}
