import { idOf, type LedgerEntry } from '../support/ledger.js'
import type { FaultLog } from './faults.js'
import type { Life } from './fleet.js'
import type { Held, Ownership } from './ownership.js'

/** What a drain may take, and a freeze in the middle of it; whoever takes longer was not draining. */
const DRAIN_MAX_MS = 25_000
/** What the engine takes at most, after a drain, for a look at the topic's id (1 s) and the last commit (5 s). */
const LAST_COMMIT_MS = 6000

/**
 * What at-least-once allows, and no more. Each excuse needs a fault that was really done, at that time, to that process
 * (or to a broker); where a process says that it lost its partitions, that alone excuses nothing.
 *
 * A fenced process, told as events: 1. A gateway falls silent (SIGSTOP), or the group's coordinator does. 2. The group gives
 * it up. 3. Another gateway takes its partition and begins. 4. The first one, which knows nothing, ends what it had in
 * flight, and may begin more. 5. A heartbeat is refused: "partitions lost". From 3 to 5 it is superseded.
 */
export class Excuses {
  readonly #lives: Map<number, Life>
  readonly #starts = new Map<number, LedgerEntry[]>()
  /**
   * When that had begun which an entry ends: the same process may make the same attempt twice, in two lives of its partition. A record
   * in a batch begins with the batch: a handler that takes them one after the other may come to its last ones in the next life.
   */
  readonly #beganAt = new Map<LedgerEntry, number>()
  readonly #ownership: Ownership
  readonly #faults: FaultLog
  readonly #onItsWayMs: (slot: number) => number

  /** @param onItsWayMs how long after the gateway in a slot knew of a loss something may begin that it had handed over before */
  constructor (
    lives: readonly Life[], entries: readonly LedgerEntry[], ownership: Ownership, faults: FaultLog, onItsWayMs: (slot: number) => number
  ) {
    this.#onItsWayMs = onItsWayMs
    this.#lives = new Map(lives.map(life => [life.pid, life]))
    this.#ownership = ownership
    this.#faults = faults
    const open = new Map<string, number[]>()
    const calls = new Map<string, number>()
    for (const entry of entries) {
      const under = open.get(attemptOf(entry)) ?? []
      open.set(attemptOf(entry), under)
      if (entry.what !== 'start') {
        this.#beganAt.set(entry, under.shift() ?? entry.at)
        continue
      }
      const { batch, at } = entry
      if (batch !== undefined && !calls.has(batch)) calls.set(batch, at)
      const beganAt = batch === undefined ? at : calls.get(batch)!
      this.#beganAt.set(entry, beganAt)
      under.push(beganAt)
      const list = this.#starts.get(entry.partition)
      if (list === undefined) this.#starts.set(entry.partition, [entry])
      else list.push(entry)
    }
  }

  /** Whether the process of an entry could no longer, or not rightly, have anything in flight in its partition at this time. */
  superseded (entry: LedgerEntry, at: number): boolean {
    const life = this.#lives.get(entry.pid)
    if (life === undefined) return false
    return at >= (life.killedAt ?? life.exitedAt ?? Infinity) || this.#fenced(entry, at)
  }

  /** Why a record that this process had handled may be handled again by the next owner; `null` where nothing allows it. */
  forRepeating (end: LedgerEntry, again: LedgerEntry): 'killed' | 'fenced' | 'not committed' | null {
    const life = this.#lives.get(end.pid)
    if (life !== undefined && life.killedAt !== null && again.at >= life.killedAt) return 'killed'
    // That it has ended by now is no reason: who ends in good order commits before.
    if (this.#fenced(end, Math.max(end.at, again.at)) || this.#fenced(again, again.at)) return 'fenced'
    // What began before it was cut off may end after, when the partition is its own again: then the new copy has waited for it.
    const beganAt = this.#beganAt.get(end) ?? end.at
    const held = this.#ownership.at(end.pid, end.partition, beganAt)
    // Cut off before it could commit; whoever got the partition next begins where the last commit was, and may be itself.
    if (held?.how === 'lost' && held.until! <= again.at && this.#faults.fencing(end.pid, held.until!) !== undefined) return 'fenced'
    const leaving = held && life && leavingOf(held, life)
    if (leaving && leaving.from <= again.at && this.#faults.commitsMayFail(leaving.from, leaving.to)) return 'not committed'
    return null
  }

  #fenced (entry: LedgerEntry, at: number): boolean {
    const life = this.#lives.get(entry.pid)
    const takenOverAt = life === undefined ? null : this.#takenOverAt(entry, life)
    return takenOverAt !== null && at >= takenOverAt
  }

  /** When another process began with this one's partition after a fault had cut this one off; `null` where that was not so. */
  #takenOverAt (entry: LedgerEntry, life: Life): number | null {
    // What began before it was told may end after.
    const beganAt = this.#beganAt.get(entry) ?? entry.at
    const held = this.#ownership.at(entry.pid, entry.partition, beganAt)
    const cutOff = held && this.#cutOff(held, life)
    if (held === undefined || cutOff === undefined || beganAt > cutOff.to + this.#onItsWayMs(life.slot)) return null
    const other = this.#starts.get(entry.partition)!.find(({ pid, at }) => pid !== entry.pid && at >= Math.max(cutOff.from, held.from))
    return other === undefined ? null : other.at
  }

  /** From the fault to when the process knew, or was at an end: that it was told, or ended without being told. */
  #cutOff ({ how, until, drainedAt }: Held, { pid, exitedAt }: Life): { from: number, to: number } | undefined {
    // Given up in good order, but cut off in the middle of the drain.
    const to = how === 'lost' ? until : drainedAt ?? exitedAt
    if (to === null || (how === 'revoked' && to - until! > DRAIN_MAX_MS)) return undefined
    // Or stopped before it could be told: what it gives up then is not its own any more.
    const fault = how === 'revoked'
      ? this.#faults.fencingWithin(pid, until!, to) ?? this.#faults.fencing(pid, until!)
      : this.#faults.fencing(pid, to)
    return fault && { from: fault.from, to }
  }
}

/**
 * From when a process was told to give a partition up, or to end, to when it tried no longer to commit what it had completed of it.
 *
 * A fault that begins meanwhile keeps the last commit away just as one that was there before: 1. A partition is revoked, with a record
 * in flight. 2. The group's coordinator is killed. 3. The record ends, and the drain with it. 4. The last commit asks for a coordinator,
 * and when its time is over there is none yet. 5. The partition is given up, with the commit from before 1, and whoever gets it next,
 * be it the same process, handles the record again. More cannot be had: who holds on to it for longer is thrown out of the group.
 *
 * The end of the drain is the process's own word, so a drain counts only for as long as one may take. Whether the record was
 * committed after all is not asked here: the check for what is begun again finds that, and this is no excuse there.
 */
function leavingOf ({ until, how, drainedAt }: Held, { stoppedAt, exitedAt }: Life): { from: number, to: number } | null {
  const from = until ?? stoppedAt ?? exitedAt
  if (from === null) return null
  if (until === null) return { from, to: exitedAt ?? from }
  // Who says nothing of a drain had none, and gave the partition up there and then.
  const to = how === 'revoked' && drainedAt !== null ? drainedAt + LAST_COMMIT_MS : from
  return { from, to: Math.min(to, exitedAt ?? Infinity, from + DRAIN_MAX_MS) }
}

function attemptOf (entry: LedgerEntry): string {
  return `${entry.pid}/${idOf(entry)}/${entry.attempt}`
}
