import type { OwnedPartition } from './owned-partition.js'
import type { Output } from './outputs.js'
import { METADATA_MAX_BYTES } from './progress.js'
import type { AttemptLog } from './verdicts.js'
import type { OffsetCommit } from './types.js'

/** When completed work is committed: whichever comes first. */
export interface CommitPolicy {
  /** Records completed in the whole process since the last commit. */
  readonly maxRecords: number
  readonly intervalMs: number
  /** Exactly once: a commit is one transaction, with what completed records have left to be written. */
  readonly transactional?: boolean
}

/** Commits are at least this far apart: with fast handlers the count alone would ask for a thousand a second. */
const APART_MS = 20
/** Nobody waits longer than this for what is to be written down: the group may not answer for a minute, and the records could go on. */
const WRITING_MAX_MS = 5_000
/**
 * The broker writes a commit as one batch, which may take 1 MB by default: so many partitions, with so much metadata in all,
 * stay below that with the names that they come with. What is left over goes into the next one.
 */
const PARTITIONS_MAX = 1000
const METADATA_TOTAL_MAX_BYTES = 500_000
/** So many bytes in one transaction, but for its last partition: what a partition has to be written is never parted. */
const TRANSACTION_BYTES = 16_777_216
/**
 * A commit that nobody answered may lie in front of a broker that is paused, and be taken after a later one: then the group's
 * offset goes back. So what was acknowledged after a failure is committed once more, this much later.
 */
const REPEAT_AFTER_MS = 2_000
/** How long a failed commit waits before the next try. */
const RETRY_MS = 500

/** What is about to be committed, with the partitions that it speaks of. */
export interface PendingCommit {
  readonly offsets: readonly OffsetCommit[]
  readonly partitions: readonly OwnedPartition[]
  /** What is written with it, of all of them in their order. */
  readonly outputs: readonly { readonly owned: OwnedPartition, readonly output: Output }[]
}

/**
 * Decides when to commit and what. One commit is under way at a time; a failed one stays due until a later one
 * succeeds, even when no more records come. It does not commit: the engine does, and reports back.
 */
export class Committer implements AttemptLog {
  readonly #policy: CommitPolicy
  #completed = 0
  #changed = false
  #failed = false
  #pending = false
  // Somebody waits for what the next commit says.
  #urgent = false
  // Where the next commit begins, if the last one could not take all partitions.
  #from = 0
  #doubt = false
  #repeatAt = Infinity
  #begun = 0
  #begunAt = 0
  #settled = 0
  #notBefore = 0
  #lastAt: number

  constructor (policy: CommitPolicy, now: number) {
    this.#policy = policy
    this.#lastAt = now
  }

