import kafka, { type LibrdKafkaError } from '@confluentinc/kafka-javascript'
import type { ClientProperties } from '../config.js'
import type { PartitionOffset, Position } from '../engine/types.js'
import { SluiceError } from '../errors.js'
import type { KafkaRecord } from '../record.js'
import { KafkaAdmin } from './admin.js'
import { scrubber, withoutThread } from './connection-reason.js'
import { recordOf } from './consumer.js'
import { unknownTopic } from './delivery-errors.js'
import { disconnectWithin } from './disconnecting.js'
import { byPartition, type Isolation, type PartitionBounds, type ReadRequest, type RecordPage } from './record-reader.js'

const { CODES: { ERRORS } } = kafka

const connectTimeoutMs = 5_000
const disconnectLimitMs = 10_000
/** A consume that waits would hold a thread of libuv's pool: it is asked for what is there, again and again. */
const pauseMs = 5
const batchRecords = 100

export interface ReaderClientOptions {
  /** librdkafka properties of any client: brokers, security. */
  readonly client: ClientProperties
  readonly isolation: Isolation
  /** Bytes of keys, values and headers in one page. A record that is larger by itself comes alone. */
  readonly maxBytes: number
  readonly onLog: (line: { facility: string, line: string }) => void
}

/** One client that reads one partition at a time. It belongs to no group: it assigns to itself, and commits nothing. */
export class RecordReaderClient {
  readonly isolation: Isolation
  readonly #consumer: kafka.KafkaConsumer
  readonly #maxBytes: number
  #admin: KafkaAdmin | null = null
  #isSpent = false
  #ended: PartitionOffset | null = null

  private constructor ({ client, isolation, maxBytes, onLog }: ReaderClientOptions) {
    this.isolation = isolation
    this.#maxBytes = maxBytes
    this.#consumer = new kafka.KafkaConsumer(readerProperties(client, isolation) as object)
    this.#consumer.setDefaultConsumeTimeout(0)
    const scrub = scrubber(client)
    this.#consumer.on('event.log', (line: { fac?: string, message?: string }) => {
      onLog({ facility: line.fac ?? '', line: scrub(withoutThread(line.message ?? '')) })
    })
    this.#consumer.on('event.error', () => {})
    this.#consumer.on('partition.eof', (end: PartitionOffset) => { this.#ended = end })
  }

  /** @throws {SluiceError} SLUICE_BROKER_UNAVAILABLE */
  static async open (options: ReaderClientOptions): Promise<RecordReaderClient> {
    const reader = new RecordReaderClient(options)
    await new Promise<void>((resolve, reject) => {
      reader.#consumer.connect({ timeout: connectTimeoutMs }, error => { error ? reject(unavailable(error)) : resolve() })
    })
    reader.#admin = new KafkaAdmin(reader.#consumer, options.client['bootstrap.servers'])
    return reader
  }

  /** A poll failed: what the client is told late must not be taken for an answer to the next request. */
  get isSpent (): boolean { return this.#isSpent }

  async bounds (topic: string, partitions: number): Promise<PartitionBounds[]> {
    const list = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
    const at = async (position: Position, isolation: Isolation) => byPartition(await this.#offsets(position, list, isolation))
    const begin = await at('beginning', 'read_uncommitted')
    const stable = await at('end', 'read_committed')
    const end = await at('end', 'read_uncommitted')
    const leaders = await this.#admin!.leaders(topic).catch(() => new Map<number, number | null>())
    return list.map(({ partition }) => ({
      partition,
      leader: leaders.get(partition) ?? null,
      beginOffset: begin.get(partition) ?? null,
      endOffset: end.get(partition) ?? null,
      stableOffset: stable.get(partition) ?? null
    }))
  }

  async read (request: ReadRequest): Promise<RecordPage> {
    const deadline = performance.now() + request.maxWaitMs
    const { topic, partition, from } = request
    const beginOffset = await this.#offset('beginning', request)
    const endOffset = await this.#offset('end', request)
    let start: number
    if (from === 'beginning') start = beginOffset
    else if (from === 'end') start = endOffset
    else if (typeof from !== 'number') start = await this.#offset(from, request)
    else start = from < 0 ? Math.max(beginOffset, endOffset + from) : from
    if (start < beginOffset || start > endOffset) await this.#checkRange(request, start, beginOffset)
    if (start >= endOffset) return { beginOffset, endOffset, records: [], nextOffset: start }
    this.#ended = null
    this.#consumer.assign([{ topic, partition, offset: start }])
    try {
      const { records, nextOffset } = await this.#collect(request, start, endOffset, deadline)
      return { beginOffset, endOffset: Math.max(endOffset, nextOffset), records, nextOffset }
    } finally {
      if (this.#consumer.isConnected()) this.#consumer.unassign()
    }
  }

  /** Lets go of the client. Not to be called while it reads. */
  async close (): Promise<void> {
    if (!this.#consumer.isConnected() || await this.#admin?.close() === false) return
    await disconnectWithin(disconnectLimitMs, done => this.#consumer.disconnect(() => done()))
  }

  /** Gathers records until the page is full, the end is reached, or the time is over. */
  async #collect (
    { topic, partition, limit }: ReadRequest, start: number, endOffset: number, deadline: number
  ): Promise<{ records: KafkaRecord[], nextOffset: number }> {
    const records: KafkaRecord[] = []
    let bytes = 0
    let nextOffset = start
    for (;;) {
      for (const record of await this.#consume(topic, Math.min(batchRecords, limit - records.length))) {
        if (record.topic !== topic || record.partition !== partition || record.offset < nextOffset) continue
        // What is larger than a page comes alone.
        if (records.length > 0 && bytes + record.size > this.#maxBytes) return { records, nextOffset: record.offset }
        records.push(record)
        bytes += record.size
        nextOffset = record.offset + 1
        if (records.length === limit || bytes >= this.#maxBytes) return { records, nextOffset }
      }
      if (nextOffset >= endOffset) return { records, nextOffset }
      const ended = this.#ended as PartitionOffset | null
      // After the last record there may be markers and records of aborted transactions, or what compaction took away.
      if (ended?.topic === topic && ended.partition === partition && ended.offset >= nextOffset) {
        return { records, nextOffset: ended.offset }
      }
      if (performance.now() >= deadline) return { records, nextOffset }
      await new Promise(resolve => { setTimeout(resolve, pauseMs) })
    }
  }

  #consume (topic: string, max: number): Promise<KafkaRecord[]> {
    return new Promise((resolve, reject) => {
      this.#consumer.consume(max, (error: LibrdKafkaError | null, messages) => {
        if (error) {
          const failure = failureOf(error, topic)
          this.#isSpent ||= failure !== null
          if (failure === null) resolve([])
          else reject(failure)
          return
        }
        try {
          resolve(messages.map(recordOf))
        } catch (err) {
          this.#isSpent = true
          reject(err)
        }
      })
    })
  }

  async #checkRange (request: ReadRequest, start: number, beginOffset: number): Promise<void> {
    // Behind an open transaction there is nothing to be read yet, but the offsets are there.
    const highest = await this.#offset('end', { ...request, isolation: 'read_uncommitted' })
    if (start < beginOffset || start > highest) throw outOfRange(request, start, beginOffset, highest)
  }

  async #offset (position: Position, { topic, partition, isolation }: ReadRequest): Promise<number> {
    const [found] = await this.#offsets(position, [{ topic, partition }], isolation)
    if (found === undefined) throw unavailable()
    return found.offset
  }

  async #offsets (...question: Parameters<KafkaAdmin['offsetsAt']>) {
    try {
      return await this.#admin!.offsetsAt(...question)
    } catch (err) {
      throw unavailable(err)
    }
  }
}

