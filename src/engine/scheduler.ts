import { BatchWait, Gathering } from './batch-wait.js'
import { Lane, PartitionLanes, type Schedulable } from './lanes.js'
import { partitionId } from './partition-id.js'
import type { BatchPolicy, Clock } from './types.js'
import type { KafkaRecord } from '../record.js'

/** Which records may run beside each other. */
export type Order =
  /** any */
  | 'unordered'
  /** one at a time for each (topic, partition, key); records without a key order with nothing */
  | 'key'
  /** one at a time for each partition */
  | 'partition'

const SPARE_LANES_MAX = 1000

/** How records are taken in batches, and how time passes for those that wait until theirs is full. */
export interface Batching {
  readonly policy: BatchPolicy
  readonly clock: Clock
  /** Time has passed, and something may be taken. */
  readonly due: () => void
}

/**
 * What may start next: round-robin over partitions, and over lanes within each, so that neither a hot partition nor a
 * hot key starves the others. Every operation is O(1), for a batch O(1) for each of its records (and their sorting), but
 * `drop`, which visits the partition's lanes. The lists are linked through the records and lanes themselves: waiting costs no
 * allocation beyond a lane for a new key.
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

  readonly #byKey: boolean
  readonly #wait: BatchWait | null

  /** @param batching `null`: records are taken one by one */
  constructor (order: Order, batching: Batching | null = null) {
    this.#order = order
    this.#byKey = batching !== null && batching.policy.by === 'key'
    this.#wait = batching === null || batching.policy.waitMs === 0
      ? null
      : new BatchWait(batching.policy.maxRecords, batching.policy.waitMs, batching.clock, of => {
        if (of instanceof Lane) this.#offer(of)
        else this.#offerPartition(of)
        batching.due()
      })
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
    lane.count++
    this.#waiting++
    if (this.#wait !== null && lane.taken === 0) this.#wait.add(lane.gathering!, 1)
    this.#offer(lane)
  }

  /** Takes the record that should start now, if any. Its lane stays held until `release` or `putBack`. */
  take (): Schedulable | null {
    const lane = this.#nextLane()
    if (lane === null) return null
    const item = this.#takeFrom(lane)
    this.#offer(lane)
    this.#offerPartition(lane.partition)
    return item
  }

  /**
   * Takes the records that should start now in one batch, at most `max`, in offset order: one that is `alone`, or those of one
   * key, or of one partition, as the policy says. Their lanes stay held until each of them is released or put back.
   */
  takeBatch (max: number): Schedulable[] {
    const lane = this.#nextLane()
    if (lane === null) return []
    const batch = [this.#takeFrom(lane)]
    if (!batch[0].alone) {
      this.#fill(batch, max, lane)
      if (!this.#byKey) this.#fillFromOthers(batch, max, lane.partition)
      // Lanes come one after the other, and into a free lane records are put back in any order. Mostly this finds nothing to do.
      batch.sort((a, b) => a.record.offset - b.record.offset)
    }
    this.#offer(lane)
    this.#offerPartition(lane.partition)
    return batch
  }

  /** Puts a record that was taken back in front of its lane, to be tried again. Not after its partition was dropped. */
  putBack (item: Schedulable): void {
    const lane = item.lane!
    item.next = lane.first
    lane.first = item
    if (lane.last === null) lane.last = item
    lane.count++
    this.#waiting++
    if (lane.key !== null) this.#letGo(lane)
    else if (this.#wait !== null) this.#wait.add(lane.gathering!, 1)
    this.#offer(lane)
  }

  /** Ends a record that was taken: the next of its lane may go, behind the other lanes. */
  release (item: Schedulable): void {
    const lane = item.lane!
    item.lane = null
    if (lane.key === null) return
    this.#letGo(lane)
    if (lane.taken > 0) return
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
      if (lane.taken === 0) lanes.exclusive.delete(key)
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
    const lane = this.#spare.pop() ?? new Lane(partition, key)
    lane.partition = partition
    lane.key = key
    if (this.#wait !== null) this.#gather(lane)
    return lane
  }

  #gather (lane: Lane): void {
    if (!this.#byKey) lane.gathering = lane.partition.gathering ??= new Gathering(lane.partition)
    else lane.gathering ??= new Gathering(lane)
  }

  #lanesOf (topic: string, partition: number): PartitionLanes {
    const found = this.#found
    if (found !== null && found.number === partition && found.topic === topic) return found
    const id = partitionId(topic, partition)
    let lanes = this.#partitions.get(id)
    if (lanes === undefined) {
      this.#partitions.set(id, lanes = new PartitionLanes(topic, partition))
      if (this.#wait !== null) this.#gather(lanes.free)
    }
    this.#found = lanes
    return lanes
  }

  /** Takes the lane whose turn it is out of the rings, `null` for none. */
  #nextLane (): Lane | null {
    const partition = this.#first
    if (partition === null) return null
    this.#first = partition.next
    if (this.#first === null) this.#last = null
    partition.next = null
    partition.queued = false
    return this.#firstOf(partition)
  }

  #firstOf (partition: PartitionLanes): Lane {
    const lane = partition.first!
    partition.first = lane.next
    if (partition.first === null) partition.last = null
    lane.next = null
    lane.queued = false
    return lane
  }

  #takeFrom (lane: Lane): Schedulable {
    const item = lane.first!
    lane.first = item.next
    if (lane.first === null) lane.last = null
    item.next = null
    this.#waiting--
    if (lane.key !== null) lane.taken++
    // Of a lane that is held from now on, nothing more may start.
    if (this.#wait !== null && lane.taken <= 1) this.#wait.remove(lane.gathering!, lane.key === null ? 1 : lane.count)
    lane.count--
    return item
  }

  #fill (batch: Schedulable[], max: number, lane: Lane): void {
    while (batch.length < max && lane.first !== null && !lane.first.alone) batch.push(this.#takeFrom(lane))
  }

  /**
   * Fills a batch from the other lanes of its partition. Those whose first record goes alone are passed over, and are the next to
   * go: each is passed over once, and no more of them than the batch may hold.
   */
  #fillFromOthers (batch: Schedulable[], max: number, partition: PartitionLanes): void {
    let passedOver: Lane | null = null
    let lastPassedOver: Lane | null = null
    let left: Lane | null = null
    for (let passed = 0; partition.first !== null && batch.length < max && passed < max;) {
      const lane = this.#firstOf(partition)
      if (lane.first!.alone) {
        if (lastPassedOver === null) passedOver = lane
        else lastPassedOver.next = lane
        lastPassedOver = lane
        lane.queued = true
        passed++
      } else {
        this.#fill(batch, max, lane)
        // Not offered in between: what is offered may be what the next round takes from.
        if (lane.key === null) left = lane
      }
    }
    if (lastPassedOver !== null) {
      lastPassedOver.next = partition.first
      partition.first = passedOver
      partition.last ??= lastPassedOver
    }
    if (left !== null) this.#offer(left)
  }

  /** One record less of an exclusive lane is taken. */
  #letGo (lane: Lane): void {
    lane.taken--
    if (lane.taken === 0 && this.#wait !== null) this.#wait.add(lane.gathering!, lane.count)
  }

  #offer (lane: Lane): void {
    if (lane.taken > 0 || lane.first === null) return
    const wait = this.#wait
    if (wait !== null && lane.first.alone) lane.gathering!.hurried = true
    const { partition } = lane
    if (!lane.queued) {
      if (wait !== null && this.#byKey && !wait.isOver(lane.gathering!)) return
      lane.queued = true
      if (partition.last === null) partition.first = lane
      else partition.last.next = lane
      partition.last = lane
    }
    this.#offerPartition(partition)
  }

  #offerPartition (partition: PartitionLanes): void {
    if (partition.queued || partition.suspended || partition.first === null) return
    if (this.#wait !== null && !this.#byKey && !this.#wait.isOver(partition.gathering!)) return
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
    lane.count = 0
    if (this.#wait !== null) this.#wait.forget(lane.gathering!)
  }
}
