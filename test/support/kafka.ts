import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { findRuntime, prepareRuntime, startBrokers, startWitness, type BrokerProcess, type Brokers, type Runtime } from '../../scripts/lib-kafka.mjs'
import { kcat, type KcatRecord } from './kafka-kcat.js'
import { WitnessClient } from './kafka-witness-client.js'

export { kcat, noKcat, type KcatRecord } from './kafka-kcat.js'
export type { BrokerProcess } from '../../scripts/lib-kafka.mjs'

/** What scripts/test.mjs has made ready for the whole suite, in SLUICE_TEST_KAFKA. */
interface Suite { bootstrapServers?: string, witness?: string, runtime?: Runtime, reason?: string }

export type Bytes = Buffer | string | null

export interface NewRecord {
  key?: Bytes
  value?: Bytes
  headers?: Array<[name: string, value: Bytes]>
  partition?: number
  timestamp?: number
}

export interface StoredRecord {
  partition: number
  offset: number
  timestamp: number
  key: Buffer | null
  value: Buffer | null
  headers: Array<[name: string, value: Buffer | null]>
}

export interface CommittedOffset { topic: string, partition: number, offset: number, metadata: string, leaderEpoch: number | null }

/** One commit as a group's coordinator wrote it down. */
export interface LoggedCommit {
  topic: string
  partition: number
  offset: number
  metadata: string
  /** When the coordinator took it, in milliseconds since 1970. */
  at: number
}

/** What was added since the last look. */
export interface Follower<T> {
  /** Waits up to 200 ms for something new. Not to be called again before it has answered. */
  next (): Promise<T[]>
  stop (): Promise<void>
}

export interface GroupDescription {
  /** Kafka's name for it, as in `Stable`, `Empty`, `Dead` (there is no such group). */
  state: string
  /** `Classic` or `Consumer` (KIP-848). */
  type: string
  assignor: string
  members: Array<{
    memberId: string
    clientId: string
    instanceId: string | null
    partitions: Array<{ topic: string, partition: number }>
    /** Under KIP-848: how far it is, and what it is to have in the end. */
    epoch: number | null
    target: Array<{ topic: string, partition: number }> | null
  }>
}

export interface TopicDescription {
  topicId: string
  partitions: Array<{ partition: number, leader: number | null, replicas: number[], isr: number[] }>
}

export type Isolation = 'read_committed' | 'read_uncommitted'

const suite = JSON.parse(process.env['SLUICE_TEST_KAFKA'] ?? 'null') as Suite | null
// Looked up only when the file is run by hand: it costs some hundred milliseconds.
const byHand = suite === null ? findRuntime() : undefined

/** The reason to skip a test that starts, stops or kills brokers of its own, or false. */
export const noOwnKafka: string | false = suite?.runtime || byHand?.kind ? false : suite?.reason ?? byHand?.reason ?? 'no broker can be started'

/** The reason to skip a test that needs a real broker, or false: `t.test('…', { skip: noKafka }, async t => { … })`. */
export const noKafka: string | false = noOwnKafka

/** A name that no other test and no other run uses. */
export function uniqueName (prefix: string): string {
  return `${prefix}-${randomBytes(5).toString('hex')}`
}

/**
 * A real cluster, as a test sees it: what is read here is read by Apache Kafka's own Java client, or by kcat where the
 * name says so, and never through the client that the gateway uses.
 */
export class Kafka {
  readonly bootstrapServers: string
  /** Empty where the cluster is not this process's own (sharedKafka). */
  readonly brokers: readonly BrokerProcess[]
  readonly #listeners: Readonly<Record<string, string>>
  readonly #witness: WitnessClient
  readonly #stop: () => Promise<void>

  constructor (bootstrapServers: string, witness: WitnessClient, own?: Brokers) {
    this.bootstrapServers = bootstrapServers
    this.brokers = own?.brokers ?? []
    this.#listeners = own?.listeners ?? {}
    this.#witness = witness
    this.#stop = () => own?.stop() ?? Promise.resolve()
  }

