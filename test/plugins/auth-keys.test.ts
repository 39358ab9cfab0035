import { renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import auth from '../../plugins/auth.js'
import errors from '../../plugins/errors.js'
import { accessApp, newKey } from '../support/access-app.js'
import { until } from '../support/gateway-app.js'

const shop = newKey()
const reader = newKey()
const ops = newKey()

const rules = {
  principals: [
    { name: 'shop', keys: [shop.digest], rules: [{ rights: ['produce'], topics: ['orders', 'shop-*'] }] },
    { name: 'reader', keys: [reader.digest], rules: [{ rights: ['read'], topics: ['*'] }] },
    { name: 'ops', keys: [ops.digest], rules: [{ rights: ['operate'], topics: ['*'] }] }
  ]
}

function rulesFile (t: Test, written: unknown = rules): string {
  return path.join(t.testdir({ 'rules.json': JSON.stringify(written) }), 'rules.json')
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const basic = (user: string, key: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${key}`).toString('base64')}` })
const produce = (topic: string, headers: Record<string, string>) =>
  ({ method: 'POST', url: `/topics/${topic}/records`, headers, payload: {} }) as const

t.test('a key as Bearer, as the password of Basic with any name, or as X-API-Key', async t => {
  const { app } = await accessApp(t, { AUTH_FILE: rulesFile(t) })
  for (const headers of [
    bearer(shop.key), { authorization: `bearer   ${shop.key} ` }, basic('shop', shop.key), basic('', shop.key), basic('anything', shop.key),
    { 'x-api-key': shop.key }
  ]) t.match(await app.inject(produce('orders', headers)), { statusCode: 200, body: '{"caller":"shop"}' }, JSON.stringify(headers))
})

t.test('what is no key that is known is 401, with a challenge, and without saying what exists', async t => {
  const { app, events } = await accessApp(t, { AUTH_FILE: rulesFile(t) })
  const refused = async (headers: Record<string, string>, reason: string) => {
    events.length = 0
    for (const one of [produce('orders', headers), { url: '/nothing-here', headers }, { method: 'PUT', url: '/consumer', headers } as const]) {
      const res = await app.inject(one)
      t.match(res, { statusCode: 401, headers: { 'content-type': /^application\/problem\+json/ } }, JSON.stringify(one))
      t.match(res.json(), { code: 'SLUICE_UNAUTHENTICATED' })
      t.match(res.headers['www-authenticate'], [/^Bearer realm="sluice"/, /^Basic realm="sluice"/])
    }
    t.same(events, [reason, reason, reason])
  }
  await refused({}, 'missing')
  await refused(bearer(newKey().key), 'unknown-key')
  await refused(bearer(shop.digest), 'unknown-key')
  await refused({ 'x-api-key': '' }, 'unknown-key')
  for (const authorization of ['', 'Bearer', 'Bearer ', 'Basic', 'Basic !!', `Basic ${Buffer.from('no-colon').toString('base64')}`, 'Digest a=b']) {
    await refused({ authorization }, 'malformed')
  }
  await refused({ authorization: 'Digest a=b', 'x-api-key': shop.key }, 'malformed')
  t.equal((await app.inject({ url: '/nothing-here', headers: bearer(shop.key) })).statusCode, 404)
  t.equal((await app.inject({ method: 'PUT', url: '/consumer', headers: bearer(shop.key) })).statusCode, 405)
})

t.test('a short key is refused, even where somebody has put its digest into the rules', async t => {
  const { digestOf } = await import('../support/access-app.js')
  const [short, enough] = ['x'.repeat(31), 'x'.repeat(32)]
  const file = rulesFile(t, { principals: [{ name: 'a', keys: [digestOf(short), digestOf(enough)], rules: [{ rights: ['produce'], topics: ['*'] }] }] })
  const { app } = await accessApp(t, { AUTH_FILE: file })
  t.equal((await app.inject(produce('orders', bearer(short)))).statusCode, 401)
  t.equal((await app.inject(produce('orders', bearer(enough)))).statusCode, 200)
})

t.test('a right is for its topics, by the path and by the body', async t => {
  const { app, events } = await accessApp(t, { AUTH_FILE: rulesFile(t) })
  events.length = 0
  for (const topic of ['orders', 'shop-', 'shop-1']) t.equal((await app.inject(produce(topic, bearer(shop.key)))).statusCode, 200, topic)
  for (const topic of ['order', 'orders2', 'ORDERS', 'shop', 'my-shop-1', '*', 'orders%2Fx']) {
    const res = await app.inject(produce(topic, bearer(shop.key)))
    t.equal(res.statusCode, 403, topic)
    t.match(res.json(), { code: 'SLUICE_FORBIDDEN' })
  }
  t.same(events, Array(7).fill('right'))
  const transaction = (...topics: string[]) => app.inject({ method: 'POST', url: '/transactions', headers: bearer(shop.key), payload: { topics } })
  t.equal((await transaction('orders', 'shop-1')).statusCode, 200)
  t.equal((await transaction('orders', 'invoices')).statusCode, 403)
  t.equal(events.length, 8)
  t.equal((await app.inject({ method: 'POST', url: '/transactions', headers: bearer(reader.key), payload: { topics: [] } })).statusCode, 403)
  for (const [url, key, status] of [
    ['/topics/orders', reader, 200], ['/topics/orders', shop, 403], ['/consumer', ops, 200], ['/consumer', reader, 403], ['/metrics', ops, 200]
  ] as const) t.equal((await app.inject({ url, headers: bearer(key.key) })).statusCode, status, url)
})

t.test('a public route is open; with a key it knows who asks, and a wrong key is worth as much as none', async t => {
  const { app, events } = await accessApp(t, { AUTH_FILE: rulesFile(t) })
  const health = async (headers: Record<string, string>) => (await app.inject({ url: '/healthz', headers })).json<unknown>()
  t.same(await health({}), { details: false, caller: 'nobody' })
  t.same(await health(bearer(reader.key)), { details: false, caller: 'reader' })
  t.same(await health(bearer(ops.key)), { details: true, caller: 'ops' })
  t.same(await health(bearer(newKey().key)), { details: false, caller: 'nobody' })
  events.length = 0
  for (let i = 0; i < 30; i++) await health(bearer(newKey().key))
  t.equal((await app.inject(produce('orders', bearer(newKey().key)))).statusCode, 429, 'these were guesses, too')
})

t.test('AUTH_PUBLIC opens pages, and no more than it names', async t => {
  const file = rulesFile(t)
  const statuses = async (AUTH_PUBLIC: string) => {
    const { app } = await accessApp(t, { AUTH_FILE: file, AUTH_PUBLIC })
    return await Promise.all(['/metrics', '/docs/', '/consumer', '/topics/a'].map(async url => (await app.inject(url)).statusCode))
  }
  t.same(await statuses(''), [401, 401, 401, 401])
  t.same(await statuses('metrics'), [200, 401, 401, 401])
  t.same(await statuses('docs,metrics'), [200, 200, 401, 401])
})

t.test('AUTH_KEYS needs no file, and adds to one', async t => {
  const extra = newKey()
  const env = { AUTH_KEYS: `shop2:${extra.digest}:produce,read:a,b-*  ops2:${ops.digest}:operate:*` }
  const { app } = await accessApp(t, env)
  t.equal((await app.inject(produce('b-1', bearer(extra.key)))).statusCode, 200)
  t.equal((await app.inject(produce('c', bearer(extra.key)))).statusCode, 403)
  t.equal((await app.inject({ url: '/consumer', headers: bearer(ops.key) })).statusCode, 200)
  const both = await accessApp(t, { AUTH_KEYS: `shop2:${extra.digest}:produce:*`, AUTH_FILE: rulesFile(t) })
  t.equal((await both.app.inject(produce('b-1', bearer(extra.key)))).body, '{"caller":"shop2"}')
  t.equal((await both.app.inject(produce('orders', bearer(shop.key)))).body, '{"caller":"shop"}')
  await t.rejects(accessApp(t, { AUTH_KEYS: `shop:${extra.digest}:produce:*`, AUTH_FILE: rulesFile(t) }), { name: 'ConfigError', message: /two principals are named 'shop'/ })
})

t.test('the rules are read again when the file is written, replaced, or reached through a link that leads elsewhere', async t => {
  const directory = t.testdir({ v1: { 'rules.json': JSON.stringify(rules) }, v2: { 'rules.json': '{"principals":[]}' } })
  // As Kubernetes lays out a ConfigMap: a link to a link to a folder, of which the second one is swapped.
  symlinkSync('v1', path.join(directory, '..data'))
  const file = path.join(directory, 'rules.json')
  symlinkSync('..data/rules.json', file)
  const { app } = await accessApp(t, { AUTH_FILE: file })
  const status = async () => (await app.inject(produce('orders', bearer(shop.key)))).statusCode
  const becomes = async (expected: number, what: string) => await until(async () => await status() === expected, what)
  t.equal(await status(), 200)
  symlinkSync('v2', path.join(directory, '..data_tmp'))
  renameSync(path.join(directory, '..data_tmp'), path.join(directory, '..data'))
  await becomes(401, 'the link to lead elsewhere')
  writeFileSync(path.join(directory, 'v2', 'rules.json'), JSON.stringify(rules))
  await becomes(200, 'the file to be written in place')
  writeFileSync(path.join(directory, 'new'), '{"principals":[]}')
  unlinkSync(file)
  renameSync(path.join(directory, 'new'), file)
  await becomes(401, 'the file to be replaced')
})

t.test('a broken file keeps the old rules, and says so without its content', async t => {
  const file = rulesFile(t)
  const { app, events, logged } = await accessApp(t, { AUTH_FILE: file })
  t.same(app.access.problems, [])
  const refusals = () => events.filter(event => event === 'rules refused').length
  for (const [n, broken] of [
    '{"principals": [', '{"principals":[{"name":"marked-secret","keys":["marked-secret"],"rules":[]}]}', '{"principals":[],"marked-member":1}', null
  ].entries()) {
    if (broken === null) rmSync(file)
    else writeFileSync(file, broken)
    await until(() => refusals() === n + 1, 'the file to be refused')
    t.equal((await app.inject(produce('orders', bearer(shop.key)))).statusCode, 200, 'the old rules are in force')
    t.same(app.access.problems, ['AUTH_FILE has changed and cannot be used: the rules from before are in force'])
  }
  t.match(logged.filter(({ level }) => level === 50), [
    { reason: 'AUTH_FILE is not JSON' }, { reason: /^AUTH_FILE principals\/0\/keys\/0 must be the SHA-256/ },
    { reason: "AUTH_FILE has an unknown member 'marked-member'" }, { reason: /ENOENT/ }
  ])
  t.notMatch(JSON.stringify(logged), /marked-secret/)
  writeFileSync(file, JSON.stringify({ principals: [] }))
  await until(async () => (await app.inject(produce('orders', bearer(shop.key)))).statusCode === 401, 'the new rules')
  t.same(app.access.problems, [])
})

t.test('a file that is wrong from the beginning stops the start', async t => {
  await t.rejects(accessApp(t, { AUTH_FILE: rulesFile(t, { principals: [{ name: 'a' }] }) }), { name: 'ConfigError', message: 'AUTH_FILE principals/0 needs rules' })
})

t.test('many wrong keys from one network: 429 with a true Retry-After; whoever was known there goes on', async t => {
  const { app } = await accessApp(t, { AUTH_FILE: rulesFile(t) })
  const from = async (remoteAddress: string, key: string) => await app.inject({ ...produce('orders', bearer(key)), remoteAddress })
  t.equal((await from('10.0.0.1', shop.key)).statusCode, 200)
  const statuses: number[] = []
  for (let i = 0; i < 25; i++) statuses.push((await from('10.0.0.1', newKey().key)).statusCode)
  t.same(new Set(statuses.slice(0, 20)), new Set([401]))
  t.same(new Set(statuses.slice(21)), new Set([429]))
  const res = await from('10.0.0.1', newKey().key)
  t.match(res.json(), { code: 'SLUICE_RATE_LIMITED' })
  t.ok(Number(res.headers['retry-after']) >= 1 && Number(res.headers['retry-after']) <= 2)
  t.equal((await from('10.0.0.1', shop.key)).statusCode, 200, 'seen there before')
  const late = await app.inject({ url: '/topics/orders', headers: bearer(reader.key), remoteAddress: '10.0.0.1' })
  t.equal(late.statusCode, 429, 'a right key tells nothing now')
  t.equal((await from('10.0.0.2', newKey().key)).statusCode, 401, 'another network')
})

t.test('a page of elsewhere cannot use what its reader\'s browser remembers', async t => {
  const { app } = await accessApp(t, { AUTH_FILE: rulesFile(t), CORS_ORIGINS: 'https://app.example' })
  const foreign = { origin: 'https://evil.example', host: 'gateway.example' }
  t.match((await app.inject(produce('orders', { ...basic('a', shop.key), ...foreign }))).json(), { code: 'SLUICE_FORBIDDEN_ORIGIN' })
  t.equal((await app.inject(produce('orders', { ...basic('a', shop.key), 'sec-fetch-site': 'cross-site' }))).statusCode, 403)
  t.equal((await app.inject(produce('orders', { ...basic('a', shop.key), origin: 'https://gateway.example', host: 'gateway.example' }))).statusCode, 200)
  t.equal((await app.inject(produce('orders', { ...basic('a', shop.key), origin: 'https://app.example', host: 'gateway.example' }))).statusCode, 200)
  t.equal((await app.inject(produce('orders', { ...bearer(shop.key), ...foreign }))).statusCode, 200, 'a key that the page has itself')
})

t.test('refusals are logged, but not each of thousands, and never with what was sent', async t => {
  const { app, logged, events } = await accessApp(t, { AUTH_FILE: rulesFile(t) })
  events.length = 0
  for (let i = 0; i < 200; i++) await app.inject({ ...produce('orders', bearer(`marked-secret-${'x'.repeat(40)}${i}`)), remoteAddress: `10.0.${i}.1` })
  t.equal(events.length, 200)
  const lines = logged.filter(({ msg }) => msg === 'a caller was refused')
  t.ok(lines.length >= 10 && lines.length < 15, String(lines.length))
  t.match(lines[0], { reason: 'unknown-key', address: '10.0.0.1', method: 'POST', route: '/topics/:topic/records', level: 40 })
  for (const headers of [basic('marked-secret', 'marked-secret'), { 'x-api-key': 'marked-secret' }, { authorization: 'marked-secret' }]) {
    t.notMatch((await app.inject(produce('orders', headers))).payload, /marked-secret/)
  }
  t.notMatch(JSON.stringify(logged), /marked-secret/)
  t.notMatch(JSON.stringify(logged), new RegExp(Buffer.from('marked-secret:marked-secret').toString('base64')))
})

t.test('a route without a right stops the start, and so does one that hides its topic', async t => {
  const start = async (url: string, config: object) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(errors)
    await app.register(auth, { host: '127.0.0.1', allowedHosts: [], auth: 'loopback' })
    app.get(url, { config }, async () => 'ok')
    await app.ready()
  }
  await t.rejects(start('/a', {}), { message: /the route \/a has no right/ })
  await t.rejects(start('/a/:topicName', { right: 'read' }), { message: /must call its parameter "topic"/ })
  await t.resolves(start('/a/:topic/b', { right: 'read' }))
  await t.resolves(start('/a', { public: true }))
})
