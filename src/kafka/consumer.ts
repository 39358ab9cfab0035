import { setTimeout as delay } from 'node:timers/promises'
import kafka, { type LibrdKafkaError, type Message, type Metadata, type TopicPartitionOffset } from '@confluentinc/kafka-javascript'
import { offsetResets } from '../engine/offset-reset.js'
import { partitionId } from '../engine/partition-id.js'
import {
  CommitError, PollError,
  type Batch, type CommittedOffset, type OffsetCommit, type PartitionEnd, type PartitionOffset, type Position, type RebalanceEvent,
  type ResetPolicy, type TopicPartition
} from '../engine/types.js'
import type { ConnectedSource } from '../group-member.js'
import type { KafkaRecord, OutgoingRecord, RecordHeader } from '../record.js'
import { KafkaAdmin } from './admin.js'
import { disconnectWithin } from './disconnecting.js'
import { isFailure, scrubber, withAdvice, withoutThread } from './connection-reason.js'
import { Subscription, type ExcludedTopics, type Resolution } from './subscription.js'
import { TransactionalCommits, type TransactionalCommitsOptions } from './transactional-commits.js'

const { CODES: { ERRORS } } = kafka

/** The driver's consumer as it is; its own types lack these members. */
type NativeConsumer = kafka.KafkaConsumer & {
  incrementalAssign (partitions: { topic: string, partition: number, offset?: number }[]): void
  incrementalUnassign (partitions: { topic: string, partition: number }[]): void
  assignmentLost (): boolean
  rebalanceProtocol (): 'NONE' | 'EAGER' | 'COOPERATIVE'
  setDefaultIsTimeoutOnlyForFirstMessage (only: boolean): void
}

type ClientSettings = Readonly<Record<string, string | number | boolean>>

export interface ConsumerSettings {
  /** librdkafka properties: where the brokers are, security, and whatever else was configured for the consumer. */
  readonly client: ClientSettings
  readonly groupId: string
  /** Makes this a static member, which the group keeps its partitions for while it restarts; `null`: it is not one. */
  readonly groupInstanceId: string | null
  /** Names, and patterns that begin with `^`. */
  readonly topics: readonly string[]
  /** What patterns must not find. One that is named in `topics` is consumed all the same. */
  readonly excludedTopics: ExcludedTopics
  readonly groupProtocol: 'classic' | 'consumer'
  readonly assignmentStrategy: string
  readonly autoOffsetReset: ResetPolicy
  readonly isolationLevel: 'read_committed' | 'read_uncommitted'
  readonly sessionTimeoutMs: number
  readonly maxPollIntervalMs: number
  /** Offsets are committed in transactions; absent: by the consumer itself. */
  readonly transactions?: Omit<TransactionalCommitsOptions, 'groupId'>
}

const CONNECT_TIMEOUT_MS = 10_000
const COMMITTED_TIMEOUT_MS = 5_000
const SEEK_TIMEOUT_MS = 5_000
const SEEK_AGAIN_MS = 20
/** What the group wants arrives beside the poll that brings it, and may be a moment later. */
const QUIET_POLLS = 2
const DISCONNECT_TIMEOUT_MS = 10_000
const METADATA_TIMEOUT_MS = 5_000
/** How soon a topic that was created, or grew, is noticed. */
const METADATA_REFRESH_MS = 10_000
/** A fatal error is told twice, without its reason by a poll and with it in the log: how long the first waits for the second. */
const FATAL_REASON_WAIT_MS = 500

const NO_HEADERS: readonly RecordHeader[] = Object.freeze([])

/** What the group says when it has gone on without this member. */
const GROUP_LEFT_US_BEHIND = new Set<number>([
  ERRORS.ERR_ILLEGAL_GENERATION, ERRORS.ERR_UNKNOWN_MEMBER_ID, ERRORS.ERR_REBALANCE_IN_PROGRESS,
  ERRORS.ERR_FENCED_INSTANCE_ID,
  110, // fenced member epoch (KIP-848)
  113 // stale member epoch (KIP-848)
])