  /** Kills the brokers and deletes their data. Nothing for a shared cluster. */
  stop (): Promise<void> {
    return this.#stop()
  }

  /** Where one of the further listeners is that startKafka() was asked for. */
  listener (name: string): { bootstrapServers: string } {
    const bootstrapServers = this.#listeners[name]
    if (bootstrapServers === undefined) throw new Error(`there is no listener ${name} here`)
    return { bootstrapServers }
  }

  /** The broker with this id, counted from 1, of a cluster that startKafka() started. */
  broker (id: number): BrokerProcess {
    const found = this.brokers.find(broker => broker.id === id)
    if (!found) throw new Error(`there is no broker ${id} here to stop or kill: use startKafka()`)
    return found
  }

  /** The ids of the brokers that are alive to the controller. */
  nodes (): Promise<number[]> {
    return this.#call('nodes')
  }

  /**
   * Creates a topic and waits until every partition has a leader.
   *
   * It has the cluster's default number of replicas: 1 with one broker, 3 with three.
   *
   * @returns the name
   */
  async createTopic (
    name: string = uniqueName('test'), { partitions = 1, config = {} }: { partitions?: number, config?: Record<string, string | number | boolean> } = {}
  ): Promise<string> {
    await this.#call('createTopic', { topic: name, partitions, config })
    await waitFor(`leaders for ${name}`, async () => {
      const topic = await this.describeTopic(name).catch(() => undefined)
      return topic?.partitions.length === partitions && topic.partitions.every(({ leader }) => leader !== null)
    })
    // That a leader is named does not say that it leads yet: one that does can tell where its partition ends. A producer
    // that comes too early was seen to hold on to its first records for 30 s.
    await waitFor(`${name} to be led`, () => this.endOffsets(name).then(ends => ends.length === partitions, () => false))
    return name
  }

  /** Deletes a topic and waits until it is gone. */
  async deleteTopic (name: string): Promise<void> {
    await this.#call('deleteTopic', { topic: name })
    await waitFor(`${name} to be gone`, () => this.describeTopic(name).then(() => false, () => true))
  }

  describeTopic (name: string): Promise<TopicDescription> {
    return this.#call('describeTopic', { topic: name })
  }

  /** Deletes the records of one partition below an offset, as retention does. */
  async deleteRecords (topic: string, partition: number, before: number): Promise<void> {
    await this.#call('deleteRecords', { topic, partition, before })
  }

  /** The offsets that a group has committed, as the broker holds them; empty if there is no such group. */
  committedOffsets (group: string): Promise<CommittedOffset[]> {
    return this.#call('committed', { group })
  }

  /** The committed offset of one partition, or null. */
  async committedOffset (group: string, topic: string, partition = 0): Promise<number | null> {
    const offsets = await this.committedOffsets(group)
    return offsets.find(at => at.topic === topic && at.partition === partition)?.offset ?? null
  }

  /** Commits for a group that has no members, as kafka-consumer-groups --reset-offsets does. */
  async commitOffset (group: string, topic: string, partition: number, offset: number, metadata = ''): Promise<void> {
    await this.#call('commit', { group, topic, partition, offset, metadata })
  }

  describeGroup (group: string): Promise<GroupDescription> {
    return this.#call('describeGroup', { group })
  }

  async deleteGroup (group: string): Promise<void> {
    await this.#call('deleteGroup', { group })
  }

  /** Gives a user a permission; the cluster must have an authorizer. The names are Kafka's own: `TOPIC`, `WRITE`. */
  async allow (user: string, operation: string, resource: 'TOPIC' | 'GROUP' | 'TRANSACTIONAL_ID', name: string): Promise<void> {
    await this.#call('allow', { principal: `User:${user}`, operation, resource, name })
  }

  /** By partition: the offset after the last record, or under read_committed after the last one that can be read. */
  async endOffsets (topic: string, isolation: Isolation = 'read_uncommitted'): Promise<number[]> {
    const offsets = await this.#call<Array<{ partition: number, end: number }>>('offsets', { topic, isolation })
    return offsets.sort((a, b) => a.partition - b.partition).map(({ end }) => end)
  }

