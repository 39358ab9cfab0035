import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { CertificateAuthority, encryptedKey, noOpenssl, type Certificate } from '../support/certificates.js'
import { GatewayEndedError, startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noOwnKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { Ledger } from '../support/ledger.js'

t.setTimeout(180_000)
// Most of a gateway's start is waiting for others.
t.jobs = 4

const skip = noOwnKafka || noOpenssl
const secret = (): string => randomBytes(12).toString('hex')

/** A listener for each way to come in. The witness and the broker itself use the plain one beside them. */
const listeners = { TLS: 'SSL', MUTUAL: 'SSL', ELSEWHERE: 'SSL', LOGIN: 'SASL_SSL', SCRAM: 'SASL_PLAINTEXT' }
/** Who uses the plain listener or shows no certificate is anonymous. The others have the permissions that a test grants them. */
const superUsers = ['ANONYMOUS', 'CN=client', 'admin']
const password = secret()
const jaas = (module: string, options = '') => `org.apache.kafka.common.security.${module} required${options};`

type Options = Pick<GatewayOptions, 'env' | 'properties'>

let ca: CertificateAuthority
let client: Certificate
let kafka: Kafka

t.before(async () => {
  if (skip) return
  ca = new CertificateAuthority('Sluice test authority')
  client = ca.sign('client')
  const broker = ca.sign('broker', ['DNS:localhost', 'IP:127.0.0.1'])
  const elsewhere = ca.sign('elsewhere', ['DNS:kafka.example'])
  const users = ['admin', 'reader', 'writer', 'other'].map(user => ` user_${user}="${password}"`).join('')
  kafka = await startKafka({
    listeners,
    scram: ['SCRAM-SHA-256', 'SCRAM-SHA-512'].map(mechanism => `${mechanism}=[name=admin,password=${password}]`),
    properties: {
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.certificate.chain': broker.certificate,
      'ssl.keystore.key': broker.key,
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.certificates': ca.certificate,
      'listener.name.mutual.ssl.client.auth': 'required',
      'listener.name.elsewhere.ssl.keystore.certificate.chain': elsewhere.certificate,
      'listener.name.elsewhere.ssl.keystore.key': elsewhere.key,
      'listener.name.login.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-512',
      'listener.name.login.plain.sasl.jaas.config': jaas('plain.PlainLoginModule', users),
      'listener.name.login.scram-sha-512.sasl.jaas.config': jaas('scram.ScramLoginModule'),
      'listener.name.scram.sasl.enabled.mechanisms': 'SCRAM-SHA-256',
      'listener.name.scram.scram-sha-256.sasl.jaas.config': jaas('scram.ScramLoginModule'),
      // Otherwise every refused login costs the test this long.
      'connection.failed.authentication.delay.ms': 10,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': superUsers.map(user => `User:${user}`).join(';')
    }
  })
})

t.teardown(async () => {
  await kafka?.stop()
  ca?.remove()
})

interface Setting { gateway: Gateway, topic: string, group: string, ledger: Ledger }

/** A gateway that consumes what it produces, at one of the listeners. */
async function start (
  t: Test, listener: keyof typeof listeners, { env, properties }: Options, grant?: (topic: string, group: string) => Promise<void>
): Promise<Setting> {
  const topic = await kafka.createTopic(uniqueName('secure'))
  const group = uniqueName('secure')
  await grant?.(topic, group)
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await startGateway({
    kafka: kafka.listener(listener),
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
      LEDGER_FILE: ledger.file,
      LOG_LEVEL: 'trace',
      ...env
    },
    ...(properties && { properties })
  })
  t.teardown(() => gateway.kill())
  return { gateway, topic, group, ledger }
}

interface Answer { status: number, body: Record<string, unknown>, ms: number }

async function post (gateway: Gateway, topic: string, value: string): Promise<Answer> {
  const startedAt = performance.now()
  const response = await fetch(`${gateway.url}/topics/${topic}/records`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ value }), signal: AbortSignal.timeout(20_000)
  })
  return { status: response.status, body: await response.json() as Record<string, unknown>, ms: performance.now() - startedAt }
}

/** It produces, handles and commits; and nothing that it says holds one of the secrets. */
async function works (t: Test, listener: keyof typeof listeners, options: Options, secrets: readonly string[] = [password]): Promise<void> {
  const { gateway, topic, group, ledger } = await start(t, listener, options)
  await gateway.waitUntilReady()
  const value = uniqueName('value')
  const { status, body } = await post(gateway, topic, value)
  t.equal(status, 200, JSON.stringify(body))
  await waitFor('the record to be handled and committed', async () =>
    ledger.handled.size === 1 && await kafka.committedOffset(group, topic) === 1)
  t.strictSame((await kafka.readAll(topic)).map(record => String(record.value)), [value], 'the witness reads it')
  await saysNothingOf(t, gateway, secrets)
}

