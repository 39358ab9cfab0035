import { OffsetWindow } from './offset-window.js'
import { CompletedBefore, decodeProgress, encodeProgress } from './progress.js'
import type { CommittedOffset } from './types.js'

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
  /** Handlers running now. */
  inFlight = 0
  /** Dead letters that wait for their acknowledgement. */
  deadLettering = 0
  /** Bytes admitted and not completed. */
  bytes = 0
  /** What the broker last acknowledged, −1 for nothing. */
  committedOffset: number
  /** And what was said with it. */
  committedMetadata: string
  /** What a predecessor completed above its commit offset, `null` for nothing. */
  readonly completedBefore: CompletedBefore | null
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
    this.completedBefore = progress === null ? null : new CompletedBefore(progress)
  }

  /** What to say with a commit of the window's commit offset: what is completed above it. */
  get metadata (): string {
    const { window } = this
    return encodeProgress({
      base: window.commitOffset,
      leaderEpoch: window.doneLeaderEpoch,
      done: window.doneAbove(),
      topicId: '',
      attempts: [],
      starts: 0,
      clean: false
    })
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

  /** Counts an admitted record. A large one counts at once, small ones only slowly make it forgotten. */
  addBytes (size: number): void {
    this.bytes += size
    this.#typicalBytes = Math.max(size, this.#typicalBytes * 0.98 + size * 0.02, 1)
  }
}
