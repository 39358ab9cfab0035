import { OwnedPartition, type WindowLimits } from './owned-partition.js'
import { partitionId } from './partition-id.js'
import type { CommittedOffset, TopicPartition } from './types.js'

/** How long a partition may be without room before the client is told to stop fetching it. */
const FULL_BEFORE_PAUSE_MS = 1000

/** What may be fetched now. */
export interface FetchBudget {
  /** Records to ask the client for; 0: no room. */
  readonly max: number
  /** The partition that sets `max`, `null` where the batch size does. */
  readonly tightest: OwnedPartition | null
  readonly pause: OwnedPartition[]
  readonly resume: OwnedPartition[]
}

/** The partitions that this member owns, and how much room their windows have. */
export class Assignment {
  readonly #limits: WindowLimits
  readonly #maxBytes: number
  readonly #partitions = new Map<string, OwnedPartition>()
  // Records come in runs of one partition, so the last one found is mostly the next one asked for.
  #found: OwnedPartition | undefined
  #epoch = 0
  /** Bytes admitted and not completed, of all partitions. */
  bytes = 0
  // All windows together were full, and something was paused for it: half of it is to be free before that is resumed.
  #untilHalf = false

  /** @param maxBytes of all windows together */
  constructor (limits: WindowLimits, maxBytes: number) {
    this.#limits = limits
    this.#maxBytes = maxBytes
  }

  /** All windows together hold as much as they may. One batch may overshoot. */
  get full (): boolean { return this.bytes >= this.#maxBytes }

  get size (): number { return this.#partitions.size }

  [Symbol.iterator] (): IterableIterator<OwnedPartition> { return this.#partitions.values() }

  get (topic: string, partition: number): OwnedPartition | undefined {
    const found = this.#found
    if (found !== undefined && found.partition === partition && found.topic === topic) return found
    this.#found = this.#partitions.get(partitionId(topic, partition))
    return this.#found
  }

  /** Begins a new epoch of a partition. */
  own (committed: CommittedOffset): OwnedPartition {
    const owned = new OwnedPartition(committed, ++this.#epoch, this.#limits)
    this.#partitions.set(partitionId(owned.topic, owned.partition), owned)
    this.#found = owned
    return owned
  }

  /** Begins a new epoch of a partition that stays owned, at another place of its log: −1 where the next record decides. */
  anew (before: OwnedPartition, offset: number): OwnedPartition {
    const { topic, partition, paused, topicId } = before
    // One that stood still because nobody knew where to go on has been told.
    const suspended = before.suspended && !before.unreadable
    const fresh = Object.assign(this.own({ topic, partition, offset, metadata: '' }), { paused, suspended, topicId })
    // What the broker was told last is not what holds now. A commit of the old epoch may even be under way: whatever comes of
    // it, the new place is told.
    fresh.committedOffset = -1
    return fresh
  }

  /** Ends the epoch of a partition. */
  disown (owned: OwnedPartition): void {
    if (owned.owned) this.bytes -= owned.bytes
    owned.owned = false
    this.#found = undefined
    const id = partitionId(owned.topic, owned.partition)
    if (this.#partitions.get(id) === owned) this.#partitions.delete(id)
  }

  /** Those of the named partitions that are owned. */
  among (partitions: readonly TopicPartition[]): OwnedPartition[] {
    return partitions.flatMap(({ topic, partition }) => this.get(topic, partition) ?? [])
  }

  /**
   * Asks for no more than the smallest room among the partitions that are not paused: the client does not let us
   * choose whose records it hands out. A partition without room is paused only after a second of that, since pausing
   * throws away what the client had fetched ahead, and resumed once its window is half empty.
   */
  budget (batchMax: number, now: number): FetchBudget {
    let max = batchMax
    let tightest: OwnedPartition | null = null
    const pause: OwnedPartition[] = []
    const resume: OwnedPartition[] = []
    const { full } = this
    if (this.#untilHalf) {
      // What an operator has paused gives nothing back: half of the rest has to do.
      const held = Array.from(this).reduce((sum, { suspended, bytes }) => suspended ? sum + bytes : sum, 0)
      if (this.bytes - held <= (this.#maxBytes - held) / 2) this.#untilHalf = false
    }
    for (const owned of this.#partitions.values()) {
      if (owned.draining || owned.suspended) continue
      if (owned.paused) {
        if (!owned.drainedToHalf || full || this.#untilHalf) continue
        // It is fetched from this very turn on, so its room counts already.
        resume.push(owned)
      }
      const room = full ? 0 : owned.room
      if (room > 0) owned.fullSince = null
      else if (owned.fullSince === null) owned.fullSince = now
      else if (now - owned.fullSince >= FULL_BEFORE_PAUSE_MS) {
        pause.push(owned)
        this.#untilHalf ||= full
        continue
      }
      if (room < max) {
        max = room
        tightest = owned
      }
    }
    return { max, tightest, pause, resume }
  }
}
