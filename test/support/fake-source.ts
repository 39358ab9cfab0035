import assert from 'node:assert'
import type {
  Batch, CommittedOffset, OffsetCommit, PartitionEnd, PartitionOffset, Position, RebalanceEvent, Source, TopicPartition
} from '../../src/engine/types.js'
import type { KafkaRecord, OutgoingRecord } from '../../src/record.js'
import type { FakeClock } from './fake-clock.js'

export function record (fields: Partial<KafkaRecord> & { offset: number }): KafkaRecord {
  const key = fields.key ?? null
  const value = fields.value ?? Buffer.from('v')
  return {
    topic: 't',
    partition: 0,
    leaderEpoch: 0,
    timestamp: 0,
    headers: [],
    size: (key?.length ?? 0) + (value?.length ?? 0),
    ...fields,
    key,
    value
  }
}

interface Log { readonly records: KafkaRecord[], end: number, position: number, ended: boolean }

/**
 * A member of a group over logs in memory, with the habits of the real client: positions move on when records are handed
 * out, a rebalance keeps all partitions still until it is answered, acknowledgements and events arrive only while polled.
 */
export class FakeSource implements Source {
  readonly committedOffsets = new Map<string, number>()
  readonly committedMetadata = new Map<string, string>()
  readonly commits: OffsetCommit[][] = []
  /** Called before the broker takes a commit: may throw to refuse it. */
  onCommit: (offsets: readonly OffsetCommit[], outputs: readonly OutgoingRecord[]) => void = () => {}
  /** What was written in the same transactions as the offsets. */
  readonly written: OutgoingRecord[] = []
  onPoll: (max: number) => void = () => {}
  committedFails = 0
  holdAcknowledgements = false
  /** Ids of topics; those that are not here have none. */
  readonly ids = new Map<string, string>()
  topicIdsFail = 0
  /** Set: answers about ids do not come until this has been resolved. */
  topicIdsHeld: Promise<void> | null = null
  pollsEndLate = false
  seekFails: Error | null = null
  offsetsAtFails: Error | null = null
  readonly seeks: PartitionOffset[] = []
  readonly paused = new Set<string>()
  readonly owned = new Set<string>()
  left = false
  readonly #clock: FakeClock
  readonly #logs = new Map<string, Log>()
  #events: RebalanceEvent[] = []
  #taken: RebalanceEvent[] = []
  #acknowledgements: (() => void)[] = []
  #polling = false
  // An event has come that no poll has returned for yet.
  #news = false
  #wakePoll: (() => void) | null = null
  #leaving = false
  #dead = false
  #next = 0

  constructor (clock: FakeClock) {
    this.#clock = clock
  }

  /** Appends to a partition's log; `end` beyond the last record stands for markers that nobody can read. */
  append (records: readonly KafkaRecord[], end?: number): void {
    for (const one of records) {
      const log = this.#log(one)
      log.records.push(one)
      log.end = Math.max(log.end, one.offset + 1)
      log.ended = false
    }
    if (end !== undefined && records.length > 0) this.#log(records[0]).end = end
    this.#wakePoll?.()
  }

  /** Hands out what is there already once more, as an eager rebalance or a fault of the client does. */
  redeliver (partition: TopicPartition, position: number): void {
    this.#log(partition).position = position
    this.#wakePoll?.()
  }

  /** Makes the topic's log anew. */
  truncate (partition: TopicPartition): void {
    this.#logs.set(idOf(partition), { records: [], end: 0, position: 0, ended: false })
  }

  /** The process ends here: nothing that is under way arrives any more, and no poll comes back. */
  kill (): void {
    this.#dead = true
    this.#acknowledgements = []
  }

