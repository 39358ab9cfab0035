import { byPartition, partitionId } from './partition-id.js'
import type { PartitionOffset, ResetPolicy, TopicPartition } from './types.js'

/** `none`: the group holds no offset. `below-start`: what it points at was deleted. `beyond-end`: the log ends before it. */
export type ResetReason = 'none' | 'below-start' | 'beyond-end'

/** A partition that is not read from where the group's offset says, but from where the policy does. */
export interface OffsetReset extends TopicPartition {
  readonly reason: ResetReason
  /** Offsets that nobody of this group reads any more, `null` where it is not known how many: at least as many as records. */
  readonly skipped: number | null
}

/**
 * Which partitions are not read from the group's offset, why, and what is skipped for it.
 *
 * What was deleted before it was read counts as skipped with any policy; with `latest` everything up to the end does. A log
 * that ends before the group's offset is another one than the offset was committed for: there nobody can tell.
 *
 * @param committed the group's offsets, negative where it has none
 * @param beginnings where the logs begin; partitions that could not be asked for are absent, and nothing is said about them
 * @param ends where they end, likewise
 */
export function offsetResets (
  committed: readonly PartitionOffset[], beginnings: readonly PartitionOffset[], ends: readonly PartitionOffset[], policy: ResetPolicy
): OffsetReset[] {
  const begins = byPartition(beginnings)
  const stops = byPartition(ends)
  return committed.flatMap(({ topic, partition, offset }): OffsetReset[] => {
    const id = partitionId(topic, partition)
    const begin = begins.get(id)
    const end = stops.get(id)
    if (offset < 0) return [{ topic, partition, reason: 'none', skipped: policy === 'latest' ? lengthOf(begin, end) : 0 }]
    if (begin !== undefined && offset < begin) {
      return [{ topic, partition, reason: 'below-start', skipped: policy === 'latest' ? lengthOf(offset, end) : begin - offset }]
    }
    if (end !== undefined && offset > end) return [{ topic, partition, reason: 'beyond-end', skipped: null }]
    return []
  })
}

function lengthOf (begin: number | undefined, end: number | undefined): number | null {
  return begin === undefined || end === undefined ? null : Math.max(0, end - begin)
}
