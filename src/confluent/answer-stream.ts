import { Readable } from 'node:stream'
import { SluiceError } from '../errors.js'
import { timerMs } from '../timer-ms.js'
import { ConcatenatedJson, type Piece } from './concatenated-json.js'
import { emptyBody } from './one-record.js'

/** How many records of a stream may be without an answer, and how many bytes of JSON they may have: then nothing more is read. */
export const maxUnanswered = 1_000
export const maxUnansweredBytes = 4 * 1024 * 1024
/** How much is written at once where many answers are there. */
const writeBytes = 16_384

/** What all streams of a process hold together, in bytes of JSON. A stream that has nothing unanswered goes on beyond it. */
export interface AnswerBudget { bytes: number, readonly maxBytes: number }

export interface AnswerStreamOptions {
  /** Largest record, in bytes of JSON. */
  readonly maxRecordBytes: number
  /** How long nothing may be read, answered or written before the stream is given up. */
  readonly idleTimeoutMs: number
  /** Takes one piece, and resolves to its answer; begins with it before it returns. It must not reject. */
  readonly answer: (piece: Piece) => Promise<string>
  /** The answer for what ends the stream too early. */
  readonly failure: (error: SluiceError) => string
  /** Whether the next record must wait for the answers before it. */
  readonly oneByOne: () => boolean
  /** Counts bytes that came, and says how many milliseconds to wait before more are read; may throw a SluiceError. */
  readonly spendAndWait: (bytes: number) => number
  /** Counts a record, and says how many milliseconds to wait before it is produced; may throw a SluiceError. */
  readonly spendRecordAndWait: () => number
  /** Shared by all streams. */
  readonly budget: AnswerBudget
  /** How many records it may have without an answer, where that is less than `maxUnanswered`. */
  readonly share?: () => number
  /** Cuts the connection. */
  readonly abort: () => void
}

/** An answer, or its place until it is there. */
interface Slot { text: string | null, readonly bytes: number }

/**
 * Reads a body of concatenated JSON as it comes, and answers each record in the order of the request as soon as its answer and those
 * before it are there, while the body goes on.
 *
 * What it holds is bounded, however long the body is: one record that is being read, and `maxUnanswered` records or
 * `maxUnansweredBytes` without an answer. Beyond that nothing is read, and where the caller does not read its answers, nothing
 * either. A fault of one record is its answer; a fault that hides where records begin is the last answer.
 */
export class AnswerStream {
  readonly #source: Readable
  readonly #options: AnswerStreamOptions
  readonly #pieces: ConcatenatedJson
  /** In the order of the request. */
  readonly #slots: Slot[] = []
  #bytes = 0
  #taken = 0
  #ended = false
  #stopped = false
  #gone = false
  #broken: SluiceError | null = null
  /** Until when it reads nothing, since its caller has sent what it may. */
  #waitsUntil = 0
  #failedWith: string | null = null
  #changed: (() => void)[] = []
  readonly #idle: NodeJS.Timeout

