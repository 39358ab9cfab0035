import type { Config, ConsumerConfig, DeadLetterTarget, HttpConfig, ProducerConfig } from './config/types.js'
import { accessConfig } from './config/access.js'
import { ConfigError, quoted } from './config/config-error.js'
import { variableSchemas, type Environment, type Variable } from './config/environment-schema.js'
import { checkVariables, gatherVariables, type RawVariables } from './config/environment.js'
import { readConsumersFile } from './config/consumers-file.js'
import { isHost, isLoopback, parseAllowedHosts, parseBootstrapServers, parseTopics, parseTrustedProxies } from './config/names.js'
import { nearest } from './config/nearest.js'
import { readPropertiesFile, type FileSettings } from './config/properties-file.js'
import { isProtectedVariable } from './config/protected-properties.js'
import { isPushUrl, pushConfig, pushWarnings } from './config/push.js'
import { readable, securityProperties, securityWarnings, type NameOf } from './config/security.js'
import { parseRecordHeaders, webhookSignatures } from './config/webhooks.js'

export type * from './config/types.js'
export { ConfigError } from './config/config-error.js'
export { environmentSchema } from './config/environment-schema.js'

export interface LoadOptions {
  /** What relative paths are relative to, and where `.env` is looked for; the working directory where absent. */
  readonly cwd?: string
  /** Whether `.env` is read. Where absent: only for the process's own environment, since another one is complete as it is. */
  readonly dotenv?: boolean
}

/** The name of the consumer that environment variables describe. */
const ONLY_CONSUMER = 'default'
/** What libuv's pool has where UV_THREADPOOL_SIZE says nothing, and what it needs beside a thread for each consumer. */
const LIBUV_THREADS = 4
const OTHER_THREADS = 8
const EMBEDDED_GROUP = 'sluice'
const EMBEDDED_TOPIC = 'sluice-demo'
const DEAD_LETTER_SUFFIX = '.dlq'
const TOPIC_LENGTH_MAX = 249
const BREAKER_PROBE_MAX_MS = 30_000

/**
 * Reads the environment, `.env` and the properties file, in this order of precedence, into one frozen Config.
 *
 * Warnings are sentences for the log. Neither they nor an error ever hold a secret.
 *
 * @throws {ConfigError} at the first wrong value, with one line that names it, what it got and what it wants
 */
export function loadConfig (env: NodeJS.ProcessEnv = process.env, options: LoadOptions = {}): { config: Config, warnings: string[] } {
  const { cwd = process.cwd(), dotenv = env === process.env } = options
  const raw = gatherVariables(env, cwd, dotenv)
  const warnings = warnOfUnknown(raw)
  // What the environment says is judged before a file can hide it behind an error of its own.
  const path = checkVariables(raw).KAFKA_PROPERTIES_FILE
  const file = path === undefined ? undefined : readPropertiesFile(path, cwd)
  const nameOf: NameOf = variable => raw[variable] === undefined ? file?.properties[variable] ?? variable : variable
  const values = checkVariables({ ...file?.variables, ...raw }, variable => nameOf(variable as Variable))
  checkCombinations(values, nameOf)

  const kafka = kafkaConfig(values, file, nameOf, cwd)
  const setting: Setting = { raw, file, embedded: kafka.embedded, cwd, threads: Number.parseInt(env.UV_THREADPOOL_SIZE ?? '') || LIBUV_THREADS }
  const declared = values.KAFKA_CONSUMERS_FILE === undefined ? null : declaredConsumers(values.KAFKA_CONSUMERS_FILE, setting)
  const { consumers, maxInFlightTotal, warnings: ofAll } = declared ?? onlyConsumer(values, nameOf, setting)
  const config: Config = {
    http: httpConfig(values, cwd),
    webhooks: {
      recordHeaders: parseRecordHeaders(values.RECORD_HEADERS_ALLOWED),
      signatures: webhookSignatures(values.WEBHOOK_SIGNATURES, values.WEBHOOK_SIGNATURES_FILE, cwd)
    },
    logLevel: values.LOG_LEVEL,
    shutdownTimeoutMs: values.SHUTDOWN_TIMEOUT_MS,
    kafka,
    idempotency: {
      lifetimeMs: values.IDEMPOTENCY_LIFETIME_SECONDS * 1000,
      maxEntries: values.IDEMPOTENCY_MAX_KEYS,
      maxBytes: values.IDEMPOTENCY_MAX_BYTES
    },
    streams: {
      maxStreams: values.STREAM_MAX_COUNT,
      maxRecords: values.STREAM_MAX_RECORDS,
      maxBytes: values.STREAM_MAX_BYTES,
      idleTimeoutMs: values.STREAM_IDLE_TIMEOUT_MS
    },
    producer: producerConfig(values, declared === null ? subscription(values, kafka.embedded) : [], file),
    transactions: {
      idPrefix: values.KAFKA_TRANSACTIONAL_ID_PREFIX ?? null,
      producers: values.KAFKA_TRANSACTION_PRODUCERS,
      maxWaiting: values.KAFKA_TRANSACTION_MAX_WAITING,
      maxBytes: values.KAFKA_TRANSACTION_MAX_BYTES,
      timeoutMs: values.KAFKA_TRANSACTION_TIMEOUT_MS
    },
    reader: { clients: values.READ_CLIENTS, maxWaiting: values.READ_MAX_WAITING, maxBytes: values.READ_MAX_BYTES },
    consumers: consumers.map(({ config }) => config),
    maxInFlightTotal
  }
  warnings.push(...file?.warnings ?? [], ...securityWarnings(values, nameOf), ...ofAll, ...consumers.flatMap(one => one.warnings))
  return { config: deepFreeze(config), warnings }
}

