import type { OwnedPartition } from './owned-partition.js'
import type { Clock, Source } from './types.js'

/** How often it is looked whether the topics are still the ones that they were. */
const LOOK_EVERY_MS = 10_000
/** Nor more often than this, whatever happens. */
const LOOK_APART_MS = 1_000
/** A drain waits no longer than this for an answer. */
const DRAIN_LOOK_MS = 1_000

/**
 * Whether topics are still the ones that they were. One that is deleted and made again keeps its offsets in the group, and
 * would be read from an offset that means nothing there: its first records would be passed over.
 *
 * What remains: from the moment that a topic was made anew until the next look (10 s at most) commits still speak of the old
 * one. They name its id, so that whoever looks next begins at the beginning.
 */
export class TopicIdentity {
  readonly #source: Source
  readonly #clock: Clock
  #ids: ReadonlyMap<string, string> | null = null
  #looking: Promise<void> | null = null
  #lookedAt: number
  #soon = false

  constructor ({ source, clock }: { source: Source, clock: Clock }) {
    this.#source = source
    this.#clock = clock
    this.#lookedAt = clock.now()
  }

  /** Ids by name; none where they cannot be told now. */
  async of (topics: Iterable<string>): Promise<ReadonlyMap<string, string>> {
    try {
      return await this.#source.topicIds([...new Set(topics)])
    } catch {
      // Whoever needs the brokers more tells that they are away.
      return new Map()
    }
  }

  /**
   * Looks from time to time, and soon where there is a reason to; without waiting for the answer: `changed` tells it later.
   */
  lookSometimes (partitions: Iterable<OwnedPartition>, soon = false): void {
    this.#soon ||= soon
    const waited = this.#clock.now() - this.#lookedAt
    if (waited < (this.#soon ? LOOK_APART_MS : LOOK_EVERY_MS)) return
    this.#soon = false
    this.#look(partitions)
  }

  /**
   * Looks now, for what is about to be committed for the last time. Wait with `while (!looked()) …`: an answer that takes too
   * long is done without.
   */
  beginLook (partitions: Iterable<OwnedPartition>): () => boolean {
    const until = this.#clock.now() + DRAIN_LOOK_MS
    this.#look(partitions)
    return () => this.#looking === null || this.#clock.now() >= until
  }

  /**
   * Partitions of topics that the last look has found to be others than they were; each is told once.
   *
   * @param adopted called where an id was unknown and is known now: it is worth a commit
   */
  changed (partitions: Iterable<OwnedPartition>, adopted: () => void): OwnedPartition[] {
    const ids = this.#ids
    if (ids === null) return []
    this.#ids = null
    const changed: OwnedPartition[] = []
    for (const owned of partitions) {
      const id = ids.get(owned.topic)
      if (id === undefined || id === owned.topicId) continue
      if (owned.topicId !== '') {
        changed.push(owned)
        continue
      }
      owned.topicId = id
      adopted()
    }
    return changed
  }

  #look (partitions: Iterable<OwnedPartition>): void {
    if (this.#looking !== null) return
    this.#lookedAt = this.#clock.now()
    const topics = new Set(Array.from(partitions, ({ topic }) => topic))
    if (topics.size === 0) return
    this.#looking = this.of(topics).then(ids => { this.#ids = ids }).finally(() => { this.#looking = null })
  }
}
