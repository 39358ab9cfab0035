import type { Limits } from '../access.js'
import { SluiceError } from '../errors.js'
import { TokenBucket } from './token-bucket.js'

/** What a principal may use; what is absent is not limited. */
export interface LimitSettings {
  readonly requestsPerSecond?: number
  /** Requests that may come at once; where absent, those of one second. */
  readonly requestsBurst?: number
  /** Of request bodies. */
  readonly bytesPerSecond?: number
  /** Bytes that may come at once; where absent, those of one second. */
  readonly bytesBurst?: number
  /** To be produced, however many come with one request. */
  readonly recordsPerSecond?: number
  /** Records that may come at once; where absent, those of one second. */
  readonly recordsBurst?: number
  /** From midnight to midnight, UTC. */
  readonly requestsPerDay?: number
  readonly bytesPerDay?: number
  readonly recordsPerDay?: number
}

export interface Clocks {
  /** Milliseconds of a clock that does not jump. */
  readonly monotonic: () => number
  /** Milliseconds since 1970. */
  readonly wall: () => number
}

export const systemClocks: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() }

const DAY_MS = 86_400_000

type Unit = 'requests' | 'bytes' | 'records'

/** Counts what one principal uses, in this process. */
export class Limiter implements Limits {
  readonly #clocks: Clocks
  readonly #rates: Partial<Record<Unit, { bucket: TokenBucket, perSecond: number }>>
  readonly #perDay: Partial<Record<Unit, number>>
  /** For `RateLimit-Policy`. */
  readonly policy: string
  #day = 0
  readonly #today: Record<Unit, number> = { requests: 0, bytes: 0, records: 0 }