  /** By partition: the first offset that is still there. */
  async beginningOffsets (topic: string): Promise<number[]> {
    const offsets = await this.#call<Array<{ partition: number, first: number }>>('offsets', { topic, isolation: 'read_uncommitted' })
    return offsets.sort((a, b) => a.partition - b.partition).map(({ first }) => first)
  }

  /** Every record of a topic, byte for byte, up to where its partitions end now; in order within each partition. */
  async readAll (
    topic: string, { isolation = 'read_committed', timeoutMs = 20_000 }: { isolation?: Isolation, timeoutMs?: number } = {}
  ): Promise<StoredRecord[]> {
    return (await this.#call<WireRecord[]>('read', { topic, isolation, timeoutMs })).map(fromWire)
  }

  /** Reads a topic on and on, from its beginning; of the partitions that it has at the first look. */
  follow (topic: string): Follower<StoredRecord> {
    return this.#follow<WireRecord, StoredRecord>('follow', { topic }, fromWire)
  }

  /**
   * Every commit of a group, in the order in which its coordinators wrote them into their own log: none is missed between
   * two looks, as with committedOffsets(), and no coordinator that does not know of its end yet can tell old ones.
   */
  followCommits (group: string): Follower<LoggedCommit> {
    return this.#follow<LoggedCommit, LoggedCommit>('followCommits', { group }, commit => commit)
  }

  /** Makes another replica of each partition its leader, without a broker being stopped; returns how many moved. */
  moveLeaders (topic: string): Promise<number> {
    return this.#call('moveLeaders', { topic })
  }

  /** Adds partitions to a topic until it has this many. */
  async addPartitions (topic: string, total: number): Promise<void> {
    await this.#call('addPartitions', { topic, total })
  }

  /** Writes records with acks=all; returns where each one went. 10,000 take well under a second. */
  async produce (topic: string, records: NewRecord[]): Promise<Array<{ partition: number, offset: number }>> {
    return this.#call('produce', { topic, records: records.map(toWire) })
  }

  /** Writes records in one transaction, and commits or aborts it: both leave a marker, which takes an offset. */
  async produceInTransaction (
    topic: string, records: NewRecord[], { commit = true, transactionalId = uniqueName('tx') }: { commit?: boolean, transactionalId?: string } = {}
  ): Promise<Array<{ partition: number, offset: number }>> {
    return this.#call('transaction', { topic, records: records.map(toWire), commit, transactionalId })
  }

  /** Writes records in a transaction that is neither committed nor aborted: Kafka does that after a minute. */
  async leaveTransactionOpen (topic: string, records: NewRecord[], transactionalId: string): Promise<void> {
    await this.#call('openTransaction', { topic, records: records.map(toWire), transactionalId })
  }

  /** Writes one record a line with kcat. With `delimiter`, what stands before its first occurrence is the key. */
  async kcatProduce (topic: string, lines: string[], { delimiter }: { delimiter?: string } = {}): Promise<void> {
    const keys = delimiter === undefined ? [] : ['-K', delimiter]
    await kcat(['-P', '-b', this.bootstrapServers, '-t', topic, ...keys], { input: lines.join('\n') + '\n' })
  }

  /** Every record of a topic by kcat, for text keys and values (readAll is exact for any bytes). */
  async kcatReadAll (topic: string): Promise<KcatRecord[]> {
    return parseLines(await kcat(['-C', '-b', this.bootstrapServers, '-t', topic, '-o', 'beginning', '-e', '-q', '-J']))
  }

  /** Reads `count` records as a member of a group, commits and leaves, all by kcat. */
  async kcatConsume (group: string, topic: string, count: number): Promise<KcatRecord[]> {
    return parseLines(await kcat(['-b', this.bootstrapServers, '-G', group, '-X', 'auto.offset.reset=earliest', '-c', String(count), '-q', '-J', topic]))
  }

  #follow<Wire, T> (op: string, args: Record<string, unknown>, decode: (wire: Wire) => T): Follower<T> {
    const follow = uniqueName(op)
    return {
      next: async () => (await this.#call<Wire[]>(op, { ...args, follow, waitMs: 200 })).map(decode),
      stop: async () => { await this.#call('unfollow', { follow }) }
    }
  }

  #call<T> (op: string, args: Record<string, unknown> = {}): Promise<T> {
    return this.#witness.call<T>(op, { bootstrap: this.bootstrapServers, ...args })
  }
}

function parseLines (text: string): KcatRecord[] {
  return text.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as KcatRecord)
}

