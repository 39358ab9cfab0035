/** Chance that can be repeated: the same seed gives the same numbers (mulberry32). */
export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed | 0
  }

  /** A number in [0, 1). */
  next (): number {
    this.#state = (this.#state + 0x6D2B79F5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }

  /** An integer, both ends included. */
  between (least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1))
  }

  chance (share: number): boolean {
    return this.next() < share
  }

  pick<T> (list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)]!
  }

  /** One of the choices, each as likely as its weight says. */
  weighted<T> (choices: ReadonlyArray<readonly [weight: number, value: T]>): T {
    let left = this.next() * choices.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of choices) {
      left -= weight
      if (left < 0) return value
    }
    return choices[choices.length - 1]![1]
  }

  /** A generator of its own, so that what one part draws does not move what another draws. */
  fork (salt: number): Random {
    return new Random(Math.imul(Math.floor(this.next() * 4294967296) ^ salt, 2654435761))
  }
}
