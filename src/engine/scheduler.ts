import { partitionId } from './partition-id.js'
import type { KafkaRecord } from '../record.js'

/** Which records may run beside each other. */
export type Order =
  /** any */
  | 'unordered'
  /** one at a time for each (topic, partition, key); records without a key order with nothing */
  | 'key'
  /** one at a time for each partition */
  | 'partition'

/** What the scheduler keeps of a record that is admitted and not completed. The links are its own. */
export interface Schedulable {
  readonly record: KafkaRecord
  lane: Lane | null
  next: Schedulable | null
}

/**
 * Records that wait for the same turn, oldest first. An exclusive lane lets one go at a time and is `held` until that
 * one is released; the free lane of a partition takes the records that order with nothing.
 */
export class Lane {
  first: Schedulable | null = null
  last: Schedulable | null = null
  next: Lane | null = null
  /** Linked into its partition's ring of lanes that may go. */
  queued = false
  held = false
  partition: PartitionLanes
  /** `null`: the free lane. */
  key: string | null

  constructor (partition: PartitionLanes, key: string | null) {
    this.partition = partition
    this.key = key
  }
}

/**
 * The lanes of one partition. They outlive an assignment while one of them is held: after a loss and a new assignment
 * the new copy of a record waits here until the old attempt has settled.
 */
export class PartitionLanes {
  readonly exclusive = new Map<string, Lane>()
  readonly free = new Lane(this, null)
  first: Lane | null = null
  last: Lane | null = null
  next: PartitionLanes | null = null
  queued = false
  /** Nothing of it may start for now. */
  suspended = false
  readonly topic: string
  readonly number: number

  constructor (topic: string, number: number) {
    this.topic = topic
    this.number = number
  }
}

const SPARE_LANES_MAX = 1000

/**
 * What may start next: round-robin over partitions, and over lanes within each, so that neither a hot partition nor a
 * hot key starves the others. Every operation is O(1) but `drop`, which visits the partition's lanes. The lists are
 * linked through the records and lanes themselves: waiting costs no allocation beyond a lane for a new key.
 */
export class Scheduler {
  // Lanes that are not in use. With many keys one is needed, and let go, for almost every record.
  readonly #spare: Lane[] = []
  readonly #order: Order
  readonly #partitions = new Map<string, PartitionLanes>()
  #first: PartitionLanes | null = null
  #last: PartitionLanes | null = null
  #waiting = 0
  // Records come in runs of one partition, so the last one found is mostly the next one asked for.
  #found: PartitionLanes | null = null

  constructor (order: Order) {
    this.#order = order
  }

