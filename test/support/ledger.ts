import { closeSync, existsSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from './kafka.js'

/** What a handler of test/support/handlers wrote down. */
export interface LedgerEntry {
  readonly what: 'start' | 'end' | 'fail'
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  readonly attempt: number
  readonly pid: number
  /** Milliseconds since 1970. */
  readonly at: number
  /** Of chaos's handler only: the record's own name, and how it fails for good if it does. */
  readonly id?: string
  readonly poison?: string
  /** Of a `start` in a batch: `process-number of size`. */
  readonly batch?: string
}

/** What is read goes through it at once: a new one each time would have to be zeroed, some hundred times a second. */
const buffer = Buffer.alloc(1 << 20)

/**
 * The file in which the handlers of any number of gateways write down what they do, before the gateway can know of it: a
 * record whose `end` is missing was not handled, whoever says otherwise. Its lines are in the order of writing.
 */
export class Ledger {
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'sluice-ledger-'))
  readonly file = path.join(this.#folder, 'ledger.jsonl')
  readonly #entries: LedgerEntry[] = []
  readonly #handled = new Map<string, number>()
  #read = 0
  #rest = ''

  /** Everything that was written so far. */
  get entries (): readonly LedgerEntry[] {
    this.#readOn()
    return this.#entries
  }

  /** How often each record was handled to its end, by `topic/partition/offset`. */
  get handled (): ReadonlyMap<string, number> {
    this.#readOn()
    return this.#handled
  }

  remove (): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #readOn (): void {
    if (!existsSync(this.file)) return
    const fd = openSync(this.file, 'r')
    for (let bytes = 1; bytes > 0;) {
      bytes = readSync(fd, buffer, 0, buffer.length, this.#read)
      this.#read += bytes
      this.#rest += buffer.toString('utf8', 0, bytes)
    }
    closeSync(fd)
    const lines = this.#rest.split('\n')
    this.#rest = lines.pop()!
    for (const line of lines) {
      const entry = JSON.parse(line) as LedgerEntry
      this.#entries.push(entry)
      if (entry.what === 'end') this.#handled.set(idOf(entry), (this.#handled.get(idOf(entry)) ?? 0) + 1)
    }
  }
}

export function idOf ({ topic, partition, offset }: { topic: string, partition: number, offset: number }): string {
  return `${topic}/${partition}/${offset}`
}

/** Records of these places that were handled never, and those that were handled more than once. */
export function countHandled (ledger: Ledger, written: ReadonlyArray<{ topic: string, partition: number, offset: number }>) {
  const { handled } = ledger
  return {
    missing: written.map(idOf).filter(id => !handled.has(id)),
    repeated: [...handled].filter(([, times]) => times > 1).map(([id]) => id),
    unknown: handled.size - written.filter(record => handled.has(idOf(record))).length
  }
}

/** Whether the process of an entry was, at a time, no longer the one that decides about the entry's partition. */
export type Superseded = (entry: LedgerEntry, at: number) => boolean

/**
 * Where a key's order was broken: two of its records in flight together, or one that first began after a later one had. `gone`
 * are the processes that were killed: what they had in flight ended with them. Where a caller knows it more exactly, it says
 * with a function when a process was killed, or fenced without knowing it: then what it has in flight may be overtaken, and
 * what it still begins does not count.
 */
export function orderViolations (entries: readonly LedgerEntry[], gone: ReadonlySet<number> | Superseded = new Set()): string[] {
  const superseded: Superseded = typeof gone === 'function' ? gone : entry => gone.has(entry.pid)
  const begins: Superseded = typeof gone === 'function' ? gone : () => false
  const violations: string[] = []
  const running = new Map<string, LedgerEntry>()
  const latest = new Map<string, number>()
  const started = new Set<string>()
  for (const entry of entries) {
    if (entry.key === null) continue
    const lane = `${entry.topic}/${entry.partition}/${entry.key}`
    const open = running.get(lane)
    if (entry.what !== 'start') {
      if (open !== undefined && open.offset === entry.offset && open.pid === entry.pid) running.delete(lane)
      continue
    }
    if (begins(entry, entry.at)) continue
    if (open !== undefined && (open.pid === entry.pid || !superseded(open, entry.at))) {
      violations.push(`${lane}: ${entry.offset} (process ${entry.pid}) began while ${open.offset} (process ${open.pid}) was in flight`)
    }
    const before = latest.get(lane) ?? -1
    // A second delivery goes back, and may.
    if (entry.offset < before && !started.has(idOf(entry))) violations.push(`${lane}: ${entry.offset} began after ${before}`)
    started.add(idOf(entry))
    latest.set(lane, Math.max(before, entry.offset))
    running.set(lane, entry)
  }
  return violations
}

/** The most handlers that were in flight at once. */
export function peakInFlight (entries: readonly LedgerEntry[]): number {
  let inFlight = 0
  let peak = 0
  for (const { what } of entries) {
    inFlight += what === 'start' ? 1 : -1
    peak = Math.max(peak, inFlight)
  }
  return peak
}

/**
 * Reads a group's committed offsets from the broker again and again, by the witness, and compares them with the ledger:
 * no commit may ever pass a record that was not handled, nor go backwards. For topics whose offsets have no gaps.
 */
export class CommitWatch {
  /** What was wrong, in words. */
  readonly violations: string[] = []
  /** How many different offsets were seen. A watch that saw none has shown nothing. */
  seen = 0
  readonly #kafka: Kafka
  readonly #group: string
  readonly #ledger: Ledger
  readonly #reached = new Map<string, number>()
  #stopped = false
  readonly #running: Promise<void>

  constructor (kafka: Kafka, group: string, ledger: Ledger) {
    this.#kafka = kafka
    this.#group = group
    this.#ledger = ledger
    this.#running = this.#run()
    this.#running.catch(() => {})
  }

  /** Looks once more, and ends. */
  async stop (): Promise<void> {
    this.#stopped = true
    await this.#running
    await this.#look()
  }

  /** Ends, without a last look: for a teardown, so that a test that fails does not go on looking. */
  abandon (): void {
    this.#stopped = true
  }

  async #run (): Promise<void> {
    while (!this.#stopped) {
      await this.#look()
      await delay(20)
    }
  }

  async #look (): Promise<void> {
    const offsets = await this.#kafka.committedOffsets(this.#group)
    // Read after the commits: whatever they rest on is written already.
    const { handled } = this.#ledger
    for (const { topic, partition, offset } of offsets) {
      const id = `${topic}/${partition}`
      const reached = this.#reached.get(id) ?? 0
      if (offset < reached) this.violations.push(`${id}: the commit went back from ${reached} to ${offset}`)
      if (offset > reached) this.seen++
      for (let at = reached; at < offset; at++) {
        if (!handled.has(`${id}/${at}`)) this.violations.push(`${id}: ${offset} is committed, ${at} was not handled`)
      }
      this.#reached.set(id, Math.max(offset, reached))
    }
  }
}