/** Readiness and a produced record say why it cannot connect: the one to the operator, the other to callers. */
async function refused (
  t: Test, listener: keyof typeof listeners, options: Options, reason: RegExp, detail: RegExp, secrets: readonly string[] = [password]
): Promise<Setting> {
  const setting = await start(t, listener, options)
  const { gateway, topic } = setting
  t.match(await gateway.waitForReason(new RegExp(`^the brokers cannot be reached: .*${reason.source}`)), reason)
  const { status, body, ms } = await post(gateway, topic, 'never')
  t.match({ status, body }, { status: 503, body: { code: 'SLUICE_BROKER_UNAVAILABLE', detail } })
  t.ok(ms < 3_000, `refused at once: ${ms} ms`)
  t.notMatch(JSON.stringify(body), /127\.0\.0\.1|SSL routines/, 'callers learn nothing of the inside')
  t.strictSame(await kafka.endOffsets(topic), [0])
  await saysNothingOf(t, gateway, secrets)
  return setting
}

async function saysNothingOf (t: Test, gateway: Gateway, secrets: readonly string[]): Promise<void> {
  const said = await Promise.all(['/metrics', '/readyz', '/consumer', '/healthz'].map(async route => await (await gateway.get(route)).text()))
  const everything = [...said, ...gateway.lines.map(line => JSON.stringify(line))].join('\n')
  t.ok(gateway.lines.length > 0)
  t.notOk(secrets.some(one => everything.includes(one)), 'no secret in the log, /metrics, /readyz or /consumer')
}

const ssl = (): Record<string, string> => ({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_CA_LOCATION: ca.certificateFile })
const sasl = (mechanism: string, username = 'admin', secret = password) =>
  ({ KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: secret })
const saslSsl = (mechanism: string, username?: string, secret?: string) =>
  ({ ...ssl(), KAFKA_SECURITY_PROTOCOL: 'sasl_ssl', ...sasl(mechanism, username, secret) })

// --- What works -------------------------------------------------------------------------------------------------------

t.test('TLS, with the authority in a file', { skip }, t => works(t, 'TLS', { env: ssl() }))

t.test('TLS with a client certificate', { skip }, t => works(t, 'MUTUAL', {
  env: { ...ssl(), KAFKA_SSL_CERTIFICATE_LOCATION: client.certificateFile, KAFKA_SSL_KEY_LOCATION: client.keyFile }
}))

t.test('TLS with a client certificate whose key is encrypted', { skip }, async t => {
  const passphrase = secret()
  await works(t, 'MUTUAL', {
    env: {
      ...ssl(),
      KAFKA_SSL_CERTIFICATE_LOCATION: client.certificateFile,
      KAFKA_SSL_KEY_LOCATION: ca.write('encrypted.key', encryptedKey(client, passphrase)),
      KAFKA_SSL_KEY_PASSWORD: passphrase
    }
  }, [passphrase])
})

t.test('SASL over TLS: PLAIN', { skip }, t => works(t, 'LOGIN', { env: saslSsl('PLAIN') }))

t.test('SASL over TLS: SCRAM-SHA-512, by KIP-848', { skip }, t =>
  works(t, 'LOGIN', { env: { ...saslSsl('SCRAM-SHA-512'), KAFKA_GROUP_PROTOCOL: 'consumer' } }))