/** Names that could only be meant for Sluice; a misspelt one may leave a door open. */
const ownNames = /^(KAFKA|AUTH|TLS|CORS)_/

/** Refuses protected variables, and warns of Sluice's own kind of names that nobody reads. */
function warnOfUnknown (raw: RawVariables): string[] {
  const warnings: string[] = []
  for (const variable of Object.keys(raw)) {
    if (!ownNames.test(variable) || variable in variableSchemas || isProtectedVariable(variable, raw)) continue
    const suggestion = nearest(variable, Object.keys(variableSchemas), '_')
    const name = quoted(variable).slice(1, -1)
    warnings.push(`${name} is not a setting of Sluice${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`)
  }
  return warnings
}

/** Limits that depend on one another. */
function checkCombinations (values: Environment, nameOf: NameOf): void {
  const atLeast = atLeastIn(values, nameOf)
  atLeast('KAFKA_QUEUE_MAX_BYTES', 'KAFKA_MESSAGE_MAX_BYTES')
  atLeast('BODIES_MAX_BYTES', 'BODY_LIMIT_BYTES')
  if (values.KAFKA_DELIVERY_TIMEOUT_MS <= values.KAFKA_LINGER_MS) {
    throw new ConfigError(`${nameOf('KAFKA_DELIVERY_TIMEOUT_MS')} must be greater than ${nameOf('KAFKA_LINGER_MS')} (${values.KAFKA_LINGER_MS}), got '${values.KAFKA_DELIVERY_TIMEOUT_MS}'`)
  }
}

/** Limits of a consumer that depend on one another. */
function checkConsumerCombinations (values: Environment, nameOf: NameOf): void {
  const atLeast = atLeastIn(values, nameOf)
  atLeast('KAFKA_MAX_POLL_INTERVAL_MS', 'KAFKA_SESSION_TIMEOUT_MS')
  atLeast('KAFKA_MAX_PROC_COUNT', 'KAFKA_MIN_PROC_COUNT')
  atLeast('KAFKA_RETRY_BACKOFF_MAX_MS', 'KAFKA_RETRY_BACKOFF_MS')
  atLeast('KAFKA_WINDOW_TOTAL_MAX_BYTES', 'KAFKA_WINDOW_MAX_BYTES')
  if (values.KAFKA_DELIVERY === 'exactly-once' && values.KAFKA_ISOLATION_LEVEL !== 'read_committed') {
    throw new ConfigError(`${nameOf('KAFKA_ISOLATION_LEVEL')} must be read_committed with KAFKA_DELIVERY=exactly-once, got '${values.KAFKA_ISOLATION_LEVEL}'`)
  }
  const half = values.KAFKA_MAX_POLL_INTERVAL_MS / 2
  if (values.KAFKA_DRAIN_TIMEOUT_MS > half) {
    throw new ConfigError(`KAFKA_DRAIN_TIMEOUT_MS must be at most half of ${nameOf('KAFKA_MAX_POLL_INTERVAL_MS')} (${half}), got '${values.KAFKA_DRAIN_TIMEOUT_MS}'`)
  }
}