/** What the client's log says where a static member's identity belongs to another one: in the classic protocol, under KIP-848. */
const IDENTITY_TAKEN = /fenced by other consumer|instance ID is still used/i

const NO_VALID_OFFSET = 'partitions have no valid offset in this group, and KAFKA_AUTO_OFFSET_RESET=none forbids to choose one'
/** As many are named. */
const STANDING_NAMED_MAX = 5

/** What does not pass by itself, with what to do about it. */
const STANDING = new Map<number, string>([
  [ERRORS.ERR__AUTO_OFFSET_RESET, NO_VALID_OFFSET],
  [ERRORS.ERR_TOPIC_AUTHORIZATION_FAILED, 'this user may not read a topic of KAFKA_TOPIC'],
  [ERRORS.ERR_GROUP_AUTHORIZATION_FAILED, 'this user may not join the group KAFKA_GROUP_ID']
])

/**
 * One member of a consumer group, over the driver's callback API.
 *
 * It validates what it passes on: a commit element without a partition ends the process with SIGSEGV there, one without
 * an offset commits 0. Rebalance callbacks only enqueue; librdkafka waits for the answer, so that a drain can be awaited.
 */
class KafkaSource implements ConnectedSource {
  readonly #consumer: NativeConsumer
  readonly #isolationLevel: ConsumerSettings['isolationLevel']
  readonly #events: RebalanceEvent[] = []
  readonly #acknowledgements: { resolve: () => void, reject: (error: Error) => void }[] = []
  readonly #owned = new Set<string>()
  readonly #policy: ResetPolicy
  // With the policy `error`: owned partitions that have no valid offset. The client tells it once, and not at all where its
  // error comes behind records of the same batch.
  readonly #standing = new Set<string>()
  // The event that was taken last, until it is answered.
  #unanswered: RebalanceEvent | null = null
  readonly #instanceId: string | null
  /** The group is to keep the partitions for this member while it is away. */
  readonly #keepsPartitions: boolean
  #ends: PartitionEnd[] = []
  #leaving = false
  #closing = false
  // Polls since it began to leave, or since the group last wanted something.
  #quietPolls = 0
  #fatalReason: string | null = null
  #fatalReasonCame: () => void = () => {}
  #admin: KafkaAdmin | null = null
  #transactions: TransactionalCommits | null = null
  readonly #subscription: Subscription
  readonly #refreshMs: number
  #subscribed: Resolution = { names: [], missing: [], unmatched: [] }
  #refreshTimer: NodeJS.Timeout | null = null
  #refreshing = false

