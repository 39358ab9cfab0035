import { idOf, type LedgerEntry } from '../support/ledger.js'

/** Tells at once where one process had two records of a key in flight: nothing excuses that. Over all processes see aftermath.ts. */
export class Lanes {
  readonly #open = new Map<string, LedgerEntry>()
  readonly #violation: (text: string) => void

  constructor (violation: (text: string) => void) {
    this.#violation = violation
  }

  look (entry: LedgerEntry): void {
    const lane = `${entry.pid}/${entry.topic}/${entry.partition}/${entry.key}`
    const open = this.#open.get(lane)
    if (entry.what !== 'start') {
      if (open?.offset === entry.offset) this.#open.delete(lane)
      return
    }
    if (open !== undefined) this.#violation(`process ${entry.pid} began ${idOf(entry)} while it had ${open.offset} of the same key in flight`)
    this.#open.set(lane, entry)
  }
}