function atLeastIn (values: Environment, nameOf: NameOf): (greater: Variable, lesser: Variable) => void {
  return (greater, lesser) => {
    if (values[greater]! < values[lesser]!) {
      throw new ConfigError(`${nameOf(greater)} must be at least ${nameOf(lesser)} (${values[lesser]}), got '${values[greater]}'`)
    }
  }
}

function httpConfig (values: Environment, cwd: string): HttpConfig {
  const { HOST: host } = values
  if (!isHost(host)) throw new ConfigError(`HOST must be an IP address or a host name, got ${quoted(host)}`)
  const others = accessConfig(values, cwd)
  if (others.access === null && values.AUTH === undefined && !isLoopback(host)) {
    throw new ConfigError(`HOST is ${quoted(host)}, which others can reach: set AUTH_FILE or AUTH_KEYS to say who may call (npm run key), AUTH=off to accept unauthenticated callers on that address, or HOST=127.0.0.1`)
  }
  return {
    host,
    port: values.PORT,
    bodyLimitBytes: values.BODY_LIMIT_BYTES,
    bodiesMaxBytes: values.BODIES_MAX_BYTES,
    maxConnections: values.MAX_CONNECTIONS,
    trustedProxies: parseTrustedProxies(values.TRUSTED_PROXIES),
    requestTimeoutMs: values.REQUEST_TIMEOUT_MS,
    allowedHosts: parseAllowedHosts(values.ALLOWED_HOSTS),
    auth: others.access === null ? values.AUTH ?? 'loopback' : 'on',
    ...others
  }
}

function kafkaConfig (values: Environment, file: FileSettings | undefined, nameOf: NameOf, cwd: string): Config['kafka'] {
  const servers = values.KAFKA_BOOTSTRAP_SERVERS
  if (servers === undefined) {
    // Whoever forgot the one line that matters must not find the records in a broker that keeps nothing.
    const forACluster = (Object.keys(variableSchemas) as Variable[]).find(name =>
      /^KAFKA_(SECURITY_PROTOCOL|SASL_\w+|SSL_\w+|PROPERTIES_FILE)$/.test(name) && values[name] !== variableSchemas[name]!.default)
    if (forACluster !== undefined) {
      throw new ConfigError(`KAFKA_BOOTSTRAP_SERVERS must be set where ${forACluster} is: the embedded broker has no use for it`)
    }
    return { embedded: true, clusterId: values.KAFKA_CLUSTER_ID, client: { 'client.id': values.KAFKA_CLIENT_ID } }
  }
  const fromFile = file?.passed.all ?? {}
  return {
    embedded: false,
    clusterId: values.KAFKA_CLUSTER_ID,
    client: {
      ...Object.fromEntries(Object.entries(fromFile).filter(([name]) => !name.startsWith('ssl.'))),
      'bootstrap.servers': parseBootstrapServers(servers, nameOf('KAFKA_BOOTSTRAP_SERVERS')),
      'client.id': values.KAFKA_CLIENT_ID,
      ...securityProperties(values, fromFile, nameOf, cwd)
    }
  }
}

function subscription (values: Environment, embedded: boolean): string[] {
  const written = values.KAFKA_TOPIC ?? (embedded ? EMBEDDED_TOPIC : undefined)
  return written === undefined ? [] : parseTopics(written)
}

function producerConfig (values: Environment, topics: readonly string[], file: FileSettings | undefined): ProducerConfig {
  return {
    topic: values.KAFKA_PRODUCE_TOPIC ?? topics.find(topic => !topic.startsWith('^')) ?? null,
    client: file?.passed.producer ?? {},
    lingerMs: values.KAFKA_LINGER_MS,
    compression: values.KAFKA_COMPRESSION_TYPE,
    messageMaxBytes: values.KAFKA_MESSAGE_MAX_BYTES,
    queueMaxRecords: values.KAFKA_QUEUE_MAX_RECORDS,
    queueMaxBytes: values.KAFKA_QUEUE_MAX_BYTES,
    deliveryTimeoutMs: values.KAFKA_DELIVERY_TIMEOUT_MS,
    allowAutoCreateTopics: values.KAFKA_ALLOW_AUTO_CREATE_TOPICS
  }
}

