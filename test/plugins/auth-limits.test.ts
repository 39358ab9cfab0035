import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import path from 'node:path'
import t, { type Test } from 'tap'
import { accessApp, newKey } from '../support/access-app.js'
import { until } from '../support/gateway-app.js'

const key = newKey()
const headers = { authorization: `Bearer ${key.key}`, 'content-type': 'application/json' }

const rules = (limits: object, more: object = {}) => JSON.stringify({
  principals: [{ name: 'shop', keys: [key.digest], rules: [{ rights: ['produce', 'read'], topics: ['orders'] }], limits }], ...more
})

async function limited (t: Test, limits: object) {
  const file = path.join(t.testdir({ 'rules.json': rules(limits) }), 'rules.json')
  const made = await accessApp(t, { AUTH_FILE: file })
  const post = async (payload = '{}', topic = 'orders') => await made.app.inject({ method: 'POST', url: `/topics/${topic}/records`, headers, payload })
  return { ...made, file, post }
}

t.test('more requests than allowed: 429 with the limit, Retry-After and what is left', async t => {
  const { post, events } = await limited(t, { requestsPerSecond: 0.01, requestsBurst: 2 })
  t.match((await post()).headers, { 'ratelimit-policy': '"requests";q=2;w=200', ratelimit: /^"requests";r=1;t=\d+$/ })
  t.equal((await post('{}', 'invoices')).statusCode, 403, 'a refusal counts, too')
  events.length = 0
  const res = await post()
  t.equal(res.statusCode, 429)
  t.match(res.json(), { code: 'SLUICE_RATE_LIMITED', limit: 1 })
  t.match(res.headers, { ratelimit: '"requests";r=0;t=200', 'retry-after': /^(100|99)$/, 'content-type': /problem/ })
  t.same(events, ['limit'])
})

t.test('a body counts by its Content-Length, before it is read', async t => {
  const { post } = await limited(t, { bytesPerSecond: 1, bytesBurst: 20 })
  t.equal((await post('"012345678901234567"')).statusCode, 200, 'all that may come at once')
  for (const body of ['{}', '"a longer one than may come at once"']) {
    const res = await post(body)
    t.match(res.json(), { status: 429, detail: /bytes of request bodies/ })
    t.equal(res.headers['retry-after'], '1')
  }
})

t.test('a body that is larger than what may come at once comes slowly', async t => {
  const { post } = await limited(t, { bytesPerSecond: 1_000, bytesBurst: 20 })
  t.equal((await post(`"${'x'.repeat(40)}"`)).statusCode, 200)
})

t.test('a body without a length comes as slowly as it may, in one piece and whole', async t => {
  const { listen, events } = await limited(t, { bytesPerSecond: 20_000, bytesBurst: 100 })
  const port = await listen()
  const status = await new Promise((resolve, reject) => {
    const sending = request({ host: '127.0.0.1', port, method: 'POST', path: '/topics/orders/records', headers }, res => {
      res.resume().on('end', () => resolve(res.statusCode))
    })
    sending.on('error', reject)
    sending.write('{"value":"')
    for (let i = 0; i < 20; i++) sending.write('x'.repeat(100))
    sending.end('"}')
  })
  t.equal(status, 200)
  t.notOk(events.includes('limit'))
})

t.test('a route that counts lines by itself gets them uncounted; other bodies and other routes are counted', async t => {
  const { app } = await limited(t, { bytesPerSecond: 0.001, bytesBurst: 200 })
  const post = async (url: string, type: string) =>
    (await app.inject({ method: 'POST', url, headers: { ...headers, 'content-type': type }, payload: '"' + 'x'.repeat(98) + '"' })).statusCode
  for (let i = 0; i < 5; i++) t.equal(await post('/lines/orders', 'Application/x-ndjson; charset=utf-8'), 200)
  t.equal(await post('/lines/orders', 'application/json'), 200)
  t.equal(await post('/topics/orders/records', 'application/x-ndjson'), 200)
  t.equal(await post('/topics/orders/records', 'application/json'), 429)
})

t.test('a body without a length that uses up the day is 429', async t => {
  const { listen } = await limited(t, { bytesPerDay: 50 })
  const port = await listen()
  const answer = await new Promise<{ status: number | undefined, retryAfter: string | undefined }>((resolve, reject) => {
    const sending = request({ host: '127.0.0.1', port, method: 'POST', path: '/topics/orders/records', headers }, res => {
      res.resume().on('end', () => resolve({ status: res.statusCode, retryAfter: res.headers['retry-after'] }))
    })
    sending.on('error', reject)
    sending.write('"' + 'x'.repeat(60))
    sending.end('"')
  })
  t.equal(answer.status, 429)
  t.ok(Number(answer.retryAfter) > 0)
})

t.test('a change of the rules gives nobody a fresh budget, and new limits count from then on', async t => {
  const { app, post, file, events } = await limited(t, { requestsPerSecond: 0.001, requestsBurst: 1 })
  const read = () => events.filter(event => event === 'rules read').length
  t.equal((await post()).statusCode, 200)
  writeFileSync(file, rules({ requestsPerSecond: 0.001, requestsBurst: 1 }, { defaultLimits: { requestsPerSecond: 9 } }))
  await until(() => read() === 2, 'the rules')
  t.equal((await post()).statusCode, 429)
  writeFileSync(file, rules({}))
  await until(() => read() === 3, 'the rules')
  t.equal((await post()).statusCode, 200)
  t.notOk((await post()).headers['ratelimit'], 'no limits, no headers')
  t.equal((await app.inject('/healthz')).statusCode, 200)
})
