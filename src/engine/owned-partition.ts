import { OffsetWindow } from './offset-window.js'
import { Outputs, weightOf, type Output } from './outputs.js'
import { CompletedBefore, decodeProgress, encodeProgress, encodeWholeProgress, type OffsetRange, type Progress } from './progress.js'
import type { CommittedOffset } from './types.js'
import type { KafkaRecord } from '../record.js'

/** How much of one partition may be in the window. */
export interface WindowLimits {
  readonly maxRecords: number
  /** Bytes of records that are admitted and not completed. */
  readonly maxBytes: number
}

/**
 * One partition for as long as it is owned without a break: its epoch. Whoever was admitted under it keeps pointing at
 * it, so that what finishes after `owned` became false can tell, and changes nothing of the partition's next life.
 */
export class OwnedPartition {
  readonly topic: string
  readonly partition: number
  readonly epoch: number
  readonly window: OffsetWindow
  readonly #limits: WindowLimits
  /** False from the moment that the group, or a rewound log, ended this epoch. */
  owned = true
  /** Being given up: nothing more is admitted or started, what is in flight ends. */
  draining = false
  /** The client was told to stop fetching it. */
  paused = false
  /** An operator has paused it: nothing of it is fetched or started. */
  suspended = false
  /** Admitted and not completed. */
  open = 0
  /** How many records are to be completed with care before it goes its usual way: see `starts`. */
  careful = 0
  /** Id of its topic, '' while unknown. */
  topicId = ''
  /** Handlers running now. */
  inFlight = 0
  /** Dead letters that wait for their acknowledgement. */
  deadLettering = 0
  /** Bytes admitted and not completed, and those of what is to be written. */
  bytes = 0
  /** Exactly once: what its completed records have left to be written. */
  readonly outputs = new Outputs()
  /** Bytes of that. */
  outputBytes = 0
  /** Nothing is started because it has as much to be written as it may. */
  held = false
  /** What is completed did not fit into a commit's metadata when it was last to be committed. */
  unfit = false
  /** Not committed before this: Kafka has refused something that is to be written. */
  commitsHeldUntil = -Infinity
  /** What the group holds beside its offset cannot be read: records above it may be done already. */
  unreadable: boolean
  /** What the broker last acknowledged, −1 for nothing. */
  committedOffset: number
  /** And what was said with it. */
  committedMetadata: string
  /** What a predecessor completed above its commit offset, `null` for nothing. */
  readonly completedBefore: CompletedBefore | null
  /** Attempts at records that failed and are not completed, by offset; those of predecessors included. */
  readonly attempts: Map<number, number>
  /**
   * How many owners in a row have ended at this place without leaving in good order. A record that ends the process every
   * time it is handled shows here, and nowhere else.
   */
  readonly starts: number
  /** Where this owner begins, −1 where the first record decides. */
  startsAt: number
  /** The commit that tells of this owner: nothing is started before it has settled. 0: nothing waits for one. */
  begunBy = 0
  // The highest leader epoch of a record in there.
  #attemptsLeaderEpoch: number
  /** When it ran out of room, `null` while it has some. */
  fullSince: number | null = null
  // Sizes are known on delivery only, so room in bytes is turned into records by what recent ones were like.
  #typicalBytes = 1024

  constructor ({ topic, partition, offset, metadata }: CommittedOffset, epoch: number, limits: WindowLimits) {
    this.topic = topic
    this.partition = partition
    this.epoch = epoch
    this.committedOffset = offset
    this.committedMetadata = metadata
    this.#limits = limits
    this.window = new OffsetWindow(offset)
    const progress = decodeProgress(metadata, offset)
    this.unreadable = progress === null && metadata !== '' && offset >= 0
    this.completedBefore = progress === null ? null : new CompletedBefore(progress)
    this.attempts = new Map(progress?.attempts)
    this.#attemptsLeaderEpoch = progress?.leaderEpoch ?? -1
    this.startsAt = offset
    this.starts = progress === null || progress.clean ? 0 : Math.max(1, progress.starts)
  }

