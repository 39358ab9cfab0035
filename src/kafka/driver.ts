/** The native client, narrowed to what the producer side uses, with the traps of its JavaScript layer taken out. */

import driver, { type KafkaConsumer, type Metadata, type Producer as NativeProducer } from '@confluentinc/kafka-javascript'
import type { ClientProperties } from '../config.js'

export type { NativeProducer }

/** What the client throws, reports and calls back with. */
export interface DriverError {
  readonly message: string
  /** librdkafka's: negative ones are its own, positive ones are the broker's. */
  readonly code: number
}

/** A line of librdkafka's log. */
export interface DriverLogLine {
  /** As in syslog: 3 is an error, 7 is debug. */
  readonly severity: number
  readonly fac: string
  readonly message: string
}

/** The error codes that something is decided by. The others are only told. */
export const codes = {
  /** Another record of the same batch was. */
  invalidDifferentRecord: -138,
  topicUnknownToClient: -188,
  partitionUnknown: -190,
  purgedInQueue: -152,
  purgedInFlight: -151,
  fenced: -144,
  queueFull: -184,
  state: -172,
  fatal: -150,
  unknownTopicOrPartition: 3,
  messageTooLarge: 10,
  invalidTopic: 17,
  recordListTooLarge: 18,
  topicAuthorizationFailed: 29,
  clusterAuthorizationFailed: 31,
  invalidTimestamp: 32,
  invalidProducerEpoch: 47,
  transactionalIdAuthorizationFailed: 53,
  unsupportedForMessageFormat: 43,
  policyViolation: 44,
  invalidRecord: 87,
  producerFenced: 90
} as const

/**
 * Makes a producer client; nothing connects yet.
 *
 * @throws {DriverError} if librdkafka does not know a property, or not this value of it
 */
export function newProducer (properties: ClientProperties): NativeProducer {
  for (const [name, value] of Object.entries(properties)) {
    // The client would send the word "undefined".
    if (value === undefined) throw new TypeError(`the client property ${name} is undefined`)
  }
  // No second argument: `{}` would drop topic-level properties that are set here.
  return new driver.RdKafka.Producer({ ...properties, dr_cb: true } as ConstructorParameters<typeof NativeProducer>[0])
}

/** What the metadata says: how many brokers there are, and the partitions of every topic that can be seen. */
export interface ClusterMetadata {
  readonly brokers: readonly { readonly host: string, readonly port: number }[]
  readonly partitions: ReadonlyMap<string, number>
  readonly layout: ReadonlyMap<string, readonly PartitionLayout[]>
}

/** Where a partition is, as brokers' ids. The names are the driver's, whose objects these are: none is copied. */
export interface PartitionLayout {
  readonly id: number
  /** −1: none. */
  readonly leader: number
  readonly replicas: readonly number[]
  /** Those of the replicas that are in sync. */
  readonly isrs: readonly number[]
}

function toClusterMetadata ({ brokers, topics }: Metadata): ClusterMetadata {
  const partitions = new Map<string, number>()
  const layout = new Map<string, readonly PartitionLayout[]>()
  // A topic without partitions is one that the broker had an error for.
  for (const topic of topics) {
    if (topic.partitions.length === 0) continue
    partitions.set(topic.name, topic.partitions.length)
    layout.set(topic.name, topic.partitions)
  }
  return { brokers, partitions, layout }
}

/** Connects and reads the metadata. On failure the client has disconnected and is of no more use. */
export function connect (client: NativeProducer, timeoutMs: number): Promise<ClusterMetadata> {
  return new Promise((resolve, reject) => {
    client.connect({ timeout: timeoutMs }, (err, metadata) => { err ? reject(err) : resolve(toClusterMetadata(metadata)) })
  })
}

/** Flushes for at most `timeoutMs`, which occupies a libuv thread. What is left then is left. */
export function flush (client: NativeProducer, timeoutMs: number): Promise<void> {
  return new Promise(resolve => {
    if (client.isConnected()) client.flush(timeoutMs, () => resolve())
    else resolve()
  })
}

/** Disconnects without flushing. Reports that have not arrived yet are lost. */
export function disconnect (client: NativeProducer): Promise<void> {
  return new Promise(resolve => {
    if (client.isConnected()) client.disconnect(0, () => resolve())
    else resolve()
  })
}

/**
 * Asks a broker for its list of all topics. Occupies a libuv thread until it answers or `timeoutMs` has passed.
 *
 * A narrower question is no safer: for one name, or for the names that the client knows, librdkafka may make topics.
 */
export function clusterMetadata (client: NativeProducer, timeoutMs: number): Promise<ClusterMetadata> {
  return new Promise((resolve, reject) => {
    client.getMetadata({ timeout: timeoutMs }, (err, metadata) => { err ? reject(err) : resolve(toClusterMetadata(metadata)) })
  })
}

/** Asks for one topic by its name, which makes it where client and broker have automatic creation on. */
export function requestTopic (client: NativeProducer, topic: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // Without `allTopics: false` the client would ask for all topics and leave the name out.
    client.getMetadata({ topic, allTopics: false, timeout: timeoutMs }, err => { err ? reject(err) : resolve() })
  })
}

/** What the calls of a transaction say when they fail. */
export interface TransactionError extends DriverError {
  /** The client is of no more use. */
  readonly isFatal?: boolean
  /** The same call may be made again, and goes on where the first one was. */
  readonly isRetriable?: boolean
  readonly isTxnRequiresAbort?: boolean
}

/** A call of a transaction: what went wrong, or `null`. It occupies a libuv thread until then, for `timeoutMs` at most. */
export type TransactionStep = 'initTransactions' | 'commitTransaction' | 'abortTransaction'

/** Makes one of these calls. One at a time: the client must not be disconnected before it has called back. */
export function transactionStep (client: NativeProducer, step: TransactionStep, timeoutMs: number): Promise<TransactionError | null> {
  return new Promise(resolve => { client[step](timeoutMs, err => resolve(err as TransactionError | undefined ?? null)) })
}

/** A group's offsets, as the driver takes them, and the consumer that is a member of it. */
export interface GroupOffsets {
  readonly list: readonly {
    readonly topic: string, readonly partition: number, readonly offset: number, readonly leaderEpoch?: number, readonly metadata?: string
  }[]
  /** Must not be disconnected before the call has come back. */
  readonly consumer: KafkaConsumer
  /** Whether an error says that the group has gone on without the member. */
  isLost (code: number): boolean
}

/** Adds a group's offsets to the transaction: what went wrong, or `null`. Occupies a libuv thread until then. */
export function sendOffsets (
  client: NativeProducer, { list, consumer }: GroupOffsets, timeoutMs: number
): Promise<TransactionError | null> {
  return new Promise(resolve => {
    client.sendOffsetsToTransaction([...list], consumer, timeoutMs, err => resolve(err as TransactionError | undefined ?? null))
  })
}

/** Begins a transaction, without asking a broker. */
export function beginTransaction (client: NativeProducer): Promise<TransactionError | null> {
  return new Promise(resolve => { client.beginTransaction(err => resolve(err as TransactionError | undefined ?? null)) })
}
