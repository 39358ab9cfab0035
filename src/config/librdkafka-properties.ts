// The properties of librdkafka 2.15 that a properties file may set and that are passed on as they are, after its
// CONFIGURATION.md (a test compares). Whatever has a variable of its own, is protected, or would do nothing here is
// in the other tables.

export interface PassedProperty {
  /** Which clients take it. */
  readonly side: 'all' | 'producer' | 'consumer'
  /** Least and greatest; `true` for true or false; the words; absent for any text. */
  readonly takes?: readonly [number, number] | true | readonly string[]
}

const INT32_MAX = 2_147_483_647

const all = (takes?: PassedProperty['takes']): PassedProperty => ({ side: 'all', takes })
const toProducer = (takes?: PassedProperty['takes']): PassedProperty => ({ side: 'producer', takes })
const toConsumer = (takes?: PassedProperty['takes']): PassedProperty => ({ side: 'consumer', takes })

export const passedProperties: ReadonlyMap<string, PassedProperty> = new Map(Object.entries({
  'message.copy.max.bytes': all([0, 1_000_000_000]),
  'receive.message.max.bytes': all([1000, INT32_MAX]),
  // librdkafka allows more, but not to an idempotent producer.
  'max.in.flight.requests.per.connection': toProducer([1, 5]),
  'max.in.flight': toProducer([1, 5]),
  'metadata.recovery.strategy': all(['none', 'rebootstrap']),
  'metadata.recovery.rebootstrap.trigger.ms': all([0, INT32_MAX]),
  'topic.metadata.refresh.interval.ms': all([-1, 3_600_000]),
  'metadata.max.age.ms': all([1, 86_400_000]),
  'topic.metadata.refresh.fast.interval.ms': all([1, 60_000]),
  'topic.metadata.refresh.sparse': all(true),
  'topic.metadata.propagation.max.ms': all([0, 3_600_000]),
  'topic.blacklist': all(),
  debug: all(),
  'socket.timeout.ms': all([10, 300_000]),
  'socket.send.buffer.bytes': all([0, 100_000_000]),
  'socket.receive.buffer.bytes': all([0, 100_000_000]),
  'socket.keepalive.enable': all(true),
  'socket.nagle.disable': all(true),
  'socket.max.fails': all([0, 1_000_000]),
  'broker.address.ttl': all([0, 86_400_000]),
  'broker.address.family': all(['any', 'v4', 'v6']),
  'socket.connection.setup.timeout.ms': all([1000, INT32_MAX]),
  'connections.max.idle.ms': all([0, INT32_MAX]),
  'reconnect.backoff.ms': all([0, 3_600_000]),
  'reconnect.backoff.max.ms': all([0, 3_600_000]),
  'retry.backoff.ms': all([1, 300_000]),
  'retry.backoff.max.ms': all([1, 300_000]),
  'statistics.interval.ms': all([0, 86_400_000]),
  log_level: all([0, 7]),
  'log.connection.close': all(true),
  'enable.random.seed': all(true),
  'api.version.request.timeout.ms': all([1, 300_000]),
  'client.dns.lookup': all(['use_all_dns_ips', 'resolve_canonical_bootstrap_servers_only']),
  'client.rack': all(),
  'enable.metrics.push': all(true),

  'ssl.cipher.suites': all(),
  'ssl.curves.list': all(),
  'ssl.sigalgs.list': all(),
  'ssl.key.pem': all(),
  'ssl.certificate.pem': all(),
  'ssl.ca.pem': all(),
  'ssl.ca.certificate.stores': all(),
  'ssl.crl.location': all(),
  'ssl.keystore.location': all(),
  'ssl.keystore.password': all(),
  'ssl.providers': all(),
  'enable.ssl.certificate.verification': all(true),

  'enable.gapless.guarantee': toProducer(true),
  'message.send.max.retries': toProducer([1, INT32_MAX]),
  retries: toProducer([1, INT32_MAX]),
  'queue.buffering.backpressure.threshold': toProducer([1, 1_000_000]),
  'batch.num.messages': toProducer([1, 1_000_000]),
  'batch.size': toProducer([1, INT32_MAX]),
  'sticky.partitioning.linger.ms': toProducer([0, 900_000]),
  'transaction.timeout.ms': toProducer([1000, INT32_MAX]),
  'request.timeout.ms': toProducer([1, 900_000]),
  'compression.level': toProducer([-1, 12]),

  'group.instance.id': toConsumer(),
  'group.remote.assignor': toConsumer(),
  'heartbeat.interval.ms': toConsumer([1, 3_600_000]),
  'coordinator.query.interval.ms': toConsumer([1, 3_600_000]),
  'queued.min.messages': toConsumer([1, 10_000_000]),
  'queued.max.messages.kbytes': toConsumer([1, 2_097_151]),
  'fetch.wait.max.ms': toConsumer([0, 300_000]),
  'fetch.queue.backoff.ms': toConsumer([0, 300_000]),
  'fetch.message.max.bytes': toConsumer([1, 1_000_000_000]),
  'max.partition.fetch.bytes': toConsumer([1, 1_000_000_000]),
  'fetch.max.bytes': toConsumer([0, 2_147_483_135]),
  'fetch.min.bytes': toConsumer([0, INT32_MAX]),
  'fetch.error.backoff.ms': toConsumer([0, 300_000]),
  'check.crcs': toConsumer(true)
}))