  get maxRecords (): number { return this.#limits.maxRecords }

  /** Attempts that were made at a record before, 0 for none. */
  attemptsBefore ({ offset, leaderEpoch }: KafkaRecord): number {
    if (this.attempts.size === 0) return 0
    if (leaderEpoch <= this.#attemptsLeaderEpoch) return this.attempts.get(offset) ?? 0
    // A later leader has written it, and all that follows: what predecessors tried there were other records.
    for (const tried of this.attempts.keys()) if (tried >= offset) this.attempts.delete(tried)
    return 0
  }

  /** Notes the attempts made at a record that is not completed. 0: none that count. */
  remember ({ offset, leaderEpoch }: KafkaRecord, attempts: number): void {
    if (attempts > 0) this.attempts.set(offset, attempts)
    else this.attempts.delete(offset)
    if (leaderEpoch > this.#attemptsLeaderEpoch) this.#attemptsLeaderEpoch = leaderEpoch
  }

  /** What to say with a commit of the window's commit offset: what is completed above it, and what else `progress.ts` has room for. */
  metadata (maxBytes?: number): string {
    return encodeProgress(this.#progress(), maxBytes)
  }

  /** The same, or `null` where it does not fit whole. */
  wholeMetadata (): string | null {
    return encodeWholeProgress(this.#progress())
  }

  #progress (): Progress {
    const { window } = this
    const base = window.commitOffset
    const own = Math.max(window.doneLeaderEpoch, this.attempts.size === 0 ? -1 : this.#attemptsLeaderEpoch)
    const handedOn = this.#handedOn(own)
    return {
      base,
      leaderEpoch: handedOn.length === 0 ? own : this.completedBefore!.leaderEpoch,
      done: handedOn.length === 0 ? window.doneAbove() : [...window.doneAbove(), ...handedOn],
      topicId: this.topicId,
      attempts: this.attempts.size === 0 ? [] : [...this.attempts].filter(([offset]) => offset >= base).sort(([a], [b]) => a - b),
      // Whoever begins here is counted at once: it may be the first that ends here.
      starts: base === this.startsAt ? this.starts + Number(this.begunBy > 0) : 0,
      clean: this.draining && !this.busy
    }
  }

  /** What a predecessor completed above what has been read again: as long as that is so, it is handed on. */
  #handedOn (leaderEpoch: number): OffsetRange[] {
    const { window, completedBefore } = this
    // Where a later leader has written below, what follows is its own as well, and not what the predecessor completed.
    if (completedBefore === null || leaderEpoch > completedBefore.leaderEpoch) return []
    return completedBefore.from(Math.max(window.lastAdmitted + 1, window.commitOffset))
  }

  /** Something of it is still under way outside the engine: a handler, or a dead letter on its way. */
  get busy (): boolean { return this.inFlight > 0 || this.deadLettering > 0 }

  /** How many more records may be admitted; 0 at either limit. An empty window always has room for one. */
  get room (): number {
    const records = this.#limits.maxRecords - this.window.size
    if (records <= 0) return 0
    if (this.bytes === 0) return Math.min(records, Math.max(1, Math.floor(this.#limits.maxBytes / this.#typicalBytes)))
    const bytes = this.#limits.maxBytes - this.bytes
    return bytes <= 0 ? 0 : Math.min(records, Math.max(1, Math.floor(bytes / this.#typicalBytes)))
  }

  /** Room enough to fetch it again after a pause: resuming at once would pause again at once. */
  get drainedToHalf (): boolean {
    return this.window.size <= this.#limits.maxRecords / 2 && this.bytes <= this.#limits.maxBytes / 2
  }

  /** Something is to be written with the next commit, and weighs until then. Returns the bytes that it adds to those of its record. */
  addOutput (output: Output): number {
    this.outputs.add(output)
    const weight = weightOf(output)
    this.outputBytes += weight
    this.bytes += weight
    return weight
  }

  /** Something that was to be written was, or is another thing now. */
  freeOutput (bytes: number): void {
    this.outputBytes -= bytes
    this.bytes -= bytes
  }

  /** It has as much to be written as its window may hold. */
  get fullOfOutputs (): boolean { return this.outputBytes >= this.#limits.maxBytes }

  /** What it has to be written is enough to keep it from being fetched again after a pause. */
  get outputsKeepItPaused (): boolean { return this.outputBytes * 2 > this.#limits.maxBytes }

  /** Counts an admitted record. A large one counts at once, small ones only slowly make it forgotten. */
  addBytes (size: number): void {
    this.bytes += size
    this.#typicalBytes = Math.max(size, this.#typicalBytes * 0.98 + size * 0.02, 1)
  }
}
