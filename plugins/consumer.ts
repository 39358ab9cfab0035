import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { systemClock } from '../src/clock.js'
import type { ClientProperties, ConsumerConfig, DeadLetterTarget } from '../src/config.js'
import { Controlled, type ConsumerControls } from '../src/consumer-controls.js'
import { createObserver } from '../src/consumer-observer.js'
import { deadLetterRecord } from '../src/engine/dead-letter.js'
import { Engine } from '../src/engine/engine.js'
import { ASKED_DELAY_MAX_MS } from '../src/engine/retry.js'
import type { Handler, Sink } from '../src/engine/types.js'
import { GroupMember, type ConnectedSource, type GroupMemberState } from '../src/group-member.js'
import { createHandler } from '../src/handlers/index.js'
import { connectSource } from '../src/kafka/consumer.js'
import { Subscription, type ExcludedTopics } from '../src/kafka/subscription.js'
import type { Metrics } from '../src/metrics.js'
import type { KafkaRecord } from '../src/record.js'
import { deferralOf, originalOf, retryRecord } from '../src/retry-topic.js'
import { STALLS, Watchdog, type Stall } from '../src/watchdog.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The consumer of this process, `null` where it only produces. */
    consumer: Consumer | null
  }
}

export interface Consumer {
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

export interface ConsumerPluginOptions {
  /** `null`: this process only produces. */
  readonly config: ConsumerConfig | null
  /** Properties common to all clients. */
  readonly client: ClientProperties
  /** The largest record that may be produced: dead letters must fit. */
  readonly messageMaxBytes: number
  /** How long the drain may take when the process closes. */
  readonly closeTimeoutMs: number
  /** Told that another process has this one's KAFKA_GROUP_INSTANCE_ID: nothing is consumed any more, and the process should end. */
  readonly onFenced?: (error: Error) => void
  /** Instead of the configured handler. */
  readonly handler?: Handler
  /** Instead of a member of a group in Kafka. */
  readonly connect?: () => Promise<ConnectedSource>
}

/** How often it is looked whether the consumer does its work. */
const WATCH_EVERY_MS = 5_000

/** Runs the consumer from when the process is ready until it closes: then it drains, commits and leaves its group. */
export default fp<ConsumerPluginOptions>(async (app, options) => {
  const { config } = options
  if (config === null) {
    app.decorate('consumer', null)
    return
  }
  const log = app.log.child({ group: config.groupId })
  // A module that cannot be used stops the start, before anything is fetched.
  const created = options.handler === undefined ? await createHandler(config, { log, producer: app.producer }) : null
  const handle = options.handler ?? created!.handle
  const deadLetterTopicOf = (topic: string) => deadLetterTopic(config.deadLetterTopic, topic)
  const observer = createObserver(log, app.metrics.consumer)
  const { groupId, retryTopic } = config
  const subscription = new Subscription(config.topics, excludedTopics(config))
  const consumed = (topic: string) => subscription.means(topic)
  const original = (record: KafkaRecord) => record.topic === retryTopic?.name ? originalOf(record, consumed) : record
  const sink: Sink = async letter => {
    const nowMs = Date.now()
    const record = original(letter.record)
    await app.producer.send(letter.retryInMs != null
      ? retryRecord({ ...letter, record }, retryTopic!.name, groupId, nowMs)
      : deadLetterRecord({ ...letter, record },
        { topic: deadLetterTopicOf(record.topic)!, groupId, maxBytes: options.messageMaxBytes, nowMs }))
  }

  // A handler sees the record that it was, wherever it comes from.
  const handler: Handler = retryTopic === null ? handle : (record, attempt) => handle(original(record), attempt)
  const ports = {
    handler,
    sink,
    clock: systemClock,
    observer,
    ...(retryTopic !== null && {
      deferralOf: (record: KafkaRecord) => record.topic === retryTopic.name ? deferralOf(record, Date.now(), ASKED_DELAY_MAX_MS) : null
    })
  }
  const topics = retryTopic === null ? config.topics : [...config.topics, retryTopic.name]
  const controls = new Controlled(config.maxInFlight, () => member.engine)
  const member: GroupMember = new GroupMember({
    connect: options.connect ?? (() => connectSource({
      ...config, topics, excludedTopics: excludedTopics(config), client: { ...options.client, ...config.client }
    })),
    createEngine: source => new Engine(
      { ...engineOptions(config), maxInFlight: controls.limit }, { ...ports, source, suspensions: controls.suspensions }),
    onRestart: (err, delayMs) => {
      app.metrics.consumer.restarts.inc()
      log.error({ err, delayMs }, 'the consumer failed; making it anew')
    },
    onFenced: err => {
      log.fatal({ err, groupInstanceId: config.groupInstanceId }, 'another member has this KAFKA_GROUP_INSTANCE_ID; nothing is consumed any more')
      options.onFenced?.(err)
    }
  })
  const missingDeadLetterTopics = async (): Promise<string[]> => {
    const sources = new Set([...config.topics.filter(topic => !topic.startsWith('^')), ...member.state.partitions.map(({ topic }) => topic)])
    // What comes from there is dead-lettered as the record that it was.
    if (retryTopic !== null) sources.delete(retryTopic.name)
    const targets = new Set([...sources].map(deadLetterTopicOf).filter(topic => topic !== null))
    const missing = await Promise.all([...targets].map(async topic => await isMissing(app, topic) ? [topic] : []))
    return missing.flat().map(topic => `the dead-letter topic ${topic} does not exist: create it, or set KAFKA_DEAD_LETTER_TOPIC`)
  }
  app.decorate('consumer', {
    get state () { return member.state },
    async problems () {
      const { phase, problems } = member.state
      const joining = phase === 'running' || problems.length > 0 ? [] : [`the consumer is ${phase}`]
      return [...problems, ...joining, ...await missingDeadLetterTopics()]
    },
    get stalls () { return stallsNow() },
    deadLetterTopicOf,
    controls
  })
  setLimits(app.metrics.consumer, config)
  app.metrics.onScrape(() => {
    observer.flush()
    setGauges(app.metrics.consumer, member.state)
    const kinds = new Set(stallsNow().map(({ kind }) => kind))
    for (const reason of STALLS) app.metrics.consumer.stalled.set({ reason }, kinds.has(reason) ? 1 : 0)
    app.metrics.consumer.inFlightLimit.set(controls.limit)
  })

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
  app.addHook('onReady', async () => {
    member.start()
    watching = setInterval(watch, Math.min(WATCH_EVERY_MS, config.stallTimeoutMs))
  })
  let stopped: Promise<void> | undefined
  // What is being closed stands still on purpose.
  const stallsNow = () => stopped === undefined ? watchdog.stalls : []
  const stop = () => {
    if (stopped !== undefined) return stopped
    clearInterval(watching)
    log.info('draining the consumer')
    stopped = member.stop(options.closeTimeoutMs).then(() => log.info('the consumer has left its group'))
    return stopped
  }
  // It begins beside the HTTP server's own close, which waits for the requests that are under way: they must not use up
  // the time to drain. It is awaited before what was registered earlier closes, the producer above all.
  app.addHook('preClose', async () => { stop() })
  app.addHook('onClose', async () => {
    await stop()
    await created?.close()
  })
  warnOfRisks(log, config)
}, { name: 'consumer', dependencies: ['metrics', 'producer'], fastify: '5.x' })

/** Whether a topic is known not to exist: while the brokers cannot be asked, nothing is known. */
async function isMissing (app: FastifyInstance, topic: string): Promise<boolean> {
  try {
    await app.topics.partitions(topic)
    return false
  } catch (error) {
    return (error as { code?: string }).code === 'SLUICE_UNKNOWN_TOPIC'
  }
}

function engineOptions (config: ConsumerConfig) {
  const { deadLetterTopic } = config
  return {
    ...config,
    exhausted: deadLetterTopic.kind === 'off' ? deadLetterTopic.then : 'dead-letter' as const,
    deferAfterMs: config.retryTopic?.afterMs ?? null
  }
}

/** What patterns must not find: dead letters and records that wait for a retry would go round in circles. */
function excludedTopics ({ deadLetterTopic, retryTopic }: ConsumerConfig): ExcludedTopics {
  return {
    names: [...(deadLetterTopic.kind === 'topic' ? [deadLetterTopic.name] : []), ...(retryTopic === null ? [] : [retryTopic.name])],
    suffixes: deadLetterTopic.kind === 'suffix' ? [deadLetterTopic.suffix] : []
  }
}

function deadLetterTopic (target: DeadLetterTarget, topic: string): string | null {
  switch (target.kind) {
    case 'topic': return target.name
    case 'suffix': return topic + target.suffix
    case 'off': return null
  }
}

function setLimits (metrics: Metrics['consumer'], config: ConsumerConfig): void {
  metrics.windowLimitRecords.set(config.windowMaxRecords)
  metrics.windowLimitBytes.set(config.windowMaxBytes)
}

/** Gauges are read from the engine when somebody scrapes, rather than set at every change. */
function setGauges (metrics: Metrics['consumer'], state: GroupMemberState): void {
  metrics.up.set(state.phase === 'running' ? 1 : 0)
  metrics.assigned.set(state.partitions.length)
  metrics.inFlightTotal.set(state.inFlight)
  metrics.breakerOpen.set(state.breaker === 'closed' ? 0 : 1)
  metrics.waiting.set(state.waiting)
  metrics.retrying.set(state.retrying)
  metrics.blocked.set(state.blocked)
  metrics.abandoned.set(state.abandoned)
  const {
    inFlight, windowRecords, windowSpan, windowBytes, commitOffset, committedOffset, lag, paused, suspended
  } = metrics
  // A partition that was given up must not go on showing its last lag.
  const gauges = [inFlight, windowRecords, windowSpan, windowBytes, commitOffset, committedOffset, lag, paused, suspended]
  for (const gauge of gauges) gauge.reset()
  for (const { topic, partition, ...of } of state.partitions) {
    const labels = { topic, partition }
    inFlight.set(labels, of.inFlight)
    windowRecords.set(labels, of.windowRecords)
    windowSpan.set(labels, of.windowSpan)
    windowBytes.set(labels, of.windowBytes)
    if (of.commitOffset >= 0) commitOffset.set(labels, of.commitOffset)
    if (of.committedOffset >= 0) committedOffset.set(labels, of.committedOffset)
    if (of.lag !== null) lag.set(labels, of.lag)
    paused.set(labels, of.paused ? 1 : 0)
    suspended.set(labels, of.suspended ? 1 : 0)
  }
}

function warnOfRisks (log: FastifyBaseLogger, { deadLetterTopic, handler }: ConsumerConfig): void {
  if (handler === 'log') log.info('KAFKA_HANDLER is not set: records are logged, and that is all that is done with them')
  if (deadLetterTopic.kind === 'off' && deadLetterTopic.then === 'skip') {
    log.warn('dead letters are off and failed records are skipped: what fails for good is only in this log')
  }
}
