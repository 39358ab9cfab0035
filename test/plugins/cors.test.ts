import t from 'tap'
import { accessApp, newKey } from '../support/access-app.js'

const key = newKey()
const preflight = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' }
const AUTH_KEYS = `shop:${key.digest}:produce,read:*`

t.test('preflights of configured origins are answered without a key; answers may be read, errors as well', async t => {
  const { app } = await accessApp(t, { AUTH_KEYS, CORS_ORIGINS: 'https://app.example' })
  const origin = 'https://app.example'
  t.match(await app.inject({ method: 'OPTIONS', url: '/topics/a/records', headers: { origin, ...preflight } }), {
    statusCode: 204,
    headers: {
      'access-control-allow-origin': origin,
      'access-control-allow-methods': /POST/,
      'access-control-allow-headers': 'authorization,content-type',
      vary: 'Origin, Access-Control-Request-Headers'
    }
  })
  const post = async (headers: Record<string, string>) => await app.inject({ method: 'POST', url: '/topics/a/records', headers: { origin, ...headers }, payload: {} })
  t.match(await post({ authorization: `Bearer ${key.key}` }), { statusCode: 200, headers: { 'access-control-allow-origin': origin, 'access-control-expose-headers': /retry-after/ } })
  const refused = await post({})
  t.match(refused, { statusCode: 401, headers: { 'access-control-allow-origin': origin } })
  t.notOk(refused.headers['access-control-allow-credentials'])
})

t.test('other origins get no headers, and their preflights are requests without a key', async t => {
  const { app } = await accessApp(t, { AUTH_KEYS, CORS_ORIGINS: 'https://app.example' })
  for (const origin of ['https://evil.example', 'http://app.example', 'https://app.example:8443', 'null']) {
    const res = await app.inject({ method: 'OPTIONS', url: '/topics/a/records', headers: { origin, ...preflight } })
    t.equal(res.statusCode, 401, origin)
    t.notOk(Object.keys(res.headers).some(name => name.startsWith('access-control')), origin)
    t.equal(res.headers['vary'], 'Origin', 'caches must not give it to others')
  }
  t.equal((await app.inject({ method: 'OPTIONS', url: '/topics/a/records', headers: { origin: 'https://app.example' } })).statusCode, 401, 'no preflight')
})

t.test('a star allows every page that has a key', async t => {
  const { app } = await accessApp(t, { AUTH_KEYS, CORS_ORIGINS: '*' })
  const res = await app.inject({ url: '/topics/a', headers: { origin: 'https://any.example', authorization: `Bearer ${key.key}` } })
  t.match(res, { statusCode: 200, headers: { 'access-control-allow-origin': '*' } })
  t.notOk(res.headers['vary'])
  await t.rejects(accessApp(t, { CORS_ORIGINS: '*' }), { name: 'ConfigError', message: /^CORS_ORIGINS must not be \*/ })
  for (const wrong of ['app.example', 'https://app.example/', 'https://app.example/x', 'file://x']) {
    await t.rejects(accessApp(t, { CORS_ORIGINS: wrong }), { name: 'ConfigError', message: /^CORS_ORIGINS must be origins/ }, wrong)
  }
})

t.test('without authentication the configured origins pass the check of origins', async t => {
  const { app } = await accessApp(t, { CORS_ORIGINS: 'https://app.example' })
  const status = async (origin: string) => (await app.inject({ url: '/topics/a', headers: { origin, host: 'localhost' } })).statusCode
  t.equal(await status('https://app.example'), 200)
  t.equal(await status('https://evil.example'), 403)
})

t.test('nothing is said of origins where none are configured; every answer has nosniff, and pages may not be framed', async t => {
  const { app } = await accessApp(t, { AUTH_KEYS })
  const auth = { authorization: `Bearer ${key.key}` }
  for (const url of ['/topics/a', '/healthz', '/nothing']) {
    const { headers } = await app.inject({ url, headers: { ...auth, origin: 'https://app.example' } })
    t.notOk(Object.keys(headers).some(name => name.startsWith('access-control')))
    t.equal(headers['x-content-type-options'], 'nosniff', url)
    t.notOk(headers['x-frame-options'])
  }
  t.match((await app.inject({ url: '/docs/', headers: auth })).headers, { 'x-frame-options': 'DENY', 'referrer-policy': 'no-referrer' })
})
