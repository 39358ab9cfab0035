import { createHmac, randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { FastifyInstance, InjectOptions } from 'fastify'
import fc from 'fast-check'
import { test, type Test } from 'tap'
import { SluiceError, type ErrorCode } from '../../src/errors.js'
import type { FakeProducer } from '../support/fake-producer.js'
import { bodyLimitBytes, produceApp } from '../support/produce-app.js'

async function post (app: FastifyInstance, payload: string | Buffer | undefined, { query = '', ...options }: InjectOptions & { query?: string } = {}) {
  return await app.inject({ method: 'POST', url: `/topics/a/raw${query}`, ...(payload !== undefined && { payload }), ...options })
}

function isProblem (t: Test, res: Awaited<ReturnType<typeof post>>, status: number, code: ErrorCode, detail?: RegExp) {
  t.equal(res.statusCode, status, res.body)
  t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.match(res.json(), { status, code, ...(detail && { detail }) })
}

const headersOf = (kafka: FakeProducer) => kafka.sent.at(-1)?.headers?.map(({ name, value }) => [name, String(value)])
const keyOf = (kafka: FakeProducer) => kafka.sent.at(-1)?.key

test('the bytes of a body become the value, and the receipt comes back', async t => {
  const { app, kafka } = await produceApp()
  const bytes = randomBytes(300)
  const res = await post(app, bytes, { headers: { 'content-type': 'application/octet-stream' } })
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
  t.same(res.json(), { topic: 'a', partition: 0, offset: 0, timestamp: 1767225600000 })
  t.same(kafka.sent, [{
    topic: 'a', partition: null, key: null, value: bytes, timestamp: null, headers: [{ name: 'content-type', value: Buffer.from('application/octet-stream') }]
  }])
  t.same(kafka.timeouts, [5_000])
})

test('for any bytes and any Content-Type, the value is the body', async () => {
  const { app, kafka } = await produceApp()
  const types = fc.constantFrom('application/json', 'text/plain; charset=latin1', 'multipart/form-data; boundary=x', 'nonsense', 'a/b;c', undefined,
    'application/x-www-form-urlencoded', 'application/cloudevents+json')
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 2_000 }), types, async (bytes, type) => {
    const body = Buffer.from(bytes)
    const res = await post(app, body, { headers: type === undefined ? {} : { 'content-type': type } })
    const record = kafka.sent.at(-1)
    return res.statusCode === 200 && body.equals(record!.value as Buffer) &&
      record!.headers!.map(({ value }) => String(value)).join() === (type ?? '')
  }))
})

test('an empty body is an empty value, not a tombstone', async t => {
  const { app, kafka } = await produceApp()
  t.equal((await post(app, undefined)).statusCode, 200)
  t.equal((await post(app, '', { headers: { 'content-type': 'application/json' } })).statusCode, 200)
  t.equal((await post(app, '', { headers: { 'content-type': 'text/plain', 'content-length': '0' } })).statusCode, 200)
  t.same(kafka.sent.map(({ value }) => value), [Buffer.alloc(0), Buffer.alloc(0), Buffer.alloc(0)])
})

