import type { PartitionOffset, Position } from '../engine/types.js'
import type { KafkaRecord } from '../record.js'

export type Isolation = 'read_committed' | 'read_uncommitted'

export interface ReadRequest {
  readonly topic: string
  readonly partition: number
  /** Where to begin; below zero: so many before the end. */
  readonly from: Position
  readonly isolation: Isolation
  /** How many records at most. */
  readonly limit: number
  /** How long to wait for them at most. */
  readonly maxWaitMs: number
}

/** Stored records of one partition, in order. */
export interface RecordPage {
  readonly beginOffset: number
  /** Where this isolation level ends. */
  readonly endOffset: number
  readonly records: readonly KafkaRecord[]
  /** Where the next page begins: behind the last record, and behind what cannot be read after it. */
  readonly nextOffset: number
}

export interface PartitionBounds {
  readonly partition: number
  /** The id of the broker that leads it; `null`: none, or it is not known. */
  readonly leader: number | null
  /** `null` where it cannot be asked for now. */
  readonly beginOffset: number | null
  readonly endOffset: number | null
  /** Where readers with `read_committed` end: before the oldest open transaction. */
  readonly stableOffset: number | null
}

export interface ReaderState {
  readonly reading: number
  readonly waiting: number
  readonly clients: number
}

/** What looks at stored records: outside any group, and without a trace in Kafka. */
export interface RecordReader {
  /**
   * Reads a page of one partition.
   *
   * @throws {SluiceError} SLUICE_OFFSET_OUT_OF_RANGE, SLUICE_UNKNOWN_TOPIC, SLUICE_NOT_AUTHORIZED, SLUICE_READ_BUSY,
   * SLUICE_BROKER_UNAVAILABLE, SLUICE_CLOSING
   */
  read (request: ReadRequest): Promise<RecordPage>
  /** Where the partitions of a topic, of which there are so many, begin and end. Errors as above. */
  bounds (topic: string, partitions: number): Promise<PartitionBounds[]>
  readonly state: ReaderState
}

/** Offsets by partition. */
export const byPartition = (offsets: readonly PartitionOffset[]): Map<number, number> =>
  new Map(offsets.map(({ partition, offset }) => [partition, offset]))
