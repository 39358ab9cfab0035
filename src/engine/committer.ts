import type { OwnedPartition } from './owned-partition.js'
import type { OffsetCommit } from './types.js'

/** When completed work is committed: whichever comes first. */
export interface CommitPolicy {
  /** Records completed in the whole process since the last commit. */
  readonly maxRecords: number
  readonly intervalMs: number
}

/** How long a failed commit waits before the next try. */
const RETRY_MS = 500

/** What is about to be committed, with the partitions that it speaks of. */
export interface PendingCommit {
  readonly offsets: readonly OffsetCommit[]
  readonly partitions: readonly OwnedPartition[]
}

/**
 * Decides when to commit and what. One commit is under way at a time; a failed one stays due until a later one
 * succeeds, even when no more records come. It does not commit: the engine does, and reports back.
 */
export class Committer {
  readonly #policy: CommitPolicy
  #completed = 0
  #moved = false
  #failed = false
  #pending = false
  #notBefore = 0
  #lastAt: number

  constructor (policy: CommitPolicy, now: number) {
    this.#policy = policy
    this.#lastAt = now
  }

  /** A record was completed; `moved` where that moved the commit offset of its partition. */
  completed (moved: boolean): void {
    this.#completed++
    if (moved) this.#moved = true
  }

  /** A commit offset moved without a record: past markers at the end of a partition. */
  movedByEnd (): void { this.#moved = true }

  /** True while a commit waits for its acknowledgement. */
  get pending (): boolean { return this.#pending }

  due (now: number): boolean {
    if (this.#pending) return false
    if (this.#failed) return now >= this.#notBefore
    return this.#moved && (this.#completed >= this.#policy.maxRecords || now - this.#lastAt >= this.#policy.intervalMs)
  }

  /**
   * Takes what the given partitions can commit beyond what the broker has acknowledged; `null` for nothing. Ownership
   * is looked at here, right before the commit.
   */
  begin (partitions: Iterable<OwnedPartition>): PendingCommit | null {
    const offsets: OffsetCommit[] = []
    const speaksOf: OwnedPartition[] = []
    for (const owned of partitions) {
      const { topic, partition, window } = owned
      if (!owned.owned || window.commitOffset < 0 || window.commitOffset === owned.committedOffset) continue
      offsets.push({ topic, partition, offset: window.commitOffset, leaderEpoch: window.commitLeaderEpoch })
      speaksOf.push(owned)
    }
    this.#completed = 0
    this.#moved = false
    this.#failed = false
    if (offsets.length === 0) return null
    this.#pending = true
    return { offsets, partitions: speaksOf }
  }

  /** The broker has acknowledged it. */
  succeeded (commit: PendingCommit, now: number): void {
    this.#pending = false
    this.#lastAt = now
    commit.partitions.forEach((owned, index) => { owned.committedOffset = commit.offsets[index].offset })
  }

  failed (now: number): void {
    this.#pending = false
    this.#failed = true
    this.#notBefore = now + RETRY_MS
  }
}