function readerProperties (client: ClientProperties, isolation: Isolation): ClientProperties {
  return {
    'reconnect.backoff.max.ms': 1_000,
    // Little is read, and it is to come soon: no more than this is fetched ahead.
    'queued.min.messages': 1_000,
    'queued.max.messages.kbytes': 4_096,
    'fetch.max.bytes': 4_194_304,
    'fetch.message.max.bytes': 1_048_576,
    'message.max.bytes': 1_048_576,
    'fetch.queue.backoff.ms': 10,
    'fetch.wait.max.ms': 100,
    ...client,
    // The client wants a name; nothing is ever joined or committed under it.
    'group.id': 'sluice-reader',
    'auto.offset.reset': 'error',
    'isolation.level': isolation,
    'allow.auto.create.topics': false,
    'enable.auto.commit': false,
    'enable.auto.offset.store': false,
    'enable.partition.eof': true
  }
}

/** What an error means for the reader; `null`: it passes, or does not concern it. */
function failureOf (error: LibrdKafkaError, topic: string): SluiceError | null {
  switch (error.code) {
    case ERRORS.ERR_TOPIC_AUTHORIZATION_FAILED:
      return new SluiceError('SLUICE_NOT_AUTHORIZED', `Kafka does not let this gateway read the topic ${topic}.`, { cause: error })
    case ERRORS.ERR_UNKNOWN_TOPIC_OR_PART:
    case ERRORS.ERR__UNKNOWN_TOPIC:
    case ERRORS.ERR__UNKNOWN_PARTITION:
      return unknownTopic(topic)
    case ERRORS.ERR__AUTO_OFFSET_RESET:
    case ERRORS.ERR_OFFSET_OUT_OF_RANGE:
      return new SluiceError('SLUICE_OFFSET_OUT_OF_RANGE', 'The records at this offset were deleted meanwhile.', { cause: error })
    default:
      return null
  }
}

function outOfRange ({ topic, partition }: ReadRequest, start: number, begin: number, end: number): SluiceError {
  return new SluiceError('SLUICE_OFFSET_OUT_OF_RANGE',
    `Partition ${partition} of ${topic} begins at ${begin} and ends at ${end}: there is no offset ${start}.`)
}

export function unavailable (cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'Kafka cannot be reached, or does not answer.', { cause })
}
