import kafka, { type IAdminClient, type KafkaConsumer, type Producer } from '@confluentinc/kafka-javascript'
import type { PartitionEnd, TopicPartition } from '../engine/types.js'

const { AdminClient, IsolationLevel, OffsetSpec } = kafka

const LIST_OFFSETS_TIMEOUT_MS = 5_000

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
  ends (partitions: readonly TopicPartition[], isolationLevel: 'read_committed' | 'read_uncommitted'): Promise<PartitionEnd[]> {
    if (partitions.length === 0) return Promise.resolve([])
    const list = partitions.map(({ topic, partition }) => ({ topic, partition, offset: OffsetSpec.LATEST }))
    const level = isolationLevel === 'read_committed' ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED
    return new Promise((resolve, reject) => {
      this.#admin.listOffsets(list, { timeout: LIST_OFFSETS_TIMEOUT_MS, isolationLevel: level }, (error, results) => {
        if (error) reject(new Error(`the ends of the partitions cannot be read: ${error.message}`))
        else resolve(results.filter(result => !result.error).map(({ topic, partition, offset }) => ({ topic, partition, offset })))
      })
    })
  }

  /** Ends what this made; the client that it rides on goes on. */
  close (): void {
    this.#admin.disconnect()
  }
}
