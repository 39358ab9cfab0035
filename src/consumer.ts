import type { FastifyBaseLogger } from 'fastify'
import { systemClock } from './clock.js'
import type { ClientProperties, ConsumerConfig, DeadLetterTarget, ProducerConfig, TransactionsConfig } from './config.js'
import { Controlled, type ConsumerControls } from './consumer-controls.js'
import { setGauges, setLimits, threadsGauge } from './consumer-gauges.js'
import { createObserver } from './consumer-observer.js'
import { AdaptiveLimit } from './engine/adaptive-limit.js'
import { deadLetterRecord } from './engine/dead-letter.js'
import { Engine } from './engine/engine.js'
import { Collected } from './engine/outputs.js'
import { ASKED_DELAY_MAX_MS } from './engine/retry.js'
import type { SlotPool } from './engine/slots.js'
import type { BatchedHandler, Handler, Sink } from './engine/types.js'
import type { GroupMetrics } from './group-metrics.js'
import { GroupMember, type ConnectedSource, type GroupMemberState } from './group-member.js'
import type { HandlerContext } from './handlers/handler.js'
import { createHandler } from './handlers/index.js'
import { checkPartition, collecting, outsideTheTransaction, type KnownTopics } from './handlers/collecting.js'
import { producing } from './handlers/producing.js'
import { sendingWith } from './handlers/sending.js'
import { connectSource } from './kafka/consumer.js'
import { prepareRecord } from './kafka/prepared-record.js'
import type { RecordProducer } from './kafka/record-producer.js'
import { Subscription, type ExcludedTopics } from './kafka/subscription.js'
import { transactionalIdOf } from './kafka/transactional-commits.js'
import type { KafkaRecord, OutgoingRecord } from './record.js'
import { deferralOf, originalOf, retryRecord } from './retry-topic.js'
import { Watchdog, type Stall } from './watchdog.js'

/** One consumer of this process, as others see it. */
export interface Consumer {
  /** What tells it from the other consumers of this process. */
  readonly name: string
  readonly groupId: string
  /** As configured: names and patterns. */
  readonly topics: readonly string[]
  /** What it is doing now: a snapshot. */
  readonly state: GroupMemberState
  /** What keeps it from doing its work, in sentences for an operator: its own problems, and a missing dead-letter topic. */
  problems (): Promise<string[]>
  /** Why it does not do its work though nothing stands in its way: a restart may help. Empty when all is well. */
  readonly stalls: readonly Stall[]
  /** The topic that a record of `topic` goes to when its attempts are used up, `null` with dead letters off. */
  deadLetterTopicOf (topic: string): string | null
  /** What may be done to it while it runs. */
  readonly controls: ConsumerControls
}

/** What the plugin does with it besides. */
export interface RunningConsumer extends Consumer {
  /** Connects, and goes on until `stop`. */
  start (): void
  /** Drains, commits, leaves the group, and ends its handler. Calling it again returns the same promise. Never rejects. */
  stop (): Promise<void>
  /** Brings its metrics up to date. */
  scrape (): void
}

export interface ConsumerPorts {
  readonly log: FastifyBaseLogger
  readonly metrics: GroupMetrics
  readonly producer: HandlerContext['producer'] & Pick<RecordProducer, 'sendBatch'>
  /** Whether a topic is known not to exist: while the brokers cannot be asked, nothing is known. */
  readonly isMissing: (topic: string) => Promise<boolean>
  /** Which topics there are, and how many partitions they have. */
  readonly topics: KnownTopics
  /** How transactions are made: for exactly once. */
  readonly transactions: { readonly producer: ProducerConfig, readonly settings: TransactionsConfig }
  /** Properties common to all clients. */
  readonly client: ClientProperties
  /** What patterns must not find. */
  readonly excludedTopics: ExcludedTopics
  /** The total of handlers in flight that it shares with other consumers; absent: there is only its own limit. */
  readonly pool?: SlotPool
  /** The largest record that may be produced: dead letters must fit. */
  readonly messageMaxBytes: number
  /** How long the drain may take when the process closes; at most the consumer's own limit. */
  readonly closeTimeoutMs: number
  /** Told that another process has this one's group instance id: nothing is consumed any more. */
  readonly onFenced: (error: Error) => void
  /** Instead of the configured handler. */
  readonly handler?: Handler | BatchedHandler
  /** Instead of a member of a group in Kafka. */
  readonly connect?: () => Promise<ConnectedSource>
}

