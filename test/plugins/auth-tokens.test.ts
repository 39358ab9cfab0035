import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JWTPayload } from 'jose'
import t, { type Test } from 'tap'
import { accessApp, newKey } from '../support/access-app.js'

interface Issuer {
  readonly url: string
  readonly server: Server
  /** What is published; what it answers with otherwise. */
  keys: object[]
  answer: null | { status: number, body: string, location?: string }
  fetches: number
}

const rsa = await generateKeyPair('RS256', { extractable: true })
const ec = await generateKeyPair('ES256')
const stranger = await generateKeyPair('RS256')
const rsaKey = { ...await exportJWK(rsa.publicKey), kid: 'rsa', alg: 'RS256', use: 'sig' }
const ecKey = { ...await exportJWK(ec.publicKey), kid: 'ec', alg: 'ES256' }

async function issuer (t: Test): Promise<Issuer> {
  const made: Issuer = { url: '', server: null as unknown as Server, keys: [rsaKey, ecKey], answer: null, fetches: 0 }
  const server = createServer((_request, response) => {
    made.fetches++
    const { status, body, location } = made.answer ?? { status: 200, body: JSON.stringify({ keys: made.keys }) }
    response.writeHead(status, { 'content-type': 'application/json', ...(location !== undefined && { location }) }).end(body)
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return Object.assign(made, { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys` })
}

const env = ({ url }: Issuer, more: Record<string, string> = {}) => ({
  AUTH_JWT_JWKS_URL: url, AUTH_JWT_ISSUER: 'https://issuer.example', AUTH_JWT_AUDIENCE: 'sluice,other', ...more
})

const now = () => Math.floor(Date.now() / 1000)
const good = (): JWTPayload => ({ iss: 'https://issuer.example', aud: 'sluice', sub: 'alice', exp: now() + 300, scope: 'openid sluice:produce:orders-* sluice:operate' })

async function token (claims: JWTPayload = good(), { key = rsa.privateKey, kid = 'rsa', alg = 'RS256' }: { key?: CryptoKey | Uint8Array, kid?: string, alg?: string } = {}) {
  return await new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(key)
}

const produce = (topic: string, secret: string) =>
  ({ method: 'POST', url: `/topics/${topic}/records`, headers: { authorization: `Bearer ${secret}` }, payload: {} }) as const

t.test('a token of the issuer is let in, with the rights of its scopes, under a name that no rule can have', async t => {
  const { app } = await accessApp(t, env(await issuer(t)))
  const one = await token()
  t.match(await app.inject(produce('orders-1', one)), { statusCode: 200, body: '{"caller":"jwt:alice"}' })
  t.equal((await app.inject(produce('orders', one))).statusCode, 403)
  t.equal((await app.inject({ url: '/consumer', headers: { authorization: `Bearer ${one}` } })).statusCode, 200)
  t.equal((await app.inject({ url: '/topics/orders-1', headers: { authorization: `Bearer ${one}` } })).statusCode, 403)
  t.equal((await app.inject(produce('orders-1', await token(good(), { key: ec.privateKey, kid: 'ec', alg: 'ES256' })))).statusCode, 200)
  t.equal((await app.inject(produce('orders-1', await token({ ...good(), aud: ['x', 'other'] })))).statusCode, 200)
  const none = { ...good() }
  delete none['scope']
  t.equal((await app.inject(produce('orders-1', await token(none)))).statusCode, 403, 'without scopes it may nothing')
})

t.test('claims give the rules of principals that the file maps them to, lists and paths as well; the scope claim may be another', async t => {
  const principals = [
    { name: 'writers', tokens: [{ claim: 'realm.roles', value: 'writer' }], rules: [{ rights: ['produce'], topics: ['orders'] }] },
    { name: 'tenant', tokens: [{ claim: 'https://example.com/tenant', value: 'a b' }], rules: [{ rights: ['produce'], topics: ['tenant-*'] }] }
  ]
  const file = path.join(t.testdir({ 'rules.json': JSON.stringify({ principals }) }), 'rules.json')
  const { app } = await accessApp(t, env(await issuer(t), { AUTH_FILE: file, AUTH_JWT_SCOPE_CLAIM: 'scp', AUTH_JWT_NAME_CLAIM: 'client.id' }))
  const one = await token({ ...good(), client: { id: 'svc' }, realm: { roles: ['x', 'writer'] }, 'https://example.com/tenant': 'a b', scp: ['sluice:produce:s'] })
  for (const topic of ['orders', 'tenant-1', 's']) t.match(await app.inject(produce(topic, one)), { statusCode: 200, body: '{"caller":"jwt:svc"}' }, topic)
  t.equal((await app.inject(produce('orders-1', one))).statusCode, 403, 'scope is not the scope claim here')
  t.equal((await app.inject(produce('tenant-1', await token({ ...good(), client: { id: 'svc' }, 'https://example.com/tenant': 'a' })))).statusCode, 403)
  t.equal((await app.inject(produce('orders', await token(good())))).statusCode, 401, 'no name')
})

t.test('tokens that are not accepted: 401 with the reason, and nothing of what was expected', async t => {
  const { app, events, logged } = await accessApp(t, env(await issuer(t)))
  events.length = 0
  const spki = new TextEncoder().encode(await exportSPKI(rsa.publicKey))
  const [head, body, signature] = (await token()).split('.') as [string, string, string]
  const other = Buffer.from(JSON.stringify({ ...good(), sub: 'mallory' })).toString('base64url')
  const cases: [string, string, RegExp][] = [
    ['expired', await token({ ...good(), exp: now() - 31 }), /expired/],
    ['not yet', await token({ ...good(), nbf: now() + 100 }), /claim nbf/],
    ['no exp', await token({ ...good(), exp: undefined }), /claim exp is missing/],
    ['other issuer', await token({ ...good(), iss: 'https://evil.example' }), /claim iss/],
    ['other audience', await token({ ...good(), aud: 'sluice2' }), /claim aud/],
    ['no audience', await token({ ...good(), aud: undefined }), /claim aud is missing/],
    ['another key', await token(good(), { key: stranger.privateKey }), /signature/],
    ['an unknown key', await token(good(), { key: stranger.privateKey, kid: 'nobody' }), /no key/],
    ['HMAC with the public key', await token(good(), { key: spki, alg: 'HS256' }), /algorithm/],
    ['alg none', new UnsecuredJWT(good()).encode() + 'x', /algorithm|cannot be read/],
    ['another body', `${head}.${other}.${signature}`, /signature/],
    ['no JSON', `${head}.AAAA.${signature}`, /signature|cannot be read/],
    ['no head', `AAAA.${body}.${signature}`, /cannot be read/],
    ['no name', await token({ ...good(), sub: undefined }), /claim sub/],
    ['a name with a line break', await token({ ...good(), sub: 'a\nb' }), /claim sub/],
    ['a name too long', await token({ ...good(), sub: 'x'.repeat(257) }), /claim sub/]
  ]
  for (const [what, secret, why] of cases) {
    const res = await app.inject(produce('orders-1', secret))
    t.equal(res.statusCode, 401, what)
    const { code, detail } = res.json<{ code: string, detail: string }>()
    t.equal(code, 'SLUICE_UNAUTHENTICATED', what)
    t.match(detail, why, what)
    t.notMatch(detail, /issuer\.example|sluice,/, what)
    t.match(res.headers['www-authenticate'], [/error="invalid_token"/, /Basic/], what)
  }
  t.same(new Set(events.filter(event => !event.startsWith('keys'))), new Set(['bad-token']))
  for (const [what, secret] of cases) t.notOk(JSON.stringify(logged).includes(secret.split('.')[2]!) && secret.split('.')[2] !== 'x', `${what}: not in the log`)
  t.equal((await app.inject(produce('orders-1', await token({ ...good(), exp: now() - 20 })))).statusCode, 200, 'within the tolerance')
})

t.test('keys that cannot be fetched: 503 and no fetch for each token; once they can be, tokens are accepted', async t => {
  const from = await issuer(t)
  const { app, events } = await accessApp(t, env(from))
  for (const answer of [
    { status: 500, body: '' }, { status: 302, body: '', location: '/elsewhere' }, { status: 200, body: 'no JSON' }, { status: 200, body: '{"keys":5}' },
    { status: 200, body: JSON.stringify({ keys: [rsaKey], more: 'x'.repeat(300_000) }) }
  ]) {
    const fresh = await accessApp(t, env(from))
    from.answer = answer
    const before = from.fetches
    for (let i = 0; i < 5; i++) {
      const res = await fresh.app.inject(produce('orders-1', await token()))
      t.match(res.json(), { status: 503, code: 'SLUICE_AUTH_UNAVAILABLE' })
      t.equal(res.headers['retry-after'], '5')
    }
    t.equal(from.fetches - before, 1, `${answer.status} ${answer.body.slice(0, 10)}`)
  }
  from.answer = null
  events.length = 0
  const one = await token()
  t.equal((await app.inject(produce('orders-1', one))).statusCode, 200)
  const before = from.fetches
  from.answer = { status: 500, body: '' }
  t.equal((await app.inject(produce('orders-1', one))).statusCode, 200, 'keys are kept')
  t.equal((await app.inject(produce('orders-1', await token({ ...good(), sub: 'bob' })))).statusCode, 200)
  t.equal(from.fetches, before)
  t.same(events, ['keys fetched'])
})

t.test('keys and tokens beside one another; a token is no guess at a key', async t => {
  const key = newKey()
  const { app } = await accessApp(t, env(await issuer(t), { AUTH_KEYS: `shop:${key.digest}:produce:*` }))
  t.equal((await app.inject(produce('a', key.key))).body, '{"caller":"shop"}')
  for (let i = 0; i < 30; i++) t.equal((await app.inject(produce('a', await token({ ...good(), exp: now() - 100 - i })))).statusCode, 401)
  t.equal((await app.inject(produce('orders-1', await token()))).statusCode, 200)
})

t.test('a URL without encryption is refused, but for this machine', async t => {
  const start = async (AUTH_JWT_JWKS_URL: string) => await accessApp(t, { ...env(await issuer(t)), AUTH_JWT_JWKS_URL })
  for (const url of ['http://issuer.example/keys', 'ftp://issuer.example', 'issuer.example', 'https://user:marked-secret@issuer.example/', 'file:///etc/keys', 'http://127.0.0.1.evil.example/']) {
    await t.rejects(start(url), { name: 'ConfigError', message: /^AUTH_JWT_JWKS_URL must be an https URL/ }, url)
    await start(url).catch((error: Error) => t.notMatch(error.message, /marked-secret/))
  }
  await t.resolves(start('https://issuer.example/keys'))
  await t.resolves(start('http://[::1]:1/keys'))
  await t.rejects(accessApp(t, { AUTH_JWT_JWKS_URL: 'https://issuer.example/keys', AUTH_JWT_ISSUER: 'x' }), { message: /^AUTH_JWT_AUDIENCE must be set/ })
})
