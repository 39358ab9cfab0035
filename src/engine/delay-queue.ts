import TinyQueue from 'tinyqueue'
import type { Entry } from './entry.js'
import type { Clock } from './types.js'

/** Records that wait for a time, the next due first. One timer is set, for the first of them. */
export class DelayQueue {
  readonly #clock: Clock
  readonly #due: (entries: Entry[]) => void
  #waiting = queueByDue([])
  #cancelTimer: (() => void) | null = null
  #timerAt = Infinity

  /** @param due is given what has become due, in that order */
  constructor (clock: Clock, due: (entries: Entry[]) => void) {
    this.#clock = clock
    this.#due = due
  }

  get size (): number { return this.#waiting.length }

  push (entry: Entry, delayMs: number): void {
    entry.trouble.dueAt = this.#clock.now() + delayMs
    this.#waiting.push(entry)
    this.#setTimer()
  }

  find (wanted: (entry: Entry) => boolean): Entry | undefined {
    return this.#waiting.data.find(wanted)
  }

  /** Takes out what is wanted, before its time. */
  remove (wanted: (entry: Entry) => boolean): Entry[] {
    const removed = this.#waiting.data.filter(wanted)
    if (removed.length === 0) return removed
    this.#waiting = queueByDue(this.#waiting.data.filter(entry => !wanted(entry)))
    // A timer for what is forgotten would keep the process alive, for a day where a handler asked for that.
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#timerAt = Infinity
    this.#setTimer()
    return removed
  }

  #setTimer (): void {
    const next = this.#waiting.peek()
    if (next === undefined || next.trouble.dueAt >= this.#timerAt) return
    this.#cancelTimer?.()
    this.#timerAt = next.trouble.dueAt
    this.#cancelTimer = this.#clock.schedule(Math.max(0, next.trouble.dueAt - this.#clock.now()), () => {
      this.#timerAt = Infinity
      this.#cancelTimer = null
      this.#takeDue()
    })
  }

  #takeDue (): void {
    const now = this.#clock.now()
    const due: Entry[] = []
    for (let entry = this.#waiting.peek(); entry !== undefined && entry.trouble.dueAt <= now; entry = this.#waiting.peek()) {
      due.push(this.#waiting.pop()!)
    }
    this.#setTimer()
    this.#due(due)
  }
}

function queueByDue (entries: Entry[]): TinyQueue<Entry> {
  return new TinyQueue(entries, (a, b) => a.trouble.dueAt - b.trouble.dueAt)
}
