import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { request as plainRequest } from 'node:http'
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders, type SecureClientSessionOptions } from 'node:http2'
import { request, type RequestOptions } from 'node:https'
import { connect as connectTcp } from 'node:net'
import path from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { accessApp, newKey } from '../support/access-app.js'
import { CertificateAuthority, noOpenssl, type Certificate } from '../support/certificates.js'
import { until } from '../support/gateway-app.js'

const skip = noOpenssl === false ? {} : { skip: noOpenssl }
const key = newKey()
const authority = noOpenssl === false ? new CertificateAuthority('servers') : null!
const clients = noOpenssl === false ? new CertificateAuthority('clients') : null!
const strangers = noOpenssl === false ? new CertificateAuthority('strangers') : null!
const own = noOpenssl === false ? authority.sign('gateway', ['DNS:localhost', 'IP:127.0.0.1']) : null!
t.teardown(() => { for (const one of [authority, clients, strangers]) one?.remove() })

const rules = {
  principals: [
    { name: 'shop', keys: [key.digest], rules: [{ rights: ['produce', 'read'], topics: ['orders'] }] },
    { name: 'billing', certificates: [{ commonName: 'billing' }], rules: [{ rights: ['read'], topics: ['*'] }] },
    {
      name: 'mesh',
      certificates: [{ uri: 'spiffe://cluster/sa/orders' }, { dns: 'orders.internal' }],
      rules: [{ rights: ['read'], topics: ['*'] }]
    }
  ]
}

const tlsEnv = () => ({ TLS_CERT_FILE: own.certificateFile, TLS_KEY_FILE: own.keyFile })
const rulesFile = (t: Test) => path.join(t.testdir({ 'rules.json': JSON.stringify(rules) }), 'rules.json')
const withKey = { authorization: `Bearer ${key.key}` }

interface Answer { readonly status: number, readonly headers: IncomingHttpHeaders, readonly body: string }

function get (port: number, options: RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path: '/topics/orders', ca: authority.certificate, agent: false, ...options }, res => {
      let body = ''
      res.on('data', (chunk: Buffer) => { body += chunk.toString() })
      res.on('end', () => resolve({ status: res.statusCode!, headers: res.headers, body }))
    }).on('error', reject).end()
  })
}

const showing = ({ certificate, key }: Certificate) => ({ cert: certificate, key })

async function session (t: Test, port: number, options: SecureClientSessionOptions = {}): Promise<ClientHttp2Session> {
  const made = connectHttp2(`https://127.0.0.1:${port}`, { ca: authority.certificate, ...options })
  t.teardown(() => made.destroy())
  await once(made, 'connect')
  return made
}

function stream (session: ClientHttp2Session, headers: Record<string, string>, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const one = session.request(headers, { endStream: body === undefined })
    let answered: IncomingHttpHeaders = {}
    let text = ''
    one.on('response', headers => { answered = headers })
    one.on('data', (chunk: Buffer) => { text += chunk.toString() })
    one.on('end', () => resolve({ status: Number(answered[':status']), headers: answered, body: text })).on('error', reject)
    if (body !== undefined) one.end(body)
  })
}

t.test('over TLS keys, Host checks and refusals are as without', skip, async t => {
  const { listen } = await accessApp(t, { ...tlsEnv(), AUTH_FILE: rulesFile(t) })
  const port = await listen()
  t.match(await get(port, { headers: withKey }), { status: 200, body: '{"caller":"shop"}', headers: { 'x-content-type-options': 'nosniff' } })
  t.equal((await get(port)).status, 401)
  const off = await accessApp(t, tlsEnv())
  const offPort = await off.listen()
  t.equal((await get(offPort)).status, 200)
  t.equal((await get(offPort, { servername: 'localhost', headers: { host: 'evil.example' } })).status, 403)
})

t.test('what is no TLS, and what is no HTTP inside of TLS, is answered or cut, and the next caller is served', skip, async t => {
  for (const HTTP2 of ['false', 'true']) {
    const { listen } = await accessApp(t, { ...tlsEnv(), HTTP2 })
    const port = await listen()
    await t.rejects(new Promise((resolve, reject) => { plainRequest({ host: '127.0.0.1', port }, resolve).on('error', reject).end() }), 'plain HTTP')
    const noise = connectTcp(port, '127.0.0.1').resume()
    noise.on('error', () => {})
    noise.write('\x16\x03\x01\xff\xff nonsense nonsense nonsense')
    noise.end()
    await once(noise, 'close')
    const inside = connectTls({ host: '127.0.0.1', port, ca: authority.certificate, ALPNProtocols: ['http/1.1'] })
    await once(inside, 'secureConnect')
    let text = ''
    inside.on('data', (chunk: Buffer) => { text += chunk.toString() })
    inside.write('nonsense\r\n\r\n')
    await once(inside, 'close')
    t.match(text, /^HTTP\/1\.1 400 .*SLUICE_MALFORMED_HTTP/s, `HTTP2=${HTTP2}`)
    t.equal((await get(port)).status, 200)
  }
})

