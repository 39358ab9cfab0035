import { unknownTopic } from './delivery-errors.js'
import type { PartitionLayout } from './driver.js'

export type { PartitionLayout }

/** How old the list may be when it is used, before a newer one is asked for in passing. */
const refreshAfterMs = 5_000
/** How old it may be at all. */
const maxAgeMs = 30_000
/** How often a topic that is missing from the list may cause it to be read again. */
const missPauseMs = 1_000
/** How often to look for a topic that was just made, and how long to wait between. */
const creationLooks = 20
const creationPauseMs = 100

export interface TopicList {
  /** Topic → number of partitions. */
  readonly partitions: ReadonlyMap<string, number>
  /** Topic → where its partitions are. Absent where the source does not tell. */
  readonly layout?: ReadonlyMap<string, readonly PartitionLayout[]>
  /** When it was read, by the same clock as the directory's. */
  readonly at: number
}

/** Where the directory gets its list from. */
export interface TopicSource {
  /** The newest list, from whatever it was read for. `null` before the first. */
  readonly topicList: TopicList | null
  /** Reads the list anew. Calls that come while it is being read share the answer. */
  refreshTopics (): Promise<void>
  /** Asks for one topic by its name, which makes it if the broker does that. */
  requestTopic (topic: string): Promise<void>
}

/**
 * Which topics exist, and how many partitions they have, read from the list of all topics: asking a broker for one name may
 * create it.
 *
 * An unknown topic is found unknown at once, a new one within about a second, and one that was deleted within about five.
 * Reads are one at a time, and misses cause at most one a second, however many come.
 */
export class TopicDirectory {
  readonly #source: TopicSource
  readonly #createsTopics: boolean
  readonly #now: () => number
  #missedAt = -Infinity
  #reading: Promise<void> | null = null
  readonly #making = new Map<string, Promise<number | undefined>>()

  /** @param options.createsTopics whether a missing topic is asked for by name, and so made */
  constructor (source: TopicSource, { createsTopics, now = () => performance.now() }: { createsTopics: boolean, now?: () => number }) {
    this.#source = source
    this.#createsTopics = createsTopics
    this.#now = now
  }

  /** The number of partitions, from the list at hand. Undefined: not in it, or the list is too old. Never waits. */
  peek (topic: string): number | undefined {
    const list = this.#source.topicList
    if (list === null) return undefined
    const age = this.#now() - list.at
    if (age > refreshAfterMs) this.#source.refreshTopics().catch(() => { /* Whoever needs the answer waits for it and gets the error. */ })
    return age > maxAgeMs ? undefined : list.partitions.get(topic)
  }

  /**
   * All topics, with their numbers of partitions, from a list that is a few seconds old at most.
   *
   * @throws {SluiceError} SLUICE_BROKER_UNAVAILABLE
   */
  async all (): Promise<ReadonlyMap<string, number>> {
    const list = this.#source.topicList
    if (list === null || this.#now() - list.at > refreshAfterMs) await this.#source.refreshTopics()
    return this.#source.topicList?.partitions ?? new Map()
  }

  /**
   * Where the partitions of a topic are, in the order of their numbers, from a list that is a few seconds old at most. Makes no topic.
   *
   * @throws {SluiceError} SLUICE_UNKNOWN_TOPIC; SLUICE_BROKER_UNAVAILABLE
   */
  async layout (topic: string): Promise<readonly PartitionLayout[]> {
    const count = (await this.all()).get(topic) ?? await this.#lookAgain(topic)
    if (count === undefined) throw unknownTopic(topic)
    const known = this.#source.topicList?.layout?.get(topic)
    if (known === undefined) return Array.from({ length: count }, (_, id) => ({ id, leader: -1, replicas: [], isrs: [] }))
    return [...known].sort((a, b) => a.id - b.id)
  }

  /**
   * The number of partitions of a topic. Partitions can be added: where there are fewer than `hoped`, a list that is at most
   * a second old says so.
   *
   * @throws {SluiceError} SLUICE_UNKNOWN_TOPIC; SLUICE_BROKER_UNAVAILABLE if Kafka cannot be asked
   */
  async partitions (topic: string, hoped = 1): Promise<number> {
    let found = this.peek(topic)
    if (found === undefined || found < hoped) found = await this.#lookAgain(topic)
    if (found === undefined && this.#createsTopics) found = await this.#make(topic)
    if (found === undefined) throw unknownTopic(topic)
    return found
  }

  async #lookAgain (topic: string): Promise<number | undefined> {
    // Whoever asks for the first time in a second gets the truth, and so does whoever comes while it is being read.
    const list = this.#source.topicList
    const unbelievable = list === null || this.#now() - list.at > maxAgeMs
    if (this.#reading === null && (unbelievable || this.#now() - this.#missedAt >= missPauseMs)) {
      this.#missedAt = this.#now()
      this.#reading = this.#source.refreshTopics().finally(() => { this.#reading = null })
    }
    await this.#reading
    return this.#source.topicList?.partitions.get(topic)
  }

  #make (topic: string): Promise<number | undefined> {
    let making = this.#making.get(topic)
    if (making === undefined) {
      making = this.#askUntilThere(topic).finally(() => { this.#making.delete(topic) })
      this.#making.set(topic, making)
    }
    return making
  }

  async #askUntilThere (topic: string): Promise<number | undefined> {
    await this.#source.requestTopic(topic)
    for (let look = 0; look < creationLooks; look++) {
      await this.#source.refreshTopics()
      const partitions = this.#source.topicList?.partitions.get(topic)
      if (partitions !== undefined) return partitions
      await new Promise(resolve => { setTimeout(resolve, creationPauseMs) })
    }
    return undefined
  }
}
