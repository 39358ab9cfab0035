import type { Gathering } from './batch-wait.js'
import type { KafkaRecord } from '../record.js'

/** What the scheduler keeps of a record that is admitted and not completed. The links are its own. */
export interface Schedulable {
  readonly record: KafkaRecord
  /** It shares no batch with others. */
  readonly alone: boolean
  lane: Lane | null
  next: Schedulable | null
}

/**
 * Records that wait for the same turn, oldest first. Of an exclusive lane one goes at a time, or one batch, and nothing more
 * until all that was taken is put back or released; the free lane of a partition takes the records that order with nothing.
 */
export class Lane {
  first: Schedulable | null = null
  last: Schedulable | null = null
  next: Lane | null = null
  /** Linked into its partition's ring of lanes that may go. */
  queued = false
  /** Records that wait in it. */
  count = 0
  /** Records of an exclusive lane that are taken, and neither put back nor released: until there are none it is held. */
  taken = 0
  partition: PartitionLanes
  /** `null`: the free lane. */
  key: string | null
  /** What its records are gathered in, where batches wait until they are full: its own, or its partition's. */
  gathering: Gathering | null = null

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
  gathering: Gathering | null = null

  constructor (topic: string, number: number) {
    this.topic = topic
    this.number = number
  }
}