/** Properties, with their aliases and Java's names for them, that have a variable: the variable beats the file. */
export const variableOfProperty: ReadonlyMap<string, string> = new Map(Object.entries({
  'bootstrap.servers': 'KAFKA_BOOTSTRAP_SERVERS',
  'metadata.broker.list': 'KAFKA_BOOTSTRAP_SERVERS',
  'client.id': 'KAFKA_CLIENT_ID',
  'security.protocol': 'KAFKA_SECURITY_PROTOCOL',
  'sasl.mechanism': 'KAFKA_SASL_MECHANISM',
  'sasl.mechanisms': 'KAFKA_SASL_MECHANISM',
  'sasl.username': 'KAFKA_SASL_USERNAME',
  'sasl.password': 'KAFKA_SASL_PASSWORD',
  'ssl.ca.location': 'KAFKA_SSL_CA_LOCATION',
  'ssl.certificate.location': 'KAFKA_SSL_CERTIFICATE_LOCATION',
  'ssl.key.location': 'KAFKA_SSL_KEY_LOCATION',
  'ssl.key.password': 'KAFKA_SSL_KEY_PASSWORD',
  'ssl.endpoint.identification.algorithm': 'KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM',
  'linger.ms': 'KAFKA_LINGER_MS',
  'queue.buffering.max.ms': 'KAFKA_LINGER_MS',
  'compression.type': 'KAFKA_COMPRESSION_TYPE',
  'compression.codec': 'KAFKA_COMPRESSION_TYPE',
  'message.max.bytes': 'KAFKA_MESSAGE_MAX_BYTES',
  'delivery.timeout.ms': 'KAFKA_DELIVERY_TIMEOUT_MS',
  'message.timeout.ms': 'KAFKA_DELIVERY_TIMEOUT_MS',
  'allow.auto.create.topics': 'KAFKA_ALLOW_AUTO_CREATE_TOPICS',
  'group.id': 'KAFKA_GROUP_ID',
  'group.protocol': 'KAFKA_GROUP_PROTOCOL',
  'auto.offset.reset': 'KAFKA_AUTO_OFFSET_RESET',
  'isolation.level': 'KAFKA_ISOLATION_LEVEL',
  'partition.assignment.strategy': 'KAFKA_PARTITION_ASSIGNMENT_STRATEGY',
  'session.timeout.ms': 'KAFKA_SESSION_TIMEOUT_MS',
  'max.poll.interval.ms': 'KAFKA_MAX_POLL_INTERVAL_MS'
}))

/** Java's names for properties that are passed on under another. */
export const javaAliases: ReadonlyMap<string, string> = new Map(Object.entries({
  'fetch.max.wait.ms': 'fetch.wait.max.ms',
  'send.buffer.bytes': 'socket.send.buffer.bytes',
  'receive.buffer.bytes': 'socket.receive.buffer.bytes'
}))

/** Properties that mean something to another client, or once did, and nothing here: they are ignored with a warning. */
const withoutEffect = new Set([
  // Java's clients and tools
  'key.serializer', 'value.serializer', 'key.deserializer', 'value.deserializer', 'interceptor.classes', 'metric.reporters',
  'buffer.memory', 'max.block.ms', 'max.request.size', 'max.poll.records', 'default.api.timeout.ms', 'exclude.internal.topics',
  'metadata.max.idle.ms', 'auto.include.jmx.reporter', 'socket.connection.setup.timeout.max.ms', 'security.providers', 'throw.on.fetch.stable.offset.unsupported',
  'bootstrap.controllers',
  'ssl.protocol', 'ssl.enabled.protocols', 'ssl.provider', 'ssl.keymanager.algorithm', 'ssl.trustmanager.algorithm',
  'ssl.secure.random.implementation', 'ssl.engine.factory.class', 'sasl.client.callback.handler.class',
  // librdkafka's own that concern logins which Sluice does not offer, or that the client sets itself
  'enable.sasl.oauthbearer.unsecure.jwt', 'https.ca.location', 'https.ca.pem', 'ssl.engine.id', 'builtin.features', 'enabled_events',
  'log.queue', 'log.thread.name', 'internal.termination.signal', 'group.protocol.type', 'auto.commit.interval.ms',
  'consume.callback.max.messages', 'share.acknowledgement.mode',
  // librdkafka's deprecated ones
  'topic.metadata.refresh.fast.cnt', 'socket.blocking.max.ms', 'reconnect.backoff.jitter.ms', 'api.version.request',
  'api.version.fallback.ms', 'broker.version.fallback', 'produce.offset.report', 'offset.store.path',
  'offset.store.sync.interval.ms', 'offset.store.method'
])
const prefixesWithoutEffect = ['metrics.', 'sasl.login.', 'sasl.kerberos.', 'sasl.oauthbearer.']

export function hasNoEffect (property: string): boolean {
  return withoutEffect.has(property) || prefixesWithoutEffect.some(prefix => property.startsWith(prefix))
}

/** Properties whose limit Sluice keeps itself, in its own unit. */
export const limitKeptBy: ReadonlyMap<string, string> = new Map(Object.entries({
  'queue.buffering.max.messages': 'KAFKA_QUEUE_MAX_RECORDS',
  'queue.buffering.max.kbytes': 'KAFKA_QUEUE_MAX_BYTES'
}))
