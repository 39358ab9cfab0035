import Fastify from 'fastify'
import { test, type Test } from 'tap'
import auth from '../../plugins/auth.js'
import errors from '../../plugins/errors.js'
import { serverOptions } from '../../src/server-options.js'

async function build (t: Test, allowedHosts: string[] = ['gateway.example']) {
  const app = Fastify(serverOptions({ bodyLimitBytes: 1_000 }))
  await app.register(errors)
  await app.register(auth, { host: 'Box.Internal', allowedHosts, auth: 'off' })
  app.get('/', { config: { right: 'read' } }, async () => 'ok')
  app.get('/healthz', { config: { public: true } }, async () => 'ok')
  t.teardown(() => app.close())
  return async (headers: Record<string, string | undefined>, url = '/') => await app.inject({ url, headers })
}

test('Host', async t => {
  const get = await build(t)
  for (const host of [
    'localhost', 'localhost:3000', 'LOCALHOST', 'localhost.:80', 'app.localhost:1', '127.0.0.1', '127.0.0.1:3000', '10.1.2.3:80', '[::1]', '[::1]:3000',
    '[fe80::1]:80', 'box.internal', 'BOX.internal:8080', 'gateway.example', 'Gateway.Example:443'
  ]) t.equal((await get({ host })).statusCode, 200, host)
  for (const host of [
    'evil.example', 'evil.example:3000', 'localhost.evil.example', 'xlocalhost', '127.0.0.1.evil.example', 'gateway.example.evil', 'sub.gateway.example',
    '127.0.0.1@evil.example', '[::1', '::1', '[evil.example]', 'evil.example#localhost', 'localhost:80:80', 'localhost evil', '.', ':80'
  ]) {
    const res = await get({ host })
    t.equal(res.statusCode, 403, host)
    t.match(res.json(), { code: 'SLUICE_FORBIDDEN_HOST', detail: /ALLOWED_HOSTS/ })
    t.equal((await get({ host }, '/healthz')).statusCode, 200, 'a public route')
    t.equal((await get({ host }, '/nope')).statusCode, 403, 'a page from elsewhere does not learn which paths exist')
  }
})

test('Origin and Sec-Fetch-Site', async t => {
  const get = await build(t)
  const host = 'localhost:3000'
  for (const headers of [
    {}, { origin: 'http://localhost:3000' }, { origin: 'http://LocalHost:3000' }, { origin: 'https://gateway.example' }, { origin: 'http://gateway.example:81' },
    { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }, { 'sec-fetch-site': 'same-site' },
    { origin: 'https://gateway.example', 'sec-fetch-site': 'cross-site' }
  ]) t.equal((await get({ host, ...headers })).statusCode, 200, JSON.stringify(headers))
  for (const headers of [
    { origin: 'http://evil.example' }, { origin: 'null' }, { origin: 'http://localhost:3001' }, { origin: 'http://127.0.0.1:3000' }, { origin: 'http://6.6.6.6' },
    { origin: 'http://gateway.example.evil' }, { origin: 'http://evil.example/http://localhost:3000' }, { origin: 'http://localhost:3000@evil.example' },
    { origin: 'file://' }, { origin: '' }, { 'sec-fetch-site': 'cross-site' }, { origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' }
  ]) {
    const res = await get({ host, ...headers })
    t.equal(res.statusCode, 403, JSON.stringify(headers))
    t.match(res.json(), { code: 'SLUICE_FORBIDDEN_ORIGIN' })
    t.equal((await get({ host, ...headers }, '/healthz')).statusCode, 200, 'a public route')
    t.notOk(Object.keys(res.headers).some(name => name.startsWith('access-control')), 'no CORS')
  }
})

test('a star allows every host and origin', async t => {
  const get = await build(t, ['*'])
  t.equal((await get({ host: 'evil.example', origin: 'http://other.example', 'sec-fetch-site': 'cross-site' })).statusCode, 200)
})

test('many good hosts are not remembered without end', async t => {
  const get = await build(t)
  for (let i = 0; i < 2_100; i++) if ((await get({ host: `h${i}.localhost` })).statusCode !== 200) t.fail()
  t.equal((await get({ host: 'h0.localhost' })).statusCode, 200)
})