  constructor (settings: ConsumerSettings) {
    this.#isolationLevel = settings.isolationLevel
    this.#policy = settings.autoOffsetReset
    this.#instanceId = settings.groupInstanceId
    this.#subscription = new Subscription(settings.topics, settings.excludedTopics)
    const refreshMs = Number(settings.client['topic.metadata.refresh.interval.ms'] ?? METADATA_REFRESH_MS)
    // -1 would have the client never look again.
    this.#refreshMs = refreshMs > 0 ? refreshMs : METADATA_REFRESH_MS
    this.#keepsPartitions = settings.groupInstanceId !== null && settings.groupProtocol === 'classic'
    this.#consumer = new kafka.KafkaConsumer({
      ...propertiesOf(settings),
      rebalance_cb: (error: LibrdKafkaError | undefined, partitions: TopicPartition[]) => this.#rebalance(error, partitions),
      offset_commit_cb: (error: LibrdKafkaError | undefined, offsets: TopicPartitionOffset[]) => this.#acknowledge(error, offsets)
    } as object) as NativeConsumer
    this.#consumer.setDefaultIsTimeoutOnlyForFirstMessage(true)
    this.#consumer.on('partition.eof', end => this.#ends.push(end))
    this.#consumer.on('event.error', () => {})
  }

  async connect ({ client, groupId, transactions }: ConsumerSettings): Promise<void> {
    const consumer = this.#consumer
    // Before it joins: what a predecessor left open would only hold up those who ask for the group's offsets.
    if (transactions !== undefined) this.#transactions = await TransactionalCommits.open({ ...transactions, groupId })
    let reason = ''
    // A failed connect says no more than that it timed out; why is in the log only.
    const scrub = scrubber(client)
    consumer.on('event.log', (line: { fac?: string, severity?: number, message?: string }) => {
      const message = scrub(withoutThread(line.message ?? ''))
      if (isFailure(line)) reason = withAdvice(message)
      if (line.fac !== 'FATAL' || (line.severity ?? 0) === 7) return
      this.#fatalReason ??= message
      this.#fatalReasonCame()
    })
    const existing = await new Promise<string[]>((resolve, reject) => {
      consumer.connect({ timeout: CONNECT_TIMEOUT_MS }, (error, metadata) => {
        if (error) reject(new Error(reason === '' ? error.message : reason))
        else resolve(topicsIn(metadata))
      })
    })
    this.#admin = new KafkaAdmin(consumer, client['bootstrap.servers'])
    this.#subscribe(existing)
  }

  async poll (max: number, timeoutMs: number): Promise<Batch> {
    // An error that comes behind records of the same batch is lost in the driver: of a fatal one only the log tells then.
    if (this.#fatalReason !== null) throw this.#fatalError()
    try {
      return await this.#consume(max, timeoutMs)
    } catch (error) {
      // Which one it is, and until when, the list of topics says.
      if ((error as LibrdKafkaError).code === ERRORS.ERR_UNKNOWN_TOPIC_OR_PART) this.#refresh()
      // Which ones they are is known already: they are told as long as they stand still.
      if ((error as LibrdKafkaError).code === ERRORS.ERR__AUTO_OFFSET_RESET && this.#standing.size > 0) throw new PollError('passing', NO_VALID_OFFSET)
      if (!isFatal(error as LibrdKafkaError)) throw error instanceof PollError ? error : pollErrorOf(error as LibrdKafkaError)
      await this.#untilFatalReason()
      throw this.#fatalError(error as Error)
    }
  }

  #consume (max: number, timeoutMs: number): Promise<Batch> {
    return new Promise((resolve, reject) => {
      this.#consumer.setDefaultConsumeTimeout(timeoutMs)
      this.#consumer.consume(max, (error, messages) => {
        if (this.#leaving) this.#quietPolls++
        const ends = this.#ends
        if (ends.length > 0) this.#ends = []
        if (error) return reject(error)
        try {
          resolve({ records: messages.map(recordOf), ends })
        } catch (error) {
          // The client has moved on past what this batch held: only a new member can read it again.
          reject(new PollError('fatal', (error as Error).message, { cause: error }))
        }
      })
    })
  }

  get problems (): string[] {
    const { missing, unmatched } = this.#subscribed
    const standing = [...this.#standing].slice(0, STANDING_NAMED_MAX).join(', ')
    return [
      ...(this.#standing.size === 0 ? [] : [`${NO_VALID_OFFSET} (${this.#standing.size}: ${standing}${this.#standing.size > STANDING_NAMED_MAX ? ', …' : ''})`]),
      ...missing.map(topic => `the topic ${topic} of KAFKA_TOPIC does not exist yet`),
      ...unmatched.map(pattern => `no topic matches the pattern '${pattern}' of KAFKA_TOPIC yet`)
    ]
  }

  takeEvent (): RebalanceEvent | undefined {
    const event = this.#events.shift()
    if (event !== undefined) this.#unanswered = event
    return event
  }

  get hasEvent (): boolean { return this.#events.length > 0 }

  committed (partitions: readonly TopicPartition[]): Promise<CommittedOffset[]> {
    if (partitions.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      this.#consumer.committed(partitions.map(checked), COMMITTED_TIMEOUT_MS, (error, offsets) => {
        const failed = error ?? offsets.find(offset => offset.error)?.error
        if (failed) reject(new Error(`the group's offsets cannot be read: ${failed.message}`))
        else {
          resolve(offsets.map(({ topic, partition, offset, metadata }) => {
            return { topic, partition, offset: offset >= 0 ? offset : -1, metadata: metadata ?? '' }
          }))
        }
      })
    })
  }

  assign (partitions: readonly CommittedOffset[]): void {
    const list = partitions.map(({ topic, partition, offset }) =>
      offset < 0 ? checked({ topic, partition }) : { ...checked({ topic, partition }), offset: checkedOffset(offset) })
    if (!this.#incremental) {
      this.#owned.clear()
      this.#standing.clear()
    }
    for (const { topic, partition } of list) this.#owned.add(partitionId(topic, partition))
    if (this.#incremental) this.#consumer.incrementalAssign(list)
    else this.#consumer.assign(list)
    this.#unanswered = null
    this.#quietPolls = 0
    if (this.#policy === 'error') this.#findStanding(list.map(one => ({ offset: -1, ...one })))
  }

  unassign (partitions: readonly TopicPartition[]): void {
    // 1. Partitions are assigned to a member that is about to leave. 2. It answers that it takes none of them. 3. They are
    // revoked all the same, and the client refuses to give up what it never had.
    const list = partitions.map(checked).filter(({ topic, partition }) => this.#owned.delete(partitionId(topic, partition)))
    for (const { topic, partition } of list) this.#standing.delete(partitionId(topic, partition))
    if (this.#incremental) this.#consumer.incrementalUnassign(list)
    else this.#consumer.unassign()
    this.#unanswered = null
    this.#quietPolls = 0
  }

  pause (partitions: readonly TopicPartition[]): void {
    if (partitions.length > 0) this.#consumer.pause(partitions.map(checked))
  }

  resume (partitions: readonly TopicPartition[]): void {
    if (partitions.length > 0) this.#consumer.resume(partitions.map(checked))
  }

  topicIds (topics: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return this.#admin!.topicIds(topics)
  }

  async offsetsAt (position: Position, partitions: readonly TopicPartition[]): Promise<PartitionOffset[]> {
    const found = await this.#admin!.offsetsAt(position, partitions.map(checked), this.#isolationLevel)
    if (found.length < partitions.length) throw new Error('the offsets of some partitions cannot be read')
    return found
  }

  async seek (positions: readonly PartitionOffset[]): Promise<void> {
    const list = positions.map(({ offset, ...partition }) => ({ ...checked(partition), offset: checkedOffset(offset) }))
    const foreign = list.find(({ topic, partition }) => !this.#owned.has(partitionId(topic, partition)))
    if (foreign !== undefined) throw new Error(`${partitionId(foreign.topic, foreign.partition)} is not assigned: nothing can be sought there`)
    await Promise.all(list.map(position => this.#seekOne(position)))
    for (const { topic, partition } of list) this.#standing.delete(partitionId(topic, partition))
  }

  commit (offsets: readonly OffsetCommit[], outputs: readonly OutgoingRecord[] = []): Promise<void> {
    const list = offsets.map(({ topic, partition, offset, leaderEpoch, metadata }) => ({
      ...checked({ topic, partition }),
      offset: checkedOffset(offset),
      ...(leaderEpoch >= 0 && { leaderEpoch }),
      ...(metadata !== '' && { metadata })
    }))
    if (this.#transactions !== null) {
      return this.#transactions.commit({ list, consumer: this.#consumer, isLost: code => GROUP_LEFT_US_BEHIND.has(code) }, outputs)
    }
    if (outputs.length > 0) return Promise.reject(new Error('records are written with offsets in transactions only'))
    return new Promise((resolve, reject) => {
      // An empty list would commit whatever the client itself thinks is due.
      if (list.length === 0) return resolve()
      try {
        this.#consumer.commit(list)
      } catch (error) {
        return reject(commitErrorOf(error as LibrdKafkaError))
      }
      // The acknowledgements come in the order of the commits.
      this.#acknowledgements.push({ resolve, reject })
    })
  }

  leave (): void {
    this.#leaving = true
    if (this.#refreshTimer !== null) clearTimeout(this.#refreshTimer)
    // In the classic protocol the client would tell the group that this member is gone for good, static or not.
    if (!this.#keepsPartitions) this.#consumer.unsubscribe()
  }

  get left (): boolean {
    if (!this.#leaving) return false
    if (this.#keepsPartitions) return true
    // An assignment may lie in the client's queue from before it left. A poll hands it out, to be given back; once the client is
    // being disconnected that may be too late.
    return this.#owned.size === 0 && this.#events.length === 0 && this.#unanswered === null && this.#quietPolls >= QUIET_POLLS
  }

  ends (partitions: readonly TopicPartition[]): Promise<PartitionEnd[]> {
    return this.#admin!.ends(partitions.map(checked), this.#isolationLevel)
  }

  /**
   * Disconnects. Without `leave` before it, the group only notices at the session's end. A static member of the classic
   * protocol goes like that in any case: the group keeps its partitions for it until then.
   */
  async close (): Promise<void> {
    // A transaction that is under way uses the consumer.
    await this.#transactions?.close()
    if (!this.#consumer.isConnected()) return
    this.#closing = true
    if (this.#refreshTimer !== null) clearTimeout(this.#refreshTimer)
    if (this.#unanswered !== null) this.#giveUp(this.#unanswered)
    for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) this.#giveUp(event)
    if (await this.#admin?.close() === false) return
    // 1. A commit is under way. 2. The broker falls silent. 3. The process is told to end. The client would wait for the
    // acknowledgement before it disconnects, in a thread of libuv's pool, and exit() would wait for that thread: nothing
    // short of SIGKILL would end the process. What is left connected ends with the process instead.
    if (this.#leaving && this.#acknowledgements.length > 0) return
    // Where a callback of the group was never answered the client waits for ever: from here on it takes no answers.
    await disconnectWithin(DISCONNECT_TIMEOUT_MS, done => this.#consumer.disconnect(done))
  }

  /**
   * Subscribes to the names that are meant now. The client could match patterns itself, but in each protocol in another way, and
   * under KIP-848 the brokers do, who cannot leave anything out.
   */
  #subscribe (existing: readonly string[]): void {
    const before = this.#subscribed.names
    this.#subscribed = this.#subscription.resolve(existing)
    const { names, missing } = this.#subscribed
    if (this.#subscription.hasPatterns || missing.length > 0) this.#refreshLater()
    if (names.length === before.length && names.every((name, n) => name === before[n])) return
    // An empty list means leaving the group to the client.
    if (names.length === 0) this.#consumer.unsubscribe()
    else this.#consumer.subscribe([...names])
  }

  /** All members look at the same moments, as far as their clocks agree: one rebalance for a new topic, not one for each of them. */
  #refreshLater (): void {
    if (this.#refreshTimer !== null) clearTimeout(this.#refreshTimer)
    this.#refreshTimer = setTimeout(() => this.#refresh(), this.#refreshMs - Date.now() % this.#refreshMs).unref()
  }

  #refresh (): void {
    if (this.#refreshing) return
    this.#refreshing = true
    this.#consumer.getMetadata({ timeout: METADATA_TIMEOUT_MS }, (error, metadata) => {
      this.#refreshing = false
      if (this.#leaving || this.#closing) return
      // Where the brokers cannot be asked, the subscription stays what it is.
      if (error) this.#refreshLater()
      else this.#subscribe(topicsIn(metadata))
    })
  }

  async #findStanding (positions: readonly PartitionOffset[]): Promise<void> {
    const add = (beginnings: readonly PartitionOffset[], ends: readonly PartitionOffset[]) => {
      for (const { topic, partition } of offsetResets(positions, beginnings, ends, 'error')) {
        const id = partitionId(topic, partition)
        if (this.#owned.has(id)) this.#standing.add(id)
      }
    }
    add([], [])
    const at = (position: Position) => this.offsetsAt(position, positions).catch(() => [])
    add(await at('beginning'), await at('end'))
  }

  async #seekOne (position: PartitionOffset): Promise<void> {
    const deadline = performance.now() + SEEK_TIMEOUT_MS
    for (;;) {
      const error = await new Promise<LibrdKafkaError | undefined>(resolve => {
        this.#consumer.seek(position, SEEK_TIMEOUT_MS, error => resolve(error as LibrdKafkaError | undefined))
      })
      if (!error) return
      // 1. A partition is assigned. 2. The client looks up where to begin. Only 3. then does it fetch: until then it has no
      // position that could be moved.
      if (error.code !== ERRORS.ERR__STATE || performance.now() > deadline) throw error
      await delay(SEEK_AGAIN_MS)
    }
  }

  /** Assignments add to what the member has; in an eager group each one is the whole of it. */
  get #incremental (): boolean { return this.#consumer.rebalanceProtocol() === 'COOPERATIVE' }

  #rebalance (error: LibrdKafkaError | undefined, partitions: readonly TopicPartition[]): void {
    const event = this.#eventOf(error, partitions.map(({ topic, partition }) => ({ topic, partition })))
    this.#quietPolls = 0
    if (this.#closing) this.#giveUp(event)
    else this.#events.push(event)
  }

  #eventOf (error: LibrdKafkaError | undefined, partitions: readonly TopicPartition[]): RebalanceEvent {
    if (error?.code === ERRORS.ERR__ASSIGN_PARTITIONS) return { type: 'assigned', partitions, ...(!this.#incremental && { whole: true }) }
    // Anything but these two codes is a failed rebalance: librdkafka wants its assignment given up.
    const lost = error?.code !== ERRORS.ERR__REVOKE_PARTITIONS ||
      (this.#consumer.isConnected() && this.#consumer.assignmentLost())
    return { type: lost ? 'lost' : 'revoked', partitions }
  }

  /** Answers where nobody takes events any more: the client waits for it before it disconnects. */
  #giveUp ({ type, partitions }: RebalanceEvent): void {
    try {
      if (type === 'assigned') this.assign([])
      else this.unassign(partitions)
    } catch {
      // It is being closed, and waits for nothing then.
    }
  }

  async #untilFatalReason (): Promise<void> {
    if (this.#fatalReason !== null) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, FATAL_REASON_WAIT_MS)
      this.#fatalReasonCame = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #fatalError (cause?: Error): PollError {
    const reason = this.#fatalReason ?? cause?.message ?? ''
    const id = this.#instanceId
    // Without a reason a static member takes this one: the other way round two processes would go on taking the id from each other.
    if (id === null || (this.#fatalReason !== null && !IDENTITY_TAKEN.test(reason))) return new PollError('fatal', reason, { cause })
    return new PollError('fatal', `KAFKA_GROUP_INSTANCE_ID '${id}' belongs to another member of the group: to another process that has the same ` +
      `one, or to one that was killed and whose session has not ended yet (${reason})`, { cause, fenced: true })
  }

  #acknowledge (error: LibrdKafkaError | undefined, offsets: readonly TopicPartitionOffset[]): void {
    const waiting = this.#acknowledgements.shift()
    const failed = error ?? offsets.find(offset => offset.error)?.error
    if (failed) waiting?.reject(commitErrorOf(failed))
    else waiting?.resolve()
  }
}

/**
 * Connects a new member and subscribes it.
 *
 * @throws {Error} with the client's last reason, where no broker could be reached within 10 s
 */
export async function connectSource (settings: ConsumerSettings): Promise<ConnectedSource> {
  const source = new KafkaSource(settings)
  try {
    await source.connect(settings)
  } catch (error) {
    await source.close()
    throw error
  }
  return source
}

function propertiesOf (settings: ConsumerSettings): ClientSettings {
  const classic = settings.groupProtocol === 'classic' && {
    'partition.assignment.strategy': settings.assignmentStrategy,
    'session.timeout.ms': settings.sessionTimeoutMs
  }
  return {
    // Small and quick rather than large: what is fetched ahead is thrown away by a pause and a rebalance, and with
    // these alone the plain loop was half as fast again as with the client's defaults.
    'queued.min.messages': 2000,
    'queued.max.messages.kbytes': 16384,
    'fetch.queue.backoff.ms': 10,
    'topic.metadata.refresh.interval.ms': METADATA_REFRESH_MS,
    // With the client's 3 s a short session would be over before the first heartbeat.
    ...(classic && { 'heartbeat.interval.ms': Math.min(3000, Math.floor(settings.sessionTimeoutMs / 3)) }),
    ...settings.client,
    'group.id': settings.groupId,
    ...(settings.groupInstanceId !== null && { 'group.instance.id': settings.groupInstanceId }),
    'group.protocol': settings.groupProtocol,
    ...classic,
    'max.poll.interval.ms': settings.maxPollIntervalMs,
    'auto.offset.reset': settings.autoOffsetReset,
    'isolation.level': settings.isolationLevel,
    'allow.auto.create.topics': false,
    // What the promises rest on: nothing is committed but what the engine found to be completed.
    'enable.auto.commit': false,
    'enable.auto.offset.store': false,
    'enable.partition.eof': true
  }
}

/** Those that can be read: where there is an error instead, no partitions are told. */
function topicsIn ({ topics }: Metadata): string[] {
  return topics.filter(({ partitions }) => partitions.length > 0).map(({ name }) => name)
}

/** What the client hands out, as a record. @throws {RangeError} for an offset that cannot be handled exactly */
export function recordOf (message: Message & { leaderEpoch?: number }): KafkaRecord {
  const { topic, partition, offset, timestamp, value, key } = message
  const headers = message.headers === undefined ? NO_HEADERS : message.headers.map(headerOf)
  let size = (value?.length ?? 0) + (key?.length ?? 0)
  for (const header of headers) size += header.name.length + header.value.length
  return {
    topic,
    partition,
    offset: checkedOffset(offset),
    leaderEpoch: message.leaderEpoch ?? -1,
    timestamp: timestamp ?? -1,
    key: key as Buffer | null,
    value,
    headers,
    size
  }
}

function headerOf (header: object): RecordHeader {
  const entry = Object.entries(header)[0]
  // The driver sets the header's name as a property, and this one name sets the prototype instead.
  if (entry === undefined) return { name: '__proto__', value: Object.getPrototypeOf(header) as Buffer }
  return { name: entry[0], value: entry[1] as Buffer }
}

function checked ({ topic, partition }: TopicPartition): { topic: string, partition: number } {
  if (typeof topic !== 'string' || !Number.isInteger(partition) || partition < 0) {
    throw new TypeError(`not a partition: ${topic}/${partition}`)
  }
  return { topic, partition }
}

function checkedOffset (offset: number): number {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new RangeError(`not an offset that can be handled exactly: ${offset}`)
  return offset
}

const isFatal = ({ code, isFatal }: Partial<LibrdKafkaError>): boolean => code === ERRORS.ERR__FATAL || isFatal === true

function pollErrorOf (error: LibrdKafkaError): PollError {
  const standing = STANDING.get(error.code)
  return standing === undefined
    ? new PollError('passing', error.message, { cause: error })
    // The member keeps its assignment while it may not read a topic, so only records tell that it may again.
    : new PollError(error.code === ERRORS.ERR_TOPIC_AUTHORIZATION_FAILED ? 'denied' : 'standing', `${standing} (${error.message})`, { cause: error })
}

function commitErrorOf (error: LibrdKafkaError): CommitError {
  // After a fatal error the client commits nothing any more.
  return new CommitError(GROUP_LEFT_US_BEHIND.has(error.code) || isFatal(error) ? 'lost' : 'retriable', error.message, { cause: error })
}
