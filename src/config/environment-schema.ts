import Type from 'typebox'

// Beyond JSON Schema's own words a variable has:
//   wants      what a wrong value is told, where the limits do not say it
//   whenUnset  what applies where there is no default, for the table in docs/configuration.md
//   secret     never shown
//   anyCase    lower-cased before it is checked
//   list       a comma list, which may be a list in KAFKA_CONSUMERS_FILE as well
// `description` is what the table shows.

const DAY_MS = 86_400_000
const INT32_MAX = 2_147_483_647

const topicPattern = '^(?!\\.{1,2}$)(?!__)[A-Za-z0-9._-]{1,249}$'
// _schemas belongs to the schema registry. Reading it is harmless, writing to it is not.
const writtenTopicPattern = '^(?!\\.{1,2}$)(?!__)(?!_schemas$)[A-Za-z0-9._-]{1,249}$'
const topicWants = '1 to 249 of A-Z a-z 0-9 . _ -, not . or .., and not beginning with __'
const writtenTopicWants = `${topicWants} (nor _schemas)`

/** What one literal entry of KAFKA_TOPIC must look like. */
export const literalTopic = { pattern: new RegExp(topicPattern), wants: topicWants } as const

const instanceIdPattern = '^(?!\\.{1,2}$)[A-Za-z0-9._-]{1,249}$'

const transactionalIdPattern = '^[A-Za-z0-9._-]{1,200}$'

const printable = '^[^\\p{Cc}]{1,255}$'
const printableWants = '1 to 255 characters, none of them a control character'

// A line break at the end is what a secret read from a file often brings along; the broker would only say "authentication failed".
const oneLine = { pattern: '^[^\\r\\n]*$', wants: 'text without line breaks' }

const milliseconds = (description: string, byDefault: number, minimum = 1, maximum = DAY_MS) =>
  Type.Integer({ description, default: byDefault, minimum, maximum })

const oneOf = <const Values extends string[]>(description: string, byDefault: NoInfer<Values[number]>, values: readonly [...Values]) =>
  Type.Enum(values, { description, default: byDefault })

const location = (description: string) => Type.Optional(Type.String({ description, whenUnset: 'none' }))