/** What holds for all consumers. */
interface Setting {
  readonly raw: RawVariables
  readonly file: FileSettings | undefined
  readonly embedded: boolean
  readonly cwd: string
  /** Of libuv's pool. */
  readonly threads: number
}

interface Consumers {
  readonly consumers: readonly { readonly config: ConsumerConfig, readonly warnings: readonly string[] }[]
  readonly maxInFlightTotal: number | null
  /** Of none of them, or of all. */
  readonly warnings: readonly string[]
}

/** The one that environment variables describe, if any. */
function onlyConsumer (values: Environment, nameOf: NameOf, setting: Setting): Consumers {
  const { raw, file, embedded, cwd } = setting
  checkConsumerCombinations(values, nameOf)
  const config = consumerConfig(ONLY_CONSUMER, values, embedded, subscription(values, embedded), file, cwd)
  if (config !== null) {
    return { consumers: [{ config, warnings: consumerWarnings(values, setting, config, nameOf) }], maxInFlightTotal: null, warnings: [] }
  }
  const nothing = (set: Variable, missing: Variable) => [`nothing is consumed: ${set} is set, and ${missing} is not`]
  // A group in the properties file is for somebody's command line tool; only the environment's is meant for Sluice.
  const warnings = values.KAFKA_TOPIC !== undefined
    ? nothing('KAFKA_TOPIC', 'KAFKA_GROUP_ID')
    : raw.KAFKA_GROUP_ID === undefined ? [] : nothing('KAFKA_GROUP_ID', 'KAFKA_TOPIC')
  return { consumers: [], maxInFlightTotal: null, warnings }
}

/** Those of KAFKA_CONSUMERS_FILE: each is read as the environment would be, with what it says in front of the variables. */
function declaredConsumers (path: string, setting: Setting): Consumers {
  const { raw, file, embedded, cwd, threads } = setting
  const both = (['KAFKA_GROUP_ID', 'KAFKA_TOPIC'] as const).find(variable => raw[variable] !== undefined)
  if (both !== undefined) {
    throw new ConfigError(`${both} and KAFKA_CONSUMERS_FILE cannot both be set: each consumer in the file says its own`)
  }
  const { consumers, maxInFlight } = readConsumersFile(path, cwd)
  const read = consumers.map(({ name, variables, inFile }) => {
    try {
      const both = { ...raw, ...variables }
      const nameOf: NameOf = variable => both[variable] === undefined ? file?.properties[variable] ?? variable : variable
      const values = checkVariables({ ...file?.variables, ...both }, variable => nameOf(variable as Variable))
      checkConsumerCombinations(values, nameOf)
      const config = consumerConfig(name, values, embedded, parseTopics(values.KAFKA_TOPIC!), file, cwd)!
      return { config, warnings: consumerWarnings(values, { ...setting, raw: both }, config, nameOf).map(inFile) }
    } catch (error) {
      throw error instanceof ConfigError ? new ConfigError(inFile(error.message)) : error
    }
  })
  for (const [index, { config: { retryTopic } }] of read.entries()) {
    if (retryTopic === null) continue
    const reader = read.find(({ config }, other) =>
      other !== index && (config.topics.includes(retryTopic.name) || config.retryTopic?.name === retryTopic.name))
    if (reader === undefined) continue
    throw new ConfigError(consumers[index].inFile(
      `KAFKA_RETRY_TOPIC must be a topic of this consumer's own, got ${quoted(retryTopic.name)}, which ${quoted(reader.config.name)} reads as well`))
  }
  const needed = read.length + OTHER_THREADS
  const warnings = threads >= needed
    ? []
    : [`UV_THREADPOOL_SIZE is ${threads}, and ${read.length} consumers want ${needed}: each holds one of these threads while it waits for records`]
  return { consumers: read, maxInFlightTotal: maxInFlight, warnings }
}

