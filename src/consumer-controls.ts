import { ControlError } from './engine/controls.js'
import type { Engine } from './engine/engine.js'
import { Suspensions, type Selection } from './engine/suspensions.js'
import type { PartitionOffset, Position, TopicPartition } from './engine/types.js'

export { ControlError } from './engine/controls.js'
export type { Selection } from './engine/suspensions.js'
export type { PartitionOffset, Position, TopicPartition } from './engine/types.js'

/** As KAFKA_MAX_PROC_COUNT. */
export const LIMIT_MAX = 10_000

/** What may be done to a consumer while it runs. Each is safe in the middle of traffic, and changes this process only. */
export interface ConsumerControls {
  /**
   * Stops fetching and starting records of what is selected (`{}`: everything). What is in flight ends as usual. Holds until
   * `resume`, over rebalances and new connections, and for partitions that are assigned later; not over a restart of the process.
   *
   * @returns the partitions that it applies to here and now
   * @throws {ControlError} `invalid` for a partition without a topic, `unavailable` while the consumer stops
   */
  pause (selection: Selection): Promise<TopicPartition[]>
  /** Undoes `pause`, for all of what was paused or for a part of it. Like `pause` otherwise. */
  resume (selection: Selection): Promise<TopicPartition[]>
  /**
   * Reads the selected partitions that this process owns from another place on, and commits that place: an offset, a time
   * (the first record of it or later; the end where there is none), the beginning or the end. What waits is forgotten, handlers
   * in flight are told to stop, and what they do afterwards changes nothing.
   *
   * @returns where each partition is read from now
   * @throws {ControlError} `invalid` for a position outside of what a partition holds; `unavailable` where nothing selected is
   *   owned here, the brokers do not answer, or the consumer connects or stops
   */
  seek (selection: Selection, position: Position): Promise<PartitionOffset[]>
  /**
   * Handlers that may be in flight at once, in this process: 1 to 10,000. What is in flight above a new limit ends as usual. With
   * worker threads it is never more than their number, whatever is asked for.
   */
  limit: number
}

/** The controls of one consumer, and what of them outlives a connection. */
export class Controlled implements ConsumerControls {
  readonly #suspensions = new Suspensions()
  readonly #engine: () => Engine | null
  readonly #most: number
  #limit: number

  /**
   * @param engine the one that runs now, `null` between two connections
   * @param most what can run at once whatever the limit: attempts beyond it would only wait while their time runs
   */
  constructor (limit: number, engine: () => Engine | null, most = Infinity) {
    this.#engine = engine
    this.#most = most
    this.#limit = Math.min(limit, most)
  }

  get suspensions (): Suspensions { return this.#suspensions }

  get limit (): number { return this.#limit }
  set limit (limit: number) {
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
      throw new ControlError('invalid', `the limit must be a whole number from 1 to ${LIMIT_MAX}, got ${limit}`)
    }
    this.#limit = Math.min(limit, this.#most)
    const engine = this.#engine()
    if (engine !== null) engine.limit = this.#limit
  }

  async pause (selection: Selection): Promise<TopicPartition[]> {
    return this.#suspend(selection, true)
  }

  async resume (selection: Selection): Promise<TopicPartition[]> {
    return this.#suspend(selection, false)
  }

  async seek (selection: Selection, position: Position): Promise<PartitionOffset[]> {
    check(selection)
    const at = typeof position === 'object' ? (position as { timestamp: number } | null)?.timestamp : position
    if (typeof at === 'number' ? !Number.isSafeInteger(at) || at < 0 : at !== 'beginning' && at !== 'end') {
      throw new ControlError('invalid', `a position is an offset, { timestamp } in milliseconds since 1970, 'beginning' or 'end', got ${JSON.stringify(position)}`)
    }
    const engine = this.#engine()
    if (engine === null) throw new ControlError('unavailable', 'the consumer is not connected')
    return engine.controls.seek(selection, position)
  }

  async #suspend (selection: Selection, suspended: boolean): Promise<TopicPartition[]> {
    check(selection)
    const engine = this.#engine()
    if (engine !== null) return suspended ? engine.controls.pause(selection) : engine.controls.resume(selection)
    this.#suspensions.set(selection, suspended)
    return []
  }
}

function check ({ topic, partition }: Selection): void {
  if (partition === undefined) return
  if (topic === undefined) throw new ControlError('invalid', 'a partition can only be selected together with its topic')
  if (!Number.isInteger(partition) || partition < 0) throw new ControlError('invalid', `not a partition: ${partition}`)
}
