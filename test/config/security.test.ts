import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { ConfigError, loadConfig } from '../../src/config.js'

const cluster = { KAFKA_BOOTSTRAP_SERVERS: 'k:9092' }
const login = { KAFKA_SASL_MECHANISM: 'PLAIN', KAFKA_SASL_USERNAME: 'alice', KAFKA_SASL_PASSWORD: 'alice-secret' }
const cwd = t.testdir({ 'ca.pem': '', 'cert.pem': '', 'key.pem': '', directory: {} })

function client (env: NodeJS.ProcessEnv) {
  return loadConfig({ ...cluster, ...env }, { cwd }).config.kafka.client
}

function refusal (env: NodeJS.ProcessEnv): string {
  try {
    client(env)
  } catch (error) {
    if (error instanceof ConfigError && !error.message.includes('\n')) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

t.test('the variables become librdkafka\'s properties', async t => {
  t.same(client({
    KAFKA_SECURITY_PROTOCOL: 'Sasl_SSL',
    ...login,
    KAFKA_SSL_CA_LOCATION: 'ca.pem',
    KAFKA_SSL_CERTIFICATE_LOCATION: 'cert.pem',
    KAFKA_SSL_KEY_LOCATION: 'key.pem',
    KAFKA_SSL_KEY_PASSWORD: 'key-secret'
  }), {
    'bootstrap.servers': 'k:9092',
    'client.id': 'sluice',
    'security.protocol': 'sasl_ssl',
    'sasl.mechanism': 'PLAIN',
    'sasl.username': 'alice',
    'sasl.password': 'alice-secret',
    'ssl.ca.location': resolve(cwd, 'ca.pem'),
    'ssl.certificate.location': resolve(cwd, 'cert.pem'),
    'ssl.key.location': resolve(cwd, 'key.pem'),
    'ssl.key.password': 'key-secret',
    'ssl.endpoint.identification.algorithm': 'https'
  })
})

t.test('encryption needs nothing else, and names are compared unless told otherwise', async t => {
  t.match(client({ KAFKA_SECURITY_PROTOCOL: 'ssl' }), { 'security.protocol': 'ssl', 'ssl.endpoint.identification.algorithm': 'https' })
  t.equal(client({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM: 'none' })['ssl.endpoint.identification.algorithm'], 'none')
})

t.test('a login that misses something names what it misses', async t => {
  t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'sasl_ssl' }),
    'KAFKA_SASL_MECHANISM and KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD must be set where KAFKA_SECURITY_PROTOCOL is sasl_ssl')
  for (const variable of Object.keys(login)) {
    t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext', ...login, [variable]: '' }),
      `${variable} must be set where KAFKA_SECURITY_PROTOCOL is sasl_plaintext`)
  }
})

t.test('a login that the protocol would not use stops the start', async t => {
  for (const protocol of ['plaintext', 'ssl', '']) {
    for (const [variable, value] of Object.entries(login)) {
      t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: protocol, [variable]: value }),
        `KAFKA_SECURITY_PROTOCOL must be sasl_ssl (or sasl_plaintext) where ${variable} is set, got '${protocol || 'plaintext'}'`)
    }
  }
})

t.test('certificates that the protocol would not use stop the start', async t => {
  for (const [variable, value] of Object.entries({
    KAFKA_SSL_CA_LOCATION: 'ca.pem',
    KAFKA_SSL_CERTIFICATE_LOCATION: 'cert.pem',
    KAFKA_SSL_KEY_LOCATION: 'key.pem',
    KAFKA_SSL_KEY_PASSWORD: 'key-secret'
  })) {
    t.equal(refusal({ [variable]: value }), `KAFKA_SECURITY_PROTOCOL must be ssl or sasl_ssl where ${variable} is set, got 'plaintext'`)
    t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext', ...login, [variable]: value }),
      `KAFKA_SECURITY_PROTOCOL must be ssl or sasl_ssl where ${variable} is set, got 'sasl_plaintext'`)
  }
})

t.test('a secret with a line break is refused without being shown', async t => {
  for (const variable of ['KAFKA_SASL_PASSWORD', 'KAFKA_SSL_KEY_PASSWORD']) {
    t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'sasl_ssl', ...login, [variable]: 'alice-secret\n' }),
      `${variable} must be text without line breaks, got a value that is not shown`)
  }
})

t.test('a certificate needs its key, and a key its certificate', async t => {
  t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_CERTIFICATE_LOCATION: 'cert.pem' }),
    'KAFKA_SSL_KEY_LOCATION must be set where KAFKA_SSL_CERTIFICATE_LOCATION is: a client certificate is a certificate and its key')
  t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_KEY_LOCATION: 'key.pem' }),
    'KAFKA_SSL_CERTIFICATE_LOCATION must be set where KAFKA_SSL_KEY_LOCATION is: a client certificate is a certificate and its key')
})