function consumerConfig (
  name: string,
  values: Environment, embedded: boolean, topics: readonly string[], file: FileSettings | undefined, cwd: string
): ConsumerConfig | null {
  const push = pushConfig(values, cwd)
  const isPath = push === null && values.KAFKA_HANDLER !== 'log'
  const handler = push?.url ?? (isPath ? readable(values.KAFKA_HANDLER, 'KAFKA_HANDLER', cwd, false) : 'log')
  if (values.KAFKA_HANDLER_THREADS > 0 && !isPath) {
    throw new ConfigError(`KAFKA_HANDLER_THREADS needs the path of a module in KAFKA_HANDLER, got ${push === null ? "'log'" : 'a URL'}`)
  }
  const deadLetterTopic = deadLetterTarget(values, topics)
  const groupId = values.KAFKA_GROUP_ID ?? (embedded ? EMBEDDED_GROUP : undefined)
  if (groupId === undefined || topics.length === 0) return null
  if (embedded && values.KAFKA_DELIVERY === 'exactly-once') {
    throw new ConfigError('KAFKA_BOOTSTRAP_SERVERS must be set where KAFKA_DELIVERY is exactly-once: the embedded broker shows what was aborted')
  }
  return {
    name,
    groupId,
    groupInstanceId: values.KAFKA_GROUP_INSTANCE_ID ?? null,
    topics,
    client: file?.passed.consumer ?? {},
    groupProtocol: values.KAFKA_GROUP_PROTOCOL,
    assignmentStrategy: values.KAFKA_PARTITION_ASSIGNMENT_STRATEGY,
    autoOffsetReset: values.KAFKA_AUTO_OFFSET_RESET === 'none' ? 'error' : values.KAFKA_AUTO_OFFSET_RESET,
    isolationLevel: values.KAFKA_ISOLATION_LEVEL,
    sessionTimeoutMs: values.KAFKA_SESSION_TIMEOUT_MS,
    maxPollIntervalMs: values.KAFKA_MAX_POLL_INTERVAL_MS,
    // What waited for a thread would use up its time there.
    maxInFlight: Math.min(values.KAFKA_MAX_PROC_COUNT, values.KAFKA_HANDLER_THREADS || Infinity),
    delivery: values.KAFKA_DELIVERY,
    transactionIntervalMs: values.KAFKA_EXACTLY_ONCE_INTERVAL_MS,
    minInFlight: values.KAFKA_CONCURRENCY === 'adaptive' ? Math.min(values.KAFKA_MIN_PROC_COUNT, values.KAFKA_HANDLER_THREADS || Infinity) : null,
    maxRecordsBeforeCommit: values.KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT,
    commitIntervalMs: Math.round(values.KAFKA_COMMIT_INTERVAL_SECONDS * 1000),
    order: values.KAFKA_ORDER,
    windowMaxRecords: values.KAFKA_WINDOW_MAX_RECORDS,
    windowMaxBytes: values.KAFKA_WINDOW_MAX_BYTES,
    windowTotalMaxBytes: values.KAFKA_WINDOW_TOTAL_MAX_BYTES,
    diversionMaxPerMinute: laterMayPass(values) && deadLetterTopic.kind !== 'off' ? values.KAFKA_DIVERSION_MAX_PER_MINUTE : 0,
    drainTimeoutMs: values.KAFKA_DRAIN_TIMEOUT_MS,
    handler,
    batches: batchPolicy(values),
    handlerThreads: values.KAFKA_HANDLER_THREADS,
    handlerThreadHeapMb: values.KAFKA_HANDLER_THREAD_HEAP_MB ?? null,
    push,
    handlerTimeoutMs: values.KAFKA_HANDLER_TIMEOUT_MS,
    handlerGraceMs: values.KAFKA_HANDLER_GRACE_MS,
    maxAbandoned: values.KAFKA_MAX_ABANDONED,
    stallTimeoutMs: values.KAFKA_STALL_TIMEOUT_MS,
    retry: {
      maxAttempts: values.KAFKA_RETRY_MAX_ATTEMPTS,
      backoffMs: values.KAFKA_RETRY_BACKOFF_MS,
      backoffMaxMs: values.KAFKA_RETRY_BACKOFF_MAX_MS
    },
    deadLetterTopic,
    retryTopic: retryTopic(values, topics, deadLetterTopic),
    breaker: {
      failureShare: values.KAFKA_BREAKER_FAILURE_SHARE,
      records: values.KAFKA_BREAKER_RECORDS,
      probeMs: values.KAFKA_BREAKER_PROBE_MS,
      probeMaxMs: Math.max(values.KAFKA_BREAKER_PROBE_MS, BREAKER_PROBE_MAX_MS)
    }
  }
}