/** How often it is looked whether the consumer does its work. */
const WATCH_EVERY_MS = 5_000

/**
 * Makes a consumer, which does nothing yet.
 *
 * @throws {Error} where its handler cannot be used: before anything is fetched, so that the process does not start
 */
export async function createConsumer (config: ConsumerConfig, ports: ConsumerPorts): Promise<RunningConsumer> {
  const { log, metrics, producer, excludedTopics, topics: knownTopics } = ports
  const exactlyOnce = config.delivery === 'exactly-once'
  const bytesOf = (record: OutgoingRecord) => prepareRecord(record, ports.messageMaxBytes).size
  const usable = exactlyOnce ? outsideTheTransaction : producer
  const created = ports.handler === undefined ? await createHandler(config, { log, producer: usable, metrics }) : null
  const handle = producing(ports.handler ?? created!.handle, exactlyOnce ? collecting(knownTopics, bytesOf) : sendingWith(producer))
  const deadLetterTopicOf = (topic: string) => deadLetterTopic(config.deadLetterTopic, topic)
  const observer = createObserver(log, metrics)
  const { groupId, retryTopic } = config
  const subscription = new Subscription(config.topics, excludedTopics)
  const consumed = (topic: string) => subscription.means(topic)
  const original = (record: KafkaRecord) => record.topic === retryTopic?.name ? originalOf(record, consumed) : record
  const sink: Sink = async letter => {
    const nowMs = Date.now()
    const record = original(letter.record)
    const outgoing = letter.retryInMs != null
      ? retryRecord({ ...letter, record }, retryTopic!.name, groupId, nowMs)
      : deadLetterRecord({ ...letter, record },
        { topic: deadLetterTopicOf(record.topic)!, groupId, maxBytes: ports.messageMaxBytes, nowMs })
    if (!exactlyOnce) return await producer.send(outgoing)
    const bytes = bytesOf(outgoing)
    await checkPartition(knownTopics, outgoing.topic)
    return new Collected([outgoing], bytes, true)
  }

  // A handler sees the record that it was, wherever it comes from.
  const handler = retryTopic === null ? handle : ofOriginals(handle, original)
  const enginePorts = {
    handler,
    sink,
    clock: systemClock,
    observer,
    ...(retryTopic !== null && {
      deferralOf: (record: KafkaRecord) => record.topic === retryTopic.name ? deferralOf(record, Date.now(), ASKED_DELAY_MAX_MS) : null
    })
  }
  const client = { ...ports.client, ...config.client }
  const transactions = {
    client: ports.client,
    producer: ports.transactions.producer,
    timeoutMs: ports.transactions.settings.timeoutMs,
    transactionalId: transactionalIdOf(groupId, config.groupInstanceId, ports.transactions.settings.idPrefix),
    log
  }
  const topics = retryTopic === null ? config.topics : [...config.topics, retryTopic.name]
  // It outlives a connection: the target stays what it is.
  const adaptive = config.minInFlight === null ? null : new AdaptiveLimit({ min: config.minInFlight, max: config.maxInFlight })
  const controls = new Controlled(config.maxInFlight, () => member.engine, config.handlerThreads > 0 ? config.handlerThreads : Infinity)
  // From now on, so that what is kept for it is kept before it is connected, too.
  let slots = ports.pool?.join()
  const member: GroupMember = new GroupMember({
    connect: ports.connect ?? (() => connectSource({ ...config, topics, excludedTopics, client, ...(exactlyOnce && { transactions }) })),
    createEngine: source => {
      // Handlers of an earlier engine that have not ended by now are as good as abandoned.
      if (slots !== undefined) slots = ports.pool!.renew(slots)
      return new Engine(
        { ...engineOptions(config), maxInFlight: controls.limit },
        { ...enginePorts, source, suspensions: controls.suspensions, ...(slots && { slots }), ...(adaptive && { adaptive }) })
    },
    onRestart: (err, delayMs) => {
      metrics.restarts.inc()
      log.error({ err, delayMs }, 'the consumer failed; making it anew')
    },
    onFenced: err => {
      log.fatal({ err, groupInstanceId: config.groupInstanceId }, 'another member has this KAFKA_GROUP_INSTANCE_ID; nothing is consumed any more')
      ports.onFenced(err)
    }
  })
  const missingDeadLetterTopics = async (): Promise<string[]> => {
    const sources = new Set([...config.topics.filter(topic => !topic.startsWith('^')), ...member.state.partitions.map(({ topic }) => topic)])
    // What comes from there is dead-lettered as the record that it was.
    if (retryTopic !== null) sources.delete(retryTopic.name)
    const targets = new Set([...sources].map(deadLetterTopicOf).filter(topic => topic !== null))
    const missing = await Promise.all([...targets].map(async topic => await ports.isMissing(topic) ? [topic] : []))
    return missing.flat().map(topic => `the dead-letter topic ${topic} does not exist: create it, or set KAFKA_DEAD_LETTER_TOPIC`)
  }
  const watchdog = new Watchdog({
    stalledAfterMs: config.stallTimeoutMs, handlerMs: config.handlerTimeoutMs + config.handlerGraceMs, now: systemClock.now
  })
  let watching: NodeJS.Timeout | undefined
  const watch = () => {
    const before = new Set(watchdog.stalls.map(({ kind }) => kind))
    for (const { kind, reason } of watchdog.look(member.state)) {
      if (!before.has(kind)) log.error({ kind, reason }, 'the consumer has stalled')
    }
  }
  let stopped: Promise<void> | undefined
  setLimits(metrics, config)
  const setThreads = threadsGauge(metrics)
  warnOfRisks(log, config)

  const consumer: RunningConsumer = {
    name: config.name,
    groupId,
    topics: config.topics,
    get state () { return member.state },
    async problems () {
      const { phase, problems } = member.state
      const joining = phase === 'running' || problems.length > 0 ? [] : [`the consumer is ${phase}`]
      return [...problems, ...joining, ...await missingDeadLetterTopics()]
    },
    // What is being closed stands still on purpose.
    get stalls () { return stopped === undefined ? watchdog.stalls : [] },
    deadLetterTopicOf,
    controls,
    start () {
      member.start()
      watching = setInterval(watch, Math.min(WATCH_EVERY_MS, config.stallTimeoutMs))
    },
    stop () {
      if (stopped !== undefined) return stopped
      clearInterval(watching)
      log.info('draining the consumer')
      stopped = member.stop(Math.min(config.drainTimeoutMs, ports.closeTimeoutMs)).then(async () => {
        log.info('the consumer has left its group')
        // The others are still draining.
        await created?.close().catch((err: unknown) => log.error({ err }, 'the handler could not be closed'))
      })
      return stopped
    },
    scrape () {
      observer.flush()
      setGauges(metrics, consumer)
      if (created?.state !== undefined) setThreads(created.state)
    }
  }
  return consumer
}