const server = {
  HOST: Type.String({
    description: 'Address to listen on. An address that others can reach needs `AUTH`',
    default: '127.0.0.1',
    pattern: '^[A-Za-z0-9._:%-]{1,253}$',
    wants: 'an IP address or a host name'
  }),
  PORT: Type.Integer({ description: 'Port to listen on; 0 takes any free one', default: 3000, minimum: 0, maximum: 65535 }),
  LOG_LEVEL: oneOf('What is logged, and everything more severe', 'info', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
  BODY_LIMIT_BYTES: Type.Integer({
    description: 'Largest request body; above it the answer is 413', default: 1_048_576, minimum: 1, maximum: 104_857_600
  }),
  BODIES_MAX_BYTES: Type.Integer({
    description: 'Bytes of all request bodies together that are under way or not answered yet, those of at most 16 KiB and of streams not included; beyond that the answer is 503',
    default: 134_217_728,
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER
  }),
  MAX_CONNECTIONS: Type.Integer({
    description: 'Clients that may be connected at once; a connection beyond that is closed. Probes need one, too', default: 10_000, minimum: 1, maximum: 1_000_000
  }),
  TRUSTED_PROXIES: Type.Optional(Type.String({
    description: 'Addresses and networks (a comma list, as in `10.0.0.0/8,fd00::/8`) of the proxies in front: what they say in `X-Forwarded-For` is the caller\'s address. Nobody else is believed',
    whenUnset: 'none'
  })),
  REQUEST_TIMEOUT_MS: milliseconds('How long a request waits for its records to be acknowledged', 30_000, 1, 3_600_000),
  IDEMPOTENCY_LIFETIME_SECONDS: Type.Integer({
    description: 'How long the answer to a request with an `Idempotency-Key` is remembered, by this process', default: 600, minimum: 1, maximum: 604_800
  }),
  IDEMPOTENCY_MAX_KEYS: Type.Integer({
    description: 'Keys remembered at once, at most half of them of one caller; a new one above it is answered with 503', default: 100_000, minimum: 1, maximum: 10_000_000
  }),
  IDEMPOTENCY_MAX_BYTES: Type.Integer({
    description: 'Bytes of what is remembered, 1 KiB for each key among them', default: 67_108_864, minimum: 2048, maximum: 17_179_869_184
  }),
  STREAM_MAX_COUNT: Type.Integer({
    description: 'Streams of records (`application/x-ndjson`, and Confluent v3 without a bounded length) at once; one more is answered with 503', default: 100, minimum: 1, maximum: 10_000
  }),
  STREAM_MAX_RECORDS: Type.Integer({
    description: 'Records of one stream that wait for Kafka; it is read no further until some are acknowledged. All streams together have at most half of `KAFKA_QUEUE_MAX_RECORDS`', default: 10_000, minimum: 1, maximum: 1_000_000
  }),
  STREAM_MAX_BYTES: Type.Integer({
    description: 'Their bytes; all streams together have at most half of `KAFKA_QUEUE_MAX_BYTES`', default: 8_388_608, minimum: 1, maximum: 1_073_741_824
  }),
  STREAM_IDLE_TIMEOUT_MS: milliseconds('How long a stream may make no progress: no line comes, no record is acknowledged, no result is read', 60_000, 100, 3_600_000),
  SHUTDOWN_TIMEOUT_MS: milliseconds('How long a shutdown may take altogether', 30_000),
  AUTH: Type.Optional(Type.Enum(['off'], {
    description: '`off` accepts unauthenticated callers on any address',
    whenUnset: 'with none of `AUTH_FILE`, `AUTH_KEYS` and `AUTH_JWT_JWKS_URL`, `HOST` must be a loopback address'
  })),
  AUTH_FILE: location('JSON file that says who may do what (docs/auth.md); read again when it changes'),
  AUTH_KEYS: Type.Optional(Type.String({
    description: 'One or two API keys without a file: `name:sha256:rights:topics`, with white space between them', whenUnset: 'none', secret: true
  })),
  AUTH_PUBLIC: Type.Optional(Type.String({
    description: 'Pages that need no authentication: `metrics`, `docs`, or both with a comma', whenUnset: 'none'
  })),
  AUTH_JWT_JWKS_URL: Type.Optional(Type.String({
    description: 'Where the issuer of tokens publishes its keys: `https`, or `http` on this machine', whenUnset: 'tokens are not accepted', secret: true
  })),
  AUTH_JWT_ISSUER: Type.Optional(Type.String({ description: 'What a token\'s `iss` must be; needed for tokens', whenUnset: 'none' })),
  AUTH_JWT_AUDIENCE: Type.Optional(Type.String({
    description: 'What a token\'s `aud` must hold, one of a comma list; needed for tokens', whenUnset: 'none'
  })),
  AUTH_JWT_NAME_CLAIM: Type.String({
    description: 'The claim that names the caller; a path such as `a.b` reaches inside', default: 'sub', pattern: printable, wants: printableWants
  }),
  AUTH_JWT_SCOPE_CLAIM: Type.String({
    description: 'The claim with scopes such as `sluice:produce:orders-*`', default: 'scope', pattern: printable, wants: printableWants
  }),
  AUTH_JWT_CLOCK_TOLERANCE_SECONDS: Type.Integer({
    description: 'How far the issuer\'s clock may be from this one', default: 30, minimum: 0, maximum: 600
  }),
  TLS_CERT_FILE: location('PEM file with the server\'s certificate chain: HTTPS instead of HTTP; read again when it changes'),
  TLS_KEY_FILE: location('PEM file with its private key'),
  TLS_CLIENT_CA_FILE: location('PEM file with the authorities whose client certificates are accepted'),
  TLS_CLIENT_CERT: oneOf('Whether every client must show one', 'optional', ['optional', 'required']),
  HTTP2: Type.Boolean({ description: 'HTTP/2 beside HTTP/1.1, with TLS', default: false }),
  CORS_ORIGINS: Type.Optional(Type.String({
    description: 'Origins (a comma list, as in `https://app.example`) whose web pages may call; `*` is any, and needs authentication', whenUnset: 'none'
  })),
  ALLOWED_HOSTS: Type.Optional(Type.String({
    description: 'Host names (a comma list) accepted in `Host` and `Origin` when authentication is off, besides loopback names and IP addresses; `*` accepts any',
    whenUnset: 'none'
  })),
  RECORD_HEADERS_ALLOWED: Type.String({
    description: 'Request headers (a comma list; `x-github-*` is any that begins so, `*` is any) that callers may have copied into records. Headers that may hold secrets (`Authorization`, cookies, API keys, tokens, signatures) never are',
    default: '*'
  }),
  WEBHOOK_SIGNATURES: Type.Optional(Type.String({
    description: 'Topics that take signed webhooks only, as JSON: see docs/webhooks.md', whenUnset: 'none', secret: true
  })),
  WEBHOOK_SIGNATURES_FILE: location('A file with the same JSON')
}

const kafka = {
  KAFKA_BOOTSTRAP_SERVERS: Type.Optional(Type.String({
    description: 'Brokers to begin with, a comma list of `host:port`',
    whenUnset: 'an embedded broker, in memory, for trying things out'
  })),
  KAFKA_CLUSTER_ID: Type.String({
    description: 'Id of the cluster in the routes of Confluent\'s REST API v3, which clients look up there; Kafka\'s own client does not tell it',
    default: 'sluice',
    pattern: '^[A-Za-z0-9._-]{1,128}$',
    wants: '1 to 128 of A-Z a-z 0-9 . _ -'
  }),
  KAFKA_CLIENT_ID: Type.String({
    description: 'Name under which the brokers log this process', default: 'sluice', pattern: printable, wants: printableWants
  }),
  KAFKA_SECURITY_PROTOCOL: Type.Enum(['plaintext', 'ssl', 'sasl_plaintext', 'sasl_ssl'], {
    description: 'How to talk to the brokers, in any case', default: 'plaintext', anyCase: true
  }),
  KAFKA_SASL_MECHANISM: Type.Optional(Type.Enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'], {
    description: 'How to log in; needed by `sasl_plaintext` and `sasl_ssl`', whenUnset: 'none'
  })),
  KAFKA_SASL_USERNAME: Type.Optional(Type.String({ description: 'User name', whenUnset: 'none', ...oneLine })),
  KAFKA_SASL_PASSWORD: Type.Optional(Type.String({ description: 'Password', whenUnset: 'none', secret: true, ...oneLine })),
  KAFKA_SSL_CA_LOCATION: location('PEM file (or directory of hashed certificates) that says whom to trust'),
  KAFKA_SSL_CERTIFICATE_LOCATION: location('PEM file with this client\'s certificate chain'),
  KAFKA_SSL_KEY_LOCATION: location('PEM file with this client\'s private key'),
  KAFKA_SSL_KEY_PASSWORD: Type.Optional(Type.String({
    description: 'Password of that key', whenUnset: 'none', secret: true, ...oneLine
  })),
  KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM: oneOf(
    '`https` compares the broker\'s name with its certificate', 'https', ['https', 'none']),
  KAFKA_PROPERTIES_FILE: location('A file that Kafka\'s own command line tools take with `--command-config`; the environment beats it')
}

