import type { OwnedPartition } from './owned-partition.js'
import type { Runner } from './runner.js'
import type { Clock, Observer } from './types.js'

/** How nearly full, and how nearly all done, a window is when the record that holds it is to make way. */
const NEARLY_FULL = 0.9
const NEARLY_DONE = 0.9
const LOOK_EVERY_MS = 500
const MINUTE_MS = 60_000

/**
 * Keeps one stuck record from stopping its partition: when a window is nearly full and nearly all done, the record at its
 * head is told to end and sent to the dead letters, or to the retry topic.
 *
 * Only so many a minute: where that is not enough it is not the records that are at fault, and an outage must not flush a
 * topic into the dead letters.
 */
export class Diversion {
  readonly #maxPerMinute: number
  readonly #runner: Runner
  readonly #clock: Clock
  readonly #observer: Observer
  #times: number[] = []
  #lookedAt = -Infinity
  #heldBack: OwnedPartition | null = null

  /** @param maxPerMinute 0: never */
  constructor (maxPerMinute: number, runner: Runner, { clock, observer }: { clock: Clock, observer: Observer }) {
    this.#maxPerMinute = maxPerMinute
    this.#runner = runner
    this.#clock = clock
    this.#observer = observer
  }

  /** What it would do and may not, in a sentence for an operator; `null` for nothing. */
  get problem (): string | null {
    const owned = this.#heldBack
    if (owned === null || !owned.owned) return null
    return `the record at offset ${owned.window.commitOffset} of ${owned.topic}/${owned.partition} holds up its partition, and ` +
      `${this.#maxPerMinute} records were diverted in the last minute already (KAFKA_DIVERSION_MAX_PER_MINUTE)`
  }

  look (partitions: Iterable<OwnedPartition>): void {
    const now = this.#clock.now()
    if (this.#maxPerMinute === 0 || now - this.#lookedAt < LOOK_EVERY_MS) return
    this.#lookedAt = now
    this.#times = this.#times.filter(at => now - at < MINUTE_MS)
    this.#heldBack = null
    // While hardly anything succeeds, no record is to blame.
    if (!this.#runner.breaker.closed) return
    for (const owned of partitions) {
      if (owned.draining || owned.suspended || !isHeldUp(owned)) continue
      if (this.#times.length >= this.#maxPerMinute) {
        this.#heldBack = owned
        continue
      }
      const entry = this.#runner.divert(owned, owned.window.head)
      if (entry === null) continue
      this.#times.push(now)
      this.#observer.diverted(entry.record)
    }
  }
}

function isHeldUp ({ window: { size }, open, paused, maxRecords }: OwnedPartition): boolean {
  // One that was full is fetched again once half of it is free: until then it is as good as full.
  const full = size >= NEARLY_FULL * maxRecords || (paused && size > maxRecords / 2)
  return full && size - open >= NEARLY_DONE * size
}
