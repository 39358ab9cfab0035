import type { Readable } from 'node:stream'
import type { Limits } from './access.js'
import { internalError, SluiceError, toProblem } from './errors.js'
import type { Outcome } from './kafka/record-producer.js'
import { LineSplitter, oversized } from './ndjson-lines.js'
import { NdjsonResults } from './ndjson-results.js'
import { enqueueMany, type ProduceContext } from './produce.js'
import { decodeLine } from './record-json.js'
import type { OutgoingRecord } from './record.js'
import type { StreamShares } from './stream-shares.js'
import { timerMs } from './timer-ms.js'

export interface NdjsonStreamOptions {
  readonly context: ProduceContext
  readonly topic: string
  readonly source: Readable
  readonly shares: StreamShares
  readonly maxLineBytes: number
  readonly idleTimeoutMs: number
  /** Whether a record that was written gets a line. */
  readonly receipts: boolean
  /** Of whoever sends it: what has come is counted, and then waited for. */
  readonly limits: Limits
  /** What each record is put through: the trace context of the request. */
  readonly trace: (record: OutgoingRecord) => OutgoingRecord
}

/** How many records are handed over at once. */
const batchRecords = 500
const batchBytes = 262_144
/** How long to wait before a full queue is tried again, where nothing of this stream is in flight that would tell. */
const fullPauseMs = 50
const space = 0x20

/**
 * Produces a stream of lines as it comes, and writes a line for each result as it is acknowledged.
 *
 *     source ──► lines ──► window (in flight) ──► queue ──► results
 *        ▲                    │ full                          │ reader is behind
 *        └──── is not read ◄──┴───────────────────────────────┘
 *
 * Memory is bounded at any length: the chunk that was read, a line that is not whole, what its share lets be in flight, and the
 * results of that. One wake-up serves all waits: whatever happens, the loop looks again at what it waits for.
 */
export class NdjsonStream {
  readonly results = new NdjsonResults()
  readonly #options: NdjsonStreamOptions
  readonly #lines: LineSplitter
  readonly #receiptStart: string
  #wake: () => void = () => {}
  #ended = false
  #failure: SluiceError | null = null
  #inFlight = 0
  #inFlightBytes = 0
  #succeeded = 0
  #failed = 0
  #progressAt = performance.now()
  /** Until when it reads nothing, since its sender has sent what it may. */
  #waitsUntil = 0
  /** Why the queue took nothing when it was last tried. */
  #refusal: SluiceError | null = null
  #batch: OutgoingRecord[] = []
  #batchLines: number[] = []
  #batchSizes: number[] = []
  #batchedBytes = 0

