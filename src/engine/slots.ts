import assert from 'node:assert'

/** Where a runner asks for leave to run a handler, beside its own limit. */
export interface Slots {
  /** Whether one may be started now. Where not, `wake` is called once that may have changed. */
  ask (): boolean
  /** One is started, after `ask` has allowed it. */
  take (): void
  /** One has ended, or counts no more. */
  release (): void
  /** Gives what is free to those who were refused. To be called when nothing is half done. */
  handOn (): void
  /** Called when it is worth asking again. */
  wake: () => void
}

/**
 * A total of handlers in flight that several runners share. Nobody has a fixed part: what one does not need, the others use.
 *
 * One slot is always kept for each share that has none, so that no other can keep it from working altogether, not even with
 * handlers that never settle. All others go, one by one as they become free, to whoever waits and has the fewest, and among
 * equals to who waits longest. Where all have enough to do, that comes to the same number for each, but for those whose own limit is
 * lower (max-min fairness), within the time that a handler takes.
 *
 * Asking and taking is O(shares), and only where there is a total; there are few shares.
 */
export class SlotPool {
  readonly total: number
  readonly #shares: Share[] = []
  #free: number
  #asked = 0
  #handing = false

  /** @param total at least the number of shares that there are at any time */
  constructor (total: number) {
    this.total = this.#free = total
  }

  /** Handlers in flight. */
  get taken (): number { return this.total - this.#free }

  /** @throws {AssertionError} where the total is used up by shares: a bug, not bad input */
  join (): Slots {
    assert(this.#shares.length < this.total, 'a share has no slot to be kept for it')
    const share = new Share(this)
    this.#shares.push(share)
    return share
  }

  /**
   * Puts a new share in the place of one: what that still has is free again, since its handlers never settled, and changes
   * nothing later.
   */
  renew (slots: Slots): Slots {
    const at = this.#shares.findIndex(one => one === slots)
    assert(at !== -1, 'not a share of this pool')
    const left = this.#shares[at]
    const share = this.#shares[at] = new Share(this)
    this.#free += left.taken
    left.pool = null
    this.handOn()
    return share
  }

  /** Whether a share may take one now. */
  allows (share: Share): boolean {
    let kept = 0
    for (const other of this.#shares) {
      if (other === share) continue
      if (other.askedAt > 0 && (other.taken < share.taken || (other.taken === share.taken && precedes(other, share)))) return false
      if (other.taken === 0) kept++
    }
    // The one that is kept for itself is not in the way. (It is not there yet where it has come while all were taken.)
    return this.#free > (share.taken === 0 ? 0 : kept)
  }

  refused (share: Share): void {
    if (share.askedAt === 0) share.askedAt = ++this.#asked
  }

  took (): void {
    this.#free--
    assert(this.#free >= 0, 'more slots were taken than there are')
  }

  released (): void {
    this.#free++
  }

  handOn (): void {
    // Whoever is woken comes here again.
    if (this.#handing) return
    this.#handing = true
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        const { askedAt } = next
        next.wake()
        // It had nothing to start after all. If it had, and has more, it has another place by now.
        if (next.askedAt === askedAt) next.askedAt = 0
      }
    } finally {
      this.#handing = false
    }
  }

  /** Who waits and may take one now: the first among those who wait, as long as one is free. */
  #next (): Share | undefined {
    return this.#shares.find(share => share.askedAt > 0 && this.allows(share))
  }
}

/** Among two with as many: who has waited longer. One that does not wait comes last. */
function precedes (one: Share, other: Share): boolean {
  return one.askedAt > 0 && (other.askedAt === 0 || one.askedAt < other.askedAt)
}

class Share implements Slots {
  pool: SlotPool | null
  taken = 0
  /** Its place among those that were refused; 0: it does not wait. */
  askedAt = 0
  wake: () => void = () => {}

  constructor (pool: SlotPool) {
    this.pool = pool
  }

  ask (): boolean {
    if (this.pool === null) return false
    if (this.pool.allows(this)) return true
    this.pool.refused(this)
    return false
  }

  take (): void {
    this.taken++
    this.askedAt = 0
    this.pool?.took()
  }

  release (): void {
    this.taken--
    this.pool?.released()
  }

  handOn (): void {
    this.pool?.handOn()
  }
}