t.test('SASL without TLS: SCRAM-SHA-256', { skip }, t =>
  works(t, 'SCRAM', { env: { KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext', ...sasl('SCRAM-SHA-256') } }))

// As Kafka's own command line tools take it.
t.test('Java\'s properties file: a JAAS login, the trust store as a PEM file', { skip }, t => works(t, 'LOGIN', {
  properties: {
    'security.protocol': 'SASL_SSL',
    'sasl.mechanism': 'SCRAM-SHA-512',
    'sasl.jaas.config': jaas('scram.ScramLoginModule', ` username="admin" \\\n  password="${password}"`),
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': ca.certificateFile
  }
}))

t.test('Java\'s properties file: PEM stores, the key encrypted and in one file with its certificate', { skip }, async t => {
  const passphrase = secret()
  await works(t, 'MUTUAL', {
    properties: {
      'security.protocol': 'SSL',
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.certificates': oneLine(ca.certificate),
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': ca.write('keystore.pem', encryptedKey(client, passphrase) + client.certificate),
      'ssl.key.password': passphrase
    }
  }, [passphrase])
})

t.test('Java\'s properties file: PEM in place, and an encrypted key', { skip }, async t => {
  const passphrase = secret()
  const key = encryptedKey(client, passphrase)
  await works(t, 'MUTUAL', {
    properties: {
      'security.protocol': 'SSL',
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.certificates': oneLine(ca.certificate),
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.certificate.chain': oneLine(client.certificate),
      'ssl.keystore.key': oneLine(key),
      'ssl.key.password': passphrase
    }
  }, [passphrase, key.split('\n')[1]!])
})

t.test('Java\'s properties file: a PKCS#12 key store', { skip }, async t => {
  const passphrase = secret()
  await works(t, 'MUTUAL', {
    properties: {
      'security.protocol': 'SSL',
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': ca.certificateFile,
      'ssl.keystore.type': 'PKCS12',
      'ssl.keystore.location': ca.keyStore(client, passphrase),
      'ssl.keystore.password': passphrase
    }
  }, [passphrase])
})

t.test('a broker whose certificate has another name is accepted where names are not compared', { skip }, t =>
  works(t, 'ELSEWHERE', { env: { ...ssl(), KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM: 'none' } }))

function oneLine (pem: string): string {
  return pem.replaceAll('\n', '\\n')
}

// --- What does not, and how that is told ------------------------------------------------------------------------------

for (const mechanism of ['PLAIN', 'SCRAM-SHA-512']) {
  t.test(`a wrong password: ${mechanism}`, { skip }, async t => {
    const wrong = secret()
    const { gateway } = await refused(t, 'LOGIN', { env: saslSsl(mechanism, 'admin', wrong), properties: { debug: 'security,broker' } },
      /SASL authentication error: Authentication failed/, /does not accept this gateway's credentials/, [wrong])
    if (mechanism !== 'PLAIN') return
    // It gives up only after 10 s.
    t.match(await gateway.waitForReason(/^the consumer cannot connect/), /cannot connect: sasl_ssl:\/\/\S+ SASL authentication error: Authentication failed/)
    await gateway.waitForLog('the consumer failed; making it anew')
    await saysNothingOf(t, gateway, [wrong])
  })
}

t.test('a mechanism that the listener does not offer', { skip }, async t => {
  const { gateway } = await refused(t, 'SCRAM', { env: { KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext', ...sasl('PLAIN') } },
    /Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-256/, /credentials/)
  await gateway.waitForLog(/the password crosses the network unencrypted/)
})

t.test('a broker certificate of an authority that is not trusted', { skip }, async t => {
  const other = new CertificateAuthority('another authority')
  t.teardown(() => other.remove())
  const options = { env: { ...ssl(), KAFKA_SSL_CA_LOCATION: other.certificateFile } }
  await refused(t, 'TLS', options, /certificate verify failed.*KAFKA_SSL_CA_LOCATION/, /the TLS connection to it fails/)
})

t.test('a broker certificate with another name', { skip }, t =>
  refused(t, 'ELSEWHERE', { env: ssl() }, /certificate verify failed.*is the certificate for this host name\?/, /the TLS connection to it fails/))

t.test('a login over TLS whose authority is not trusted fails for that, and not for its password', { skip }, t =>
  refused(t, 'LOGIN', { env: { ...saslSsl('PLAIN'), KAFKA_SSL_CA_LOCATION: '' } }, /certificate verify failed/, /the TLS connection to it fails/))

t.test('no client certificate where the broker wants one', { skip }, t =>
  refused(t, 'MUTUAL', { env: ssl() }, /the broker wants a certificate from this gateway \(KAFKA_SSL_CERTIFICATE_LOCATION\)/, /the TLS connection to it fails/))

t.test('plain text to a TLS listener', { skip }, t =>
  refused(t, 'TLS', {}, /connection closed by peer.*another KAFKA_SECURITY_PROTOCOL\?/, /the connection to it fails/))

t.test('no login at a listener that wants one', { skip }, t =>
  refused(t, 'SCRAM', {}, /connection closed by peer.*another KAFKA_SECURITY_PROTOCOL\?/, /the connection to it fails/))

t.test('TLS to a listener without it', { skip }, t =>
  refused(t, 'SCRAM', { env: ssl() }, /connecting to a PLAINTEXT broker listener\?/, /the TLS connection to it fails/))

t.test('an encrypted key without its password stops the start with one line', { skip }, async t => {
  const passphrase = secret()
  const env = {
    ...ssl(),
    KAFKA_SSL_CERTIFICATE_LOCATION: client.certificateFile,
    KAFKA_SSL_KEY_LOCATION: ca.write('locked.key', encryptedKey(client, passphrase))
  }
  const error = await startGateway({ kafka: kafka.listener('MUTUAL'), env }).catch((error: unknown) => error)
  t.type(error, GatewayEndedError)
  const { exit, output } = error as GatewayEndedError
  t.equal(exit.code, 1)
  t.equal(output, 'KAFKA_SSL_KEY_PASSWORD must be set: the key in KAFKA_SSL_KEY_LOCATION is encrypted')
})

// --- Permissions ------------------------------------------------------------------------------------------------------

t.test('a user that may write elsewhere, and read here: consuming works, producing is 403 at once', { skip }, async t => {
  const { gateway, topic, group, ledger } = await start(t, 'LOGIN', { env: saslSsl('PLAIN', 'other') }, async (topic, group) => {
    await kafka.allow('other', 'READ', 'TOPIC', topic)
    await kafka.allow('other', 'READ', 'GROUP', group)
    await kafka.allow('other', 'WRITE', 'TOPIC', await kafka.createTopic(uniqueName('elsewhere')))
  })
  await gateway.waitUntilReady()
  await kafka.produce(topic, [{ value: 'by another one' }])
  await waitFor('the record to be handled and committed', async () =>
    ledger.handled.size === 1 && await kafka.committedOffset(group, topic) === 1)
  const { status, body, ms } = await post(gateway, topic, 'never')
  t.match({ status, body }, { status: 403, body: { code: 'SLUICE_NOT_AUTHORIZED', detail: new RegExp(`not let this gateway write to the topic ${topic}`) } })
  t.ok(ms < 3_000, `${ms} ms`)
  t.equal((await gateway.readiness()).status, 200)
})

t.test('a user that may write to nothing: consuming works, producing is 403 until the permission is granted', { skip }, async t => {
  const { gateway, topic, group, ledger } = await start(t, 'LOGIN', { env: saslSsl('PLAIN', 'reader') }, async (topic, group) => {
    await kafka.allow('reader', 'READ', 'TOPIC', topic)
    await kafka.allow('reader', 'READ', 'GROUP', group)
  })
  await gateway.waitUntilReady()
  await kafka.produce(topic, [{ value: 'by another one' }])
  await waitFor('the record to be handled and committed', async () =>
    ledger.handled.size === 1 && await kafka.committedOffset(group, topic) === 1)
  // Long enough for several clients, each of which is denied its producer id.
  const until = performance.now() + 5_000
  let answers = 0
  while (performance.now() < until) {
    const { status, body, ms } = await post(gateway, topic, 'never')
    answers++
    await delay(20)
    if (status !== 403 || body['code'] !== 'SLUICE_NOT_AUTHORIZED' || ms > 3_000) t.fail(`${status} after ${ms} ms: ${JSON.stringify(body)}`)
  }
  t.ok(answers > 10)
  t.match((await gateway.readiness()).reasons, ['the brokers cannot be reached: this user may write to no topic, and is not given a producer id'])
  await kafka.allow('reader', 'WRITE', 'TOPIC', topic)
  await waitFor('a record to be written', async () => (await post(gateway, topic, 'at last')).status === 200)
  t.strictSame((await kafka.readAll(topic)).map(({ value }) => String(value)), ['by another one', 'at last'], 'nothing that was refused is written')
  await gateway.waitUntilReady()
})

t.test('a user that may not read the topic, or not join the group: readiness says which; producing goes on', { skip }, async t => {
  const env = saslSsl('PLAIN', 'writer')
  const [noTopic, noGroup] = await Promise.all([
    start(t, 'LOGIN', { env }, async (topic, group) => {
      await kafka.allow('writer', 'WRITE', 'TOPIC', topic)
      await kafka.allow('writer', 'READ', 'GROUP', group)
    }),
    start(t, 'LOGIN', { env }, async topic => {
      await kafka.allow('writer', 'WRITE', 'TOPIC', topic)
      await kafka.allow('writer', 'READ', 'TOPIC', topic)
    })
  ])
  t.match(await noTopic.gateway.waitForReason(/may not/), /^this user may not read a topic of KAFKA_TOPIC/)
  t.match(await noGroup.gateway.waitForReason(/may not/), /^this user may not join the group KAFKA_GROUP_ID/)
  t.equal((await post(noTopic.gateway, noTopic.topic, 'a')).status, 200)
  t.equal((await post(noGroup.gateway, noGroup.topic, 'a')).status, 200)

  await kafka.allow('writer', 'READ', 'TOPIC', noTopic.topic)
  await kafka.allow('writer', 'READ', 'GROUP', noGroup.group)
  for (const { ledger } of [noTopic, noGroup]) {
    await waitFor('the record to be handled once it may be', () => ledger.handled.size === 1, { timeoutMs: 40_000 })
  }
  await Promise.all([noTopic.gateway.waitUntilReady(), noGroup.gateway.waitUntilReady()])
})
