import type { Lane, PartitionLanes } from './lanes.js'
import { LinkedList } from './linked-list.js'
import type { Clock } from './types.js'

/** What could start together now, and waits for more: records of a partition, or of one key. */
export class Gathering {
  readonly of: Lane | PartitionLanes
  /** Records that could start now. */
  count = 0
  /** When the first of them has waited for long enough. */
  dueAt = 0
  /** Something among them waits for nobody: it goes alone. */
  hurried = false
  // Links of the list of what waits.
  listed = false
  before: Gathering | null = null
  after: Gathering | null = null

  constructor (of: Lane | PartitionLanes) {
    this.of = of
  }
}

/**
 * Lets batches wait until they are full, or until their oldest record has waited long enough.
 *
 * Everything waits equally long, so that the list of what waits is in the order of its end, and one timer does. O(1) for
 * each record, and no allocation.
 */
export class BatchWait {
  readonly #maxRecords: number
  readonly #waitMs: number
  readonly #clock: Clock
  readonly #due: (of: Lane | PartitionLanes) => void
  readonly #list = new LinkedList<Gathering>()
  #cancelTimer: (() => void) | null = null

  /** @param due is told what has waited for long enough */
  constructor (maxRecords: number, waitMs: number, clock: Clock, due: (of: Lane | PartitionLanes) => void) {
    this.#maxRecords = maxRecords
    this.#waitMs = waitMs
    this.#clock = clock
    this.#due = due
  }

  /** So many more records could start now. */
  add (gathering: Gathering, count: number): void {
    if (count === 0) return
    if (gathering.count === 0) {
      gathering.dueAt = this.#clock.now() + this.#waitMs
      gathering.listed = true
      this.#list.add(gathering)
      this.#setTimer()
    }
    gathering.count += count
  }

  /** So many less: they were taken, or wait for one that was. Whoever comes after the last one waits anew. */
  remove (gathering: Gathering, count: number): void {
    gathering.count -= count
    if (gathering.count > 0) return
    gathering.hurried = false
    this.#unlist(gathering)
  }

  /** Nothing of it is there any more. */
  forget (gathering: Gathering): void {
    this.remove(gathering, gathering.count)
    // A timer for what is forgotten would keep the process alive.
    if (this.#list.first !== null) return
    this.#cancelTimer?.()
    this.#cancelTimer = null
  }

  /** Whether it has waited for long enough. Whoever is told no is told by `due` when that changes with time. */
  isOver (gathering: Gathering): boolean {
    return gathering.hurried || gathering.count >= this.#maxRecords || !gathering.listed
  }

  #unlist (gathering: Gathering): void {
    if (!gathering.listed) return
    gathering.listed = false
    this.#list.remove(gathering)
  }

  readonly #timeHasPassed = (): void => {
    this.#cancelTimer = null
    const now = this.#clock.now()
    for (let first = this.#list.first; first !== null && first.dueAt <= now; first = this.#list.first) {
      this.#unlist(first)
      this.#due(first.of)
    }
    this.#setTimer()
  }

  #setTimer (): void {
    const { first } = this.#list
    if (first === null) return
    this.#cancelTimer ??= this.#clock.schedule(Math.max(0, first.dueAt - this.#clock.now()), this.#timeHasPassed)
  }
}
