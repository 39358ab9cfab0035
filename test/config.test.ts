import { resolve } from 'node:path'
import t from 'tap'
import { ConfigError, environmentSchema, loadConfig, type Config } from '../src/config.js'
import { variableSchemas } from '../src/config/environment-schema.js'

const digest = 'ab'.repeat(32)
const AUTH_KEYS = `shop:${digest}:produce:orders`
const cluster = { KAFKA_BOOTSTRAP_SERVERS: 'kafka-1:9092', KAFKA_GROUP_ID: 'g', KAFKA_TOPIC: 'orders' }

function load (env: NodeJS.ProcessEnv, cwd?: string): Config {
  return loadConfig(env, { cwd }).config
}

function warnings (env: NodeJS.ProcessEnv): string[] {
  return loadConfig(env).warnings
}

/** The one line with which `env` is refused. */
function refusal (env: NodeJS.ProcessEnv, options?: { cwd?: string, dotenv?: boolean }): string {
  try {
    loadConfig(env, options)
  } catch (error) {
    if (error instanceof ConfigError && !error.message.includes('\n')) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

t.test('an empty environment tries things out on loopback with an embedded broker', async t => {
  t.same(loadConfig({}), {
    config: {
      http: {
        host: '127.0.0.1',
        port: 3000,
        bodyLimitBytes: 1_048_576,
        bodiesMaxBytes: 134_217_728,
        maxConnections: 10_000,
        trustedProxies: [],
        requestTimeoutMs: 30_000,
        allowedHosts: [],
        auth: 'loopback',
        access: null,
        openPages: [],
        tls: null,
        http2: false,
        corsOrigins: []
      },
      webhooks: { recordHeaders: ['*'], signatures: [] },
      logLevel: 'info',
      shutdownTimeoutMs: 30_000,
      kafka: { embedded: true, clusterId: 'sluice', client: { 'client.id': 'sluice' } },
      idempotency: { lifetimeMs: 600_000, maxEntries: 100_000, maxBytes: 67_108_864 },
      streams: { maxStreams: 100, maxRecords: 10_000, maxBytes: 8_388_608, idleTimeoutMs: 60_000 },
      producer: {
        topic: 'sluice-demo',
        client: {},
        lingerMs: 0.5,
        compression: 'none',
        messageMaxBytes: 1_000_000,
        queueMaxRecords: 100_000,
        queueMaxBytes: 67_108_864,
        deliveryTimeoutMs: 120_000,
        allowAutoCreateTopics: false
      },
      transactions: { idPrefix: null, producers: 2, maxWaiting: 100, maxBytes: 8_388_608, timeoutMs: 15_000 },
      reader: { clients: 2, maxWaiting: 50, maxBytes: 1_048_576 },
      consumers: [{
        name: 'default',
        groupId: 'sluice',
        groupInstanceId: null,
        topics: ['sluice-demo'],
        client: {},
        groupProtocol: 'classic',
        assignmentStrategy: 'cooperative-sticky',
        autoOffsetReset: 'earliest',
        isolationLevel: 'read_committed',
        sessionTimeoutMs: 45_000,
        maxPollIntervalMs: 300_000,
        maxInFlight: 50,
        delivery: 'at-least-once',
        transactionIntervalMs: 100,
        minInFlight: null,
        maxRecordsBeforeCommit: 100,
        commitIntervalMs: 30_000,
        order: 'key',
        windowMaxRecords: 10_000,
        windowMaxBytes: 16_777_216,
        windowTotalMaxBytes: 268_435_456,
        diversionMaxPerMinute: 0,
        retryTopic: null,
        breaker: { failureShare: 0.8, records: 20, probeMs: 1000, probeMaxMs: 30_000 },
        drainTimeoutMs: 20_000,
        handler: 'log',
        batches: null,
        handlerThreads: 0,
        handlerThreadHeapMb: null,
        push: null,
        handlerTimeoutMs: 60_000,
        handlerGraceMs: 5000,
        maxAbandoned: 10,
        stallTimeoutMs: 60_000,
        retry: { maxAttempts: 5, backoffMs: 200, backoffMaxMs: 30_000 },
        deadLetterTopic: { kind: 'suffix', suffix: '.dlq' }
      }],
      maxInFlightTotal: null
    },
    warnings: []
  })
})

t.test('every variable reaches the place that it configures', async t => {
  const dir = t.testdir({ 'handler.mjs': '' })
  const { config, warnings } = loadConfig({
    HOST: '0.0.0.0',
    PORT: '0',
    LOG_LEVEL: 'debug',
    BODY_LIMIT_BYTES: '2',
    BODIES_MAX_BYTES: '3',
    MAX_CONNECTIONS: '20',
    REQUEST_TIMEOUT_MS: '3',
    SHUTDOWN_TIMEOUT_MS: '40000',
    AUTH: 'off',
    AUTH_PUBLIC: 'metrics, docs',
    TLS_CERT_FILE: 'handler.mjs',
    TLS_KEY_FILE: 'handler.mjs',
    TLS_CLIENT_CA_FILE: 'handler.mjs',
    TLS_CLIENT_CERT: 'required',
    HTTP2: 'true',
    CORS_ORIGINS: 'https://app.example,http://localhost:8080',
    TRUSTED_PROXIES: '10.0.0.0/8, ::1,',
    ALLOWED_HOSTS: 'Gateway.example, other.example,,gateway.example',
    RECORD_HEADERS_ALLOWED: 'X-GitHub-*, user-agent',
    WEBHOOK_SIGNATURES: '{"orders":{"scheme":"github","secrets":["eightlong"]}}',
    KAFKA_BOOTSTRAP_SERVERS: 'kafka-1:9092, [::1]:9093 ,10.0.0.1:9094',
    KAFKA_CLIENT_ID: 'me',
    KAFKA_CLUSTER_ID: 'lkc-1',
    KAFKA_PRODUCE_TOPIC: 'out',
    KAFKA_TRANSACTIONAL_ID_PREFIX: 'tx',
    KAFKA_TRANSACTION_PRODUCERS: '3',
    KAFKA_TRANSACTION_MAX_WAITING: '4',
    KAFKA_TRANSACTION_MAX_BYTES: '5000',
    KAFKA_TRANSACTION_TIMEOUT_MS: '6000',
    READ_CLIENTS: '7',
    READ_MAX_WAITING: '8',
    READ_MAX_BYTES: '9000',
    KAFKA_LINGER_MS: '0.25',
    KAFKA_COMPRESSION_TYPE: 'zstd',
    KAFKA_MESSAGE_MAX_BYTES: '5000',
    KAFKA_QUEUE_MAX_RECORDS: '6',
    KAFKA_QUEUE_MAX_BYTES: '7000',
    KAFKA_DELIVERY_TIMEOUT_MS: '8',
    KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true',
    KAFKA_GROUP_ID: 'g',
    KAFKA_GROUP_INSTANCE_ID: 'gateway-1',
    KAFKA_TOPIC: '^logs-.*, orders, orders',
    KAFKA_AUTO_OFFSET_RESET: 'none',
    KAFKA_ISOLATION_LEVEL: 'read_uncommitted',
    KAFKA_GROUP_PROTOCOL: 'classic',
    KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'range',
    KAFKA_SESSION_TIMEOUT_MS: '6000',
    KAFKA_MAX_POLL_INTERVAL_MS: '7000',
    KAFKA_MAX_PROC_COUNT: '9',
    KAFKA_DELIVERY: 'at-least-once',
    KAFKA_EXACTLY_ONCE_INTERVAL_MS: '250',
    KAFKA_CONCURRENCY: 'adaptive',
    KAFKA_MIN_PROC_COUNT: '4',
    KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: '10',
    KAFKA_COMMIT_INTERVAL_SECONDS: '0.5',
    KAFKA_ORDER: 'partition',
    KAFKA_WINDOW_MAX_RECORDS: '11',
    KAFKA_WINDOW_MAX_BYTES: '12',
    KAFKA_WINDOW_TOTAL_MAX_BYTES: '19',
    KAFKA_DIVERSION_MAX_PER_MINUTE: '20',
    KAFKA_DRAIN_TIMEOUT_MS: '3500',
    KAFKA_HANDLER: 'handler.mjs',
    KAFKA_HANDLER_BATCH_SIZE: '8',
    KAFKA_HANDLER_BATCH_WAIT_MS: '24',
    KAFKA_HANDLER_BATCH_BY: 'partition',
    KAFKA_HANDLER_THREADS: '9',
    KAFKA_HANDLER_THREAD_HEAP_MB: '25',
    KAFKA_HANDLER_TIMEOUT_MS: '13',
    KAFKA_HANDLER_GRACE_MS: '14',
    KAFKA_MAX_ABANDONED: '15',
    KAFKA_STALL_TIMEOUT_MS: '1024',
    KAFKA_RETRY_MAX_ATTEMPTS: '16',
    KAFKA_RETRY_BACKOFF_MS: '17',
    KAFKA_RETRY_BACKOFF_MAX_MS: '18',
    IDEMPOTENCY_LIFETIME_SECONDS: '31',
    IDEMPOTENCY_MAX_KEYS: '32',
    IDEMPOTENCY_MAX_BYTES: '3300',
    STREAM_MAX_COUNT: '34',
    STREAM_MAX_RECORDS: '35',
    STREAM_MAX_BYTES: '36',
    STREAM_IDLE_TIMEOUT_MS: '3700',
    KAFKA_DEAD_LETTER_TOPIC: 'off',
    KAFKA_DEAD_LETTER_OFF_ACTION: 'skip',
    KAFKA_RETRY_TOPIC: 'later',
    KAFKA_RETRY_TOPIC_AFTER_MS: '21',
    KAFKA_RETRY_ORDER: 'loose',
    KAFKA_BREAKER_FAILURE_SHARE: '0.5',
    KAFKA_BREAKER_RECORDS: '22',
    KAFKA_BREAKER_PROBE_MS: '23'
  }, { cwd: dir })
  t.same(warnings, [])
  t.same(config, {
    http: {
      host: '0.0.0.0',
      port: 0,
      bodyLimitBytes: 2,
      bodiesMaxBytes: 3,
      maxConnections: 20,
      trustedProxies: ['10.0.0.0/8', '::1'],
      requestTimeoutMs: 3,
      allowedHosts: ['gateway.example', 'other.example'],
      auth: 'off',
      access: null,
      openPages: ['metrics', 'docs'],
      tls: { certFile: resolve(dir, 'handler.mjs'), keyFile: resolve(dir, 'handler.mjs'), clientCaFile: resolve(dir, 'handler.mjs'), clientCertRequired: true },
      http2: true,
      corsOrigins: ['https://app.example', 'http://localhost:8080']
    },
    webhooks: {
      recordHeaders: ['x-github-*', 'user-agent'],
      signatures: [{ topic: 'orders', scheme: 'github', secrets: ['eightlong'], toleranceSeconds: 300, authenticates: false }]
    },
    logLevel: 'debug',
    shutdownTimeoutMs: 40_000,
    kafka: {
      embedded: false,
      clusterId: 'lkc-1',
      client: { 'bootstrap.servers': 'kafka-1:9092,[::1]:9093,10.0.0.1:9094', 'client.id': 'me', 'security.protocol': 'plaintext' }
    },
    idempotency: { lifetimeMs: 31_000, maxEntries: 32, maxBytes: 3_300 },
    streams: { maxStreams: 34, maxRecords: 35, maxBytes: 36, idleTimeoutMs: 3_700 },
    producer: {
      topic: 'out',
      client: {},
      lingerMs: 0.25,
      compression: 'zstd',
      messageMaxBytes: 5000,
      queueMaxRecords: 6,
      queueMaxBytes: 7000,
      deliveryTimeoutMs: 8,
      allowAutoCreateTopics: true
    },
    transactions: { idPrefix: 'tx', producers: 3, maxWaiting: 4, maxBytes: 5_000, timeoutMs: 6_000 },
    reader: { clients: 7, maxWaiting: 8, maxBytes: 9_000 },
    consumers: [{
      name: 'default',
      groupId: 'g',
      groupInstanceId: 'gateway-1',
      topics: ['^logs-.*', 'orders'],
      client: {},
      groupProtocol: 'classic',
      assignmentStrategy: 'range',
      autoOffsetReset: 'error',
      isolationLevel: 'read_uncommitted',
      sessionTimeoutMs: 6000,
      maxPollIntervalMs: 7000,
      maxInFlight: 9,
      delivery: 'at-least-once',
      transactionIntervalMs: 250,
      minInFlight: 4,
      maxRecordsBeforeCommit: 10,
      commitIntervalMs: 500,
      order: 'partition',
      windowMaxRecords: 11,
      windowMaxBytes: 12,
      windowTotalMaxBytes: 19,
      // There is nowhere to divert to.
      diversionMaxPerMinute: 0,
      drainTimeoutMs: 3500,
      handler: resolve(dir, 'handler.mjs'),
      batches: { maxRecords: 8, by: 'partition', waitMs: 24 },
      handlerThreads: 9,
      handlerThreadHeapMb: 25,
      push: null,
      handlerTimeoutMs: 13,
      handlerGraceMs: 14,
      maxAbandoned: 15,
      stallTimeoutMs: 1024,
      retry: { maxAttempts: 16, backoffMs: 17, backoffMaxMs: 18 },
      deadLetterTopic: { kind: 'off', then: 'skip' },
      retryTopic: { name: 'later', afterMs: 21 },
      breaker: { failureShare: 0.5, records: 22, probeMs: 23, probeMaxMs: 30_000 }
    }],
    maxInFlightTotal: null
  })
})

t.test('every number is accepted at its limits and refused one step beyond', async t => {
  // What keeps one variable at its limit from contradicting another.
  const company: Record<string, Record<string, string>> = {
    KAFKA_LINGER_MS: { KAFKA_DELIVERY_TIMEOUT_MS: '900001' },
    KAFKA_DELIVERY_TIMEOUT_MS: { KAFKA_LINGER_MS: '0' },
    KAFKA_MESSAGE_MAX_BYTES: { KAFKA_QUEUE_MAX_BYTES: '1000000000' },
    KAFKA_QUEUE_MAX_BYTES: { KAFKA_MESSAGE_MAX_BYTES: '1000' },
    KAFKA_SESSION_TIMEOUT_MS: { KAFKA_MAX_POLL_INTERVAL_MS: '3600000' },
    KAFKA_MAX_POLL_INTERVAL_MS: { KAFKA_SESSION_TIMEOUT_MS: '1000', KAFKA_DRAIN_TIMEOUT_MS: '0' },
    KAFKA_DRAIN_TIMEOUT_MS: { KAFKA_MAX_POLL_INTERVAL_MS: '86400000' },
    BODIES_MAX_BYTES: { BODY_LIMIT_BYTES: '1' },
    BODY_LIMIT_BYTES: { BODIES_MAX_BYTES: '104857600' },
    KAFKA_WINDOW_MAX_BYTES: { KAFKA_WINDOW_TOTAL_MAX_BYTES: '68719476736' },
    KAFKA_WINDOW_TOTAL_MAX_BYTES: { KAFKA_WINDOW_MAX_BYTES: '1' },
    KAFKA_HANDLER_BATCH_WAIT_MS: { KAFKA_HANDLER_BATCH_SIZE: '2' },
    KAFKA_RETRY_BACKOFF_MS: { KAFKA_RETRY_BACKOFF_MAX_MS: '3600000' },
    KAFKA_RETRY_BACKOFF_MAX_MS: { KAFKA_RETRY_BACKOFF_MS: '0' },
    KAFKA_HANDLER_THREADS: { KAFKA_HANDLER: 'package.json' },
    KAFKA_MIN_PROC_COUNT: { KAFKA_MAX_PROC_COUNT: '10000' }
  }
  for (const [variable, { type, minimum, maximum }] of Object.entries(variableSchemas)) {
    if (minimum === undefined || maximum === undefined) continue
    const tried = (value: number) => ({ ...company[variable], [variable]: String(value) })
    const step = type === 'integer' ? 1 : 0.0001
    t.doesNotThrow(() => loadConfig(tried(minimum)), `${variable}=${minimum}`)
    t.doesNotThrow(() => loadConfig(tried(maximum)), `${variable}=${maximum}`)
    const range = `${variable} must be between ${minimum} and ${maximum}${type === 'integer' ? '' : ' (fractions are fine)'}, got`
    t.equal(refusal(tried(minimum - step)), `${range} '${minimum - step}'`)
    t.equal(refusal(tried(maximum + step)), `${range} '${maximum + step}'`)
  }
})

t.test('a number is refused unless it is written as one', async t => {
  t.equal(refusal({ KAFKA_MAX_PROC_COUNT: 'many' }), "KAFKA_MAX_PROC_COUNT must be between 1 and 10000, got 'many'")
  for (const value of ['0x10', '1e3', ' 5', '5 ', '+5', '1_000', '1,000', '5.0', '010', 'NaN', 'Infinity', '٣', 'true', '-']) {
    t.equal(refusal({ KAFKA_MAX_PROC_COUNT: value }), `KAFKA_MAX_PROC_COUNT must be between 1 and 10000, got '${value}'`)
  }
  for (const value of ['.5', '5.', '1e-1', '0,5']) {
    t.equal(refusal({ KAFKA_LINGER_MS: value }), `KAFKA_LINGER_MS must be between 0 and 900000 (fractions are fine), got '${value}'`)
  }
  t.equal(load({ KAFKA_MAX_PROC_COUNT: '5' }).consumers[0]?.maxInFlight, 5)
})

t.test('truth is true or false and nothing else', async t => {
  for (const value of ['1', '0', 'yes', 'TRUE', 'on', ' true']) {
    t.equal(refusal({ KAFKA_ALLOW_AUTO_CREATE_TOPICS: value }), `KAFKA_ALLOW_AUTO_CREATE_TOPICS must be true or false, got '${value}'`)
  }
  t.equal(load({ KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'false' }).producer.allowAutoCreateTopics, false)
})

t.test('a word is refused with the words that are accepted', async t => {
  for (const [variable, schema] of Object.entries(variableSchemas)) {
    if (schema.enum === undefined) continue
    const [last, ...others] = schema.enum.toReversed()
    const words = others.length === 0 ? last : `${others.reverse().join(', ')} or ${last}`
    t.equal(refusal({ [variable]: 'other' }), `${variable} must be ${words}, got 'other'`)
  }
})

t.test('an empty variable counts as unset', async t => {
  const empty = Object.fromEntries(Object.keys(environmentSchema.properties).map(name => [name, '']))
  t.same(loadConfig({ ...empty, KAFKA_UNHEARD_OF: '', KAFKA_ACKS: '' }), loadConfig({}))
})

t.test('the configuration is frozen all the way down', async t => {
  const { config } = loadConfig({ ...cluster, ALLOWED_HOSTS: 'a' })
  const look = (value: unknown, path: string) => {
    if (typeof value !== 'object' || value === null) return
    t.ok(Object.isFrozen(value), path)
    for (const [name, member] of Object.entries(value)) look(member, `${path}.${name}`)
  }
  look(config, 'config')
})

t.test('the environment beats .env, and .env beats the defaults', async t => {
  const cwd = t.testdir({ '.env': 'KAFKA_MAX_PROC_COUNT=7\nKAFKA_ORDER=partition\nKAFKA_CLIENT_ID=\nKAFKA_TOPICS=x\n' })
  const { config, warnings } = loadConfig({ KAFKA_ORDER: 'unordered', KAFKA_MAX_PROC_COUNT: '' }, { cwd, dotenv: true })
  t.equal(config.consumers[0]?.maxInFlight, 7, 'an empty variable does not hide the one in .env')
  t.equal(config.consumers[0]?.order, 'unordered')
  t.equal(config.kafka.client['client.id'], 'sluice')
  t.same(warnings, ['KAFKA_TOPICS is not a setting of Sluice; did you mean KAFKA_TOPIC?'])
})

t.test('.env is read for the process and not for an environment that is given', async t => {
  const cwd = t.testdir({ '.env': 'KAFKA_CLIENT_ID=from-dotenv\n' })
  t.equal(loadConfig(process.env, { cwd }).config.kafka.client['client.id'], 'from-dotenv')
  t.equal(loadConfig(process.env, { cwd, dotenv: false }).config.kafka.client['client.id'], 'sluice')
  t.equal(loadConfig({}, { cwd }).config.kafka.client['client.id'], 'sluice')
  t.doesNotThrow(() => loadConfig({}, { cwd: t.testdirName + '-nowhere', dotenv: true }), 'there need not be one')
})

t.test('.env that cannot be read stops the start', async t => {
  const cwd = t.testdir({ '.env': {} })
  t.equal(refusal({}, { cwd, dotenv: true }), '.env cannot be read: EISDIR')
})

t.test('the process environment is not changed', async t => {
  const before = { ...process.env }
  loadConfig()
  t.same(process.env, before)
})

t.test('an address that others can reach needs AUTH=off, or somebody who may call', async t => {
  for (const HOST of ['127.0.0.1', '127.8.9.1', '::1', '0:0:0:0:0:0:0:1', 'localhost', 'LocalHost']) {
    t.equal(load({ HOST }).http.auth, 'loopback', HOST)
    t.equal(load({ HOST, AUTH: 'off' }).http.auth, 'off', HOST)
  }
  for (const HOST of ['0.0.0.0', '::', '128.0.0.1', '10.0.0.1', 'gateway.example', 'localhost.example', '127.0.0.1.example']) {
    t.equal(refusal({ HOST }),
      `HOST is '${HOST}', which others can reach: set AUTH_FILE or AUTH_KEYS to say who may call (npm run key), AUTH=off to accept unauthenticated callers on that address, or HOST=127.0.0.1`)
    t.equal(load({ HOST, AUTH: 'off' }).http.host, HOST)
    t.equal(load({ HOST, AUTH_KEYS }).http.auth, 'on')
  }
  for (const HOST of ['127.1', '300.0.0.1', 'a b', 'http://x', '-a', ':::1']) {
    t.equal(refusal({ HOST, AUTH: 'off' }), `HOST must be an IP address or a host name, got '${HOST}'`)
  }
})

t.test('ALLOWED_HOSTS takes bare names and *', async t => {
  t.same(load({ ALLOWED_HOSTS: '*' }).http.allowedHosts, ['*'])
  for (const host of ['http://a.example', 'a.example:80', '*.example', 'a b']) {
    t.equal(refusal({ ALLOWED_HOSTS: `ok.example,${host}` }), `ALLOWED_HOSTS must be host names without scheme and port, or *, got '${host}'`)
  }
})

t.test('TRUSTED_PROXIES takes addresses and networks, but not every address', async t => {
  const good = ['192.0.2.1', '10.0.0.0/8', '192.0.2.1/32', '0.0.0.0/1', '2001:db8::/128', 'fd00::/8']
  t.same(load({ TRUSTED_PROXIES: good.join(' , ') }).http.trustedProxies, good)
  for (const bad of ['proxy', '*', '0.0.0.0/0', '::/0', '10.0.0.0/33', 'fd00::/129', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0/255.0.0.0', '300.0.0.1', 'fe80::1%eth0', 'loopback', '10.0.0.1:80']) {
    t.equal(refusal({ TRUSTED_PROXIES: `10.0.0.1,${bad}` }),
      `TRUSTED_PROXIES must be IP addresses or networks such as 10.0.0.0/8, and not every address, got '${bad}'`)
  }
})

t.test('bootstrap servers are host:port', async t => {
  for (const server of ['kafka', 'kafka:', ':9092', 'kafka:0', 'kafka:65536', 'kafka:x', 'a:b:9092', '::1:9092', 'SSL://kafka:9092', '[kafka]:9092', ',']) {
    t.equal(refusal({ KAFKA_BOOTSTRAP_SERVERS: server }), `KAFKA_BOOTSTRAP_SERVERS must be a comma list of host:port, got '${server}'`)
  }
  t.equal(load({ KAFKA_BOOTSTRAP_SERVERS: 'k:1' }).kafka.client['bootstrap.servers'], 'k:1')
  t.equal(load({ KAFKA_BOOTSTRAP_SERVERS: 'k:65535,' }).kafka.client['bootstrap.servers'], 'k:65535')
  t.equal(refusal({ KAFKA_BOOTSTRAP_SERVERS: 'me:hunter2@k:9092' }),
    'KAFKA_BOOTSTRAP_SERVERS must be a comma list of host:port, got an entry with an @')
})

t.test('topic names follow Kafka\'s rule', async t => {
  const longest = 'a'.repeat(249)
  t.same(load({ ...cluster, KAFKA_TOPIC: longest, KAFKA_DEAD_LETTER_TOPIC: 'off' }).consumers[0]?.topics, [longest])
  t.same(load({ ...cluster, KAFKA_TOPIC: '_schemas,A.b_c-9,...' }).consumers[0]?.topics, ['_schemas', 'A.b_c-9', '...'])
  for (const topic of [longest + 'a', '.', '..', '__consumer_offsets', 'a b', 'a/b', 'ä', 'a*']) {
    t.match(refusal({ ...cluster, KAFKA_TOPIC: topic }), 'KAFKA_TOPIC must be 1 to 249 of A-Z a-z 0-9 . _ -, not . or .., and not beginning with __, got ')
  }
  for (const variable of ['KAFKA_PRODUCE_TOPIC', 'KAFKA_DEAD_LETTER_TOPIC']) {
    t.doesNotThrow(() => loadConfig({ [variable]: longest }))
    for (const topic of [longest + 'a', '.', '..', '__internal', '_schemas', '^a']) {
      t.match(refusal({ [variable]: topic }), `${variable} must be `)
      t.match(refusal({ [variable]: topic }), '1 to 249 of A-Z a-z 0-9 . _ -, not . or .., and not beginning with __ (nor _schemas), got ')
    }
  }
  t.equal(refusal({ KAFKA_TOPIC: ', ' }), "KAFKA_TOPIC must name at least one topic, got ', '")
})

t.test('patterns compile as expressions of JavaScript', async t => {
  for (const pattern of ['^orders-[0-9]+$', '^(a|b)\\.c', '^x{2}', '^\\d+', '^(?!test)', '^.*']) {
    t.same(load({ ...cluster, KAFKA_TOPIC: pattern }).consumers[0]?.topics, [pattern])
  }
  for (const pattern of ['^(a', '^[a', '^a)', '^a)|(b', '^*', '^[[:alpha:]]+$']) {
    t.equal(refusal({ ...cluster, KAFKA_TOPIC: pattern }), `KAFKA_TOPIC must be a pattern that compiles (a comma ends it), got '${pattern}'`)
  }
  t.equal(refusal({ ...cluster, KAFKA_TOPIC: '^a{1,3}' }), "KAFKA_TOPIC must be a pattern that compiles (a comma ends it), got '^a{1'")
  t.equal(refusal({ ...cluster, KAFKA_TOPIC: '^__.*' }), "KAFKA_TOPIC must not match internal topics (__*), got '^__.*'")
})

t.test('the tutorial\'s route sends to the first literal topic unless told otherwise', async t => {
  t.equal(load({ ...cluster, KAFKA_TOPIC: '^a,b,c' }).producer.topic, 'b')
  t.equal(load({ ...cluster, KAFKA_TOPIC: '^a' }).producer.topic, null)
  t.equal(load({ KAFKA_BOOTSTRAP_SERVERS: 'k:1' }).producer.topic, null)
  t.equal(load({ KAFKA_BOOTSTRAP_SERVERS: 'k:1', KAFKA_TOPIC: 'a' }).producer.topic, 'a')
  t.equal(load({ ...cluster, KAFKA_PRODUCE_TOPIC: 'd' }).producer.topic, 'd')
})

t.test('a cluster is consumed from only with a group and a topic', async t => {
  const { KAFKA_GROUP_ID, KAFKA_TOPIC, ...servers } = cluster
  t.same(loadConfig(servers).config.consumers, [])
  t.same(warnings(servers), [])
  t.same(load({ ...servers, KAFKA_TOPIC }).consumers, [])
  t.same(warnings({ ...servers, KAFKA_TOPIC }), ['nothing is consumed: KAFKA_TOPIC is set, and KAFKA_GROUP_ID is not'])
  t.same(load({ ...servers, KAFKA_GROUP_ID }).consumers, [])
  t.same(warnings({ ...servers, KAFKA_GROUP_ID }), ['nothing is consumed: KAFKA_GROUP_ID is set, and KAFKA_TOPIC is not'])
  t.equal(load(cluster).consumers.length, 1)
})

t.test('the embedded broker\'s group and topic can be set one by one', async t => {
  t.match(load({ KAFKA_GROUP_ID: 'mine' }).consumers[0], { groupId: 'mine', topics: ['sluice-demo'] })
  t.match(load({ KAFKA_TOPIC: 'mine' }).consumers[0], { groupId: 'sluice', topics: ['mine'] })
})

t.test('security settings without a cluster stop the start', async t => {
  for (const [variable, value] of [['KAFKA_SASL_PASSWORD', 's3cret'], ['KAFKA_SECURITY_PROTOCOL', 'SSL'], ['KAFKA_SSL_CA_LOCATION', 'ca.pem']] as const) {
    t.equal(refusal({ [variable]: value }), `KAFKA_BOOTSTRAP_SERVERS must be set where ${variable} is: the embedded broker has no use for it`)
  }
  t.doesNotThrow(() => loadConfig({ KAFKA_SECURITY_PROTOCOL: 'PLAINTEXT' }))
})

t.test('limits that depend on one another are compared, and equal ones are accepted where they may be', async t => {
  t.doesNotThrow(() => loadConfig({ KAFKA_QUEUE_MAX_BYTES: '1000000' }))
  t.equal(refusal({ KAFKA_QUEUE_MAX_BYTES: '999999' }), "KAFKA_QUEUE_MAX_BYTES must be at least KAFKA_MESSAGE_MAX_BYTES (1000000), got '999999'")
  t.doesNotThrow(() => loadConfig({ KAFKA_MAX_POLL_INTERVAL_MS: '45000' }))
  t.equal(refusal({ KAFKA_MAX_POLL_INTERVAL_MS: '44999' }),
    "KAFKA_MAX_POLL_INTERVAL_MS must be at least KAFKA_SESSION_TIMEOUT_MS (45000), got '44999'")
  t.doesNotThrow(() => loadConfig({ KAFKA_RETRY_BACKOFF_MAX_MS: '200' }))
  t.equal(refusal({ KAFKA_RETRY_BACKOFF_MAX_MS: '199' }), "KAFKA_RETRY_BACKOFF_MAX_MS must be at least KAFKA_RETRY_BACKOFF_MS (200), got '199'")
  t.doesNotThrow(() => loadConfig({ KAFKA_DELIVERY_TIMEOUT_MS: '6', KAFKA_LINGER_MS: '5' }))
  t.equal(refusal({ KAFKA_DELIVERY_TIMEOUT_MS: '5', KAFKA_LINGER_MS: '5' }), "KAFKA_DELIVERY_TIMEOUT_MS must be greater than KAFKA_LINGER_MS (5), got '5'")
  const poll = { KAFKA_MAX_POLL_INTERVAL_MS: '45000' }
  t.doesNotThrow(() => loadConfig({ ...poll, KAFKA_DRAIN_TIMEOUT_MS: '22500' }))
  t.equal(refusal({ ...poll, KAFKA_DRAIN_TIMEOUT_MS: '22501' }),
    "KAFKA_DRAIN_TIMEOUT_MS must be at most half of KAFKA_MAX_POLL_INTERVAL_MS (22500), got '22501'")
})

t.test('settings of batches are refused where there are none, or where they cannot be', async t => {
  const size = { KAFKA_HANDLER_BATCH_SIZE: '2' }
  t.equal(load({}).consumers[0]?.batches, null)
  t.equal(load({ KAFKA_HANDLER_BATCH_SIZE: '1', KAFKA_HANDLER_BATCH_WAIT_MS: '0', KAFKA_HANDLER_BATCH_BY: 'partition' }).consumers[0]?.batches, null)
  t.same(load({ ...size, KAFKA_HANDLER_BATCH_BY: 'key' }).consumers[0]?.batches, { maxRecords: 2, by: 'key', waitMs: 0 })
  t.equal(refusal({ KAFKA_HANDLER_BATCH_WAIT_MS: '5' }),
    "KAFKA_HANDLER_BATCH_WAIT_MS is for batches: set KAFKA_HANDLER_BATCH_SIZE above 1, or leave it out, got '5'")
  t.equal(refusal({ KAFKA_HANDLER_BATCH_BY: 'key' }),
    "KAFKA_HANDLER_BATCH_BY is for batches: set KAFKA_HANDLER_BATCH_SIZE above 1, or leave it out, got 'key'")
  for (const order of ['unordered', 'partition']) {
    t.equal(refusal({ ...size, KAFKA_HANDLER_BATCH_BY: 'key', KAFKA_ORDER: order }), `KAFKA_HANDLER_BATCH_BY must be partition with KAFKA_ORDER=${order}, got 'key'`)
  }
  t.doesNotThrow(() => loadConfig({ KAFKA_HANDLER_BATCH_SIZE: '9', KAFKA_WINDOW_MAX_RECORDS: '9' }))
  t.equal(refusal({ KAFKA_HANDLER_BATCH_SIZE: '9', KAFKA_WINDOW_MAX_RECORDS: '8' }),
    "KAFKA_HANDLER_BATCH_SIZE must be at most KAFKA_WINDOW_MAX_RECORDS (8), got '9'")
})

t.test('a shutdown shorter than the drain is a warning', async t => {
  t.same(warnings({ SHUTDOWN_TIMEOUT_MS: '20000' }), [])
  t.same(warnings({ SHUTDOWN_TIMEOUT_MS: '19999' }),
    ['SHUTDOWN_TIMEOUT_MS (19999) is less than KAFKA_DRAIN_TIMEOUT_MS (20000): a shutdown may end before the records in flight do'])
  t.same(warnings({ KAFKA_BOOTSTRAP_SERVERS: 'k:1', SHUTDOWN_TIMEOUT_MS: '1' }), [], 'a producer alone drains nothing')
})

t.test('latest is a warning that says what it skips', async t => {
  t.same(warnings({ KAFKA_AUTO_OFFSET_RESET: 'latest' }),
    ['KAFKA_AUTO_OFFSET_RESET is latest: records written to a newly added partition before it is discovered are skipped'])
})

t.test('the consumer protocol warns of what the broker decides', async t => {
  t.same(warnings({ KAFKA_GROUP_PROTOCOL: 'consumer' }), [])
  t.same(warnings({ KAFKA_GROUP_PROTOCOL: 'consumer', KAFKA_SESSION_TIMEOUT_MS: '45000', KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'range' }), [
    'KAFKA_SESSION_TIMEOUT_MS has no effect: with the consumer group protocol the broker decides it',
    'KAFKA_PARTITION_ASSIGNMENT_STRATEGY has no effect: with the consumer group protocol the broker decides it'
  ])
})

t.test('exactly once needs a cluster and read_committed, and says which settings have no part in it', async t => {
  const exactly = { ...cluster, KAFKA_DELIVERY: 'exactly-once' }
  t.match(load(exactly).consumers[0], { delivery: 'exactly-once', transactionIntervalMs: 100, isolationLevel: 'read_committed' })
  t.match(load(cluster).consumers[0], { delivery: 'at-least-once' })
  t.equal(refusal({ ...exactly, KAFKA_ISOLATION_LEVEL: 'read_uncommitted' }),
    "KAFKA_ISOLATION_LEVEL must be read_committed with KAFKA_DELIVERY=exactly-once, got 'read_uncommitted'")
  t.equal(refusal({ KAFKA_DELIVERY: 'exactly-once' }),
    'KAFKA_BOOTSTRAP_SERVERS must be set where KAFKA_DELIVERY is exactly-once: the embedded broker shows what was aborted')
  t.equal(refusal({ ...cluster, KAFKA_DELIVERY: 'once' }), "KAFKA_DELIVERY must be at-least-once or exactly-once, got 'once'")
  t.equal(refusal({ ...exactly, KAFKA_EXACTLY_ONCE_INTERVAL_MS: '0' }), "KAFKA_EXACTLY_ONCE_INTERVAL_MS must be between 1 and 60000, got '0'")
  t.equal(load({ ...exactly, KAFKA_EXACTLY_ONCE_INTERVAL_MS: '60000' }).consumers[0]?.transactionIntervalMs, 60_000)
  t.same(warnings(exactly), [])
  t.match(warnings({ ...exactly, KAFKA_HANDLER: 'https://a.example/' }), [/^KAFKA_DELIVERY=exactly-once: records are pushed at least once/])
  t.same(warnings({ ...exactly, KAFKA_COMMIT_INTERVAL_SECONDS: '1', KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: '7' }), [
    'KAFKA_COMMIT_INTERVAL_SECONDS has no effect: with KAFKA_DELIVERY=exactly-once KAFKA_EXACTLY_ONCE_INTERVAL_MS decides it',
    'KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT has no effect: with KAFKA_DELIVERY=exactly-once KAFKA_EXACTLY_ONCE_INTERVAL_MS decides it'
  ])
})

t.test('the handler is log, or a file, or a URL (test/config/push.test.ts)', async t => {
  const cwd = t.testdir({ 'handler.mjs': '', directory: {}, log: '' })
  t.equal(load({ KAFKA_HANDLER: './handler.mjs' }, cwd).consumers[0]?.handler, resolve(cwd, 'handler.mjs'))
  t.equal(load({ KAFKA_HANDLER: resolve(cwd, 'handler.mjs') }).consumers[0]?.handler, resolve(cwd, 'handler.mjs'))
  t.equal(load({ KAFKA_HANDLER: 'log' }, cwd).consumers[0]?.handler, 'log')
  t.equal(load({ KAFKA_HANDLER: './log' }, cwd).consumers[0]?.handler, resolve(cwd, 'log'))
  t.equal(refusal({ KAFKA_HANDLER: 'no.mjs' }, { cwd }), "KAFKA_HANDLER must be a file, got 'no.mjs', which does not exist")
  t.equal(refusal({ KAFKA_HANDLER: 'directory' }, { cwd }), "KAFKA_HANDLER must be a file, got 'directory', which is none")
})

t.test('dead letters go to the topic with a suffix, to one topic, or nowhere', async t => {
  t.same(load(cluster).consumers[0]?.deadLetterTopic, { kind: 'suffix', suffix: '.dlq' })
  t.same(load({ ...cluster, KAFKA_DEAD_LETTER_TOPIC: 'dead' }).consumers[0]?.deadLetterTopic, { kind: 'topic', name: 'dead' })
  t.same(load({ ...cluster, KAFKA_DEAD_LETTER_TOPIC: 'off' }).consumers[0]?.deadLetterTopic, { kind: 'off', then: 'block' })
  t.same(load({ ...cluster, KAFKA_DEAD_LETTER_TOPIC: 'off', KAFKA_DEAD_LETTER_OFF_ACTION: 'skip' }).consumers[0]?.deadLetterTopic, { kind: 'off', then: 'skip' })
  t.same(warnings({ ...cluster, KAFKA_DEAD_LETTER_OFF_ACTION: 'skip' }),
    ['KAFKA_DEAD_LETTER_OFF_ACTION has no effect: it is for KAFKA_DEAD_LETTER_TOPIC=off'])
  t.equal(refusal({ ...cluster, KAFKA_TOPIC: 'a,dead', KAFKA_DEAD_LETTER_TOPIC: 'dead' }),
    "KAFKA_DEAD_LETTER_TOPIC must not be among KAFKA_TOPIC, got 'dead': dead letters would go round in circles")
})

t.test('a topic too long for the suffix needs a dead-letter topic of its own', async t => {
  t.doesNotThrow(() => loadConfig({ ...cluster, KAFKA_TOPIC: 'a'.repeat(245) }))
  t.match(refusal({ ...cluster, KAFKA_TOPIC: 'a'.repeat(246) }), /^KAFKA_DEAD_LETTER_TOPIC must be set: 'a+…' is too long a name to add \.dlq to$/)
  t.doesNotThrow(() => loadConfig({ ...cluster, KAFKA_TOPIC: 'a'.repeat(246), KAFKA_DEAD_LETTER_TOPIC: 'dead' }))
})

t.test('an unknown KAFKA_* name is a warning with the name that was probably meant', async t => {
  const expected = {
    KAFKA_TOPICS: 'KAFKA_TOPIC',
    KAFKA_BOOTSTRAP_SERVER: 'KAFKA_BOOTSTRAP_SERVERS',
    KAFKA_LINGER: 'KAFKA_LINGER_MS',
    KAFKA_TOPIC_NAME: 'KAFKA_TOPIC',
    kAFKA_TOPIC: undefined,
    KAFKA_OPTS: undefined,
    KAFKA_HEAP_OPTS: undefined,
    KAFKA_SERVICE_HOST: undefined
  }
  for (const [name, meant] of Object.entries(expected)) {
    if (!name.startsWith('KAFKA_')) continue
    t.same(warnings({ [name]: 'x' }), [`${name} is not a setting of Sluice${meant === undefined ? '' : `; did you mean ${meant}?`}`])
  }
  t.same(warnings({ PATH: 'x', KAFKAESQUE: 'x', TOPIC: 'x' }), [], 'other names are none of our business')
})

t.test('what the promises rest on is refused as a variable unless it says the same', async t => {
  const otherwise = {
    KAFKA_ACKS: ['1', "KAFKA_ACKS cannot be '1': acks is always all: a produce request succeeds only once every in-sync replica has its record"],
    KAFKA_ENABLE_IDEMPOTENCE: ['false', "KAFKA_ENABLE_IDEMPOTENCE cannot be 'false': enable.idempotence is always true: without it the client's own retries would reorder and repeat records"],
    KAFKA_ENABLE_AUTO_COMMIT: ['true', "KAFKA_ENABLE_AUTO_COMMIT cannot be 'true': enable.auto.commit is always false: offsets are committed only after every record below them is completed"],
    KAFKA_ENABLE_AUTO_OFFSET_STORE: ['true', "KAFKA_ENABLE_AUTO_OFFSET_STORE cannot be 'true': enable.auto.offset.store is always false: offsets are committed only after every record below them is completed"],
    KAFKA_PARTITIONER: ['random', "KAFKA_PARTITIONER cannot be 'random': partitioner is always murmur2_random: the same key goes to the same partition as from Java"],
    KAFKA_TRANSACTIONAL_ID: ['t', "KAFKA_TRANSACTIONAL_ID cannot be 't': transactional.id is never taken from outside: two processes with one id would fence each other off"],
    KAFKA_PLUGIN_LIBRARY_PATHS: ['p', "KAFKA_PLUGIN_LIBRARY_PATHS cannot be 'p': native libraries are never loaded on a setting's word"]
  }
  for (const [variable, [value, sentence]] of Object.entries(otherwise)) t.equal(refusal({ [variable]: value }), sentence)
  t.match(refusal({ KAFKA_ENABLE_IDEMPOTENCY: 'false' }), "KAFKA_ENABLE_IDEMPOTENCY cannot be 'false'")
  t.same(warnings({
    KAFKA_ACKS: 'all',
    KAFKA_REQUEST_REQUIRED_ACKS: '-1',
    KAFKA_ENABLE_IDEMPOTENCE: 'true',
    KAFKA_ENABLE_AUTO_COMMIT: 'false',
    KAFKA_ENABLE_AUTO_OFFSET_STORE: 'false',
    KAFKA_PARTITIONER: 'murmur2_random'
  }), [])
})

t.test('an error is one line, however long and strange the value', async t => {
  t.equal(refusal({ PORT: `1\n2\u2028\u0007${'x'.repeat(200)}` }), `PORT must be between 0 and 65535, got '1\\n2\\u{2028}\\u{7}${'x'.repeat(75)}…'`)
  t.same(warnings({ 'KAFKA_A\nB': 'x' }), ['KAFKA_A\\nB is not a setting of Sluice'])
})

t.test('names and ids hold no control characters and end at 255', async t => {
  for (const variable of ['KAFKA_GROUP_ID', 'KAFKA_CLIENT_ID']) {
    t.doesNotThrow(() => loadConfig({ [variable]: 'ü'.repeat(255) }))
    t.match(refusal({ [variable]: 'x'.repeat(256) }), `${variable} must be 1 to 255 characters, none of them a control character, got `)
    t.equal(refusal({ [variable]: 'a\tb' }), `${variable} must be 1 to 255 characters, none of them a control character, got 'a\\tb'`)
  }
})

t.test('threads are for modules, and as many handlers as threads are in flight at once', async t => {
  const dir = t.testdir({ 'handler.mjs': '' })
  const of = (more: Record<string, string>) => loadConfig({ ...cluster, KAFKA_HANDLER: 'handler.mjs', ...more }, { cwd: dir })
  const inFlight = (more: Record<string, string>) => of(more).config.consumers[0].maxInFlight
  t.equal(inFlight({ KAFKA_HANDLER_THREADS: '0' }), 50)
  t.equal(inFlight({ KAFKA_HANDLER_THREADS: '4' }), 4)
  t.equal(inFlight({ KAFKA_HANDLER_THREADS: '4', KAFKA_MAX_PROC_COUNT: '3' }), 3)
  t.same(of({ KAFKA_HANDLER_THREADS: '4' }).warnings, [], 'the default of KAFKA_MAX_PROC_COUNT is nobody\'s mistake')
  t.same(of({ KAFKA_HANDLER_THREADS: '4', KAFKA_MAX_PROC_COUNT: '4' }).warnings, [])
  t.same(of({ KAFKA_HANDLER_THREADS: '4', KAFKA_MAX_PROC_COUNT: '5' }).warnings, [
    'KAFKA_MAX_PROC_COUNT (5) is more than KAFKA_HANDLER_THREADS (4): each thread takes one record at a time, so that 4 handlers are in flight at once'
  ])
  t.same(of({ KAFKA_HANDLER_THREADS: '5', KAFKA_MAX_PROC_COUNT: '4' }).warnings, [
    'KAFKA_HANDLER_THREADS (5) is more than KAFKA_MAX_PROC_COUNT (4): some threads never have anything to do'
  ])
  t.same(of({ KAFKA_HANDLER_THREAD_HEAP_MB: '64' }).warnings, ['KAFKA_HANDLER_THREAD_HEAP_MB has no effect: it is for KAFKA_HANDLER_THREADS'])
  t.equal(refusal({ ...cluster, KAFKA_HANDLER_THREADS: '1' }), "KAFKA_HANDLER_THREADS needs the path of a module in KAFKA_HANDLER, got 'log'")
  t.equal(refusal({ KAFKA_HANDLER_THREADS: '257' }), "KAFKA_HANDLER_THREADS must be between 0 and 256, got '257'")
  t.equal(refusal({ KAFKA_HANDLER_THREAD_HEAP_MB: '15' }), "KAFKA_HANDLER_THREAD_HEAP_MB must be between 16 and 65536, got '15'")
})

t.test('a limit is adaptive where that is asked for, between its bounds', async t => {
  const of = (more: Record<string, string>) => loadConfig({ ...cluster, ...more })
  t.match(of({ KAFKA_CONCURRENCY: 'adaptive' }).config.consumers[0], { minInFlight: 1, maxInFlight: 50 })
  t.match(of({ KAFKA_CONCURRENCY: 'adaptive', KAFKA_MIN_PROC_COUNT: '50' }).config.consumers[0], { minInFlight: 50, maxInFlight: 50 })
  t.equal(refusal({ ...cluster, KAFKA_CONCURRENCY: 'adaptive', KAFKA_MIN_PROC_COUNT: '51' }), "KAFKA_MAX_PROC_COUNT must be at least KAFKA_MIN_PROC_COUNT (51), got '50'")
  t.same(of({ KAFKA_MIN_PROC_COUNT: '2' }).warnings, ['KAFKA_MIN_PROC_COUNT has no effect: it is for KAFKA_CONCURRENCY=adaptive'])
  t.match(refusal({ ...cluster, KAFKA_CONCURRENCY: 'auto' }), /^KAFKA_CONCURRENCY must be /)
})
