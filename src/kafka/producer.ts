import { BoundedLog } from '../bounded-log.js'
import type { ClientProperties, ProducerConfig } from '../config.js'
import { SluiceError } from '../errors.js'
import type { OutgoingRecord, Receipt } from '../record.js'
import { isFailure, reasonForCallers, scrubber, withAdvice, withoutThread } from './connection-reason.js'
import { deliveryUnknown, isOfBatch, isTooLarge, notAllowedToWrite, refusedByClient, refusedInCompany, reportedByKafka } from './delivery-errors.js'
import {
  clusterMetadata, codes, connect, disconnect, flush, newProducer, requestTopic,
  type ClusterMetadata, type DriverError, type DriverLogLine
} from './driver.js'
import { Pending, Session } from './pending.js'
import { prepareRecord, type PreparedRecord } from './prepared-record.js'
import { producerProperties } from './producer-properties.js'
import { DrainRate } from './drain-rate.js'
import { Flights } from './flights.js'
import { awaitingReport } from './late-report.js'
import { Reachability } from './reachability.js'
import type { Log, Outcome, ProducerObserver, ProducerState, RecordProducer } from './record-producer.js'
import type { TopicList } from './topics.js'

export interface KafkaProducerOptions {
  /** librdkafka properties for any client: brokers, security. */
  readonly client: ClientProperties
  readonly settings: ProducerConfig
  readonly log: Log
  readonly observer?: ProducerObserver
  /** False for the embedded broker, whose reports all say 1234. */
  readonly reportsTimestamps?: boolean
}

const firstConnectTimeoutMs = 3_000
/** An attempt cannot be called off, so that it also bounds how long a close may take. */
const maxConnectTimeoutMs = 10_000
const maxConnectPauseMs = 2_000
const tickMs = 250
const probeTimeoutMs = 2_000
const disconnectTimeoutMs = 5_000
/**
 * What a client that had a fatal error gets for its last reports. It sends nothing any more, but keeps what it meant to send again, and
 * reports that only when the delivery timeout is over.
 */
const fatalReportsMs = 10_000

/** The part of a delivery report that is used. */
interface DeliveryReport {
  readonly partition: number
  readonly offset: number
  readonly timestamp?: number
  readonly opaque?: unknown
}

/**
 * An idempotent producer with acks=all over the driver's callback API.
 *
 * It counts what is pending by itself: at most `queueMaxRecords` and `queueMaxBytes`, and everything beyond is refused before
 * it is enqueued. It never retries what may have been written, and never ends the process.
 */
export class KafkaProducer implements RecordProducer {
  readonly #properties: ClientProperties
  readonly #settings: ProducerConfig
  readonly #log: Log
  readonly #observer: ProducerObserver | undefined
  readonly #reportsTimestamps: boolean
  readonly #scrub: (line: string) => string

  #session: Session | null = null
  readonly #retiring = new Set<Promise<void>>()
  #connecting: Promise<void> | null = null
  #wake: (() => void) | null = null
  #ticker: NodeJS.Timeout | undefined
  #closing: Promise<void> | null = null

