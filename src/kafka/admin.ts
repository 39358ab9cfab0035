import kafka, { type IAdminClient, type KafkaConsumer, type Producer } from '@confluentinc/kafka-javascript'
import type { PartitionEnd, PartitionOffset, Position, TopicPartition } from '../engine/types.js'

const { AdminClient, IsolationLevel, OffsetSpec } = kafka

const REQUEST_TIMEOUT_MS = 5_000

type IsolationName = 'read_committed' | 'read_uncommitted'
type OffsetSpec = InstanceType<typeof OffsetSpec>

/** Questions to the cluster that belong to no topic's data. Rides on a client that is connected already. */
export class KafkaAdmin {
  readonly #admin: IAdminClient

  constructor (client: KafkaConsumer | Producer) {
    this.#admin = AdminClient.createFrom(client)
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

  /** Ids of topics by name; those that do not exist are left out. */
  topicIds (topics: readonly string[]): Promise<Map<string, string>> {
    if (topics.length === 0) return Promise.resolve(new Map())
    return new Promise((resolve, reject) => {
      this.#admin.describeTopics([...topics], { timeout: REQUEST_TIMEOUT_MS }, (error, descriptions) => {
        if (error) reject(new Error(`the topics cannot be described: ${error.message}`))
        else resolve(new Map(descriptions.filter(({ error }) => !error).map(({ name, topicId }) => [name, topicId.base64str])))
      })
    })
  }

  #listOffsets (offset: OffsetSpec, partitions: readonly TopicPartition[], isolationLevel: IsolationName): Promise<PartitionOffset[]> {
    const list = partitions.map(({ topic, partition }) => ({ topic, partition, offset }))
    const level = isolationLevel === 'read_committed' ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED
    return new Promise((resolve, reject) => {
      this.#admin.listOffsets(list, { timeout: REQUEST_TIMEOUT_MS, isolationLevel: level }, (error, results) => {
        if (error) reject(new Error(`the offsets of the partitions cannot be read: ${error.message}`))
        else resolve(results.filter(result => !result.error).map(({ topic, partition, offset }) => ({ topic, partition, offset })))
      })
    })
  }

  /** Ends what this made; the client that it rides on goes on. */
  close (): void {
    this.#admin.disconnect()
  }
}

function specOf (position: Exclude<Position, number>): OffsetSpec {
  switch (position) {
    case 'beginning': return OffsetSpec.EARLIEST
    case 'end': return OffsetSpec.LATEST
    default: return new OffsetSpec(position.timestamp)
  }
}
