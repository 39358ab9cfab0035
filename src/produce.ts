import { SluiceError, type ErrorCode } from './errors.js'
import type { Outcome, RecordProducer } from './kafka/record-producer.js'
import type { TopicDirectory } from './kafka/topics.js'
import type { OutgoingRecord, Receipt } from './record.js'
import { isReservedTopic, isTopicName } from './topic-name.js'

/** What any route that produces may answer, beside what concerns the form of its own body. */
export const produceErrors = [
  'SLUICE_INVALID_REQUEST', 'SLUICE_INVALID_TOPIC_NAME', 'SLUICE_UNKNOWN_PARTITION', 'SLUICE_RECORD_REJECTED', 'SLUICE_TOPIC_NOT_ALLOWED',
  'SLUICE_NOT_AUTHORIZED', 'SLUICE_UNKNOWN_TOPIC', 'SLUICE_BODY_TOO_LARGE', 'SLUICE_RECORD_TOO_LARGE', 'SLUICE_BATCH_TOO_LARGE',
  'SLUICE_URI_TOO_LONG', 'SLUICE_UNSUPPORTED_MEDIA_TYPE', 'SLUICE_BODIES_FULL', 'SLUICE_QUEUE_FULL', 'SLUICE_BROKER_UNAVAILABLE', 'SLUICE_NOT_PRODUCED',
  'SLUICE_DELIVERY_UNKNOWN'
] as const satisfies readonly ErrorCode[]

/** What producing needs of a Fastify instance. */
export interface ProduceContext {
  readonly producer: RecordProducer
  readonly topics: TopicDirectory
}

/** @throws {SluiceError} if the name cannot be a topic's, or nobody may produce there through the gateway */
export function checkTopicName (topic: string): void {
  if (!isTopicName(topic)) {
    throw new SluiceError('SLUICE_INVALID_TOPIC_NAME',
      'The name of a topic has 1 to 249 characters out of letters, digits, ".", "_" and "-", and is neither "." nor "..".')
  }
  if (isReservedTopic(topic)) {
    throw new SluiceError('SLUICE_TOPIC_NOT_ALLOWED', 'Topics that begin with "__", and _schemas, belong to Kafka and its tools.')
  }
}

/**
 * Produces one record of a topic that need not exist, within the time that the caller waits.
 *
 * @throws {SluiceError} SLUICE_UNKNOWN_TOPIC, SLUICE_UNKNOWN_PARTITION, and as `RecordProducer.send` does
 */
export async function produceOne ({ producer, topics }: ProduceContext, record: OutgoingRecord, timeoutMs: number): Promise<Receipt> {
  const known = topics.peek(record.topic)
  // The ordinary case: nothing to wait for but the acknowledgement.
  if (known !== undefined && (record.partition == null || record.partition < known)) return await producer.send(record, timeoutMs)
  const deadline = performance.now() + timeoutMs
  const [wrong] = await withdrawnAt(deadline, partitionFaults(topics, record.topic, [record]))
  if (wrong !== undefined) throw wrong
  return await producer.send(record, remaining(deadline))
}

/**
 * Produces records of one topic, in order.
 *
 * @returns one outcome a record, in order
 * @throws {SluiceError} if nothing was enqueued
 */
export async function produceMany (
  { producer, topics }: ProduceContext, topic: string, records: readonly OutgoingRecord[], timeoutMs: number
): Promise<Outcome[]> {
  if (areKnown(topics, topic, records)) {
    return await producer.sendBatch(records, timeoutMs)
  }
  const deadline = performance.now() + timeoutMs
  const faults = await withdrawnAt(deadline, partitionFaults(topics, topic, records))
  const good = records.filter((_, i) => faults[i] === undefined)
  const outcomes = good.length === 0 ? [] : await producer.sendBatch(good, remaining(deadline))
  let next = 0
  return faults.map(fault => fault ?? outcomes[next++] as Outcome)
}

/**
 * Enqueues records of one topic, in order, and resolves once they are in the queue. `settled` is called once for each of them, as
 * `RecordProducer.enqueue` does.
 *
 * @param timeoutMs how long to wait for Kafka to say whether topic and partitions exist, where that is not known
 * @throws {SluiceError} if nothing was enqueued
 */
export async function enqueueMany (
  { producer, topics }: ProduceContext, topic: string, records: readonly OutgoingRecord[], timeoutMs: number,
  settled: (index: number, outcome: Outcome) => void
): Promise<void> {
  if (areKnown(topics, topic, records)) {
    producer.enqueue(records, settled)
    return
  }
  const faults = await withdrawnAt(performance.now() + timeoutMs, partitionFaults(topics, topic, records))
  const good: number[] = []
  for (const [i, fault] of faults.entries()) if (fault === undefined) good.push(i)
  if (good.length > 0) producer.enqueue(good.map(i => records[i]!), (i, outcome) => { settled(good[i]!, outcome) })
  for (const [i, fault] of faults.entries()) if (fault !== undefined) settled(i, fault)
}

/**
 * Waits until it is known that a topic exists.
 *
 * @throws {SluiceError} SLUICE_UNKNOWN_TOPIC; 503 where Kafka cannot be asked, or does not say within `timeoutMs`
 */
export async function findTopic ({ topics }: ProduceContext, topic: string, timeoutMs: number): Promise<void> {
  if (topics.peek(topic) === undefined) await withdrawnAt(performance.now() + timeoutMs, topics.partitions(topic))
}

/** Whether topic and partitions are in the list at hand: then there is nothing to wait for but the acknowledgement. */
function areKnown (topics: TopicDirectory, topic: string, records: readonly OutgoingRecord[]): boolean {
  const known = topics.peek(topic)
  return known !== undefined && records.every(({ partition }) => partition == null || partition < known)
}

/** For each record, what is wrong with its partition. Throws where the topic itself is not there. */
async function partitionFaults (
  topics: TopicDirectory, topic: string, records: readonly OutgoingRecord[]
): Promise<(SluiceError | undefined)[]> {
  const highest = records.reduce((max, { partition }) => Math.max(max, partition ?? -1), -1)
  const count = await topics.partitions(topic, highest + 1)
  return records.map(({ partition }) => partition == null || partition < count
    ? undefined
    : new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no partition ${partition}.`))
}

const remaining = (deadline: number): number => Math.max(1, Math.ceil(deadline - performance.now()))

/** Gives up waiting for `promise` at the deadline. Nothing has been handed to Kafka's client yet, so nothing was produced. */
async function withdrawnAt<T> (deadline: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new SluiceError('SLUICE_NOT_PRODUCED', 'Kafka did not say in time whether the topic exists. Nothing was produced.'))
    }, remaining(deadline))
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