test('a compressed body stays as it is, and says so', async t => {
  const { app, kafka } = await produceApp()
  const bytes = gzipSync('{"a":1}')
  t.equal((await post(app, bytes, { headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' } })).statusCode, 200)
  t.same(kafka.sent[0]?.value, bytes)
  t.same(headersOf(kafka)?.sort(), [['content-encoding', 'gzip'], ['content-type', 'application/json']])
  isProblem(t, await post(app, bytes, { query: '?keyPointer=/a', headers: { 'content-encoding': 'gzip' } }), 400, 'SLUICE_INVALID_REQUEST', /Content-Encoding/)
})

test('a key in the query', async t => {
  const { app, kafka } = await produceApp()
  const keys: [string, Buffer | null][] = [
    ['', null], ['?key=k', Buffer.from('k')], ['?key=', Buffer.alloc(0)], ['?key', Buffer.alloc(0)], ['?key=a+b%2Bc%00', Buffer.from('a b+c\0')],
    ['?key=%C3%A9&keyEncoding=utf8', Buffer.from('é')], ['?key=AP8%3D&keyEncoding=base64', Buffer.from([0, 255])]
  ]
  for (const [query, key] of keys) {
    t.equal((await post(app, 'x', { query })).statusCode, 200, query)
    t.same(keyOf(kafka), key, query)
  }
  for (const query of ['?key=AP8&keyEncoding=base64', '?key=*&keyEncoding=base64', '?key=a+b%3D&keyEncoding=base64']) {
    isProblem(t, await post(app, 'x', { query }), 400, 'SLUICE_INVALID_REQUEST', /key must be base64/)
  }
  isProblem(t, await post(app, 'x', { query: '?key=%FF' }), 400, 'SLUICE_INVALID_REQUEST', /query parameter key holds a percent sign/)
  isProblem(t, await post(app, 'x', { query: '?key=a&keyEncoding=hex' }), 400, 'SLUICE_INVALID_REQUEST', /keyEncoding must be/)
  isProblem(t, await post(app, 'x', { query: '?keyEncoding=utf8' }), 400, 'SLUICE_INVALID_REQUEST', /keyEncoding needs a key/)
})

test('a key from a header', async t => {
  const { app, kafka } = await produceApp()
  await post(app, 'x', { query: '?keyHeader=X-GitHub-Delivery', headers: { 'x-github-delivery': '72d3162e' } })
  t.same(keyOf(kafka), Buffer.from('72d3162e'))
  await post(app, 'x', { query: '?keyHeader=x-k&keyEncoding=base64', headers: { 'x-k': 'AP8=' } })
  t.same(keyOf(kafka), Buffer.from([0, 255]))
  isProblem(t, await post(app, 'x', { query: '?keyHeader=x-k' }), 400, 'SLUICE_INVALID_REQUEST', /no header x-k/)
  for (const name of ['Authorization', 'cookie', 'x-api-key', 'Stripe-Signature']) {
    isProblem(t, await post(app, 'x', { query: `?keyHeader=${name}`, headers: { [name]: 'abc' } }), 400, 'SLUICE_INVALID_REQUEST', /may hold a secret/)
  }
})

// As https://prometheus.io/docs/alerting/latest/configuration/#webhook_config documents it.
const alertmanager = `{
  "version": "4",
  "groupKey": "{}/{severity=\\"critical\\"}:{alertname=\\"InstanceDown\\"}",
  "truncatedAlerts": 0,
  "status": "firing",
  "receiver": "sluice",
  "groupLabels": { "alertname": "InstanceDown" },
  "commonLabels": { "alertname": "InstanceDown", "severity": "critical" },
  "commonAnnotations": {},
  "externalURL": "http://alertmanager.example:9093",
  "alerts": [
    {
      "status": "firing",
      "labels": { "alertname": "InstanceDown", "instance": "db-1" },
      "annotations": {},
      "startsAt": "2026-01-01T00:00:00Z",
      "endsAt": "0001-01-01T00:00:00Z",
      "generatorURL": "http://prometheus.example/graph",
      "fingerprint": "0d1c2b3a49586776"
    }
  ]
}`

test('a key from the body: Alertmanager\'s webhook, keyed by its group', async t => {
  const { app, kafka } = await produceApp()
  const headers = { 'content-type': 'application/json', 'user-agent': 'Alertmanager/0.28.0' }
  t.equal((await post(app, alertmanager, { query: '?keyPointer=/groupKey', headers })).statusCode, 200)
  t.equal(String(keyOf(kafka)), '{}/{severity="critical"}:{alertname="InstanceDown"}')
  t.equal(String(kafka.sent[0]?.value), alertmanager, 'white space and all')
  await post(app, alertmanager, { query: '?keyPointer=/alerts/0/fingerprint', headers })
  t.equal(String(keyOf(kafka)), '0d1c2b3a49586776')
})

test('a key from the body: a number keeps its digits, and what is missing or no text is 400', async t => {
  const { app, kafka } = await produceApp()
  const body = '{"id":12345678901234567890,"b":true,"n":null,"o":{},"k":"AP8=","s":"\\ud800"}'
  await post(app, body, { query: '?keyPointer=/id' })
  t.equal(String(keyOf(kafka)), '12345678901234567890', 'also without a Content-Type')
  await post(app, body, { query: '?keyPointer=%2Fb' })
  t.equal(String(keyOf(kafka)), 'true')
  await post(app, body, { query: '?keyPointer=/k&keyEncoding=base64' })
  t.same(keyOf(kafka), Buffer.from([0, 255]))
  const before = kafka.sent.length
  isProblem(t, await post(app, body, { query: '?keyPointer=/nope' }), 400, 'SLUICE_INVALID_REQUEST', /nothing at "\/nope"/)
  for (const pointer of ['/n', '/o', '']) {
    isProblem(t, await post(app, body, { query: `?keyPointer=${pointer}` }), 400, 'SLUICE_INVALID_REQUEST', /cannot be the key/)
  }
  isProblem(t, await post(app, body, { query: '?keyPointer=/s' }), 400, 'SLUICE_INVALID_REQUEST', /surrogate/)
  isProblem(t, await post(app, body, { query: '?keyPointer=id' }), 400, 'SLUICE_INVALID_REQUEST', /keyPointer must be a JSON Pointer/)
  isProblem(t, await post(app, '{', { query: '?keyPointer=/id' }), 400, 'SLUICE_MALFORMED_JSON')
  isProblem(t, await post(app, undefined, { query: '?keyPointer=/id' }), 400, 'SLUICE_MALFORMED_JSON')
  t.equal(kafka.sent.length, before)
})

test('the key can come from one place only', async t => {
  const { app } = await produceApp()
  for (const query of ['?key=a&keyHeader=b', '?keyHeader=b&keyPointer=/c', '?key=&keyPointer=']) {
    isProblem(t, await post(app, '{}', { query }), 400, 'SLUICE_INVALID_REQUEST', /one place only/)
  }
})

test('partition and timestamp, from both sides', async t => {
  const { app, kafka } = await produceApp()
  t.same((await post(app, 'x', { query: '?partition=3&timestamp=1700000000000' })).json(), { topic: 'a', partition: 3, offset: 0, timestamp: 1700000000000 })
  t.equal((await post(app, 'x', { query: '?timestamp=1' })).statusCode, 200)
  t.equal((await post(app, 'x', { query: `?timestamp=${Number.MAX_SAFE_INTEGER}` })).statusCode, 200)
  isProblem(t, await post(app, 'x', { query: '?partition=4' }), 400, 'SLUICE_UNKNOWN_PARTITION')
  const wrong = ['', '-1', '2147483648', '1.5', '1e1', '0x1', ' 1', '01', 'x']
  for (const text of wrong) isProblem(t, await post(app, 'x', { query: `?partition=${text}` }), 400, 'SLUICE_INVALID_REQUEST', /partition must be/)
  for (const text of ['0', '-1', '9007199254740992', '99999999999999999', 'now']) {
    isProblem(t, await post(app, 'x', { query: `?timestamp=${text}` }), 400, 'SLUICE_INVALID_REQUEST', /timestamp must be/)
  }
  t.equal(kafka.sent.length, 3)
})

test('only headers that were asked for become record headers, as they arrived', async t => {
  const { app, kafka } = await produceApp()
  const headers = { 'content-type': 'text/plain', 'X-GitHub-Event': 'push', 'x-other': 'no', 'x-name': 'caf\xc3\xa9', authorization: 'Bearer x' }
  t.equal((await post(app, 'x', { query: '?headers=x-github-event,X-Name,x-absent', headers })).statusCode, 200)
  t.same(headersOf(kafka)?.sort(), [['content-type', 'text/plain'], ['x-github-event', 'push'], ['x-name', 'café']])
  await post(app, 'x', { query: '?headers=content-type', headers })
  t.same(headersOf(kafka), [['content-type', 'text/plain']], 'once, though it was asked for')
  await post(app, 'x', { query: '?headers=', headers })
  t.same(headersOf(kafka), [['content-type', 'text/plain']])
})

test('headers that may hold secrets, and those that the operator does not allow, are 400', async t => {
  const { app, kafka } = await produceApp({ recordHeaders: ['x-github-*', 'authorization'] })
  isProblem(t, await post(app, 'x', { query: '?headers=x-github-event,Authorization' }), 400, 'SLUICE_INVALID_REQUEST', /"Authorization" may hold a secret/)
  isProblem(t, await post(app, 'x', { query: '?headers=x-hub-signature-256' }), 400, 'SLUICE_INVALID_REQUEST', /may hold a secret/)
  isProblem(t, await post(app, 'x', { query: '?headers=x-forwarded-for' }), 400, 'SLUICE_INVALID_REQUEST', /RECORD_HEADERS_ALLOWED/)
  isProblem(t, await post(app, 'x', { query: '?keyHeader=x-forwarded-for' }), 400, 'SLUICE_INVALID_REQUEST', /RECORD_HEADERS_ALLOWED/)
  isProblem(t, await post(app, 'x', { query: '?headers=a%00b' }), 400, 'SLUICE_INVALID_REQUEST', /cannot be the name/)
  t.same(kafka.sent, [])
})

test('a trace context travels into the record', async t => {
  const { app, kafka } = await produceApp()
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  await post(app, 'x', { headers: { traceparent, tracestate: 'a=1' } })
  t.same(headersOf(kafka), [['traceparent', traceparent], ['tracestate', 'a=1']])
  await post(app, 'x', { query: '?headers=traceparent', headers: { traceparent } })
  t.same(headersOf(kafka), [['traceparent', traceparent]], 'once')
})

test('a query parameter that is unknown or repeated is named', async t => {
  const { app, kafka } = await produceApp()
  isProblem(t, await post(app, 'x', { query: '?kee=1' }), 400, 'SLUICE_INVALID_REQUEST', /"kee".*takes key, keyEncoding/)
  isProblem(t, await post(app, 'x', { query: '?key=1&key=1' }), 400, 'SLUICE_INVALID_REQUEST', /key is there more than once/)
  isProblem(t, await post(app, 'x', { query: '?__proto__=1' }), 400, 'SLUICE_INVALID_REQUEST', /__proto__/)
  isProblem(t, await post(app, 'x', { query: '?%ZZ=1' }), 400, 'SLUICE_INVALID_REQUEST')
  t.equal((await post(app, 'x', { query: '?&key=1&' })).statusCode, 200)
  t.equal(kafka.sent.length, 1)
})

test('topics, time limits and sizes are as for records', async t => {
  const { app, kafka } = await produceApp()
  isProblem(t, await post(app, 'x', { url: '/topics/nope/raw' }), 404, 'SLUICE_UNKNOWN_TOPIC')
  isProblem(t, await post(app, 'x', { url: '/topics/__x/raw' }), 403, 'SLUICE_TOPIC_NOT_ALLOWED')
  isProblem(t, await post(app, 'x', { url: '/topics/a%20b/raw' }), 400, 'SLUICE_INVALID_TOPIC_NAME')
  isProblem(t, await post(app, 'x', { headers: { 'request-timeout': 'soon' } }), 400, 'SLUICE_INVALID_REQUEST', /Request-Timeout/)
  await post(app, 'x', { headers: { 'request-timeout': '2.5' } })
  t.equal(kafka.timeouts.at(-1), 2_500)
  kafka.messageMaxBytes = bodyLimitBytes
  t.equal((await post(app, Buffer.alloc(bodyLimitBytes))).statusCode, 200)
  isProblem(t, await post(app, Buffer.alloc(bodyLimitBytes + 1)), 413, 'SLUICE_BODY_TOO_LARGE')
  kafka.messageMaxBytes = 100
  t.equal((await post(app, Buffer.alloc(100))).statusCode, 200)
  isProblem(t, await post(app, Buffer.alloc(101)), 413, 'SLUICE_RECORD_TOO_LARGE')
  kafka.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  isProblem(t, await post(app, 'x'), 503, 'SLUICE_QUEUE_FULL')
  const get = await app.inject('/topics/a/raw')
  t.equal(get.statusCode, 405)
  t.equal(get.headers.allow, 'POST')
})

test('a topic with a signature takes signed webhooks only, and nothing is said of the others\' requests', async t => {
  const secret = 'It\'s a Secret to Everybody'
  const rule = { topic: 'a', scheme: 'github', secrets: [secret], toleranceSeconds: 300, authenticates: true } as const
  const { app, kafka } = await produceApp({ signatures: [rule] })
  const body = Buffer.from('{"zen":"Keep it logically awesome.",  "hook_id":12345678901234567890}')
  const sign = (bytes: Buffer) => 'sha256=' + createHmac('sha256', secret).update(bytes).digest('hex')
  const headers = { 'content-type': 'application/json', 'x-github-event': 'ping', 'x-hub-signature-256': sign(body) }
  t.equal((await post(app, body, { query: '?keyPointer=/hook_id&headers=x-github-event', headers })).statusCode, 200)
  t.same(kafka.sent[0]?.value, body)
  t.equal(String(keyOf(kafka)), '12345678901234567890')
  isProblem(t, await post(app, Buffer.concat([body, Buffer.from(' ')]), { headers }), 403, 'SLUICE_SIGNATURE_INVALID', /Nothing was produced/)
  isProblem(t, await post(app, body), 403, 'SLUICE_SIGNATURE_INVALID', /no header x-hub-signature-256/)
  isProblem(t, await post(app, body, { query: '?nonsense=1' }), 403, 'SLUICE_SIGNATURE_INVALID')
  isProblem(t, await post(app, undefined), 403, 'SLUICE_SIGNATURE_INVALID')
  t.equal((await post(app, undefined, { headers: { 'x-hub-signature-256': sign(Buffer.alloc(0)) } })).statusCode, 200, 'no body is signed as well')
  t.equal(kafka.sent.length, 2)
})

test('a network that sends too many bad signatures is told to wait; a sender that was seen from there is not', async t => {
  const rule = { scheme: 'github', secrets: ['secret'], toleranceSeconds: 300, authenticates: true } as const
  const { app, kafka } = await produceApp({ signatures: [{ ...rule, topic: 'a' }, { ...rule, topic: 'b' }] })
  const good = { 'x-hub-signature-256': 'sha256=' + createHmac('sha256', 'secret').update('x').digest('hex') }
  t.equal((await post(app, 'x', { headers: good })).statusCode, 200)
  for (let i = 0; i < 20; i++) isProblem(t, await post(app, 'y', { headers: good }), 403, 'SLUICE_SIGNATURE_INVALID')
  const limited = await post(app, 'y', { headers: good })
  isProblem(t, limited, 429, 'SLUICE_RATE_LIMITED', /Too many bad signatures/)
  t.ok(Number(limited.headers['retry-after']) > 0)
  t.equal((await post(app, 'x', { headers: good })).statusCode, 200)
  isProblem(t, await post(app, 'x', { url: '/topics/b/raw', headers: good }), 429, 'SLUICE_RATE_LIMITED')
  t.equal((await post(app, 'x', { headers: good, remoteAddress: '192.0.2.7' })).statusCode, 200, 'another network')
  t.equal(kafka.sent.length, 3)
})