const producer = {
  KAFKA_PRODUCE_TOPIC: Type.Optional(Type.String({
    description: 'Where `POST /api/kafka/send-message` sends',
    whenUnset: 'the first literal name in `KAFKA_TOPIC`',
    pattern: writtenTopicPattern,
    wants: writtenTopicWants
  })),
  KAFKA_LINGER_MS: Type.Number({
    description: 'How long a batch waits for more records; fractions are fine', default: 0.5, minimum: 0, maximum: 900_000
  }),
  KAFKA_COMPRESSION_TYPE: oneOf('Compression of batches', 'none', ['none', 'gzip', 'snappy', 'lz4', 'zstd']),
  KAFKA_MESSAGE_MAX_BYTES: Type.Integer({
    description: 'Largest record, with its overhead. The topic has a limit of its own', default: 1_000_000, minimum: 1000, maximum: 1_000_000_000
  }),
  KAFKA_QUEUE_MAX_RECORDS: Type.Integer({
    description: 'Records that wait for their acknowledgement; above it the answer is 503', default: 100_000, minimum: 1, maximum: 10_000_000
  }),
  KAFKA_QUEUE_MAX_BYTES: Type.Integer({
    description: 'Their bytes; above it the answer is 503', default: 67_108_864, minimum: 1000, maximum: 17_179_869_184
  }),
  KAFKA_DELIVERY_TIMEOUT_MS: milliseconds('How long the client goes on trying to deliver a record', 120_000, 1, INT32_MAX),
  KAFKA_ALLOW_AUTO_CREATE_TOPICS: Type.Boolean({
    description: 'Whether a record for an unknown topic may make the broker create it', default: false
  })
}