  /** Records that are added and not taken. */
  get waiting (): number { return this.#waiting }

  /** Lanes that are held or have records waiting, for tests and memory figures. */
  get lanes (): number {
    let count = 0
    for (const partition of this.#partitions.values()) count += partition.exclusive.size
    return count
  }

  /** Adds a record behind the earlier ones of its lane. */
  add (item: Schedulable): void {
    const lane = this.#laneOf(item.record)
    item.lane = lane
    item.next = null
    if (lane.last === null) lane.first = item
    else lane.last.next = item
    lane.last = item
    this.#waiting++
    this.#offer(lane)
  }

  /** Takes the record that should start now, if any. Its lane stays held until `release` or `putBack`. */
  take (): Schedulable | null {
    const partition = this.#first
    if (partition === null) return null
    this.#first = partition.next
    if (this.#first === null) this.#last = null
    partition.next = null
    partition.queued = false

    const lane = partition.first!
    partition.first = lane.next
    if (partition.first === null) partition.last = null
    lane.next = null
    lane.queued = false

    const item = lane.first!
    lane.first = item.next
    if (lane.first === null) lane.last = null
    item.next = null
    this.#waiting--

    if (lane.key === null) this.#offer(lane)
    else lane.held = true
    this.#offerPartition(partition)
    return item
  }

  /** Puts a record that was taken back in front of its lane, to be tried again. Not after its partition was dropped. */
  putBack (item: Schedulable): void {
    const lane = item.lane!
    item.next = lane.first
    lane.first = item
    if (lane.last === null) lane.last = item
    lane.held = false
    this.#waiting++
    this.#offer(lane)
  }

  /** Ends a record that was taken: the next of its lane may go, behind the other lanes. */
  release (item: Schedulable): void {
    const lane = item.lane!
    item.lane = null
    if (lane.key === null) return
    lane.held = false
    if (lane.first === null) {
      lane.partition.exclusive.delete(lane.key)
      if (this.#spare.length < SPARE_LANES_MAX) this.#spare.push(lane)
    } else {
      this.#offer(lane)
    }
  }

  /** Forgets the waiting records of a partition; lanes that are held stay until they are released. */
  drop (topic: string, partition: number): void {
    const lanes = this.#partitions.get(partitionId(topic, partition))
    if (lanes === undefined) return
    this.#empty(lanes.free)
    for (const [key, lane] of lanes.exclusive) {
      this.#empty(lane)
      if (!lane.held) lanes.exclusive.delete(key)
    }
    for (let lane = lanes.first; lane !== null;) {
      const next: Lane | null = lane.next
      lane.next = null
      lane.queued = false
      lane = next
    }
    lanes.first = lanes.last = null
    if (lanes.queued) this.#withdraw(lanes)
    lanes.suspended = false
    if (lanes.exclusive.size === 0) {
      this.#partitions.delete(partitionId(topic, partition))
      this.#found = null
    }
  }

  /** Lets nothing of a partition start until told otherwise, or until it is dropped. */
  suspend (topic: string, partition: number, suspended: boolean): void {
    const lanes = this.#lanesOf(topic, partition)
    lanes.suspended = suspended
    if (!suspended) this.#offerPartition(lanes)
    else if (lanes.queued) this.#withdraw(lanes)
  }

  #laneOf (record: KafkaRecord): Lane {
    const lanes = this.#lanesOf(record.topic, record.partition)
    if (this.#order === 'unordered' || (this.#order === 'key' && record.key === null)) return lanes.free
    // latin1 maps bytes to characters one to one, so that keys that are not UTF-8 stay distinct.
    const key = this.#order === 'key' ? record.key!.toString('latin1') : ''
    let lane = lanes.exclusive.get(key)
    if (lane === undefined) lanes.exclusive.set(key, lane = this.#newLane(lanes, key))
    return lane
  }

  #newLane (partition: PartitionLanes, key: string): Lane {
    const lane = this.#spare.pop()
    if (lane === undefined) return new Lane(partition, key)
    lane.partition = partition
    lane.key = key
    return lane
  }

  #lanesOf (topic: string, partition: number): PartitionLanes {
    const found = this.#found
    if (found !== null && found.number === partition && found.topic === topic) return found
    const id = partitionId(topic, partition)
    let lanes = this.#partitions.get(id)
    if (lanes === undefined) this.#partitions.set(id, lanes = new PartitionLanes(topic, partition))
    this.#found = lanes
    return lanes
  }

  #offer (lane: Lane): void {
    if (lane.queued || lane.held || lane.first === null) return
    const partition = lane.partition
    lane.queued = true
    if (partition.last === null) partition.first = lane
    else partition.last.next = lane
    partition.last = lane
    this.#offerPartition(partition)
  }

  #offerPartition (partition: PartitionLanes): void {
    if (partition.queued || partition.suspended || partition.first === null) return
    partition.queued = true
    if (this.#last === null) this.#first = partition
    else this.#last.next = partition
    this.#last = partition
  }

  #withdraw (partition: PartitionLanes): void {
    let before: PartitionLanes | null = null
    for (let at = this.#first; at !== null && at !== partition; at = at.next) before = at
    if (before === null) this.#first = partition.next
    else before.next = partition.next
    if (this.#last === partition) this.#last = before
    partition.next = null
    partition.queued = false
  }

  #empty (lane: Lane): void {
    for (let item = lane.first; item !== null; item = item.next) {
      item.lane = null
      this.#waiting--
    }
    lane.first = lane.last = null
  }
}