function batchPolicy (values: Environment): ConsumerConfig['batches'] {
  const { KAFKA_HANDLER_BATCH_SIZE: maxRecords, KAFKA_HANDLER_BATCH_WAIT_MS: waitMs, KAFKA_HANDLER_BATCH_BY: by } = values
  const { KAFKA_ORDER: order } = values
  if (maxRecords === 1) {
    const idle = waitMs > 0 ? 'KAFKA_HANDLER_BATCH_WAIT_MS' : by === 'key' ? 'KAFKA_HANDLER_BATCH_BY' : null
    if (idle === null) return null
    throw new ConfigError(`${idle} is for batches: set KAFKA_HANDLER_BATCH_SIZE above 1, or leave it out, got '${values[idle]}'`)
  }
  if (by === 'key' && order !== 'key') {
    throw new ConfigError(`KAFKA_HANDLER_BATCH_BY must be partition with KAFKA_ORDER=${order}, got 'key'`)
  }
  if (maxRecords > values.KAFKA_WINDOW_MAX_RECORDS) {
    throw new ConfigError(`KAFKA_HANDLER_BATCH_SIZE must be at most KAFKA_WINDOW_MAX_RECORDS (${values.KAFKA_WINDOW_MAX_RECORDS}), got '${maxRecords}'`)
  }
  if (isPushUrl(values.KAFKA_HANDLER) && values.KAFKA_PUSH_MODE !== 'batched') {
    throw new ConfigError(`KAFKA_PUSH_MODE must be batched with KAFKA_HANDLER_BATCH_SIZE above 1, got '${values.KAFKA_PUSH_MODE}': its requests have one event each`)
  }
  return { maxRecords, by, waitMs }
}

/** Whether later records of a key may pass an earlier one that failed. */
function laterMayPass ({ KAFKA_ORDER: order, KAFKA_RETRY_ORDER: retryOrder }: Environment): boolean {
  return order === 'unordered' || retryOrder === 'loose'
}

function retryTopic (values: Environment, topics: readonly string[], deadLetterTopic: DeadLetterTarget): ConsumerConfig['retryTopic'] {
  const name = values.KAFKA_RETRY_TOPIC
  if (name === undefined) return null
  if (!laterMayPass(values)) {
    throw new ConfigError(`KAFKA_RETRY_TOPIC lets later records pass one that failed, which KAFKA_ORDER=${values.KAFKA_ORDER} rules out: set KAFKA_RETRY_ORDER=loose to allow it, or leave KAFKA_RETRY_TOPIC out`)
  }
  if (topics.includes(name)) throw new ConfigError(`KAFKA_RETRY_TOPIC must not be among KAFKA_TOPIC, got ${quoted(name)}: it is consumed anyway`)
  if (deadLetterTopic.kind === 'topic' && deadLetterTopic.name === name) {
    throw new ConfigError(`KAFKA_RETRY_TOPIC and KAFKA_DEAD_LETTER_TOPIC must differ, got ${quoted(name)} for both`)
  }
  return { name, afterMs: values.KAFKA_RETRY_TOPIC_AFTER_MS }
}