const transactions = {
  KAFKA_TRANSACTIONAL_ID_PREFIX: Type.Optional(Type.String({
    description: 'What the ids of this process\'s transactional producers begin with. With one of its own a process that was killed aborts, when it starts again, what it left open',
    whenUnset: 'a new one with each start, `sluice-<uuid>`',
    pattern: transactionalIdPattern,
    wants: '1 to 200 of A-Z a-z 0-9 . _ -'
  })),
  KAFKA_TRANSACTION_PRODUCERS: Type.Integer({
    description: 'Transactions that may be open at once. Each has a client of its own, made when it is first needed', default: 2, minimum: 1, maximum: 64
  }),
  KAFKA_TRANSACTION_MAX_WAITING: Type.Integer({
    description: 'Requests that may wait for one of them; above it the answer is 503', default: 100, minimum: 0, maximum: 100_000
  }),
  KAFKA_TRANSACTION_MAX_BYTES: Type.Integer({
    description: 'Bytes of all records of a transaction; above it the answer is 413', default: 8_388_608, minimum: 1000, maximum: 17_179_869_184
  }),
  KAFKA_TRANSACTION_TIMEOUT_MS: milliseconds(
    'After how long Kafka aborts a transaction whose process is gone. Until then readers with `read_committed` wait behind it', 15_000, 1000, 900_000)
}

const reader = {
  READ_CLIENTS: Type.Integer({
    description: 'Reads of stored records (`GET /topics/…`) that may be under way at once. Each has a client of its own, made when it is first needed',
    default: 2,
    minimum: 1,
    maximum: 64
  }),
  READ_MAX_WAITING: Type.Integer({
    description: 'Requests that may wait for one of them; above it the answer is 503', default: 50, minimum: 0, maximum: 100_000
  }),
  READ_MAX_BYTES: Type.Integer({
    description: 'Bytes of keys, values and headers in one answer. A single record that is larger comes truncated', default: 1_048_576, minimum: 1000, maximum: 104_857_600
  })
}

