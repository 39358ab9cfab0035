/** One string for a topic's partition: the key of every map of partitions. A topic's name holds no slash. */
export function partitionId (topic: string, partition: number): string {
  return `${topic}/${partition}`
}
