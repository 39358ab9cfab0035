import type { AttemptEnd } from '../../src/engine/adaptive-limit.js'

/** What a target can do for a while. */
export interface Phase {
  readonly untilMs: number
  /** What it works on at the same time. */
  readonly capacity: number
  /** How long each takes then; the nth may differ. */
  readonly serviceMs: (n: number) => number
  /** What may wait in it; more is refused. */
  readonly queue: number
}

export interface PhaseResult {
  done: number
  refused: number
  /** Least and greatest limit in the second half of the phase. */
  lowest: number
  highest: number
}

/** Waits before what was refused is known. */
const REFUSAL_MS = 10

/**
 * A target with so many servers and one queue, and somebody who always has as much in flight there as a limit allows. Time is
 * that of the events: nothing is left to chance.
 */
export function loadTarget (phases: readonly Phase[], policy: { readonly limit: number, ended (end: AttemptEnd): void }): PhaseResult[] {
  const results = phases.map((): PhaseResult => ({ done: 0, refused: 0, lowest: Infinity, highest: 0 }))
  const ends: { at: number, startedAt: number, refused: boolean }[] = []
  const queued: number[] = []
  let now = 0
  const state = { serving: 0, count: 0 }
  const phaseAt = (at: number) => phases.findIndex(({ untilMs }) => at < untilMs)
  const serve = (startedAt: number) => {
    state.serving++
    ends.push({ at: now + phases[phaseAt(now)].serviceMs(state.count++), startedAt, refused: false })
  }
  for (;;) {
    const { capacity, queue } = phases[phaseAt(now)]
    while (queued.length > 0 && state.serving < capacity) serve(queued.shift()!)
    while (ends.length + queued.length < policy.limit) {
      if (state.serving < capacity) serve(now)
      else if (queued.length < queue) queued.push(now)
      else ends.push({ at: now + REFUSAL_MS, startedAt: now, refused: true })
    }
    let next = 0
    for (let n = 1; n < ends.length; n++) if (ends[n].at < ends[next].at) next = n
    const [{ at, startedAt, refused }] = ends.splice(next, 1)
    now = at
    const phase = phaseAt(now)
    if (phase === -1) return results
    if (!refused) state.serving--
    const result = results[phase]
    if (refused) result.refused++
    else result.done++
    policy.ended({ startedAt, endedAt: now, outcome: refused ? 'overloaded' : 'done', saturated: true })
    const from = phase === 0 ? 0 : phases[phase - 1].untilMs
    if (now > (from + phases[phase].untilMs) / 2) {
      result.lowest = Math.min(result.lowest, policy.limit)
      result.highest = Math.max(result.highest, policy.limit)
    }
  }
}

/** A limit that stays what it is. */
export const fixed = (limit: number) => ({ limit, ended () {} })