t.test('a client certificate is a principal by its name or its alternative names', skip, async t => {
  for (const HTTP2 of ['false', 'true']) {
    const env = { ...tlsEnv(), HTTP2, TLS_CLIENT_CA_FILE: clients.certificateFile, AUTH_FILE: rulesFile(t) }
    const { listen, events } = await accessApp(t, env)
    const port = await listen()
    events.length = 0
    const sent = async (certificate: Certificate, options: RequestOptions = {}) => await get(port, { ...showing(certificate), ...options })
    t.equal((await sent(clients.sign('billing'))).body, '{"caller":"billing"}')
    t.equal((await sent(clients.sign('x', ['URI:spiffe://cluster/sa/orders']))).body, '{"caller":"mesh"}')
    const both = clients.sign('x', ['DNS:orders.internal', 'URI:spiffe://cluster/sa/orders'])
    t.equal((await sent(both)).body, '{"caller":"mesh"}', 'both are of one principal')
    t.equal((await sent(clients.sign('billing'), { headers: withKey })).body, '{"caller":"shop"}', 'a key comes first')
    t.match((await sent(clients.sign('billing'), { path: '/healthz' })).body, /"caller":"billing"/, 'on a public route as well')
    t.match((await sent(clients.sign('x'), { path: '/healthz' })).body, /"caller":"nobody"/)
    t.same(events, [])
    for (const [certificate, reason] of [
      [clients.sign('x'), 'unknown-certificate'],
      [clients.sign('billing', ['DNS:orders.internal']), 'unknown-certificate'],
      [clients.sign('x', ['DNS:billing']), 'unknown-certificate'],
      [strangers.sign('billing'), 'missing']
    ] as const) {
      events.length = 0
      t.equal((await sent(certificate)).status, 401)
      t.same(events, [reason])
    }
    t.equal((await sent(clients.sign('billing'), { headers: { origin: 'https://evil.example' } })).status, 403, 'a browser would show it for any page')
    t.equal((await get(port, { headers: withKey })).status, 200, 'none is needed')
  }
})

t.test('TLS_CLIENT_CERT=required lets nobody in without one', skip, async t => {
  const { listen } = await accessApp(t, { ...tlsEnv(), TLS_CLIENT_CA_FILE: clients.certificateFile, TLS_CLIENT_CERT: 'required', AUTH_FILE: rulesFile(t) })
  const port = await listen()
  await t.rejects(get(port, { headers: withKey }))
  await t.rejects(get(port, showing(strangers.sign('billing'))))
  t.equal((await get(port, showing(clients.sign('billing')))).status, 200)
})

t.test('HTTP/2: keys, certificates, :authority in the place of Host, bodies, and HTTP/1.1 beside it', skip, async t => {
  const { listen } = await accessApp(t, { ...tlsEnv(), HTTP2: 'true', TLS_CLIENT_CA_FILE: clients.certificateFile, AUTH_FILE: rulesFile(t) })
  const port = await listen()
  const anonymous = await session(t, port)
  t.match(await stream(anonymous, { ':path': '/topics/orders', ...withKey }), { status: 200, body: '{"caller":"shop"}' })
  t.equal((await stream(anonymous, { ':path': '/topics/orders' })).status, 401)
  const post = { ':method': 'POST', ':path': '/topics/orders/records', 'content-type': 'application/json', ...withKey }
  t.match(await stream(anonymous, post, '{"value":1}'), { status: 200 })
  t.match(await stream(anonymous, post, '{'), { status: 400, headers: { 'content-type': /problem/ } })
  const known = await session(t, port, showing(clients.sign('billing')))
  t.match(await stream(known, { ':path': '/topics/orders' }), { status: 200, body: '{"caller":"billing"}' })
  t.equal((await get(port, { headers: withKey })).status, 200, 'HTTP/1.1')

  const off = await accessApp(t, { ...tlsEnv(), HTTP2: 'true' })
  const open = await session(t, await off.listen())
  t.equal((await stream(open, { ':path': '/topics/orders' })).status, 200)
  t.match(await stream(open, { ':path': '/topics/orders', ':authority': 'evil.example' }), { status: 403, body: /SLUICE_FORBIDDEN_HOST/ })
  t.equal((await stream(open, { ':path': '/topics/orders', origin: 'https://evil.example' })).status, 403)
  t.equal((await stream(open, { ':path': '/topics/orders', ':authority': 'localhost', origin: 'https://localhost' })).status, 200)
})