  #pendingRecords = 0
  #pendingBytes = 0
  readonly #drained = new DrainRate()
  readonly #flights = new Flights<Pending>(
    records => { for (const pending of records) this.#hand(pending) },
    records => { for (const pending of records) if (pending.open) this.#settled(pending, refusedInCompany()) })

  readonly #refusedBatches = new BoundedLog()
  readonly #reachability = new Reachability()
  /** The newest reason that the client's log gave. */
  #lastError: string | null = null
  /** The broker gave no producer id: this user may not write to anything. Fatal to a client, and to the next one as well. */
  #denied = false
  #probing: Promise<void> | null = null
  #metadata: ClusterMetadata | null = null
  #metadataAt = 0

  /** @throws nothing: a property that librdkafka does not take is found by `connect()` */
  constructor ({ client, settings, log, observer, reportsTimestamps = true }: KafkaProducerOptions) {
    this.#settings = settings
    this.#log = log
    this.#observer = observer
    this.#reportsTimestamps = reportsTimestamps
    this.#properties = producerProperties(client, settings)
    this.#scrub = scrubber(this.#properties)
  }

  /**
   * Connects, and keeps trying until it has or is closed; resolves then. A client that failed is thrown away.
   *
   * @throws {DriverError} at once, if librdkafka does not take the configuration
   */
  async connect (): Promise<void> {
    if (this.#closing !== null || this.#session !== null) return
    this.#connecting ??= this.#connectUntilDone().finally(() => { this.#connecting = null })
    await this.#connecting
  }

  get state (): ProducerState {
    return {
      connected: this.#session !== null,
      reachable: this.#session !== null && this.#reachability.reachable,
      pendingRecords: this.#pendingRecords,
      pendingBytes: this.#pendingBytes,
      lastError: this.#session !== null && this.#reachability.reachable ? null : this.#lastError
    }
  }

  send (record: OutgoingRecord, timeoutMs?: number): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      const prepared = this.#prepare(record)
      const session = this.#admit(1, prepared.size)
      const settled = (_index: number, outcome: Outcome): void => { outcome instanceof SluiceError ? reject(outcome) : resolve(outcome) }
      const pending = this.#enqueue(session, prepared, performance.now(), 0, settled)
      if (timeoutMs !== undefined) pending.timer = setTimeout(this.#expire, timeoutMs, pending)
    })
  }

  async sendBatch (records: readonly OutgoingRecord[], timeoutMs?: number): Promise<Outcome[]> {
    const outcomes = new Array<Outcome>(records.length)
    let left = records.length
    if (left === 0) return outcomes
    return await new Promise(resolve => {
      let timer: NodeJS.Timeout | undefined
      const waiting = this.#enqueueAll(records, (i, outcome) => {
        outcomes[i] = outcome
        if (--left === 0) { clearTimeout(timer); resolve(outcomes) }
      })
      if (left > 0 && timeoutMs !== undefined) {
        timer = setTimeout(() => { for (const pending of waiting) this.#expire(pending) }, timeoutMs)
      }
    })
  }

  enqueue (records: readonly OutgoingRecord[], settled: (index: number, outcome: Outcome) => void): void {
    this.#enqueueAll(records, settled)
  }

  /** The newest list of topics with their numbers of partitions, and when it was read (`performance.now()`). */
  get topicList (): TopicList | null {
    return this.#metadata === null ? null : { partitions: this.#metadata.partitions, layout: this.#metadata.layout, at: this.#metadataAt }
  }

  /**
   * Reads the list of topics anew. One question is under way at a time: whoever comes later shares its answer.
   *
   * @throws {SluiceError} SLUICE_BROKER_UNAVAILABLE: at once where Kafka is known to be away, else after at most 2 s
   */
  refreshTopics (): Promise<void> {
    return this.#reachability.reachable ? this.#ask() : Promise.reject(this.#unavailable())
  }

  /** Asks for a topic by its name, which makes it where client and broker create topics automatically. */
  async requestTopic (topic: string): Promise<void> {
    const session = this.#session
    if (session === null) throw this.#unavailable()
    try {
      await requestTopic(session.client, topic, probeTimeoutMs)
    } catch {
      throw this.#unavailable()
    }
  }

  /**
   * Takes nothing more, waits at most `timeoutMs` for the reports of what is pending, and lets go of the client. What is not
   * reported by then ends as SLUICE_DELIVERY_UNKNOWN. Afterwards nothing of it keeps the process alive.
   */
  close (timeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(performance.now() + timeoutMs)
    return this.#closing
  }

  async #close (deadline: number): Promise<void> {
    clearInterval(this.#ticker)
    this.#wake?.()
    const session = this.#session
    this.#session = null
    this.#flights.handAll()
    if (session !== null) this.#retire(session, deadline)
    await within(deadline + disconnectTimeoutMs, Promise.allSettled([this.#connecting, this.#probing, ...this.#retiring]))
  }

  // --- Connecting -----------------------------------------------------------------------------------------------------

  async #connectUntilDone (): Promise<void> {
    let timeoutMs = firstConnectTimeoutMs
    let pauseMs = tickMs
    // The next client would most likely be told the same.
    if (this.#denied) await this.#pause(maxConnectPauseMs)
    while (this.#closing === null) {
      const session = this.#open()
      try {
        const metadata = await connect(session.client, timeoutMs)
        if (this.#closing === null) this.#adopt(session, metadata)
        else await disconnect(session.client)
        return
      } catch (err) {
        this.#lastError ??= this.#scrub((err as Error).message)
        this.#denied = false
        this.#log.warn({ reason: this.#lastError }, 'no connection to Kafka yet; trying again')
      }
      await this.#pause(pauseMs)
      // A slow network may need longer than the first attempts get.
      timeoutMs = Math.min(timeoutMs * 2, maxConnectTimeoutMs)
      pauseMs = Math.min(pauseMs * 2, maxConnectPauseMs)
    }
  }

  #open (): Session {
    const session = new Session(newProducer(this.#properties))
    session.client.on('event.log', (line: DriverLogLine) => { this.#heard(session, line) })
    session.client.on('delivery-report', this.#report)
    return session
  }

  #adopt (session: Session, metadata: ClusterMetadata): void {
    // Only now: before the connection this call ends the process.
    session.client.setPollInBackground(true)
    this.#session = session
    this.#learn(metadata)
    this.#ticker ??= setInterval(() => { this.#tick() }, tickMs).unref()
    this.#log.info({ brokers: metadata.brokers.length }, 'connected to Kafka for producing')
  }

  #pause (ms: number): Promise<void> {
    if (this.#closing !== null) return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => { clearTimeout(timer); resolve() }
    })
  }

  /** A line of librdkafka's log. Its FAIL lines are the only place where the reason of a failure is told. */
  #heard (session: Session, line: DriverLogLine): void {
    const message = this.#scrub(withoutThread(line.message))
    // A client that is being let go says nothing about the one in its place.
    if (isFailure(line) && (this.#session ?? session) === session) {
      this.#lastError = this.#session === null ? withAdvice(message) : message
      this.#reachability.suspect()
    }
    if (line.fac === 'FATAL' && /cluster authorization failed/i.test(message)) {
      this.#denied = session.denied = true
    }
    this.#log.debug({ facility: line.fac, severity: line.severity, line: message }, 'Kafka client')
  }

  /** Replaces a client that had a fatal error. What it still holds gets its reports, or an unknown outcome. */
  #replace (session: Session): void {
    if (this.#session !== session) return
    this.#session = null
    this.#observer?.replaced?.()
    this.#lastError = this.#denied
      ? 'this user may write to no topic, and is not given a producer id'
      : 'the client had a fatal error and is being replaced'
    this.#log.error({ pendingRecords: session.pending.size, reason: this.#lastError }, 'the Kafka producer had a fatal error; making a new one')
    for (const pending of this.#flights.takeBack()) if (pending.open) this.#settled(pending, this.#refusal())
    this.#retire(session, performance.now() + Math.min(fatalReportsMs, this.#settings.deliveryTimeoutMs))
    this.connect().catch((err: unknown) => { this.#log.error({ err }, 'the new Kafka producer cannot be made') })
  }

  #retire (session: Session, deadline: number): void {
    const retired = this.#letGo(session, deadline).finally(() => { this.#retiring.delete(retired) })
    this.#retiring.add(retired)
  }

  /** The order matters: reports that arrive after the disconnect are lost. */
  async #letGo (session: Session, deadline: number): Promise<void> {
    if (session.pending.size > 0) {
      await flush(session.client, Math.max(1, Math.ceil(deadline - performance.now())))
      if (session.pending.size > 0) await within(deadline, new Promise<void>(resolve => { session.onEmpty = resolve }))
    }
    if (session.pending.size > 0) {
      this.#log.warn({ records: session.pending.size }, 'gave up waiting for delivery reports; the outcome is unknown')
    }
    while (session.pending.first !== null) this.#settled(session.pending.first, deliveryUnknown())
    await disconnect(session.client)
  }

  // --- Is Kafka there? ------------------------------------------------------------------------------------------------

  /** Four times a second; nearly always there is nothing to do. */
  #tick (): void {
    if (this.#session === null || this.#probing !== null) return
    const oldest = this.#session.pending.first
    if (!this.#reachability.shouldAsk(performance.now(), oldest?.enqueuedAt)) return
    this.#ask().catch(() => { /* `#probe` has noted it. */ })
  }

  #ask (): Promise<void> {
    this.#probing ??= this.#probe().finally(() => { this.#probing = null })
    return this.#probing
  }

  async #probe (): Promise<void> {
    const session = this.#session
    if (session === null) throw this.#unavailable()
    this.#reachability.asked(performance.now())
    try {
      const metadata = await clusterMetadata(session.client, probeTimeoutMs)
      if (session === this.#session) this.#learn(metadata)
    } catch (err) {
      if (session === this.#session && this.#reachability.missed(performance.now(), this.#metadata?.brokers.length ?? 1)) {
        if (!this.#reachability.suspicious) this.#lastError = `no answer to a metadata request within ${probeTimeoutMs} ms: ${(err as Error).message}`
        this.#log.warn({ reason: this.#lastError }, 'Kafka does not answer; requests are refused until it does')
      }
      throw this.#unavailable()
    }
  }

  #learn (metadata: ClusterMetadata): void {
    this.#metadata = metadata
    this.#metadataAt = performance.now()
    this.#reachability.trust()
    this.#answered(this.#metadataAt)
  }

  #answered (now: number): void {
    if (this.#reachability.answered(now)) this.#log.info({}, 'Kafka answers')
  }

  #unavailable (): SluiceError {
    return new SluiceError('SLUICE_BROKER_UNAVAILABLE', `Kafka cannot be reached: ${reasonForCallers(this.#lastError)}. Nothing was produced.`)
  }

  /** Why nothing can be produced while there is no client. */
  #refusal (): SluiceError {
    return this.#denied && this.#reachability.reachable ? notAllowedToWrite() : this.#unavailable()
  }

  // --- A record's way -------------------------------------------------------------------------------------------------

  /** Hands records over in their order. What is wrong with one of them by itself is told at once. */
  #enqueueAll (records: readonly OutgoingRecord[], settled: (index: number, outcome: Outcome) => void): Pending[] {
    const prepared: (PreparedRecord | SluiceError)[] = []
    let count = 0
    let bytes = 0
    for (const record of records) {
      try {
        const one = this.#prepare(record)
        prepared.push(one)
        count++
        bytes += one.size
      } catch (err) {
        if (!(err instanceof SluiceError)) throw err
        prepared.push(err)
      }
    }
    const session = count === 0 ? null : this.#admit(count, bytes)
    const waiting: Pending[] = []
    const now = performance.now()
    for (let i = 0; i < prepared.length; i++) {
      const one = prepared[i]!
      if (one instanceof SluiceError) settled(i, one)
      else waiting.push(this.#enqueue(session!, one, now, i, settled))
    }
    return waiting
  }

  #prepare (record: OutgoingRecord): PreparedRecord {
    try {
      return prepareRecord(record, this.#settings.messageMaxBytes)
    } catch (err) {
      throw err instanceof SluiceError ? this.#refuse(err) : err
    }
  }

  /** Finds room for all of it, or refuses all of it. Nothing is reserved for longer than the caller's own turn. */
  #admit (records: number, bytes: number): Session {
    if (this.#closing !== null) {
      throw this.#refuse(new SluiceError('SLUICE_CLOSING', 'This process is about to end. Nothing was produced.'))
    }
    const { queueMaxRecords, queueMaxBytes } = this.#settings
    if (records > queueMaxRecords) {
      throw this.#refuse(new SluiceError('SLUICE_BATCH_TOO_LARGE', `A batch may have ${queueMaxRecords} records.`, { limit: queueMaxRecords }))
    }
    if (bytes > queueMaxBytes) {
      throw this.#refuse(new SluiceError('SLUICE_BATCH_TOO_LARGE', `The records of a batch may have ${queueMaxBytes} bytes.`, { limit: queueMaxBytes }))
    }
    if (this.#session === null || !this.#reachability.reachable) throw this.#refuse(this.#refusal())
    if (this.#pendingRecords + records > queueMaxRecords || this.#pendingBytes + bytes > queueMaxBytes) {
      const seconds = this.#secondsUntilRoom(records, bytes)
      throw this.#refuse(new SluiceError('SLUICE_QUEUE_FULL',
        `${this.#pendingRecords} records wait for Kafka already. Nothing of this request was produced.`,
        seconds === undefined ? {} : { retryAfterSeconds: seconds }))
    }
    return this.#session
  }

  /** Until there is room for this, and half of what waits now has gone: whoever else is refused comes back as well. */
  #secondsUntilRoom (records: number, bytes: number): number | undefined {
    const { queueMaxRecords, queueMaxBytes } = this.#settings
    return this.#drained.secondsFor(
      Math.max(this.#pendingRecords + records - queueMaxRecords, this.#pendingRecords / 2),
      Math.max(this.#pendingBytes + bytes - queueMaxBytes, this.#pendingBytes / 2),
      performance.now())
  }

  #refuse (error: SluiceError): SluiceError {
    this.#observer?.failed(error.code)
    return error
  }

  #enqueue (
    session: Session, record: PreparedRecord, now: number, index: number, settled: (index: number, outcome: Outcome) => void
  ): Pending {
    const timestamp = record.timestamp ?? (this.#reportsTimestamps ? -1 : Date.now())
    const pending = new Pending(session, record, timestamp, now, index, settled)
    session.pending.add(pending)
    this.#pendingRecords++
    this.#pendingBytes += record.size
    this.#flights.push(record.topic, pending)
    return pending
  }

  /** Hands a record to the client, in its flight. Where the client does not take it, it is settled at once. */
  #hand (pending: Pending): void {
    const { session, record, timestamp } = pending
    if (record === null) {
      // Nobody waits for it any more: see `#expire`.
      this.#flights.reported(pending.topic, pending)
      return
    }
    pending.handed = true
    try {
      session.client.produce(
        record.topic, record.partition, record.value, record.key, timestamp === -1 ? undefined : timestamp, pending, record.headers)
    } catch (err) {
      const refusal = refusedByClient(err, record.topic, this.#settings.messageMaxBytes)
      if (refusal === null) this.#replace(session)
      this.#settled(pending, refusal ?? this.#refusal())
    }
  }

  /** A delivery report. Whatever is thrown in here would be an uncaught exception: nothing is. */
  readonly #report = (error: DriverError | null, report: DeliveryReport): void => {
    const pending = report.opaque
    if (!(pending instanceof Pending) || !pending.open) return
    try {
      const now = performance.now()
      if (error === null) {
        this.#answered(now)
        this.#denied = false
        pending.session.proven = true
        this.#flights.written(pending.topic, pending, report.partition)
        this.#settled(pending, {
          topic: pending.topic,
          partition: report.partition,
          // Below zero where Kafka acknowledged a repeated delivery without saying where the first one went.
          offset: Math.max(report.offset, -1),
          timestamp: this.#reportsTimestamps ? report.timestamp ?? pending.timestamp : pending.timestamp
        }, now)
      } else {
        // Positive codes are a broker's own words.
        if (error.code > 0) this.#answered(now)
        const { session } = pending
        const ended = error.code === codes.fatal || error.code === codes.purgedInQueue
        if (!ended) session.proven = true
        if (isOfBatch(error) && this.#goesAgain(pending, error, report.partition)) return
        // Without a producer id nothing is ever sent; a later one may be denied while records are on their way.
        const unsent = ended && session.denied && !session.proven
        const outcome = unsent ? notAllowedToWrite(error) : reportedByKafka(error, pending.topic, this.#settings.messageMaxBytes)
        this.#settled(pending, outcome, now)
        if (error.code === codes.fatal || unsent) this.#replace(session)
      }
    } catch (err) {
      this.#log.error({ err }, 'a delivery report could not be handled')
    }
  }

  /** Kafka has refused the batch, which says nothing of the record yet: it goes again in smaller company, unless it had none. */
  #goesAgain (pending: Pending, error: DriverError, partition: number): boolean {
    if (pending.session !== this.#session) {
      this.#settled(pending, refusedInCompany(error))
      return true
    }
    const isLarge = isTooLarge(error)
    if (!this.#flights.refused(pending.topic, pending, partition, isLarge)) return false
    pending.handed = false
    if (isLarge) {
      this.#refusedBatches.line(unsaid => this.#log.warn({ topic: pending.topic, unsaid },
        'Kafka refused a batch as too large for its topic (max.message.bytes): its records go again in smaller ones'))
    }
    return true
  }

  /** The last thing that happens to a record: its room is free again, and whoever waits is told. */
  #settled (pending: Pending, outcome: Outcome, now = performance.now()): void {
    const { session } = pending
    session.pending.remove(pending)
    pending.open = false
    pending.record = null
    this.#flights.reported(pending.topic, pending)
    this.#pendingRecords--
    this.#pendingBytes -= pending.size
    this.#drained.left(pending.size, now)
    clearTimeout(pending.timer)
    if (session.pending.size === 0) session.onEmpty?.()
    if (pending.reported !== null) {
      pending.reported(outcome)
      if (outcome instanceof SluiceError) this.#log.info({ topic: pending.topic, code: outcome.code }, 'late report: failed')
      else this.#log.info(outcome, 'late report: written')
      return
    }
    // The caller first: an observer that throws keeps nobody waiting.
    pending.settle(outcome)
    if (outcome instanceof SluiceError) this.#observer?.failed(outcome.code)
    else this.#observer?.acknowledged(pending.topic, (now - pending.enqueuedAt) / 1000)
  }

  /** The caller waits no longer. The record stays pending until its report, and keeps its room. */
  readonly #expire = (pending: Pending): void => {
    if (pending.reported !== null || !pending.open) return
    if (!pending.handed) {
      this.#settled(pending, new SluiceError('SLUICE_NOT_PRODUCED', 'The record could not be handed to Kafka\'s client in time. It was not produced.'))
      return
    }
    const { error, reported } = awaitingReport()
    pending.reported = reported
    this.#observer?.failed('SLUICE_DELIVERY_UNKNOWN')
    pending.settle(error)
  }
}

/** Resolves with `promise`, or when the time has come. Never rejects, and leaves no timer. */
async function within (deadline: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => { timer = setTimeout(resolve, Math.max(0, deadline - performance.now())) })
  await Promise.race([promise.catch(() => {}), late])
  clearTimeout(timer)
}