const consumer = {
  KAFKA_GROUP_ID: Type.Optional(Type.String({
    description: 'Consumer group',
    whenUnset: '`sluice` with the embedded broker, otherwise nothing is consumed',
    pattern: printable,
    wants: printableWants
  })),
  KAFKA_GROUP_INSTANCE_ID: Type.Optional(Type.String({
    description: 'Makes this process a static member: the group keeps its partitions for it while it restarts, until `KAFKA_SESSION_TIMEOUT_MS` have passed. Every process of the group needs one of its own',
    whenUnset: 'none',
    pattern: instanceIdPattern,
    wants: '1 to 249 of A-Z a-z 0-9 . _ -, not . or ..'
  })),
  KAFKA_TOPIC: Type.Optional(Type.String({
    description: 'Topics to consume, a comma list. `^` begins a pattern (a JavaScript expression without commas, matched from the start of the name; it finds neither dead-letter and retry topics nor Kafka\'s own)',
    whenUnset: '`sluice-demo` with the embedded broker, otherwise nothing is consumed',
    list: true
  })),
  KAFKA_AUTO_OFFSET_RESET: oneOf(
    'Where a group without a committed offset begins. `latest` skips what a new partition received before it was discovered; `none` stops',
    'earliest', ['earliest', 'latest', 'none']),
  KAFKA_ISOLATION_LEVEL: oneOf('Whether records of open and aborted transactions are read', 'read_committed', ['read_committed', 'read_uncommitted']),
  KAFKA_GROUP_PROTOCOL: oneOf('`consumer` is the protocol of KIP-848', 'classic', ['classic', 'consumer']),
  KAFKA_PARTITION_ASSIGNMENT_STRATEGY: oneOf(
    'How the classic protocol shares out partitions', 'cooperative-sticky', ['cooperative-sticky', 'range', 'roundrobin']),
  KAFKA_SESSION_TIMEOUT_MS: milliseconds('Silence after which the group gives a member up (classic protocol)', 45_000, 1000, 3_600_000),
  KAFKA_MAX_POLL_INTERVAL_MS: milliseconds('Longest time between two polls; at least `KAFKA_SESSION_TIMEOUT_MS`', 300_000, 1000),
  KAFKA_MAX_PROC_COUNT: Type.Integer({ description: 'Handlers in flight at once', default: 50, minimum: 1, maximum: 10_000 }),
  KAFKA_DELIVERY: oneOf(
    'How records are handled and what their handlers answer is written. `exactly-once` commits both in one transaction (docs/handlers.md)',
    'at-least-once', ['at-least-once', 'exactly-once']),
  KAFKA_EXACTLY_ONCE_INTERVAL_MS: milliseconds(
    'With `exactly-once`: how far transactions are apart. What was written is seen after that, at the latest, by readers with `read_committed`',
    100, 1, 60_000),
  KAFKA_CONCURRENCY: oneOf(
    '`adaptive` finds between `KAFKA_MIN_PROC_COUNT` and `KAFKA_MAX_PROC_COUNT` how many handlers in flight their target bears; `fixed` is always the latter',
    'fixed', ['fixed', 'adaptive']),
  KAFKA_MIN_PROC_COUNT: Type.Integer({
    description: 'Handlers in flight that an adaptive limit begins with, and never goes below; at most `KAFKA_MAX_PROC_COUNT`', default: 1, minimum: 1, maximum: 10_000
  }),
  KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: Type.Integer({
    description: 'Completed records after which offsets are committed', default: 100, minimum: 1, maximum: 1_000_000
  }),
  KAFKA_COMMIT_INTERVAL_SECONDS: Type.Number({
    description: 'Seconds after which they are committed anyway; fractions are fine', default: 30, minimum: 0.001, maximum: 3600
  }),
  KAFKA_ORDER: oneOf('What is handled in order: nothing, the records of a key, or all of a partition', 'key', ['unordered', 'key', 'partition']),
  KAFKA_WINDOW_MAX_RECORDS: Type.Integer({
    description: 'Records of one partition that may be admitted and not committed', default: 10_000, minimum: 1, maximum: 1_000_000
  }),
  KAFKA_WINDOW_MAX_BYTES: Type.Integer({
    description: 'Their bytes, as long as they are not completed', default: 16_777_216, minimum: 1, maximum: 1_073_741_824
  }),
  KAFKA_WINDOW_TOTAL_MAX_BYTES: Type.Integer({
    description: 'Bytes of all partitions together; at least `KAFKA_WINDOW_MAX_BYTES`', default: 268_435_456, minimum: 1, maximum: 68_719_476_736
  }),
  KAFKA_DIVERSION_MAX_PER_MINUTE: Type.Integer({
    description: 'Stuck records a minute that may be cancelled and dead-lettered because the window behind them is nearly full and nearly all done; 0: none. With `KAFKA_ORDER=unordered` or `KAFKA_RETRY_ORDER=loose`, and not with dead letters off',
    default: 10,
    minimum: 0,
    maximum: 10_000
  }),
  KAFKA_DRAIN_TIMEOUT_MS: milliseconds(
    'How long records in flight may take to finish on a shutdown or a rebalance; at most half of `KAFKA_MAX_POLL_INTERVAL_MS`, and less than `SHUTDOWN_TIMEOUT_MS`',
    20_000, 0, DAY_MS / 2),
  KAFKA_HANDLER: Type.String({
    description: '`log`, the path of a module whose default export handles a record, or the `http://` or `https://` URL that records are pushed to (docs/handlers.md)',
    default: 'log'
  }),
  KAFKA_HANDLER_BATCH_SIZE: Type.Integer({
    description: 'Records that the handler gets in one call, at most; above 1 it is called with an array of them, also for one record',
    default: 1,
    minimum: 1,
    maximum: 10_000
  }),
  KAFKA_HANDLER_BATCH_WAIT_MS: milliseconds('How long a batch that is not full waits for more; 0: it goes with what is there', 0, 0, 60_000),
  KAFKA_HANDLER_BATCH_BY: oneOf(
    'What the records of a batch have in common; `key` needs `KAFKA_ORDER=key`', 'partition', ['partition', 'key']),
  KAFKA_HANDLER_THREADS: Type.Integer({
    description: 'Worker threads that the module of `KAFKA_HANDLER` runs in, one record at a time in each: for work that keeps a processor busy. Then at most so many handlers are in flight at once; 0: the main thread',
    default: 0,
    minimum: 0,
    maximum: 256
  }),
  KAFKA_HANDLER_THREAD_HEAP_MB: Type.Optional(Type.Integer({
    description: 'Megabytes that the JavaScript heap of each thread may take; above it the thread ends, and its record is tried again in a new one',
    whenUnset: 'Node.js\'s own limit',
    minimum: 16,
    maximum: 65_536
  })),
  KAFKA_HANDLER_TIMEOUT_MS: milliseconds('How long one attempt may take', 60_000),
  KAFKA_HANDLER_GRACE_MS: milliseconds('How long a handler may take to stop once its signal is aborted', 5000, 0, 3_600_000),
  KAFKA_MAX_ABANDONED: Type.Integer({
    description: 'Handlers that did not stop, at which nothing new is started', default: 10, minimum: 1, maximum: 10_000
  }),
  KAFKA_STALL_TIMEOUT_MS: milliseconds(
    'How long the consumer\'s loop may stand still, or a partition whose lag grows, before `/healthz` says that it has stalled', 60_000, 1000),
  KAFKA_RETRY_MAX_ATTEMPTS: Type.Integer({ description: 'Attempts altogether; 1 tries nothing again', default: 5, minimum: 1, maximum: 1000 }),
  KAFKA_RETRY_BACKOFF_MS: milliseconds('Wait before the second attempt; it doubles from there, with jitter', 200, 0, 3_600_000),
  KAFKA_RETRY_BACKOFF_MAX_MS: milliseconds('Longest such wait; at least `KAFKA_RETRY_BACKOFF_MS`', 30_000, 0, 3_600_000),
  KAFKA_RETRY_TOPIC: Type.Optional(Type.String({
    description: 'Topic of this group\'s own through which records go that wait long for their next attempt, so that they do not hold up their partition',
    whenUnset: 'none: they wait in place',
    pattern: writtenTopicPattern,
    wants: writtenTopicWants
  })),
  KAFKA_RETRY_TOPIC_AFTER_MS: milliseconds('Waits of at least this go through `KAFKA_RETRY_TOPIC`', 10_000),
  KAFKA_RETRY_ORDER: oneOf(
    '`strict` keeps `KAFKA_ORDER` through retries; `loose` promises the order of first attempts only, and allows retry topics and diversion',
    'strict', ['strict', 'loose']),
  KAFKA_BREAKER_FAILURE_SHARE: Type.Number({
    description: 'Share of the last records that failed with errors worth a retry, at which handling pauses and one record is tried from time to time; 0: never',
    default: 0.8,
    minimum: 0,
    maximum: 1
  }),
  KAFKA_BREAKER_RECORDS: Type.Integer({ description: 'How many different records that looks at', default: 20, minimum: 2, maximum: 1000 }),
  KAFKA_BREAKER_PROBE_MS: milliseconds('Wait before the first such try; it doubles, up to 30 s', 1000),
  KAFKA_DEAD_LETTER_TOPIC: Type.Optional(Type.String({
    description: 'Where a record goes that used up its attempts: one topic for all, or `off`',
    whenUnset: '`<topic>.dlq`',
    pattern: writtenTopicPattern,
    wants: `off, or a topic: ${writtenTopicWants}`
  })),
  KAFKA_DEAD_LETTER_OFF_ACTION: oneOf(
    'Without a dead-letter topic: `block` holds the record\'s key back, `skip` passes the record over, which loses it', 'block', ['block', 'skip'])
}