/** What patterns must not find: dead letters and records that wait for a retry would go round in circles. */
export function excludedTopics (configs: readonly ConsumerConfig[]): ExcludedTopics {
  return {
    names: configs.flatMap(({ deadLetterTopic, retryTopic }) => [
      ...(deadLetterTopic.kind === 'topic' ? [deadLetterTopic.name] : []), ...(retryTopic === null ? [] : [retryTopic.name])
    ]),
    suffixes: [...new Set(configs.flatMap(({ deadLetterTopic }) => deadLetterTopic.kind === 'suffix' ? [deadLetterTopic.suffix] : []))]
  }
}

function ofOriginals (handler: Handler | BatchedHandler, original: (record: KafkaRecord) => KafkaRecord): Handler | BatchedHandler {
  if (typeof handler === 'function') return (record, attempt) => handler(original(record), attempt)
  return { ...handler, handle: (records, attempt) => handler.handle(records.map(original), attempt) }
}

function engineOptions (config: ConsumerConfig) {
  const { deadLetterTopic } = config
  return {
    ...config,
    ...(config.delivery === 'exactly-once' && { transactional: true, commitIntervalMs: config.transactionIntervalMs, maxRecordsBeforeCommit: Infinity }),
    exhausted: deadLetterTopic.kind === 'off' ? deadLetterTopic.then : 'dead-letter' as const,
    deferAfterMs: config.retryTopic?.afterMs ?? null
  }
}

function deadLetterTopic (target: DeadLetterTarget, topic: string): string | null {
  switch (target.kind) {
    case 'topic': return target.name
    case 'suffix': return topic + target.suffix
    case 'off': return null
  }
}

function warnOfRisks (log: FastifyBaseLogger, { deadLetterTopic, handler }: ConsumerConfig): void {
  if (handler === 'log') log.info('KAFKA_HANDLER is not set: records are logged, and that is all that is done with them')
  if (deadLetterTopic.kind === 'off' && deadLetterTopic.then === 'skip') {
    log.warn('dead letters are off and failed records are skipped: what fails for good is only in this log')
  }
}
