import { SluiceError } from './errors.js'

export interface StreamLimits {
  readonly maxStreams: number
  /** Of one stream, in flight. */
  readonly maxRecords: number
  /** Of one stream, in flight. */
  readonly maxBytes: number
  /** Of all streams together, in flight. */
  readonly totalRecords: number
  readonly totalBytes: number
}

/**
 * What each of the streams that are under way may have in flight: its own limit, or an equal share of what all of them may have
 * together, whichever is less; one record always. A stream that comes makes the shares of the others smaller, and they wait
 * until they are within them.
 */
export class StreamShares {
  readonly #limits: StreamLimits
  #open = 0

  constructor (limits: StreamLimits) {
    this.#limits = limits
  }

  get open (): number { return this.#open }
  get records (): number { return Math.max(1, Math.min(this.#limits.maxRecords, Math.floor(this.#limits.totalRecords / this.#open))) }
  get bytes (): number { return Math.max(1, Math.min(this.#limits.maxBytes, Math.floor(this.#limits.totalBytes / this.#open))) }

  /** @throws {SluiceError} SLUICE_TOO_MANY_STREAMS */
  enter (): void {
    const { maxStreams } = this.#limits
    if (this.#open >= maxStreams) {
      throw new SluiceError('SLUICE_TOO_MANY_STREAMS', `${maxStreams} streams are under way already. Nothing was produced.`, { limit: maxStreams })
    }
    this.#open++
  }

  leave (): void { this.#open-- }
}