const push = {
  KAFKA_PUSH_MODE: oneOf(
    'How a record becomes a CloudEvent: `binary` (attributes as headers, the value as the body), `structured` (all of it as JSON), or `batched` (an array of such)',
    'binary', ['binary', 'structured', 'batched']),
  KAFKA_PUSH_CONTENT_TYPE: Type.String({
    description: 'Content type of values whose record has no header `content-type`',
    default: 'application/json',
    pattern: '^[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}( ?; ?[\\x20-\\x7e]{1,200})?$',
    wants: 'a media type such as application/json'
  }),
  KAFKA_PUSH_HEADERS: Type.Optional(Type.String({
    description: 'Record headers (a comma list; `x-*` is any that begins so) that become headers of the request. Those that may hold secrets never do',
    whenUnset: 'none',
    list: true
  })),
  KAFKA_PUSH_AUTHORIZATION: Type.Optional(Type.String({
    description: 'What each push has as its `Authorization`, as in `Bearer …`', whenUnset: 'none', secret: true, pattern: '^[\\x21-\\x7e]([\\x20-\\x7e]*[\\x21-\\x7e])?$', wants: 'visible ASCII on one line'
  })),
  KAFKA_PUSH_SECRET: Type.Optional(Type.String({
    description: 'What bodies are signed with (Standard Webhooks): `whsec_` and base64 of at least 24 bytes; two with a comma while they are being changed', whenUnset: 'none: they are not signed', secret: true
  })),
  KAFKA_PUSH_CA_FILE: location('PEM file with the authorities that the target\'s certificate must come from, instead of those that Node.js knows'),
  KAFKA_PUSH_CONNECT_TIMEOUT_MS: milliseconds('How long connecting to the target may take; the whole attempt has `KAFKA_HANDLER_TIMEOUT_MS`', 5000, 1, 600_000)
}

