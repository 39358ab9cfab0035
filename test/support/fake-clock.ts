import type { Clock } from '../../src/engine/types.js'

/** A clock that moves only when told, and then runs what has become due in its order, letting promises settle between. */
export class FakeClock implements Clock {
  #now = 1_000
  #timers: { at: number, fn: () => void }[] = []
  #random: () => number
  #stopped = false

  constructor (random: () => number = () => 0.5) {
    this.#random = random
  }

  now (): number { return this.#now }
  random (): number { return this.#random() }
  /** How many are set. */
  get timers (): number { return this.#timers.length }

  schedule (delayMs: number, fn: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, delayMs), fn }
    if (!this.#stopped) this.#timers.push(timer)
    return () => { this.#timers = this.#timers.filter(other => other !== timer) }
  }

  /** Resolves when `ms` have passed. */
  sleep (ms: number): Promise<void> {
    return new Promise(resolve => { this.schedule(ms, resolve) })
  }

  /** No timer goes off any more: the process that it belongs to has ended. */
  stop (): void {
    this.#stopped = true
    this.#timers = []
  }

  async advance (ms: number): Promise<void> {
    const end = this.#now + ms
    await settle()
    for (;;) {
      // The earliest; of several at the same time, the one that was set first.
      const at = Math.min(...this.#timers.map(timer => timer.at))
      if (at > end) break
      const next = this.#timers.find(timer => timer.at === at)!
      this.#timers.splice(this.#timers.indexOf(next), 1)
      this.#now = Math.max(this.#now, next.at)
      next.fn()
      await settle()
    }
    this.#now = end
  }

  /** Advances until `done` holds; throws after `limitMs` of its own time. */
  async until (done: () => boolean, what: string, limitMs = 600_000): Promise<void> {
    const end = this.#now + limitMs
    while (!done()) {
      if (this.#now >= end) throw new Error(`not within ${limitMs} ms: ${what}`)
      await this.advance(10)
    }
  }
}

/** Lets everything that is ready run: promises first, then one turn of the event loop. */
export function settle (): Promise<void> {
  return new Promise(resolve => { setImmediate(resolve) })
}