t.test('HTTP/2: a close lets a stream finish and ends idle sessions; one that does not finish is cut', skip, async t => {
  const { app, listen } = await (async () => {
    const made = await accessApp(t, { ...tlsEnv(), HTTP2: 'true' }, { requestsTimeoutMs: 60_000 })
    made.app.get('/slow', { config: { public: true } }, async () => {
      await new Promise<void>(resolve => { finish.push(resolve) })
      return 'done'
    })
    return made
  })()
  const finish: (() => void)[] = []
  const warnings: unknown[] = []
  const onWarning = (warning: Error) => warnings.push(warning.message)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const port = await listen()
  const busy = await session(t, port)
  const idle = await session(t, port)
  const idleGone = once(idle, 'close')
  const answer = stream(busy, { ':path': '/slow' })
  await until(() => finish.length === 1, 'the request')
  const closed = app.close()
  await idleGone
  finish[0]!()
  t.match(await answer, { status: 200, body: 'done' })
  await closed
  t.same(warnings, [], 'no header that HTTP/2 does not know')
})

t.test('HTTP/2: a stream that does not finish in time is cut', skip, async t => {
  const { app, listen } = await accessApp(t, { ...tlsEnv(), HTTP2: 'true' }, { requestsTimeoutMs: 100 })
  let reached = false
  app.get('/slow', { config: { public: true } }, async () => {
    reached = true
    await new Promise(() => {})
  })
  const port = await listen()
  const busy = await session(t, port)
  busy.on('error', () => {})
  const answer = stream(busy, { ':path': '/slow' }).catch(() => 'cut')
  const old = connectTls({ host: '127.0.0.1', port, ca: authority.certificate, ALPNProtocols: ['http/1.1'] }) as TLSSocket
  old.on('error', () => {}).resume()
  await once(old, 'secureConnect')
  old.write('POST /topics/orders/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{')
  await until(() => reached, 'the request')
  await app.close()
  await answer
  t.pass('closed')
})

t.test('a new certificate is taken from its files, and one without its key is not', skip, async t => {
  const directory = t.testdir({ 'cert.pem': own.certificate, 'key.pem': own.key })
  const [certFile, keyFile] = [path.join(directory, 'cert.pem'), path.join(directory, 'key.pem')]
  const { listen, logged } = await accessApp(t, { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile })
  const port = await listen()
  const name = async () => {
    const socket = connectTls({ host: '127.0.0.1', port, ca: authority.certificate })
    await once(socket, 'secureConnect')
    const { subject } = socket.getPeerCertificate()
    socket.destroy()
    return subject.CN
  }
  t.equal(await name(), 'gateway')
  const next = authority.sign('next', ['IP:127.0.0.1'])
  writeFileSync(certFile, next.certificate)
  await until(() => logged.some(({ reason }) => /is not the key/.test(String(reason))), 'the refusal')
  t.equal(await name(), 'gateway')
  writeFileSync(keyFile, next.key)
  await until(async () => await name() === 'next', 'the new certificate')
  writeFileSync(keyFile, 'marked-secret')
  await until(() => logged.some(({ reason }) => /private key/.test(String(reason))), 'the refusal')
  t.notMatch(JSON.stringify(logged), /marked-secret/)
})

t.test('files that cannot be used stop the start, in one line that does not show them', skip, async t => {
  const other = authority.sign('other')
  const junk = path.join(t.testdir({ junk: 'marked-secret' }), 'junk')
  for (const [env, message] of [
    [{ TLS_KEY_FILE: other.keyFile }, 'TLS_KEY_FILE is not the key of the first certificate in TLS_CERT_FILE'],
    [{ TLS_CERT_FILE: junk }, 'TLS_CERT_FILE must hold a certificate as PEM'],
    [{ TLS_KEY_FILE: junk }, 'TLS_KEY_FILE must hold a private key without a password as PEM'],
    [{ TLS_CLIENT_CA_FILE: junk, TLS_CLIENT_CERT: 'required' }, 'TLS_CLIENT_CA_FILE must hold a certificate as PEM'],
    [{ TLS_KEY_FILE: '' }, 'TLS_KEY_FILE must be set where TLS_CERT_FILE is'],
    [{ TLS_CERT_FILE: '', TLS_KEY_FILE: '', HTTP2: 'true' }, /^HTTP2 needs TLS_CERT_FILE/],
    [{ TLS_CLIENT_CA_FILE: own.certificateFile }, /^TLS_CLIENT_CA_FILE needs AUTH_FILE/]
  ] as const) await t.rejects(accessApp(t, { ...tlsEnv(), ...env }), { name: 'ConfigError', message })
})
