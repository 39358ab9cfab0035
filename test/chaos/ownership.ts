import type { Life } from './fleet.js'

/** A stretch of time in which a gateway held a partition, as its log tells. */
export interface Held {
  readonly from: number
  /** When it was told to give it up, or `null`. */
  until: number | null
  how: 'revoked' | 'lost' | null
  /** When what was in flight of it had ended: until then it drains, after it was told. */
  drainedAt: number | null
}

/**
 * What a gateway was assigned, and how that ended. It is the gateway's own word, and nothing is excused by it alone: see excuses.ts.
 */
export class Ownership {
  readonly #held = new Map<string, Held[]>()

  constructor (lives: readonly Life[], topic: string) {
    for (const { pid, gateway } of lives) {
      for (const line of gateway.lines) {
        if (/^(drained|drain ended)/.test(line.msg)) this.#drained(pid, line['time'] as number)
        const type = /^partitions (assigned|revoked|lost)/.exec(line.msg)?.[1]
        if (type === undefined || !Array.isArray(line['partitions'])) continue
        for (const at of line['partitions'] as { topic: string, partition: number }[]) {
          if (at.topic === topic) this.#note(`${pid}/${at.partition}`, type as 'assigned' | 'revoked' | 'lost', line['time'] as number)
        }
      }
    }
  }

  /** The stretch in which this gateway held this partition at this time, or last before it. */
  at (pid: number, partition: number, at: number): Held | undefined {
    return this.#held.get(`${pid}/${partition}`)?.findLast(({ from }) => from <= at)
  }

  #drained (pid: number, at: number): void {
    for (const [id, list] of this.#held) {
      const last = list.at(-1)!
      if (id.startsWith(`${pid}/`) && last.how === 'revoked') last.drainedAt ??= at
    }
  }

  #note (id: string, type: 'assigned' | 'revoked' | 'lost', at: number): void {
    const list = this.#held.get(id) ?? []
    this.#held.set(id, list)
    const last = list.at(-1)
    if (last !== undefined && last.until === null) {
      last.until = at
      last.how = type === 'assigned' ? 'lost' : type
    }
    if (type === 'assigned') list.push({ from: at, until: null, how: null, drainedAt: null })
  }
}

/** Rebalances that the gateways took part in: their log lines of that kind. */
export function countRebalances (lives: readonly Life[]): number {
  return lives.reduce((sum, { gateway }) => sum + gateway.lines.filter(({ msg }) => /^partitions (assigned|revoked|lost)/.test(msg)).length, 0)
}