function toBase64 (bytes: Bytes | undefined): string | null {
  return bytes === undefined || bytes === null ? null : Buffer.from(bytes).toString('base64')
}

function fromBase64 (text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'base64')
}

type WireRecord = Omit<StoredRecord, 'key' | 'value' | 'headers'> & { key: string | null, value: string | null, headers: Array<[string, string | null]> }

function fromWire (record: WireRecord): StoredRecord {
  return {
    ...record,
    key: fromBase64(record.key),
    value: fromBase64(record.value),
    headers: record.headers.map(([name, value]) => [name, fromBase64(value)])
  }
}

function toWire (record: NewRecord): object {
  return {
    ...record,
    key: toBase64(record.key),
    value: toBase64(record.value),
    headers: record.headers?.map(([name, value]) => [name, toBase64(value)]) ?? []
  }
}

/**
 * Waits until a condition holds: for tests, in place of a sleep.
 *
 * @throws {Error} naming what was waited for, after `timeoutMs`
 */
export async function waitFor (
  what: string, holds: () => boolean | Promise<boolean>, { timeoutMs = 15_000, everyMs = 25 } = {}
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
    await delay(everyMs)
  }
}

let runtime: Promise<Runtime> | undefined
let witness: Promise<WitnessClient> | undefined
let shared: Promise<Kafka> | undefined

function getRuntime (): Promise<Runtime> {
  runtime ??= suite?.runtime
    ? Promise.resolve(suite.runtime)
    : byHand?.kind ? prepareRuntime(byHand.kind) : Promise.reject(new Error(String(noOwnKafka)))
  return runtime
}

function getWitness (): Promise<WitnessClient> {
  witness ??= suite?.witness
    ? Promise.resolve(new WitnessClient(suite.witness))
    : getRuntime().then(startWitness).then(({ address }) => new WitnessClient(address))
  return witness
}

/**
 * Starts a cluster of this process's own, for tests that stop or kill brokers or need other properties.
 *
 * It takes about 3 s, with three brokers 6 s. Call stop() at the end; if the process ends first, however it does, the
 * brokers and their data go with it.
 *
 * `listeners` are further ones, by name with their security protocol: see Kafka.listener(). `scram` are users as
 * `kafka-storage --add-scram` takes them.
 */
export async function startKafka ({ brokers = 1, ...options }: {
  brokers?: 1 | 3, properties?: Record<string, string | number | boolean>, listeners?: Record<string, string>, scram?: string[]
} = {}): Promise<Kafka> {
  const [own, client] = await Promise.all([getRuntime().then(runtime => startBrokers(runtime, { brokers, ...options })), getWitness()])
  const kafka = new Kafka(own.bootstrapServers, client, own)
  await waitFor(`${brokers} brokers`, async () => (await kafka.nodes()).length === brokers)
  return kafka
}

/**
 * The cluster that the whole suite shares: the one that KAFKA_BOOTSTRAP_SERVERS named, or the broker that `npm test`
 * started; one of this process's own when the file is run by hand.
 *
 * It is shared, so take names from uniqueName(), and do not stop its brokers.
 */
export function sharedKafka (): Promise<Kafka> {
  const bootstrapServers = suite?.bootstrapServers ?? (suite ? undefined : process.env['KAFKA_BOOTSTRAP_SERVERS'])
  shared ??= bootstrapServers
    ? getWitness().then(client => new Kafka(bootstrapServers, client))
    : startKafka()
  return shared
}
