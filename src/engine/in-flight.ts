import { DivertedError, HandlerTimeoutError } from './attempt-errors.js'
import type { Entry, Run } from './entry.js'
import { LinkedList } from './linked-list.js'
import type { OwnedPartition } from './owned-partition.js'
import type { Slots } from './slots.js'

export interface TimeLimits {
  /** After this a handler's signal is aborted. */
  readonly handlerTimeoutMs: number
  /** How long after that it may take to settle before its slot is taken from it. */
  readonly handlerGraceMs: number
  /** Handlers that never settled, at most: at the cap they keep their slots, and admission stops. */
  readonly maxAbandoned: number
}

/**
 * The calls of the handler that have not settled, and their time limits.
 */
export class InFlight {
  readonly #limits: TimeLimits
  readonly #slots: Slots | null
  readonly #abandon: (run: Run) => void
  // Those that hold a slot, in the order of their start.
  readonly #running = new LinkedList<Run>()
  #abandoned = 0
  // Told to end because a record of theirs holds up its partition.
  readonly #diverted = new Set<Run>()
  // Batches of many that were abandoned: what becomes of their records is decided when they settle.
  readonly #lingering = new Set<Run>()

  /**
   * @param slots where each call needs a slot of a total that others share
   * @param abandon is told of a call that has just lost its slot: it did not settle within its time and grace
   */
  constructor (limits: TimeLimits, slots: Slots | null, abandon: (run: Run) => void) {
    this.#limits = limits
    this.#slots = slots
    this.#abandon = abandon
  }

  /** Calls that hold a slot. */
  get count (): number { return this.#running.size }
  /** Calls that lost theirs, and have not settled. */
  get abandoned (): number { return this.#abandoned }
  get saturatedByAbandoned (): boolean { return this.#abandoned >= this.#limits.maxAbandoned }

  add (run: Run): void {
    this.#running.add(run)
    this.#slots?.take()
    run.entry.partition.inFlight++
  }

  /** A call has settled. */
  settled (run: Run): void {
    run.settled = true
    if (!run.abandoned) return this.#leaveSlot(run)
    this.#abandoned--
    if (this.#lingering.size > 0) this.#lingering.delete(run)
  }

  /** Aborts those whose time is over, and abandons those whose grace is over. */
  sweep (now: number): void {
    const { handlerTimeoutMs, handlerGraceMs } = this.#limits
    const graceIsOver = (run: Run) => now - run.expiredAt! >= handlerGraceMs && !this.saturatedByAbandoned
    for (let run = this.#running.first; run !== null;) {
      const next: Run | null = run.after
      // The list is in the order of starting, so the first that still has time ends the search.
      if (now - run.startedAt < handlerTimeoutMs) break
      if (run.expiredAt === null) {
        run.expiredAt = now
        run.abort(new HandlerTimeoutError(handlerTimeoutMs))
      } else if (graceIsOver(run)) {
        this.#takeSlotFrom(run)
      }
      run = next
    }
    for (const run of this.#diverted) {
      if (run.settled || run.abandoned) this.#diverted.delete(run)
      else if (graceIsOver(run)) this.#takeSlotFrom(run)
    }
  }

  /** Aborts the signals of a partition's handlers. */
  abort (partition: OwnedPartition, reason: Error): void {
    for (let run = this.#running.first; run !== null; run = run.after) {
      if (run.entry.partition === partition) run.abort(reason)
    }
  }

  /** Tells the call with a wanted record to end, so that this one makes way. Answers the record, `null` where none is in flight. */
  divert (wanted: (entry: Entry) => boolean, now: number): Entry | null {
    for (let run = this.#running.first; run !== null; run = run.after) {
      const entry = run.entries.find(wanted)
      if (entry === undefined) continue
      run.expiredAt ??= now
      run.abort(new DivertedError())
      this.#diverted.add(run)
      return entry
    }
    return null
  }

  /** The wanted record, if it is in a batch that was abandoned and has not settled. */
  findLingering (wanted: (entry: Entry) => boolean): Entry | null {
    for (const run of this.#lingering) {
      const entry = run.entries.find(wanted)
      if (entry !== undefined) return entry
    }
    return null
  }

  #takeSlotFrom (run: Run): void {
    run.abandoned = true
    this.#abandoned++
    if (run.entries.length > 1) this.#lingering.add(run)
    this.#leaveSlot(run)
    this.#abandon(run)
  }

  #leaveSlot (run: Run): void {
    this.#running.remove(run)
    this.#slots?.release()
    run.entry.partition.inFlight--
  }
}
