import { setTimeout as delay } from 'node:timers/promises'
import { DEAD_LETTER_HEADERS } from '../../src/engine/dead-letter.js'
import type { Follower, Kafka, LoggedCommit, StoredRecord } from '../support/kafka.js'
import { idOf, type Ledger, type LedgerEntry } from '../support/ledger.js'

/** A dead letter as it stands in the dead-letter topic, with the place of its original. */
export interface StoredLetter { readonly original: string, readonly at: number, readonly record: StoredRecord }

export interface EvidenceOptions {
  readonly kafka: Kafka
  readonly group: string
  readonly deadLetterTopic: string
  readonly ledger: Ledger
  /** Called in the order of the coordinator's log, after everything that the ledger said by then was taken in. */
  readonly committed: (commit: LoggedCommit) => void
  /** Every line of the ledger, in order. */
  readonly noted: (entry: LedgerEntry) => void
  /** A record is completed for the first time. */
  readonly completed: (place: { partition: number, offset: number }) => void
}

const PAUSE_MS = 50
/** How long the last look may take, where a broker has only just come back. */
const LAST_LOOK_MS = 60_000

/**
 * What is known without a gateway's word: the ledger of the handlers, the dead letters and the commits as Kafka's own
 * client reads them. It is gathered all the while, so that a violation is told when it happens.
 */
export class Evidence {
  /** Every commit that a coordinator took. */
  readonly commits: LoggedCommit[] = []
  readonly letters: StoredLetter[] = []
  /** How each record was handled to its end, in order of time, by `topic/partition/offset`. */
  readonly ends = new Map<string, LedgerEntry[]>()
  readonly started = new Map<string, LedgerEntry>()
  readonly #letterAt = new Map<string, number>()
  readonly #options: EvidenceOptions
  readonly #running: Promise<void>[]
  #read = 0
  #stopped = false
  #commitsRead = 0

  constructor (options: EvidenceOptions) {
    this.#options = options
    const { kafka, group, deadLetterTopic } = options
    this.#running = [
      this.#follow(kafka.followCommits(group), commits => this.#takeCommits(commits)),
      this.#follow(kafka.follow(deadLetterTopic), letters => this.#takeLetters(letters))
    ]
  }

  /** When a record was first completed, by its handler or by its dead letter; `undefined` if it is not. */
  completedAt (id: string): number | undefined {
    const end = this.ends.get(id)?.[0]?.at
    const letter = this.#letterAt.get(id)
    return end === undefined ? letter : letter === undefined ? end : Math.min(end, letter)
  }

  /** Reads on in the ledger. */
  readLedger (): void {
    const { entries } = this.#options.ledger
    for (; this.#read < entries.length; this.#read++) {
      const entry = entries[this.#read]!
      const id = idOf(entry)
      this.#options.noted(entry)
      if (entry.what === 'start') {
        if (!this.started.has(id)) this.started.set(id, entry)
      } else if (entry.what === 'end') {
        const known = this.completedAt(id) !== undefined
        const list = this.ends.get(id)
        if (list === undefined) this.ends.set(id, [entry])
        else list.push(entry)
        if (!known) this.#options.completed(entry)
      }
    }
  }

  /** Reads both topics to where they end now, and ends. */
  async stop (): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
  }

  /** Without a last look. */
  abandon (): void {
    this.#stopped = true
    this.#abandoned = true
  }

  #abandoned = false

  async #follow<T> (follower: Follower<T>, take: (items: T[]) => void): Promise<void> {
    try {
      for (let quiet = 0, lastLookBegan = 0; !this.#abandoned && (!this.#stopped || quiet < 3);) {
        if (this.#stopped && lastLookBegan === 0) lastLookBegan = performance.now()
        try {
          const items = await follower.next()
          take(items)
          quiet = this.#stopped && items.length === 0 ? quiet + 1 : 0
        } catch (error) {
          // A broker is away: what it had comes with the next look.
          if (this.#stopped && performance.now() - lastLookBegan > LAST_LOOK_MS) throw error
        }
        await delay(PAUSE_MS)
      }
    } finally {
      await follower.stop().catch(() => {})
    }
  }

  #takeCommits (commits: LoggedCommit[]): void {
    if (commits.length === 0) return
    this.commits.push(...commits)
    // Read after the commits: whatever they rest on is written already.
    this.readLedger()
    for (; this.#commitsRead < this.commits.length; this.#commitsRead++) this.#options.committed(this.commits[this.#commitsRead]!)
  }

  #takeLetters (records: StoredRecord[]): void {
    for (const record of records) {
      const header = (name: string) => record.headers.findLast(([found]) => found === name)?.[1]?.toString()
      const partition = Number(header(DEAD_LETTER_HEADERS.partition))
      const offset = Number(header(DEAD_LETTER_HEADERS.offset))
      const original = idOf({ topic: header(DEAD_LETTER_HEADERS.topic) ?? '', partition, offset })
      this.letters.push({ original, at: record.timestamp, record })
      if (this.#letterAt.has(original)) continue
      const known = this.completedAt(original) !== undefined
      this.#letterAt.set(original, record.timestamp)
      if (!known) this.#options.completed({ partition, offset })
    }
  }
}
