import { SluiceError } from '../../src/errors.js'
import { prepareRecord } from '../../src/kafka/prepared-record.js'
import type { Outcome, ProducerState, RecordProducer } from '../../src/kafka/record-producer.js'
import type { TopicList, TopicSource } from '../../src/kafka/topics.js'
import type { OutgoingRecord, Receipt } from '../../src/record.js'

/** A producer that keeps what it is given, and answers as a test says. Topics: `a` with 4 partitions, and those that are added. */
export class FakeProducer implements RecordProducer, TopicSource {
  readonly sent: OutgoingRecord[] = []
  readonly timeouts: (number | undefined)[] = []
  readonly partitions = new Map([['a', 4], ['_schemas', 1], ['__consumer_offsets', 50]])
  /** What the next records end with, in their order; when it is empty they are written. */
  readonly outcomes: (SluiceError | undefined)[] = []
  /** What the whole request is refused with. */
  refusal: SluiceError | Error | null = null
  refreshes = 0
  asked: string[] = []
  messageMaxBytes = 1_000_000
  topicList: TopicList | null = null
  /** Stands in for the broker's part in reading the list. */
  onRefresh: () => Promise<void> = async () => {}

  state: ProducerState = { connected: true, reachable: true, pendingRecords: 0, pendingBytes: 0, lastError: null }

  async send (record: OutgoingRecord, timeoutMs?: number): Promise<Receipt> {
    const [outcome] = await this.sendBatch([record], timeoutMs)
    if (outcome instanceof SluiceError) throw outcome
    return outcome as Receipt
  }

  async sendBatch (records: readonly OutgoingRecord[], timeoutMs?: number): Promise<Outcome[]> {
    if (this.refusal !== null) throw this.refusal
    this.timeouts.push(timeoutMs)
    return records.map(record => {
      try {
        prepareRecord(record, this.messageMaxBytes)
      } catch (err) {
        return err as SluiceError
      }
      const outcome = this.outcomes.shift()
      if (outcome !== undefined) return outcome
      return this.#write(record)
    })
  }

  /** Set by a test that wants to say itself when what was enqueued is settled. */
  hold: ((settle: () => void) => void) | null = null
  enqueue (records: readonly OutgoingRecord[], settled: (index: number, outcome: Outcome) => void): void {
    if (this.refusal !== null) throw this.refusal
    for (const [i, record] of records.entries()) {
      try {
        prepareRecord(record, this.messageMaxBytes)
      } catch (err) {
        settled(i, err as SluiceError)
        continue
      }
      const outcome = this.outcomes.shift()
      const settle = () => { settled(i, outcome ?? this.#write(record)) }
      if (this.hold === null) setImmediate(settle)
      else this.hold(settle)
    }
  }

  #write (record: OutgoingRecord): Receipt {
    this.sent.push(record)
    const { topic, partition, timestamp } = record
    return { topic, partition: partition ?? 0, offset: this.sent.length - 1, timestamp: timestamp ?? 1767225600000 }
  }

  async refreshTopics (): Promise<void> {
    this.refreshes++
    await this.onRefresh()
    const layout = new Map([...this.partitions].map(([topic, count]) =>
      [topic, Array.from({ length: count }, (_, id) => ({ id, leader: 1 + id % 2, replicas: [1, 2], isrs: [1 + id % 2] }))]))
    this.topicList = { partitions: new Map(this.partitions), layout, at: performance.now() }
  }

  async requestTopic (topic: string): Promise<void> {
    this.asked.push(topic)
    this.partitions.set(topic, 1)
  }
}