  /** A commit is one transaction, with what completed records have left to be written. */
  get transactional (): boolean { return this.#policy.transactional === true }

  /** A record was completed: either the commit offset of its partition moved, or there is more to say above it. */
  completed (): void {
    this.#completed++
    this.#changed = true
  }

  /** A commit offset moved though nothing was handled: past markers at an end, or past what a predecessor had completed. */
  moved (): void { this.#changed = true }

  /** Something is to be said soon: attempts have changed, and the next of them waits for that. */
  note (): number {
    this.#changed = true
    this.#urgent = true
    return this.#begun + 1
  }

  get settled (): number { return this.#settled }

  /** Lets those go on who have waited for long enough. Returns whether there may be any. */
  giveUpWriting (now: number): boolean {
    if (!this.#pending || now - this.#begunAt < WRITING_MAX_MS) return false
    // Those as well who wait for the commit after it.
    this.#settled = this.#begun + 1
    return true
  }

  /** Somebody waits for a commit that has not begun. */
  get urgent (): boolean { return this.#urgent && !this.#pending }

  due (now: number): boolean {
    if (this.#pending) return false
    if (this.#failed) return now >= this.#notBefore
    const waited = now - this.#lastAt
    if (waited < APART_MS) return false
    if (now >= this.#repeatAt) return true
    if (!this.#changed) return false
    return this.#urgent || this.#completed >= this.#policy.maxRecords || waited >= this.#policy.intervalMs
  }

  /**
   * Takes what the given partitions can commit beyond what the broker has acknowledged, of offsets and of what is completed
   * above them; `null` for nothing. Ownership is looked at here, right before the commit.
   */
  begin (partitions: Iterable<OwnedPartition>, now: number): PendingCommit | null {
    const offsets: OffsetCommit[] = []
    const speaksOf: OwnedPartition[] = []
    const all = [...partitions]
    const repeat = now >= this.#repeatAt
    const metadataMax = Math.min(METADATA_MAX_BYTES, Math.floor(METADATA_TOTAL_MAX_BYTES / Math.min(PARTITIONS_MAX, all.length)))
    const outputs: { owned: OwnedPartition, output: Output }[] = []
    let looked = 0
    let bytes = 0
    let metadataBytes = 0
    let held = false
    const hasRoom = () => offsets.length < PARTITIONS_MAX && bytes < TRANSACTION_BYTES && metadataBytes < METADATA_TOTAL_MAX_BYTES
    for (; looked < all.length && hasRoom(); looked++) {
      const owned = all[(this.#from + looked) % all.length]
      const { topic, partition, window } = owned
      if (!owned.owned || window.commitOffset < 0) continue
      if (owned.commitsHeldUntil > now) {
        held = true
        continue
      }
      const metadata = this.#metadataOf(owned, metadataMax)
      if (metadata === null) continue
      if (!repeat && window.commitOffset === owned.committedOffset && metadata === owned.committedMetadata) continue
      offsets.push({ topic, partition, offset: window.commitOffset, leaderEpoch: window.commitLeaderEpoch, metadata })
      speaksOf.push(owned)
      metadataBytes += metadata.length
      bytes += owned.outputBytes
      for (const output of owned.outputs.take()) outputs.push({ owned, output })
    }
    const left = looked < all.length
    this.#from = left ? (this.#from + looked) % all.length : 0
    if (repeat && !left) this.#repeatAt = Infinity
    this.#completed = 0
    this.#changed = left || held
    this.#failed = false
    this.#urgent = left
    this.#begun++
    this.#begunAt = now
    if (offsets.length === 0) {
      this.#settled = Math.max(this.#settled, this.#begun)
      return null
    }
    this.#pending = true
    return { offsets, partitions: speaksOf, outputs }
  }

  /**
   * `null`: it is not to be committed now. What is written with a commit is written once only if the commit tells of every record
   * that is done: one without its metadata would have those above it handled again.
   */
  #metadataOf (owned: OwnedPartition, maxBytes: number): string | null {
    if (!this.transactional) return owned.metadata(maxBytes)
    // An operator has to decide first: a commit would hide what the group holds.
    if (owned.unreadable && owned.suspended) return null
    const metadata = owned.wholeMetadata()
    owned.unfit = metadata === null
    return metadata
  }

  /** The broker has acknowledged it. */
  succeeded (commit: PendingCommit, now: number): void {
    this.#pending = false
    this.#settled = Math.max(this.#settled, this.#begun)
    this.#lastAt = now
    if (this.#doubt && !this.transactional) this.#repeatAt = now + REPEAT_AFTER_MS
    this.#doubt = false
    commit.partitions.forEach((owned, index) => {
      owned.committedOffset = commit.offsets[index].offset
      owned.committedMetadata = commit.offsets[index].metadata
    })
  }

  failed (now: number): void {
    this.#pending = false
    // What waited for it to be written down goes on all the same: an attempt counted too few is better than none made.
    this.#settled = Math.max(this.#settled, this.#begun)
    this.#failed = true
    this.#doubt = true
    this.#notBefore = now + RETRY_MS
  }
}
