import { isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'
import { TokenBucket } from './token-bucket.js'

/** Wrong keys that one network may send at once, and how many more each second. */
const guessesAtOnce = 20
const guessesPerSecond = 0.5
/** Networks whose guesses, and callers with their networks, that are kept in mind. */
const networksMax = 10_000
const acquaintancesMax = 10_000

/**
 * Bounds how many wrong keys a network may try. Once it has tried too many, none of its keys are looked at but those of
 * callers that were seen from there before: others behind the same address translation or proxy are not locked out by it.
 */
export class Guesses {
  readonly #budgets = new LRUCache<string, TokenBucket>({ max: networksMax })
  readonly #acquaintances = new LRUCache<string, true>({ max: acquaintancesMax })
  readonly #last = new Map<string, string>()
  readonly #now: () => number

  constructor (now: () => number = () => performance.now()) { this.#now = now }

  /**
   * A right key came from this address. Returns for how many milliseconds it must not be accepted all the same; 0: it may.
   *
   * @param name of a principal of the rules, of which there is a bounded number
   */
  right (name: string, address: string): number {
    // Most callers have one address, and most addresses have tried nothing.
    if (this.#last.get(name) === address) return 0
    const network = networkOf(address)
    const id = `${name} ${network}`
    if (!this.#acquaintances.has(id)) {
      const waitMs = this.#budgets.get(network)?.waitMs(this.#now()) ?? 0
      if (waitMs > 0) return waitMs
      this.#acquaintances.set(id, true)
    } else {
      this.#acquaintances.get(id)
    }
    this.#last.set(name, address)
    return 0
  }

  /** A wrong key came from this address. Returns for how many milliseconds no other is looked at; 0: the next one is. */
  wrong (address: string): number {
    const network = networkOf(address)
    let budget = this.#budgets.get(network)
    if (budget === undefined) this.#budgets.set(network, budget = new TokenBucket(guessesPerSecond, guessesAtOnce, this.#now()))
    const waitMs = budget.waitMs(this.#now())
    if (waitMs === 0) budget.spend(1)
    return waitMs
  }

  /** Who is no longer in the rules. */
  keepOnly (names: ReadonlySet<string>): void {
    for (const name of this.#last.keys()) if (!names.has(name)) this.#last.delete(name)
  }
}

/** What one party can be expected to have the whole of: an IPv4 address, or the /64 network of an IPv6 address. */
export function networkOf (address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]!
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('%', 1)[0]!.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  const groups = [...before, ...Array<string>(Math.max(0, zeros)).fill('0'), ...after]
  return groups.slice(0, 4).map(group => group.replace(/^0+(?=.)/, '')).join(':') + '::/64'
}
