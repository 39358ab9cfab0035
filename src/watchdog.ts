import { partitionId } from './engine/partition-id.js'
import type { GroupMemberState, PartitionStatus } from './group-member.js'

/** What a stall is: `loop`: the loop does not turn. `ended`: the consumer is gone. `silent`: nothing arrives. `stuck`: nothing is done. */
export const STALLS = ['loop', 'ended', 'silent', 'stuck'] as const

/** A consumer that has stopped doing its work, for no reason that it knows of itself. */
export interface Stall {
  readonly kind: typeof STALLS[number]
  /** What was seen, in a sentence for an operator. */
  readonly reason: string
}

export interface WatchdogOptions {
  /** No progress for this long is a stall. */
  readonly stalledAfterMs: number
  /** What one attempt of a handler may take in all: as long as one runs, it is given that. */
  readonly handlerMs: number
  /** Monotonic, in milliseconds. */
  readonly now: () => number
}

/** Where a partition was when it last moved. */
interface Standstill {
  readonly commitOffset: number
  readonly lastAdmitted: number
  readonly windowBytes: number
  readonly lag: number
  readonly since: number
}

/**
 * Notices a consumer that has stopped doing its work although nothing tells so: a loop that does not turn, a consumer that is
 * gone, partitions whose lag grows while nothing of them is read or done.
 *
 * Whatever has a reason that is known (brokers away, an open breaker, an operator's pause, a record that waits for its
 * retry) is no stall: readiness tells it, and a restart would not help.
 */
export class Watchdog {
  readonly #options: WatchdogOptions
  readonly #standstills = new Map<string, Standstill>()
  #stalls: Stall[] = []

  constructor (options: WatchdogOptions) {
    this.#options = options
  }

  /** What the last look found. Empty when all is well. */
  get stalls (): readonly Stall[] { return this.#stalls }

  /** Looks at the consumer. Call it every few seconds: a stall is noticed that much later at most. */
  look (state: GroupMemberState): readonly Stall[] {
    this.#stalls = [...this.#loop(state), ...this.#partitions(state)]
    return this.#stalls
  }

  #loop ({ phase, lastTurnAt }: GroupMemberState): Stall[] {
    if (phase === 'stopped') return [{ kind: 'ended', reason: 'the consumer has ended by itself' }]
    if (phase === 'connecting') return []
    const stillMs = this.#options.now() - lastTurnAt
    if (stillMs <= this.#options.stalledAfterMs) return []
    return [{ kind: 'loop', reason: `the consumer's loop has not turned for ${seconds(stillMs)}` }]
  }

  #partitions (state: GroupMemberState): Stall[] {
    const { breaker, problems, phase, retrying, deadLettering } = state
    const explained = breaker !== 'closed' || problems.length > 0 || phase !== 'running'
    const owned = new Set(state.partitions.map(({ topic, partition }) => partitionId(topic, partition)))
    for (const id of this.#standstills.keys()) if (!owned.has(id)) this.#standstills.delete(id)
    return state.partitions.flatMap((one): Stall[] => {
      const stillMs = this.#stillFor(one, explained)
      if (stillMs === null) return []
      const where = `${one.topic}/${one.partition}`
      const standstill = this.#standstills.get(partitionId(one.topic, one.partition))!
      if (one.lag! <= standstill.lag) return []
      const grew = `its lag grew from ${standstill.lag} to ${one.lag} in ${seconds(stillMs)}`
      if (one.windowRecords === 0) {
        return stillMs > this.#options.stalledAfterMs ? [{ kind: 'silent', reason: `nothing of ${where} arrives: ${grew}` }] : []
      }
      // Something of it is under way, somewhere.
      if (retrying > 0 || deadLettering > 0) return []
      const allowedMs = this.#options.stalledAfterMs + (state.inFlight > 0 ? this.#options.handlerMs : 0)
      return stillMs > allowedMs ? [{ kind: 'stuck', reason: `nothing of ${where} is done: ${grew}` }] : []
    })
  }

  /** Since when nothing has moved there, in milliseconds; `null` where that is as it should be. */
  #stillFor (one: PartitionStatus, explained: boolean): number | null {
    const id = partitionId(one.topic, one.partition)
    const { commitOffset, lastAdmitted, windowBytes, lag, suspended } = one
    if (explained || suspended || lag === null || lag === 0) {
      this.#standstills.delete(id)
      return null
    }
    const before = this.#standstills.get(id)
    const moved = before === undefined ||
      before.commitOffset !== commitOffset || before.lastAdmitted !== lastAdmitted || before.windowBytes !== windowBytes
    if (moved) this.#standstills.set(id, { commitOffset, lastAdmitted, windowBytes, lag, since: this.#options.now() })
    return moved ? null : this.#options.now() - before.since
  }
}

function seconds (ms: number): string {
  return `${Math.round(ms / 1000)} s`
}
