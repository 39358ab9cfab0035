import kafka, { type IAdminClient, type KafkaConsumer, type Producer, type TopicDescription } from '@confluentinc/kafka-javascript'
import type { PartitionEnd, PartitionOffset, Position, TopicPartition } from '../engine/types.js'
import { isEmbedded } from './embedded-broker.js'

const { AdminClient, IsolationLevel, OffsetSpec } = kafka

const REQUEST_TIMEOUT_MS = 5_000
/** How much later than its timeout an answer may come. */
const ANSWER_GRACE_MS = 1_000
/** What brokers without topic ids (before 2.8) answer. */
const NO_ID = 'AAAAAAAAAAAAAAAAAAAAAA'

type IsolationName = 'read_committed' | 'read_uncommitted'
type Spec = InstanceType<typeof OffsetSpec>

/** Questions to the cluster that belong to no topic's data. Rides on a client that is connected already. */
export class KafkaAdmin {
  readonly #admin: IAdminClient
  readonly #tellsIds: boolean
  readonly #asked = new Set<Promise<unknown>>()
  #closed = false

  constructor (client: KafkaConsumer | Producer, bootstrapServers: unknown) {
    this.#admin = AdminClient.createFrom(client)
    this.#tellsIds = !isEmbedded(bootstrapServers)
  }

  /**
   * Where partitions end for readers of this isolation level: with `read_committed` before the oldest open transaction,
   * which the client's cached watermarks do not tell. Partitions that cannot be asked for now are left out.
   */
  ends (partitions: readonly TopicPartition[], isolationLevel: IsolationName): Promise<PartitionEnd[]> {
    return this.offsetsAt('end', partitions, isolationLevel)
  }

  /**
   * Where a position is in each of the partitions: the first record of that time or later, or the end where there is none.
   * Partitions that cannot be asked for now are left out.
   */
  async offsetsAt (position: Position, partitions: readonly TopicPartition[], isolationLevel: IsolationName): Promise<PartitionOffset[]> {
    if (partitions.length === 0) return []
    if (typeof position === 'number') return partitions.map(({ topic, partition }) => ({ topic, partition, offset: position }))
    const found = await this.#listOffsets(specOf(position), partitions, isolationLevel)
    const beyond = found.filter(({ offset }) => offset < 0)
    return beyond.length === 0 ? found : [...found.filter(({ offset }) => offset >= 0), ...await this.offsetsAt('end', beyond, isolationLevel)]
  }

  /** By partition: the id of the broker that leads it, `null` where none does. Empty for the embedded broker, which does not tell. */
  async leaders (topic: string): Promise<Map<number, number | null>> {
    if (!this.#tellsIds) return new Map()
    const [description] = await this.#ask<TopicDescription[]>((resolve, reject) => {
      this.#admin.describeTopics([topic], { timeout: REQUEST_TIMEOUT_MS }, (error, descriptions) => {
        if (error) reject(new Error(`the topic cannot be described: ${error.message}`))
        else resolve(descriptions)
      })
    })
    if (description === undefined || description.error) return new Map()
    // Without a leader the client gives a node whose id is −1, or none.
    return new Map(description.partitions.map(({ partition, leader }) => [partition, leader !== null && leader.id >= 0 ? leader.id : null]))
  }

  /** Ids of topics by name; those that do not exist, or that this user may not see, are left out. */
  async topicIds (topics: readonly string[]): Promise<Map<string, string>> {
    // The client waits for the cluster's controller before it asks, and the embedded broker names none: 5 s, every time.
    if (topics.length === 0 || !this.#tellsIds) return new Map()
    const descriptions = await this.#ask<TopicDescription[]>((resolve, reject) => {
      this.#admin.describeTopics([...topics], { timeout: REQUEST_TIMEOUT_MS }, (error, descriptions) => {
        if (error) reject(new Error(`the topics cannot be described: ${error.message}`))
        else resolve(descriptions)
      })
    })
    return new Map(descriptions.filter(({ error }) => !error).flatMap(({ name, topicId }) => idOf(topicId, name)))
  }

  #listOffsets (offset: Spec, partitions: readonly TopicPartition[], isolationLevel: IsolationName): Promise<PartitionOffset[]> {
    const list = partitions.map(({ topic, partition }) => ({ topic, partition, offset }))
    const level = isolationLevel === 'read_committed' ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED
    return this.#ask<PartitionOffset[]>((resolve, reject) => {
      this.#admin.listOffsets(list, { timeout: REQUEST_TIMEOUT_MS, isolationLevel: level }, (error, results) => {
        if (error) reject(new Error(`the offsets of the partitions cannot be read: ${error.message}`))
        else resolve(results.filter(result => !result.error).map(({ topic, partition, offset }) => ({ topic, partition, offset })))
      })
    })
  }

  /**
   * Asks no more, waits for what was asked, and ends what this made. A client that is disconnected while its answer to a question
   * is under way ends the process with SIGSEGV.
   *
   * @returns whether the client may be disconnected: `false` where an answer has not come though its time is over
   */
  async close (): Promise<boolean> {
    this.#closed = true
    let timer
    const late = new Promise<false>(resolve => { timer = setTimeout(() => resolve(false), REQUEST_TIMEOUT_MS + ANSWER_GRACE_MS) })
    const answered = await Promise.race([Promise.allSettled(this.#asked).then(() => true), late])
    clearTimeout(timer)
    if (answered) this.#admin.disconnect()
    return answered
  }

  #ask<T> (start: (resolve: (answer: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    if (this.#closed) return Promise.reject(new Error('the client is being closed'))
    const asked = new Promise<T>(start)
    this.#asked.add(asked)
    const answered = () => this.#asked.delete(asked)
    asked.then(answered, answered)
    return asked
  }
}

/** As Kafka's own tools show it. The driver's types promise `base64str`, its code sets `base64`, in the alphabet with + and /. */
function idOf (uuid: object, topic: string): [string, string][] {
  const { base64 } = uuid as { base64?: string }
  if (base64 === undefined) throw new TypeError('the client has changed how it tells the ids of topics')
  return base64 === NO_ID ? [] : [[topic, base64.replaceAll('+', '-').replaceAll('/', '_')]]
}

function specOf (position: Exclude<Position, number>): Spec {
  switch (position) {
    case 'beginning': return OffsetSpec.EARLIEST
    case 'end': return OffsetSpec.LATEST
    default: return new OffsetSpec(position.timestamp)
  }
}