t.test('an encrypted key stops the start without its password, and with a wrong one', async t => {
  const env = { KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_CERTIFICATE_LOCATION: 'cert.pem', KAFKA_SSL_KEY_LOCATION: 'encrypted.pem' }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  for (const type of ['pkcs8', 'sec1'] as const) {
    writeFileSync(resolve(cwd, 'encrypted.pem'), privateKey.export({ type, format: 'pem', cipher: 'aes-256-cbc', passphrase: 'key-secret' }))
    t.equal(refusal(env), 'KAFKA_SSL_KEY_PASSWORD must be set: the key in KAFKA_SSL_KEY_LOCATION is encrypted')
    t.equal(client({ ...env, KAFKA_SSL_KEY_PASSWORD: 'key-secret' })['ssl.key.password'], 'key-secret')
  }
  // Now and then a wrong password leaves something that looks decrypted: that is left to Kafka's client.
  for (let i = 0, told = 0; told < 3; i++) {
    if (i > 20) throw new Error('wrong passwords are not told')
    const wrong = { ...env, KAFKA_SSL_KEY_PASSWORD: `wrong-secret-${i}` }
    try {
      client(wrong)
    } catch {
      told++
      t.equal(refusal(wrong), 'KAFKA_SSL_KEY_PASSWORD must be the password of the key in KAFKA_SSL_KEY_LOCATION, got a value that is not shown and does not open it')
    }
  }
})

t.test('files that are not there stop the start', async t => {
  for (const variable of ['KAFKA_SSL_CA_LOCATION', 'KAFKA_SSL_CERTIFICATE_LOCATION', 'KAFKA_SSL_KEY_LOCATION']) {
    t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'ssl', [variable]: 'no.pem' }), `${variable} must be a file, got 'no.pem', which does not exist`)
  }
  t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_KEY_LOCATION: 'directory' }), "KAFKA_SSL_KEY_LOCATION must be a file, got 'directory', which is none")
  t.equal(client({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_CA_LOCATION: 'directory' })['ssl.ca.location'], resolve(cwd, 'directory'))
  t.equal(client({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_CA_LOCATION: 'probe' })['ssl.ca.location'], 'probe')
})

t.test('a file that this process may not read stops the start', { skip: process.getuid?.() === 0 && 'root may read everything' }, async t => {
  const { chmodSync } = await import('node:fs')
  const dir = t.testdir({ 'key.pem': '' })
  chmodSync(resolve(dir, 'key.pem'), 0)
  t.equal(refusal({ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_KEY_LOCATION: resolve(dir, 'key.pem') }).includes('that this process may read'), true)
})

t.test('a password in the clear is a warning, a hashed or encrypted one is not', async t => {
  const warnings = (env: NodeJS.ProcessEnv) => loadConfig({ ...cluster, ...login, ...env }).warnings
  t.same(warnings({ KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext' }),
    ['KAFKA_SASL_MECHANISM is PLAIN over sasl_plaintext: the password crosses the network unencrypted'])
  t.same(warnings({ KAFKA_SECURITY_PROTOCOL: 'sasl_plaintext', KAFKA_SASL_MECHANISM: 'SCRAM-SHA-256' }), [])
  t.same(warnings({ KAFKA_SECURITY_PROTOCOL: 'sasl_ssl' }), [])
})

t.test('no secret is in any error or warning, whatever else is wrong', async t => {
  const SECRET = 'hunter2-hunter2'
  const secrets = { KAFKA_SASL_PASSWORD: SECRET, KAFKA_SSL_KEY_PASSWORD: SECRET, KAFKA_SASL_PASSWORT: SECRET }
  const file = (lines: string) => ({ KAFKA_PROPERTIES_FILE: resolve(t.testdir({ f: lines }), 'f') })
  const jaas = `sasl.jaas.config=a.PlainLoginModule required username="u" password="${SECRET}";\n`
  const said: string[] = []
  for (const env of [
    {}, login, { KAFKA_SECURITY_PROTOCOL: 'sasl_ssl' }, { KAFKA_SECURITY_PROTOCOL: 'ssl' }, { KAFKA_SECURITY_PROTOCOL: 'x' },
    { KAFKA_SECURITY_PROTOCOL: 'sasl_ssl', KAFKA_SASL_MECHANISM: 'x' }, { KAFKA_BOOTSTRAP_SERVERS: '' }, { KAFKA_BOOTSTRAP_SERVERS: `u:${SECRET}@k:1` },
    { KAFKA_SECURITY_PROTOCOL: 'sasl_ssl', KAFKA_SASL_MECHANISM: 'PLAIN', KAFKA_SASL_USERNAME: 'u' },
    file(jaas), file(jaas.replace(';', '')), file(jaas.replace('username="u"', '')), file(jaas.replace('Plain', 'Krb5')),
    file(jaas + 'unheard.of=1'), file(jaas + 'linger.ms=x'), file(`ssl.keystore.password=${SECRET}`), file(`ssl.key.pem=${SECRET}`),
    file(`ssl.truststore.password=${SECRET}\nssl.truststore.location=x`), file(`sasl.password=${SECRET}\\uXX`), file(`sasl.passwort=${SECRET}`), file(`sasl.password=${SECRET}\\n`),
    { KAFKA_SSL_KEY_PASSWORD: `${SECRET}\n` }
  ]) {
    for (const kept of [secrets, {}]) {
      try {
        said.push(...loadConfig({ ...cluster, ...kept, ...env }).warnings)
      } catch (error) {
        said.push(String((error as Error).stack))
      }
    }
  }
  t.ok(said.length > 30, String(said.length))
  for (const sentence of said) t.notMatch(sentence, SECRET)
})