  constructor (options: NdjsonStreamOptions) {
    this.#options = options
    this.#lines = new LineSplitter(options.maxLineBytes)
    this.#receiptStart = `,"topic":${JSON.stringify(options.topic)},"partition":`
    this.results.onDrain = () => { this.#progress() }
    const { source } = options
    source.on('readable', () => { this.#wake() })
    source.on('end', () => { this.#ended = true; this.#wake() })
    source.on('error', () => { this.fail(broken()) })
    source.on('close', () => { if (!this.#ended) this.fail(broken()) })
    this.results.on('close', () => { if (!this.results.readableEnded) this.fail(broken()) })
  }

  /** Reads no more. What is in flight gets its results; then comes this as the last line. Only the first time counts. */
  fail (error: SluiceError): void {
    this.#failure ??= error
    this.#wake()
  }

  /** Resolves once everything is said: with what ended it early, or `null`. Never rejects. */
  async run (): Promise<SluiceError | null> {
    const { idleTimeoutMs } = this.#options
    const watch = setInterval(() => { this.#watch() }, Math.max(idleTimeoutMs / 10, 10))
    try {
      await this.#produceAll()
      await this.#until(() => this.#inFlight === 0)
      this.results.write(`{"done":true,"succeeded":${this.#succeeded},"failed":${this.#failed}}\n`)
    } catch (err) {
      this.#failure ??= err instanceof SluiceError ? err : internalError(err)
      while (this.#inFlight > 0 && !this.results.destroyed && !this.#isStalled()) await this.#sleep()
      if (this.#inFlight > 0) this.results.write(line(this.#unfinished(this.#failure)))
      else this.results.write(line(this.#failure))
    } finally {
      clearInterval(watch)
      this.results.finish()
    }
    return this.#failure
  }

  // --- Reading --------------------------------------------------------------------------------------------------------

  async #produceAll (): Promise<void> {
    for (let chunk = await this.#read(); chunk !== null; chunk = await this.#read()) {
      await this.#slowDown(this.#options.limits.spendAndWait(chunk.length))
      this.#lines.feed(chunk)
      for (let next = this.#lines.next(); next !== null; next = this.#lines.next()) {
        this.#take(next)
        if (this.#isBatchFull()) await this.#handOver()
        if (this.results.full) await this.#until(() => !this.results.full)
      }
      await this.#handOver()
    }
    const last = this.#lines.end()
    if (last !== null) this.#take(last)
    await this.#handOver()
  }

  /** The next bytes; `null` at the end. */
  async #read (): Promise<Buffer | null> {
    const { source } = this.#options
    for (;;) {
      if (this.#failure !== null) throw this.#failure
      const chunk = source.read() as Buffer | null
      if (chunk !== null) return chunk
      if (this.#ended) return null
      await this.#sleep()
    }
  }

  #take (bytes: Buffer | typeof oversized): void {
    this.#progressAt = performance.now()
    const number = this.#lines.line
    try {
      if (bytes === oversized) {
        const { maxLineBytes: limit } = this.#options
        throw new SluiceError('SLUICE_BODY_TOO_LARGE', `A line may have ${limit} bytes (BODY_LIMIT_BYTES).`, { limit })
      }
      if (isBlank(bytes)) return
      this.#batch.push(this.#options.trace(decodeLine(this.#options.topic, bytes)))
      this.#batchLines.push(number)
      this.#batchSizes.push(bytes.length)
      this.#batchedBytes += bytes.length
    } catch (err) {
      if (!(err instanceof SluiceError)) throw err
      this.#failed++
      this.results.write(line(err, number))
    }
  }

  #isBatchFull (): boolean {
    const { shares, limits } = this.#options
    return this.#batch.length >= Math.min(batchRecords, shares.records, limits.recordsAtOnce) ||
      this.#batchedBytes >= Math.min(batchBytes, shares.bytes)
  }

  // --- Producing ------------------------------------------------------------------------------------------------------

  async #handOver (): Promise<void> {
    const records = this.#batch
    if (records.length === 0) return
    const lines = this.#batchLines
    const sizes = this.#batchSizes
    const bytes = this.#batchedBytes
    this.#batch = []
    this.#batchLines = []
    this.#batchSizes = []
    this.#batchedBytes = 0
    const { context, topic, shares, limits, idleTimeoutMs } = this.#options
    await this.#slowDown(limits.spendRecordsAndWait(records.length))
    for (;;) {
      await this.#until(() => this.#inFlight === 0 ||
        (this.#inFlight + records.length <= shares.records && this.#inFlightBytes + bytes <= shares.bytes))
      // Counted first: some may be settled before the call returns.
      this.#inFlight += records.length
      this.#inFlightBytes += bytes
      try {
        await enqueueMany(context, topic, records, idleTimeoutMs, (i, outcome) => { this.#settled(lines[i]!, sizes[i]!, outcome) })
        this.#refusal = null
        return
      } catch (err) {
        this.#inFlight -= records.length
        this.#inFlightBytes -= bytes
        if (!isPassing(err)) throw err
        this.#refusal = err
        await this.#pause(fullPauseMs)
      }
    }
  }

  #settled (number: number, size: number, outcome: Outcome): void {
    this.#inFlight--
    this.#inFlightBytes -= size
    if (outcome instanceof SluiceError) {
      this.#failed++
      this.results.write(line(outcome, number))
    } else {
      this.#succeeded++
      if (this.#options.receipts) {
        const { partition, offset, timestamp } = outcome
        this.results.write(`{"line":${number}${this.#receiptStart}${partition},"offset":${offset},"timestamp":${timestamp}}\n`)
      }
    }
    this.#progress()
  }

  // --- Waiting --------------------------------------------------------------------------------------------------------

  #progress (): void {
    this.#progressAt = performance.now()
    this.#wake()
  }

  #sleep (): Promise<void> {
    return new Promise(resolve => { this.#wake = resolve })
  }

  async #until (holds: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure
      if (holds()) return
      await this.#sleep()
    }
  }

  /** Waits because its sender has sent what it may, which is no fault of the stream's. */
  async #slowDown (ms: number): Promise<void> {
    if (ms === 0) return
    this.#waitsUntil = performance.now() + ms
    try {
      await this.#pause(ms)
    } finally {
      this.#waitsUntil = 0
      this.#progressAt = performance.now()
    }
  }

  /** Ends early where the stream fails. */
  async #pause (ms: number): Promise<void> {
    const until = performance.now() + ms
    for (let leftMs = ms; leftMs > 0; leftMs = until - performance.now()) {
      if (this.#failure !== null) throw this.#failure
      const timer = setTimeout(() => { this.#wake() }, timerMs(leftMs))
      await this.#sleep()
      clearTimeout(timer)
    }
  }

  #isStalled (): boolean {
    return performance.now() - Math.max(this.#progressAt, this.#waitsUntil) > this.#options.idleTimeoutMs
  }

  #watch (): void {
    if (!this.#isStalled()) return
    this.fail(this.#refusal ?? new SluiceError('SLUICE_STREAM_STALLED',
      `For ${this.#options.idleTimeoutMs} ms no line came, no record was acknowledged and no result was read (STREAM_IDLE_TIMEOUT_MS).`))
  }

  #unfinished (error: SluiceError): SluiceError {
    return new SluiceError(error.code, `${error.message} Of ${this.#inFlight} records that were handed over the outcome is unknown.`, error.details)
  }
}

/** What passes by itself, and what a stream therefore waits for. */
function isPassing (err: unknown): err is SluiceError {
  return err instanceof SluiceError && (err.code === 'SLUICE_QUEUE_FULL' || err.code === 'SLUICE_BROKER_UNAVAILABLE')
}

const broken = (): SluiceError => new SluiceError('SLUICE_MALFORMED_HTTP', 'The body broke off, or is not what its headers say.')

/** With what a header would say of an answer of its own: when to try again. */
function line (error: SluiceError, number?: number): string {
  const { retryAfterSeconds } = error
  return JSON.stringify({
    ...(number !== undefined && { line: number }),
    ...toProblem(error),
    ...(retryAfterSeconds !== undefined && { retryAfter: retryAfterSeconds })
  }) + '\n'
}

/** White space only, as JSON has it. */
function isBlank (bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== space && byte !== 0x09 && byte !== 0x0d) return false
  return true
}