function deadLetterTarget (values: Environment, topics: readonly string[]): DeadLetterTarget {
  const name = values.KAFKA_DEAD_LETTER_TOPIC
  if (name === 'off') return { kind: 'off', then: values.KAFKA_DEAD_LETTER_OFF_ACTION }
  if (name === undefined) {
    const tooLong = topics.find(topic => !topic.startsWith('^') && topic.length + DEAD_LETTER_SUFFIX.length > TOPIC_LENGTH_MAX)
    if (tooLong === undefined) return { kind: 'suffix', suffix: DEAD_LETTER_SUFFIX }
    throw new ConfigError(`KAFKA_DEAD_LETTER_TOPIC must be set: ${quoted(tooLong)} is too long a name to add ${DEAD_LETTER_SUFFIX} to`)
  }
  if (topics.includes(name)) {
    throw new ConfigError(`KAFKA_DEAD_LETTER_TOPIC must not be among KAFKA_TOPIC, got ${quoted(name)}: dead letters would go round in circles`)
  }
  return { kind: 'topic', name }
}

function consumerWarnings (values: Environment, { raw, file }: Setting, consumer: ConsumerConfig, nameOf: NameOf): string[] {
  const warnings: string[] = pushWarnings(values, raw)
  if (consumer.autoOffsetReset === 'latest') {
    warnings.push(`${nameOf('KAFKA_AUTO_OFFSET_RESET')} is latest: records written to a newly added partition before it is discovered are skipped`)
  }
  if (values.SHUTDOWN_TIMEOUT_MS < consumer.drainTimeoutMs) {
    warnings.push(`SHUTDOWN_TIMEOUT_MS (${values.SHUTDOWN_TIMEOUT_MS}) is less than KAFKA_DRAIN_TIMEOUT_MS (${consumer.drainTimeoutMs}): a shutdown may end before the records in flight do`)
  }
  if (consumer.deadLetterTopic.kind !== 'off' && values.KAFKA_DEAD_LETTER_OFF_ACTION === 'skip') {
    warnings.push('KAFKA_DEAD_LETTER_OFF_ACTION has no effect: it is for KAFKA_DEAD_LETTER_TOPIC=off')
  }
  const { KAFKA_HANDLER_THREADS: threads, KAFKA_MAX_PROC_COUNT: procs } = values
  if (threads > 0 && procs > threads && raw.KAFKA_MAX_PROC_COUNT !== undefined) {
    warnings.push(`KAFKA_MAX_PROC_COUNT (${procs}) is more than KAFKA_HANDLER_THREADS (${threads}): each thread takes one record at a time, so that ${threads} handlers are in flight at once`)
  }
  if (threads > procs) {
    warnings.push(`KAFKA_HANDLER_THREADS (${threads}) is more than KAFKA_MAX_PROC_COUNT (${procs}): some threads never have anything to do`)
  }
  if (consumer.minInFlight === null && raw.KAFKA_MIN_PROC_COUNT !== undefined) {
    warnings.push('KAFKA_MIN_PROC_COUNT has no effect: it is for KAFKA_CONCURRENCY=adaptive')
  }
  if (threads === 0 && values.KAFKA_HANDLER_THREAD_HEAP_MB !== undefined) {
    warnings.push('KAFKA_HANDLER_THREAD_HEAP_MB has no effect: it is for KAFKA_HANDLER_THREADS')
  }
  const isSet = (variable: Variable) => raw[variable] !== undefined || file?.properties[variable] !== undefined
  if (consumer.delivery === 'exactly-once') {
    const idle = (['KAFKA_COMMIT_INTERVAL_SECONDS', 'KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT'] as const).filter(isSet)
    warnings.push(...idle.map(variable => `${nameOf(variable)} has no effect: with KAFKA_DELIVERY=exactly-once KAFKA_EXACTLY_ONCE_INTERVAL_MS decides it`))
    if (consumer.push !== null) {
      warnings.push(`${nameOf('KAFKA_DELIVERY')}=exactly-once: records are pushed at least once all the same; an HTTP target answers no records, ` +
        'so that only dead letters, and records for the retry topic, are written in one transaction with the offsets')
    }
  }
  if (consumer.groupProtocol === 'consumer') {
    const decidedByBroker = (['KAFKA_SESSION_TIMEOUT_MS', 'KAFKA_PARTITION_ASSIGNMENT_STRATEGY'] as const)
      .filter(isSet)
    warnings.push(...decidedByBroker.map(variable => `${nameOf(variable)} has no effect: with the consumer group protocol the broker decides it`))
  }
  return warnings
}

function deepFreeze<Value> (value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(deepFreeze)
    Object.freeze(value)
  }
  return value
}
