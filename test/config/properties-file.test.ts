import { resolve } from 'node:path'
import t, { type Test } from 'tap'
import { ConfigError, loadConfig } from '../../src/config.js'

const env = { KAFKA_BOOTSTRAP_SERVERS: 'k:9092', KAFKA_PROPERTIES_FILE: 'client.properties' }
const consumerEnv = { ...env, KAFKA_GROUP_ID: 'g', KAFKA_TOPIC: 'a' }

function load (t: Test, properties: string, more: NodeJS.ProcessEnv = env, files: Record<string, string> = {}) {
  const cwd = t.testdir({ 'client.properties': properties, ...files })
  return { cwd, ...loadConfig(more, { cwd }) }
}

function refusal (t: Test, properties: string, more: NodeJS.ProcessEnv = env, files: Record<string, string> = {}): string {
  try {
    load(t, properties, more, files)
  } catch (error) {
    if (error instanceof ConfigError && !error.message.includes('\n')) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

t.test('the environment beats the file, and the file beats the defaults', async t => {
  const { config, warnings } = load(t, 'linger.ms=7\nclient.id=from-file\ncompression.type=zstd\n',
    { ...env, KAFKA_CLIENT_ID: 'from-env', KAFKA_COMPRESSION_TYPE: '' })
  t.equal(config.producer.lingerMs, 7)
  t.equal(config.kafka.client['client.id'], 'from-env')
  t.equal(config.producer.compression, 'zstd', 'an empty variable does not hide the file')
  t.equal(config.producer.messageMaxBytes, 1_000_000)
  t.same(warnings, [])
})

t.test('Java\'s syntax is read: comments, separators, continued lines and escapes', async t => {
  const { config } = load(t, String.raw`# comment
! comment as well
linger.ms : 7
client.id\
  = caf\u00e9
compression.type zstd
  client.rack=a\
     b\tc
`)
  t.equal(config.producer.lingerMs, 7)
  t.equal(config.producer.compression, 'zstd')
  t.equal(config.kafka.client['client.id'], 'café')
  t.equal(config.kafka.client['client.rack'], 'ab\tc')
})

t.test('the file is ISO 8859-1, as for Java', async t => {
  const { config } = load(t, 'client.rack=é\n')
  t.equal(config.kafka.client['client.rack'], 'Ã©', 'the two bytes of UTF-8, just as Java\'s tools take them')
})

t.test('a command-config for SASL works as it is', async t => {
  const { config, warnings } = load(t, `security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\
  username="alice" \\
  password="alice-secret";
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
ssl.endpoint.identification.algorithm=
`, env, { 'ca.pem': '' })
  t.same(config.kafka.client, {
    'bootstrap.servers': 'k:9092',
    'client.id': 'sluice',
    'security.protocol': 'sasl_ssl',
    'sasl.mechanism': 'SCRAM-SHA-512',
    'sasl.username': 'alice',
    'sasl.password': 'alice-secret',
    'ssl.ca.location': resolve(t.testdirName, 'ca.pem'),
    'ssl.endpoint.identification.algorithm': 'none'
  })
  t.same(warnings, [])
})

t.test('a file may name the cluster and the group', async t => {
  const { config } = load(t, 'bootstrap.servers=a:1,b:2\ngroup.id=g\nauto.offset.reset=none\nisolation.level=read_uncommitted\n',
    { KAFKA_PROPERTIES_FILE: 'client.properties', KAFKA_TOPIC: 'x' })
  t.equal(config.kafka.embedded, false)
  t.equal(config.kafka.client['bootstrap.servers'], 'a:1,b:2')
  t.match(config.consumers[0], { groupId: 'g', topics: ['x'], autoOffsetReset: 'error', isolationLevel: 'read_uncommitted' })
})

t.test('a file for a cluster that nobody names stops the start', async t => {
  t.equal(refusal(t, 'linger.ms=1\n', { KAFKA_PROPERTIES_FILE: 'client.properties' }),
    'KAFKA_BOOTSTRAP_SERVERS must be set where KAFKA_PROPERTIES_FILE is: the embedded broker has no use for it')
})

t.test('properties are passed on, typed, to the clients that take them', async t => {
  const { config } = load(t, `socket.keepalive.enable=true
client.rack=r1
batch.size=32768
max.in.flight.requests.per.connection=5
fetch.min.bytes=2
fetch.max.wait.ms=250
send.buffer.bytes=131072
`, consumerEnv)
  t.match(config.kafka.client, { 'socket.keepalive.enable': true, 'client.rack': 'r1', 'socket.send.buffer.bytes': 131_072 })
  t.same(config.producer.client, { 'batch.size': 32_768, 'max.in.flight.requests.per.connection': 5 })
  t.same(config.consumers[0]?.client, { 'fetch.min.bytes': 2, 'fetch.wait.max.ms': 250 })
})

t.test('a property\'s limits are kept, and the error names the file and the property', async t => {
  const cases: [string, string][] = [
    ['batch.size=0', "batch.size in client.properties must be between 1 and 2147483647, got '0'"],
    ['batch.size=2147483648', "batch.size in client.properties must be between 1 and 2147483647, got '2147483648'"],
    ['batch.size=many', "batch.size in client.properties must be between 1 and 2147483647, got 'many'"],
    ['max.in.flight=6', "max.in.flight in client.properties must be between 1 and 5, got '6'"],
    ['retries=0', "retries in client.properties must be between 1 and 2147483647, got '0'"],
    ['socket.keepalive.enable=yes', "socket.keepalive.enable in client.properties must be true or false, got 'yes'"],
    ['broker.address.family=v5', "broker.address.family in client.properties must be any, v4 or v6, got 'v5'"],
    ['linger.ms=900001', "linger.ms in client.properties must be between 0 and 900000 (fractions are fine), got '900001'"],
    ['queue.buffering.max.ms=x', "queue.buffering.max.ms in client.properties must be between 0 and 900000 (fractions are fine), got 'x'"],
    ['security.protocol=tls', "security.protocol in client.properties must be plaintext, ssl, sasl_plaintext or sasl_ssl, got 'tls'"],
    ['sasl.mechanism=GSSAPI', "sasl.mechanism in client.properties must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, got 'GSSAPI'"],
    ['message.max.bytes=70000000', "KAFKA_QUEUE_MAX_BYTES must be at least message.max.bytes in client.properties (70000000), got '67108864'"]
  ]
  for (const [line, sentence] of cases) t.equal(refusal(t, line), sentence)
  for (const line of ['batch.size=1', 'batch.size=2147483647', 'max.in.flight=5', 'retries=1']) t.doesNotThrow(() => load(t, line), line)
})

t.test('a variable that beats the file spares the file its limits', async t => {
  t.equal(load(t, 'linger.ms=-1', { ...env, KAFKA_LINGER_MS: '1' }).config.producer.lingerMs, 1)
})

t.test('an unknown property stops the start', async t => {
  t.equal(refusal(t, 'sasl.mechanim=PLAIN'), 'sasl.mechanim in client.properties is not a property that Sluice knows; did you mean sasl.mechanism?')
  t.equal(refusal(t, 'foo=bar'), 'foo in client.properties is not a property that Sluice knows')
  t.equal(refusal(t, 'dr_cb=true'), 'dr_cb in client.properties is not a property that Sluice knows')
  t.equal(refusal(t, 'test.mock.num.brokers=3'), 'test.mock.num.brokers in client.properties is not a property that Sluice knows')
})

t.test('limits that Sluice keeps are sent to their variables', async t => {
  t.equal(refusal(t, 'queue.buffering.max.kbytes=1'), 'queue.buffering.max.kbytes in client.properties is a limit that Sluice keeps: set KAFKA_QUEUE_MAX_BYTES instead')
  t.equal(refusal(t, 'queue.buffering.max.messages=1'), 'queue.buffering.max.messages in client.properties is a limit that Sluice keeps: set KAFKA_QUEUE_MAX_RECORDS instead')
})

t.test('what only Java knows is ignored with one warning that names it', async t => {
  const { warnings } = load(t, 'key.serializer=S\nmax.poll.records=5\nmetrics.sample.window.ms=1\nsasl.login.class=x\nbuffer.memory=\n')
  t.same(warnings, ['client.properties: key.serializer, max.poll.records, metrics.sample.window.ms, sasl.login.class have no effect in Sluice'])
  t.same(load(t, 'key.serializer=S').warnings, ['client.properties: key.serializer has no effect in Sluice'])
})

t.test('configuration providers are refused, since the values would be taken literally', async t => {
  t.equal(refusal(t, 'config.providers=file\n'),
    'config.providers in client.properties: configuration providers are Java\'s; write the value itself, or set the variable in the environment')
})

t.test('what the promises rest on stops the start unless the file says the same', async t => {
  for (const [line, reason] of [
    ['acks=1', 'acks is always all'],
    ['request.required.acks=0', 'acks is always all'],
    ['enable.idempotence=false', 'enable.idempotence is always true'],
    ['enable.auto.commit=true', 'enable.auto.commit is always false'],
    ['auto.commit.enable=true', 'enable.auto.commit is always false'],
    ['enable.auto.offset.store=true', 'enable.auto.offset.store is always false'],
    ['partitioner=consistent', 'partitioner is always murmur2_random'],
    ['partitioner.class=com.example.Mine', 'the partitioner is always Java\'s default'],
    ['transactional.id=t1', 'transactional.id is never taken from outside'],
    ['delivery.report.only.error=true', 'delivery.report.only.error is always false'],
    ['queuing.strategy=lifo', 'queuing.strategy is always fifo'],
    ['enable.partition.eof=false', 'enable.partition.eof is always true'],
    ['plugin.library.paths=evil', 'native libraries are never loaded'],
    ['ssl.engine.location=evil', 'native libraries are never loaded']
  ] as const) {
    const [property, value] = line.split('=')
    t.match(refusal(t, line), `${property} in client.properties cannot be '${value}': ${reason}`)
  }
  const { config } = load(t, `acks=all
enable.idempotence=true
enable.auto.commit=false
enable.auto.offset.store=false
partitioner=murmur2_random
queuing.strategy=fifo
`, consumerEnv)
  t.same(config.producer.client, {})
  t.same(config.consumers[0]?.client, {})
})

t.test('sasl.jaas.config is refused where it cannot be used', async t => {
  const say = (jaas: string) => refusal(t, `security.protocol=sasl_ssl\nsasl.mechanism=PLAIN\nsasl.jaas.config=${jaas}\n`)
  t.equal(say('nonsense hunter2'), 'sasl.jaas.config in client.properties must be one login module: org.apache.kafka.common.security.plain.PlainLoginModule required username="…" password="…";')
  t.equal(say('com.sun.security.auth.module.Krb5LoginModule required;'), "sasl.jaas.config in client.properties must name PlainLoginModule or ScramLoginModule, got 'Krb5LoginModule'")
  t.equal(say('a.PlainLoginModule required username="u";'), 'sasl.jaas.config in client.properties must have a username and a password')
  t.equal(say('a.PlainLoginModule required password="hunter2";'), 'sasl.jaas.config in client.properties must have a username and a password')
  t.equal(say('a.ScramLoginModule required username="u" password="hunter2" tokenauth="true";'), 'sasl.jaas.config in client.properties asks for a delegation token (tokenauth), which librdkafka cannot use')
})

t.test('PEM stores are translated, as files and in place', async t => {
  const files = { 'ca.pem': '', 'client.pem': '', 'client.p12': '' }
  const ssl = (properties: string) => {
    const { config, cwd, warnings } = load(t, `security.protocol=SSL\n${properties}`, env, files)
    const client: Record<string, unknown> = { ...config.kafka.client }
    for (const name of ['bootstrap.servers', 'client.id', 'security.protocol', 'ssl.endpoint.identification.algorithm']) delete client[name]
    return { client, cwd, warnings }
  }
  const inFiles = ssl('ssl.truststore.type=pem\nssl.truststore.location=ca.pem\nssl.keystore.type=PEM\nssl.keystore.location=client.pem\nssl.key.password=kp \nssl.keystore.password=x\n')
  t.same(inFiles.client, {
    'ssl.ca.location': resolve(inFiles.cwd, 'ca.pem'),
    'ssl.certificate.location': resolve(inFiles.cwd, 'client.pem'),
    'ssl.key.location': resolve(inFiles.cwd, 'client.pem'),
    'ssl.key.password': 'kp '
  })
  t.same(inFiles.warnings, ['client.properties: ssl.keystore.password has no effect in Sluice'])
  t.same(ssl('ssl.truststore.certificates=CA\nssl.keystore.type=PEM\nssl.keystore.key=KEY\\n\\\n  MORE\nssl.keystore.certificate.chain=CHAIN\n').client,
    { 'ssl.ca.pem': 'CA', 'ssl.key.pem': 'KEY\nMORE', 'ssl.certificate.pem': 'CHAIN' })
  const pkcs12 = ssl('ssl.keystore.type=PKCS12\nssl.keystore.location=client.p12\nssl.keystore.password=kp\n')
  t.same(pkcs12.client, { 'ssl.keystore.location': resolve(pkcs12.cwd, 'client.p12'), 'ssl.keystore.password': 'kp' })
})

t.test('a variable replaces the file\'s other way of giving the same thing', async t => {
  const { config } = load(t, `security.protocol=SSL
ssl.truststore.certificates=CA
ssl.keystore.type=PKCS12
ssl.keystore.location=nowhere.p12
ssl.keystore.password=kp
`, { ...env, KAFKA_SSL_CA_LOCATION: 'ca.pem', KAFKA_SSL_CERTIFICATE_LOCATION: 'c.pem', KAFKA_SSL_KEY_LOCATION: 'k.pem' },
  { 'ca.pem': '', 'c.pem': '', 'k.pem': '' })
  t.same(Object.keys(config.kafka.client).filter(name => name.startsWith('ssl.')).sort(),
    ['ssl.ca.location', 'ssl.certificate.location', 'ssl.endpoint.identification.algorithm', 'ssl.key.location'])
})

t.test('a store that librdkafka cannot read is refused with the way to convert it', async t => {
  const toPkcs12 = 'keytool -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12'
  t.equal(refusal(t, 'ssl.truststore.location=t.jks'), `ssl.truststore.location in client.properties is a JKS store, which librdkafka cannot read: ${toPkcs12}, then openssl pkcs12 -in STORE.p12 -nokeys -out ca.pem, and set ssl.truststore.type=PEM`)
  t.equal(refusal(t, 'ssl.truststore.type=PKCS12\nssl.truststore.location=t.p12'), 'ssl.truststore.location in client.properties is a PKCS12 store, which librdkafka cannot read: openssl pkcs12 -in STORE -nokeys -out ca.pem, and set ssl.truststore.type=PEM')
  t.equal(refusal(t, 'ssl.keystore.type=jks\nssl.keystore.location=k.jks'), `ssl.keystore.location in client.properties is a JKS store, which librdkafka cannot read: ${toPkcs12}, and set ssl.keystore.type=PKCS12`)
})

t.test('a key or a key store without its password stops the start', async t => {
  t.equal(refusal(t, 'security.protocol=SSL\nssl.keystore.type=PKCS12\nssl.keystore.location=k.p12'),
    'ssl.keystore.password in client.properties must be set where ssl.keystore.type is PKCS12')
  t.equal(refusal(t, 'security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.certificate.chain=CHAIN\n' +
    'ssl.keystore.key=-----BEGIN ENCRYPTED PRIVATE KEY-----\\nAAAA\\n-----END ENCRYPTED PRIVATE KEY-----'),
  'KAFKA_SSL_KEY_PASSWORD must be set: the key in ssl.key.pem in client.properties is encrypted')
})

t.test('a file that cannot be read or parsed stops the start', async t => {
  t.equal(refusal(t, '', { ...env, KAFKA_PROPERTIES_FILE: 'no.properties' }), "KAFKA_PROPERTIES_FILE must be a readable file, got 'no.properties' (ENOENT)")
  t.equal(refusal(t, '', { ...env, KAFKA_PROPERTIES_FILE: '.' }), "KAFKA_PROPERTIES_FILE must be a readable file, got '.' (EISDIR)")
  t.equal(refusal(t, 'sasl.password=hunter2\\u12\n'), 'client.properties has a malformed \\u escape: four hexadecimal digits must follow')
})

t.test('a certificate that is not verified is a warning', async t => {
  const { config, warnings } = load(t, 'security.protocol=ssl\nenable.ssl.certificate.verification=false')
  t.equal(config.kafka.client['enable.ssl.certificate.verification'], false)
  t.same(warnings, ['enable.ssl.certificate.verification in client.properties is false: anybody in between can pose as the cluster'])
})

t.test('a NUL, at which the client would cut a value, stops the start', async t => {
  t.equal(refusal(t, 'client.rack=a\\u0000b'), 'client.rack in client.properties must not hold a NUL character')
  t.equal(refusal(t, 'ssl.ca.location=a\\u0000b'), 'ssl.ca.location in client.properties must not hold a NUL character')
})

t.test('no client property is undefined', async t => {
  const { config } = load(t, 'client.rack=\nbatch.size=1\n', consumerEnv)
  for (const client of [config.kafka.client, config.producer.client, config.consumers[0]?.client ?? {}]) {
    for (const [name, value] of Object.entries(client)) t.ok(['string', 'number', 'boolean'].includes(typeof value), name)
  }
})