const severalConsumers = {
  KAFKA_CONSUMERS_FILE: location('YAML or JSON file that declares several consumers (docs/consumers.md). What the variables of the headings below say ' +
    'are its defaults then, but for `KAFKA_GROUP_ID` and `KAFKA_TOPIC`, which must not be set beside it')
}

/**
 * Every variable, in the order and under the headings of docs/configuration.md. What is not `processWide` is a consumer's, and
 * thereby a member of each consumer in KAFKA_CONSUMERS_FILE.
 */
export const environmentGroups = [
  { title: 'Server', variables: server, processWide: true },
  { title: 'Kafka', variables: kafka, processWide: true },
  { title: 'Producer', variables: producer, processWide: true },
  { title: 'Transactions', variables: transactions, processWide: true },
  { title: 'Looking at stored records', variables: reader, processWide: true },
  { title: 'Several consumers', variables: severalConsumers, processWide: true },
  { title: 'Consumer', variables: consumer },
  { title: 'HTTP push', variables: push }
] as const

const allVariables = { ...server, ...kafka, ...producer, ...transactions, ...reader, ...severalConsumers, ...consumer, ...push }

export const environmentSchema = Type.Object(allVariables, { additionalProperties: false })

/** The variables once they are checked: numbers are numbers, and whatever has a default is there. */
export type Environment = Type.Static<typeof environmentSchema>
export type Variable = keyof Environment

/** One variable's schema, as the loader and the table read it. */
export interface VariableSchema {
  readonly type?: 'string' | 'integer' | 'number' | 'boolean'
  readonly description: string
  readonly default?: string | number | boolean
  readonly minimum?: number
  readonly maximum?: number
  readonly enum?: readonly string[]
  readonly pattern?: string
  readonly wants?: string
  readonly whenUnset?: string
  readonly secret?: boolean
  readonly anyCase?: boolean
  readonly list?: boolean
}

/** By name; a null prototype, so that `KAFKA_…` names are all it knows. */
export const variableSchemas: Readonly<Record<string, VariableSchema>> =
  Object.assign(Object.create(null), environmentSchema.properties)
