import type { FaultLog } from './faults.js'

/** A partition that has work and makes no progress for this long, with nothing in its way, has stalled. */
export const STALL_LIMIT_MS = 30_000
/** However long the machine took between two looks, no more than this counts: then it was the machine that stood still. */
const TICK_MAX_MS = 1000

interface Waiting { readonly offsets: Set<number>, idleMs: number, stalled: boolean }

/**
 * Whether work is done: of every partition in which acknowledged records wait, one must be completed every 30 s, counted from
 * the end of the last fault. Told of what was acknowledged and completed; call tick() several times a second.
 */
export class Progress {
  /** The longest time in which nothing at all was completed though something waited, faults or not. */
  longestIdleMs = 0
  readonly #faults: FaultLog
  readonly #violation: (text: string) => void
  readonly #partitions = new Map<number, Waiting>()
  #idleMs = 0
  #tickedAt = performance.now()

  constructor (faults: FaultLog, violation: (text: string) => void) {
    this.#faults = faults
    this.#violation = violation
  }

  /** Acknowledged records that are not completed. */
  get outstanding (): number {
    let sum = 0
    for (const { offsets } of this.#partitions.values()) sum += offsets.size
    return sum
  }

  /** Those of now, for whoever wants to wait for them. */
  snapshot (): () => number {
    const then = [...this.#partitions.values()].map(({ offsets }) => ({ offsets, open: [...offsets] }))
    return () => then.reduce((sum, { offsets, open }) => sum + open.filter(offset => offsets.has(offset)).length, 0)
  }

  acknowledged (partition: number, offset: number): void {
    const waiting = this.#partitions.get(partition) ?? { offsets: new Set<number>(), idleMs: 0, stalled: false }
    this.#partitions.set(partition, waiting)
    if (waiting.offsets.size === 0) waiting.idleMs = 0
    waiting.offsets.add(offset)
  }

  /** Also of what was never acknowledged: it was work all the same. */
  completed (partition: number, offset: number): void {
    this.#idleMs = 0
    const waiting = this.#partitions.get(partition)
    if (waiting === undefined) return
    waiting.offsets.delete(offset)
    waiting.idleMs = 0
  }

  tick (): void {
    const now = performance.now()
    const ms = Math.min(TICK_MAX_MS, now - this.#tickedAt)
    this.#tickedAt = now
    const quiet = this.#faults.quietSince !== null
    this.#idleMs = this.outstanding === 0 ? 0 : this.#idleMs + ms
    this.longestIdleMs = Math.max(this.longestIdleMs, this.#idleMs)
    for (const [partition, waiting] of this.#partitions) {
      waiting.idleMs = waiting.offsets.size === 0 || !quiet ? 0 : waiting.idleMs + ms
      if (waiting.idleMs <= STALL_LIMIT_MS || waiting.stalled) continue
      waiting.stalled = true
      this.#violation(`partition ${partition} has stalled: ${waiting.offsets.size} acknowledged records wait, the first at ${Math.min(...waiting.offsets)}, ` +
        `and none was completed for ${Math.round(waiting.idleMs / 1000)} s after the last fault`)
    }
  }
}