  constructor (source: Readable, options: AnswerStreamOptions) {
    this.#source = source
    this.#options = options
    this.#pieces = new ConcatenatedJson(options.maxRecordBytes)
    this.#idle = setTimeout(() => { this.#abort() }, options.idleTimeoutMs)
    for (const event of ['readable', 'end', 'error', 'close']) source.on(event, this.#change)
  }

  /**
   * Begins to read, and waits for the first record.
   *
   * @returns the answers, as concatenated JSON
   * @throws {SluiceError} if there is none: SLUICE_EMPTY_BODY, or what is wrong where it should begin
   */
  async start (): Promise<Readable> {
    const reading = this.#read().then(() => null, (err: unknown) => err)
    const failed = reading.then(err => {
      this.#ended = true
      if (err !== null) this.#failedWith ??= err instanceof SluiceError ? err.code : 'SLUICE_MALFORMED_HTTP'
      if (err !== null && this.#taken > 0 && !this.#gone) {
        const error = err instanceof SluiceError ? err : aborted(err)
        this.#slots.push({ text: this.#options.failure(error), bytes: 0 })
      }
      this.#change()
      return err
    })
    while (this.#taken === 0 && !this.#ended) await this.#next()
    if (this.#taken === 0) {
      clearTimeout(this.#idle)
      const err = await failed
      throw err ?? emptyBody()
    }
    const output = Readable.from(this.#answers(), { objectMode: false })
    output.once('close', () => {
      this.#gone = true
      clearTimeout(this.#idle)
      this.#count(-this.#bytes)
      this.#slots.length = 0
      this.#change()
    })
    return output
  }

  /** How it ended, once it has: `done`, or the code of what ended it early. */
  get end (): string {
    if (this.#failedWith !== null) return this.#failedWith
    return this.#stopped ? 'SLUICE_CLOSING' : this.#ended ? 'done' : 'SLUICE_MALFORMED_HTTP'
  }

  /** The bytes that come are no HTTP any more: the last answer says so. */
  fail (error: SluiceError): void {
    this.#broken ??= error
    this.#change()
  }

  /** Reads no further: what was taken is answered, and then the answer ends. */
  stop (): void {
    this.#stopped = true
    this.#change()
  }

  async #read (): Promise<void> {
    for (;;) {
      if (this.#stopped || this.#gone) return
      if (this.#broken !== null) throw this.#broken
      const chunk = this.#source.read() as Buffer | null
      if (chunk === null) {
        if (this.#source.readableEnded) break
        if (this.#source.destroyed) throw this.#aborted()
        await this.#next()
        continue
      }
      this.#idle.refresh()
      await this.#slowDown(this.#options.spendAndWait(chunk.length))
      for (const piece of this.#pieces.push(chunk)) {
        await this.#room()
        await this.#slowDown(this.#options.spendRecordAndWait())
        if (this.#stopped || this.#gone) return
        this.#take(piece)
      }
    }
    this.#pieces.end()
  }

  /** Waits, which is not its caller's fault, until the time is over or nobody needs to wait any longer. */
  async #slowDown (ms: number): Promise<void> {
    if (ms === 0) return
    this.#waitsUntil = performance.now() + ms
    try {
      for (let leftMs = ms; leftMs > 0 && !this.#stopped && !this.#gone; leftMs = this.#waitsUntil - performance.now()) {
        if (this.#broken !== null) throw this.#broken
        if (this.#source.destroyed && !this.#source.readableEnded) throw this.#aborted()
        const timer = setTimeout(this.#change, timerMs(leftMs))
        await this.#next()
        clearTimeout(timer)
      }
    } finally {
      this.#waitsUntil = 0
      this.#idle.refresh()
    }
  }

  #aborted (): Error { return this.#source.errored ?? new Error('the request was aborted') }

  async #room (): Promise<void> {
    const { oneByOne, budget, share = () => maxUnanswered } = this.#options
    const full = (): boolean => this.#slots.length >= Math.min(maxUnanswered, share()) || this.#bytes >= maxUnansweredBytes ||
      budget.bytes >= budget.maxBytes || oneByOne()
    while (!this.#gone && !this.#stopped && this.#slots.length > 0 && full()) await this.#next()
  }

  #take (piece: Piece): void {
    const slot: Slot = { text: null, bytes: piece.bytes?.length ?? 0 }
    this.#slots.push(slot)
    this.#count(slot.bytes)
    this.#taken++
    this.#change()
    this.#options.answer(piece).then(text => {
      slot.text = text
      this.#change()
    }, () => { /* By its contract it does not reject. */ })
  }

  #count (bytes: number): void {
    this.#bytes += bytes
    this.#options.budget.bytes += bytes
  }

  async * #answers (): AsyncGenerator<string> {
    for (;;) {
      let text = ''
      while (this.#slots[0] !== undefined && this.#slots[0].text !== null && text.length < writeBytes) {
        const slot = this.#slots.shift() as Slot
        this.#count(-slot.bytes)
        text += slot.text
      }
      if (text !== '') {
        this.#idle.refresh()
        this.#change()
        yield text
      } else if (this.#gone || (this.#slots.length === 0 && (this.#ended || this.#stopped))) {
        return
      } else {
        await this.#next()
      }
    }
  }

  /** Resolves with the next change of any kind. */
  #next (): Promise<void> {
    return new Promise(resolve => { this.#changed.push(resolve) })
  }

  readonly #change = (): void => {
    const waiting = this.#changed
    this.#changed = []
    for (const resolve of waiting) resolve()
  }

  /** Nothing moved for too long: the caller neither sends nor reads, or does not read what is there. */
  #abort (): void {
    if (performance.now() < this.#waitsUntil) {
      this.#idle.refresh()
      return
    }
    this.#gone = true
    this.#failedWith ??= 'SLUICE_STREAM_STALLED'
    this.#options.abort()
    this.#change()
  }
}

function aborted (cause: unknown): SluiceError {
  return new SluiceError('SLUICE_INVALID_REQUEST', 'The body ended before it was complete.', { cause })
}