  constructor (settings: LimitSettings, clocks: Clocks = systemClocks) {
    this.#clocks = clocks
    const rate = (perSecond: number | undefined, burst: number | undefined) => perSecond === undefined
      ? undefined
      : { perSecond, bucket: new TokenBucket(perSecond, Math.max(1, burst ?? perSecond), clocks.monotonic()) }
    this.#rates = {
      requests: rate(settings.requestsPerSecond, settings.requestsBurst),
      bytes: rate(settings.bytesPerSecond, settings.bytesBurst),
      records: rate(settings.recordsPerSecond, settings.recordsBurst)
    }
    this.#perDay = { requests: settings.requestsPerDay, bytes: settings.bytesPerDay, records: settings.recordsPerDay }
    this.policy = this.#policy()
  }

  /** What was used today, for a limiter that takes this one's place. */
  get today (): { readonly day: number } & Readonly<Record<Unit, number>> {
    return { day: this.#day, ...this.#today }
  }

  /** Goes on from what another limiter of the same principal counted today. */
  goOnFrom ({ today }: Limiter): void {
    this.#day = today.day
    for (const unit of units) this.#today[unit] = today[unit]
  }

  /**
   * Counts one request with a body of this many bytes, and this many records; `null`: with such that are counted as they come.
   *
   * @throws {SluiceError} SLUICE_RATE_LIMITED where a limit is used up; then nothing is counted
   */
  admit (bytes: number | null, records: number | null = 0): void {
    const refused = longest(this.#refusal('requests'),
      longest(bytes === 0 ? null : this.#refusal('bytes'), records === 0 ? null : this.#refusal('records')))
    if (refused !== null) throw refused
    this.#use('requests', 1)
    if (bytes !== null && bytes > 0) this.#use('bytes', bytes)
    if (records !== null && records > 0) this.#use('records', records)
  }

  spend (bytes: number): void {
    this.#use('bytes', bytes)
    const refused = this.#refusal('bytes')
    if (refused !== null) throw refused
  }

  spendAndWait (bytes: number): number {
    this.#use('bytes', bytes)
    const perDay = this.#perDay.bytes
    const refused = perDay !== undefined && this.#usedToday('bytes') >= perDay ? this.#refusal('bytes') : null
    if (refused !== null) throw refused
    return this.#rates.bytes?.bucket.waitMs(this.#clocks.monotonic()) ?? 0
  }

  countRecords (records: number): void { this.#use('records', records) }

  spendRecordsAndWait (records: number): number {
    const perDay = this.#perDay.records
    const refused = perDay !== undefined && this.#usedToday('records') >= perDay ? this.#refusal('records') : null
    if (refused !== null) throw refused
    this.#use('records', records)
    // What may come at once does, and is not waited for.
    return this.#rates.records?.bucket.debtMs(this.#clocks.monotonic()) ?? 0
  }

  get recordsAtOnce (): number {
    const perDay = this.#perDay.records
    const today = perDay === undefined ? Infinity : perDay - this.#usedToday('records')
    return Math.max(1, Math.min(Math.floor(this.#rates.records?.bucket.burst ?? Infinity), today))
  }

  /** The most that one body may have to be counted before it has come: what lies above that would be a long debt. */
  get bytesAtOnce (): number { return this.#rates.bytes?.bucket.burst ?? Infinity }

  /** For `RateLimit`: what is left, and in how many seconds all of it is there again. */
  get remaining (): string {
    const items: string[] = []
    const now = this.#clocks.monotonic()
    for (const unit of units) {
      const bucket = this.#rates[unit]?.bucket
      if (bucket !== undefined) items.push(item(unit, Math.floor(bucket.level(now)), bucket.fullInMs(now)))
      const perDay = this.#perDay[unit]
      if (perDay !== undefined) items.push(item(`${unit}-day`, perDay - this.#usedToday(unit), this.#untilMidnightMs()))
    }
    return items.join(', ')
  }

  #policy (): string {
    const items: string[] = []
    for (const unit of units) {
      const quota = quotaUnits[unit]
      const rate = this.#rates[unit]
      if (rate !== undefined) {
        const { bucket: { burst }, perSecond } = rate
        items.push(`"${unit}";q=${Math.floor(burst)}${quota};w=${Math.max(1, Math.ceil(burst / perSecond))}`)
      }
      const perDay = this.#perDay[unit]
      if (perDay !== undefined) items.push(`"${unit}-day";q=${perDay}${quota};w=${DAY_MS / 1000}`)
    }
    return items.join(', ')
  }

  /** Why nothing of this may be used now, with the time until it may. */
  #refusal (unit: Unit): SluiceError | null {
    const rate = this.#rates[unit]
    const waitMs = rate?.bucket.waitMs(this.#clocks.monotonic()) ?? 0
    const perDay = this.#perDay[unit]
    if (perDay !== undefined && this.#usedToday(unit) >= perDay) {
      return refusal(`This caller may send ${perDay} ${words[unit]} a day (UTC), and has.`, perDay, Math.max(waitMs, this.#untilMidnightMs()))
    }
    if (waitMs === 0) return null
    const { perSecond, bucket: { burst } } = rate!
    return refusal(`This caller may send ${perSecond} ${words[unit]} a second, ${Math.floor(burst)} at once.`, Math.ceil(perSecond), waitMs)
  }

  #use (unit: Unit, n: number): void {
    this.#rates[unit]?.bucket.spend(n)
    if (this.#perDay[unit] === undefined) return
    this.#usedToday(unit)
    this.#today[unit] += n
  }

  #usedToday (unit: Unit): number {
    const day = Math.floor(this.#clocks.wall() / DAY_MS)
    if (day !== this.#day) {
      this.#day = day
      for (const each of units) this.#today[each] = 0
    }
    return this.#today[unit]
  }

  #untilMidnightMs (): number {
    return DAY_MS - this.#clocks.wall() % DAY_MS
  }
}

const units = ['requests', 'bytes', 'records'] as const
const words = { requests: 'requests', bytes: 'bytes of request bodies', records: 'records' } as const
/** For `RateLimit-Policy`, where it is not the default. */
const quotaUnits = { requests: '', bytes: ';qu="content-bytes"', records: ';qu="records"' } as const

const item = (name: string, remaining: number, inMs: number): string => `"${name}";r=${Math.max(0, remaining)};t=${Math.ceil(inMs / 1000)}`

/** Of two refusals the one that lasts: before that, trying again is no use. */
function longest (a: SluiceError | null, b: SluiceError | null): SluiceError | null {
  if (a === null || b === null) return a ?? b
  return a.retryAfterSeconds! >= b.retryAfterSeconds! ? a : b
}

function refusal (detail: string, limit: number, waitMs: number): SluiceError {
  return new SluiceError('SLUICE_RATE_LIMITED', detail, { limit, retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) })
}