  get dead (): boolean { return this.#dead }

  /** Finds what the broker holds after another member: the logs, and what it took of commits. */
  takeOver (other: FakeSource): void {
    for (const [id, { records, end }] of other.#logs) this.#logs.set(id, { records: [...records], end, position: 0, ended: false })
    for (const [id, offset] of other.committedOffsets) this.committedOffsets.set(id, offset)
    for (const [id, metadata] of other.committedMetadata) this.committedMetadata.set(id, metadata)
    for (const [topic, id] of other.ids) this.ids.set(topic, id)
  }

  /** @param whole an assignment as an eager group makes it */
  event (type: RebalanceEvent['type'], partitions: readonly TopicPartition[], whole?: true): void {
    this.#events.push({ type, partitions, ...(whole && { whole }) })
    this.#news = true
    this.#wakePoll?.()
  }

  /** A rebalance was delivered and not answered yet. */
  get unanswered (): number { return this.#taken.length + this.#events.length }

  async poll (max: number, timeoutMs: number): Promise<Batch> {
    assert(!this.#polling, 'two polls at once')
    assert(max >= 1, `poll(${max})`)
    if (this.#dead) return await new Promise(() => {})
    this.onPoll(max)
    this.#polling = true
    try {
      let batch = this.#fetch(max)
      if (batch.records.length === 0 && batch.ends.length === 0 && !this.#news) {
        await new Promise<void>(resolve => {
          const cancel = this.#clock.schedule(timeoutMs, resolve)
          this.#wakePoll = () => {
            cancel()
            resolve()
          }
        })
        this.#wakePoll = null
        // The client's own thread takes its time to come back.
        if (this.pollsEndLate) await new Promise(resolve => { setImmediate(resolve) })
        batch = this.#fetch(max)
      }
      this.#news = false
      if (this.#dead) return await new Promise(() => {})
      return batch
    } finally {
      this.#polling = false
    }
  }

  get hasEvent (): boolean { return this.#events.length > 0 }

  takeEvent (): RebalanceEvent | undefined {
    const event = this.#events.shift()
    if (event !== undefined) this.#taken.push(event)
    return event
  }

  async committed (partitions: readonly TopicPartition[]): Promise<CommittedOffset[]> {
    if (this.committedFails > 0) {
      this.committedFails--
      throw new Error('the coordinator is away')
    }
    return partitions.map(({ topic, partition }) => {
      const id = idOf({ topic, partition })
      return { topic, partition, offset: this.committedOffsets.get(id) ?? -1, metadata: this.committedMetadata.get(id) ?? '' }
    })
  }

  assign (partitions: readonly CommittedOffset[]): void {
    assert(!this.#polling, 'assign while a poll is under way')
    const answered = this.#taken.shift()
    assert.equal(answered?.type, 'assigned', 'assign answers an assigned event')
    if (answered?.whole) this.owned.clear()
    for (const one of partitions) {
      this.owned.add(idOf(one))
      const log = this.#log(one)
      log.position = Math.max(0, one.offset)
      log.ended = false
    }
  }

  unassign (partitions: readonly TopicPartition[]): void {
    assert(!this.#polling, 'unassign while a poll is under way')
    assert.notEqual(this.#taken.shift()?.type ?? 'assigned', 'assigned', 'unassign answers a revoked or lost event')
    for (const one of partitions) {
      this.owned.delete(idOf(one))
      this.paused.delete(idOf(one))
    }
    if (this.#leaving && this.owned.size === 0) this.left = true
  }

  pause (partitions: readonly TopicPartition[]): void {
    assert(!this.#polling, 'pause while a poll is under way')
    for (const one of partitions) this.paused.add(idOf(one))
  }

  resume (partitions: readonly TopicPartition[]): void {
    assert(!this.#polling, 'resume while a poll is under way')
    for (const one of partitions) this.paused.delete(idOf(one))
  }

  async topicIds (topics: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (this.topicIdsHeld !== null) await this.topicIdsHeld
    if (this.topicIdsFail > 0) {
      this.topicIdsFail--
      throw new Error('the brokers are away')
    }
    return new Map(topics.flatMap(topic => this.ids.has(topic) ? [[topic, this.ids.get(topic)!]] : []))
  }

  async offsetsAt (position: Position, partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    if (this.offsetsAtFails !== null) throw this.offsetsAtFails
    return partitions.map(partition => {
      const { records, end } = this.#log(partition)
      const at = position === 'beginning'
        ? records[0]?.offset ?? end
        : position === 'end'
          ? end
          : typeof position === 'number' ? position : records.find(({ timestamp }) => timestamp >= position.timestamp)?.offset ?? end
      return { topic: partition.topic, partition: partition.partition, offset: at }
    })
  }

  async seek (positions: readonly PartitionOffset[]): Promise<void> {
    assert(!this.#polling, 'a seek while a poll is under way')
    if (this.seekFails !== null) throw this.seekFails
    for (const one of positions) {
      assert(this.owned.has(idOf(one)), 'seeks only what is owned')
      this.seeks.push(one)
      const log = this.#log(one)
      log.position = one.offset
      log.ended = false
    }
  }

  commit (offsets: readonly OffsetCommit[], outputs: readonly OutgoingRecord[] = []): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#dead) return
      this.#acknowledgements.push(() => {
        try {
          for (const one of offsets) {
            assert(this.owned.has(idOf(one)), 'commits only what is owned')
            assert(Number.isSafeInteger(one.offset) && one.offset >= 0, `commits ${one.offset}`)
          }
          this.onCommit(offsets, outputs)
          this.commits.push([...offsets])
          this.written.push(...outputs)
          for (const one of offsets) {
            this.committedOffsets.set(idOf(one), one.offset)
            this.committedMetadata.set(idOf(one), one.metadata)
          }
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  leave (): void {
    this.#leaving = true
    if (this.owned.size === 0 && this.unanswered === 0) this.left = true
    else this.event('revoked', [...this.owned].map(partitionOf))
  }

  #fetch (max: number): Batch {
    if (!this.holdAcknowledgements) for (const acknowledge of this.#acknowledgements.splice(0)) acknowledge()
    const records: KafkaRecord[] = []
    const ends: PartitionEnd[] = []
    // The client keeps everything still until a rebalance is answered.
    if (this.unanswered > 0) return { records, ends }
    const ids = [...this.owned].filter(id => !this.paused.has(id))
    for (let turn = 0; turn < ids.length; turn++) {
      const id = ids[(turn + this.#next) % ids.length]
      const log = this.#log(partitionOf(id))
      for (const one of log.records) {
        if (records.length >= max) break
        if (one.offset < log.position) continue
        records.push(one)
        log.position = one.offset + 1
      }
      if (records.length < max && !log.ended && log.end > 0) {
        log.ended = true
        log.position = log.end
        ends.push({ ...partitionOf(id), offset: log.end })
      }
    }
    this.#next++
    return { records, ends }
  }

  #log (partition: TopicPartition): Log {
    const id = idOf(partition)
    let log = this.#logs.get(id)
    if (log === undefined) this.#logs.set(id, log = { records: [], end: 0, position: 0, ended: false })
    return log
  }
}

export function idOf ({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

function partitionOf (id: string): TopicPartition {
  const [topic, partition] = id.split('/')
  return { topic, partition: Number(partition) }
}
