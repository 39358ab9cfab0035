/** What was answered, and is answered again. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Buffer
}

export interface IdempotencyLimits {
  /** Keys that are remembered, those in flight included. */
  readonly maxEntries: number
  /** Bytes of all answers, with what each key takes itself. */
  readonly maxBytes: number
  /** From the answer on. */
  readonly lifetimeMs: number
}

/** A key whose request is under way. */
export interface Entry {
  readonly scope: string
  readonly fingerprint: string
  readonly caller: string
}

export type Claim =
  | { readonly kind: 'new', readonly entry: Entry }
  | { readonly kind: 'replayed', readonly answer: Answer }
  | { readonly kind: 'in-flight' }
  | { readonly kind: 'reused' }
  | { readonly kind: 'full', readonly retryAfterSeconds: number }

interface Remembered extends Entry {
  readonly answer: Answer
  readonly bytes: number
  readonly expiresAt: number
}

/** What a key takes beside its answer's body: scope, fingerprint, headers, the maps' own. An estimate on the safe side. */
const entryBytes = 1_024
/** One caller may have at most this share of the table, so that it cannot keep all others out. */
const callerShare = 0.5

/**
 * Which keys were used, and what was answered.
 *
 *     claim ──► new ──► in flight ──► settle(answer) ──► remembered ──► lifetime over
 *                                └──► settle(null): forgotten, and the key is free
 *
 * Nothing is forgotten early: not what is in flight, and no answer before its lifetime is over. When the table is full, new keys
 * are refused. Its bytes pass the limit by no more than the answers of what was in flight when it was reached. All answers live
 * equally long, so that the map of the remembered is in the order in which they expire, and O(1) is all that a claim takes.
 */
export class IdempotencyTable {
  readonly #limits: IdempotencyLimits
  readonly #now: () => number
  readonly #inFlight = new Map<string, Entry>()
  readonly #remembered = new Map<string, Remembered>()
  readonly #entriesOf = new Map<string, number>()
  #bytes = 0

  constructor (limits: IdempotencyLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
  }

  get size (): number { return this.#inFlight.size + this.#remembered.size }
  get bytes (): number { return this.#bytes + this.#inFlight.size * entryBytes }

  /**
   * @param scope who uses which key for what
   * @param caller whose share it counts for
   * @param fingerprint what is asked, so that the same key with something else is found out
   */
  claim (scope: string, caller: string, fingerprint: string): Claim {
    this.#expire()
    const known = this.#inFlight.get(scope) ?? this.#remembered.get(scope)
    if (known !== undefined) {
      if (known.fingerprint !== fingerprint) return { kind: 'reused' }
      return 'answer' in known ? { kind: 'replayed', answer: (known as Remembered).answer } : { kind: 'in-flight' }
    }
    const { maxEntries, maxBytes } = this.#limits
    const held = this.#entriesOf.get(caller) ?? 0
    if (this.size >= maxEntries || this.bytes + entryBytes > maxBytes || held >= Math.ceil(maxEntries * callerShare)) {
      return { kind: 'full', retryAfterSeconds: this.#secondsUntilRoom() }
    }
    const entry: Entry = { scope, caller, fingerprint }
    this.#inFlight.set(scope, entry)
    this.#entriesOf.set(caller, held + 1)
    return { kind: 'new', entry }
  }

  /** Ends what `claim` began: with an answer to be remembered, or `null` to be forgotten. Only the first time counts. */
  settle (entry: Entry, answer: Answer | null): void {
    if (this.#inFlight.get(entry.scope) !== entry) return
    this.#inFlight.delete(entry.scope)
    if (answer === null) { this.#release(entry.caller); return }
    const bytes = entryBytes + Buffer.byteLength(answer.body)
    this.#bytes += bytes
    this.#remembered.set(entry.scope, { ...entry, answer, bytes, expiresAt: this.#now() + this.#limits.lifetimeMs })
  }

  #expire (): void {
    const now = this.#now()
    for (const [scope, { expiresAt, bytes, caller }] of this.#remembered) {
      if (expiresAt > now) return
      this.#remembered.delete(scope)
      this.#bytes -= bytes
      this.#release(caller)
    }
  }

  #release (caller: string): void {
    const held = this.#entriesOf.get(caller)! - 1
    if (held === 0) this.#entriesOf.delete(caller)
    else this.#entriesOf.set(caller, held)
  }

  /** Until the oldest answer expires, from 1 to 60. */
  #secondsUntilRoom (): number {
    const [oldest] = this.#remembered.values()
    return oldest === undefined ? 1 : Math.min(Math.max(Math.ceil((oldest.expiresAt - this.#now()) / 1000), 1), 60)
  }
}
