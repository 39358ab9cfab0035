import type { PartitionOffset } from './types.js'

/** One string for a topic's partition: the key of every map of partitions. A topic's name holds no slash. */
export function partitionId (topic: string, partition: number): string {
  return `${topic}/${partition}`
}

/** Offsets by the id of their partition. */
export function byPartition (offsets: readonly PartitionOffset[]): Map<string, number> {
  return new Map(offsets.map(({ topic, partition, offset }) => [partitionId(topic, partition), offset]))
}
