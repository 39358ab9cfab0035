import { request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, InjectOptions } from 'fastify'
import { test, type Test } from 'tap'
import { SluiceError, type ErrorCode } from '../../src/errors.js'
import { deliveryUnknown } from '../../src/kafka/delivery-errors.js'
import { maxBatchRecords } from '../../src/record-json.js'
import { bodyLimitBytes, produceApp, producerSettings } from '../support/produce-app.js'

const json = { 'content-type': 'application/json' }

async function post (app: FastifyInstance, payload: string | object | Buffer, options: InjectOptions = {}) {
  return await app.inject({
    method: 'POST',
    url: '/topics/a/records',
    ...options,
    headers: { ...json, ...options.headers },
    payload: typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload)
  })
}

type Response = Awaited<ReturnType<typeof post>>

function isProblem (t: Test, res: Response, status: number, code: ErrorCode, detail?: RegExp) {
  t.equal(res.statusCode, status)
  t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
  const problem = res.json<Record<string, unknown>>()
  t.match(problem, { status, code, type: /^urn:sluice:problem:[a-z-]+$/, title: String, detail: String })
  if (detail !== undefined) t.match(problem.detail, detail)
  t.equal(res.headers['retry-after'] !== undefined, status === 503 || status === 429, 'Retry-After goes with 503 and 429, and with nothing else')
  return problem
}

test('one record is produced, and its receipt comes back', async t => {
  const { app, kafka } = await produceApp()
  const res = await post(app, {
    key: 'k', value: { a: 1 }, headers: { h: ['1', '2'] }, partition: 3, timestamp: 1700000000000
  })
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
  t.same(res.json(), { topic: 'a', partition: 3, offset: 0, timestamp: 1700000000000 })
  t.same(kafka.sent, [{
    topic: 'a',
    partition: 3,
    key: 'k',
    value: '{"a":1}',
    timestamp: 1700000000000,
    headers: [{ name: 'h', value: '1' }, { name: 'h', value: '2' }]
  }])
  t.same(kafka.timeouts, [5_000])
})

test('a batch answers with one outcome a record, in order', async t => {
  const { app, kafka } = await produceApp()
  const all = await post(app, { records: [{ value: 'x' }, { value: 'y' }] })
  t.equal(all.statusCode, 200)
  t.same(all.json(), {
    records: [
      { topic: 'a', partition: 0, offset: 0, timestamp: 1767225600000 },
      { topic: 'a', partition: 0, offset: 1, timestamp: 1767225600000 }
    ]
  })
  t.same(kafka.sent.map(({ value }) => value), ['x', 'y'])
})

test('a batch with one record is still a batch', async t => {
  const { app } = await produceApp()
  const res = await post(app, { records: [{ value: 'x' }] })
  t.equal(res.json<{ records: unknown[] }>().records.length, 1)
})

test('a batch whose records end differently is 207; one that fails stops no other', async t => {
  const { app, kafka } = await produceApp()
  kafka.outcomes.push(undefined, deliveryUnknown(), undefined)
  const res = await post(app, { records: [{ value: '1' }, { value: '2' }, { value: '3' }, { value: '4', partition: 4 }, { value: '5' }] })
  t.equal(res.statusCode, 207)
  t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
  t.match(res.json(), {
    records: [
      { offset: 0 },
      { status: 504, code: 'SLUICE_DELIVERY_UNKNOWN' },
      { offset: 1 },
      { status: 400, code: 'SLUICE_UNKNOWN_PARTITION', detail: /partition 4/ },
      { offset: 2 }
    ]
  })
  t.same(kafka.sent.map(({ value }) => value), ['1', '3', '5'])
})

test('a batch that fails with one status has that status', async t => {
  const { app, kafka } = await produceApp()
  kafka.outcomes.push(new SluiceError('SLUICE_QUEUE_FULL', 'full'), new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'away'))
  const res = await post(app, { records: [{ value: '1' }, { value: '2' }] })
  t.equal(res.statusCode, 503)
  t.equal(res.headers['retry-after'], '2', 'the longest of them')
  t.match(res.json(), { records: [{ code: 'SLUICE_QUEUE_FULL' }, { code: 'SLUICE_BROKER_UNAVAILABLE' }] })

  kafka.outcomes.push(deliveryUnknown(), new SluiceError('SLUICE_QUEUE_FULL', 'full'))
  t.equal((await post(app, { records: [{ value: '1' }, { value: '2' }] })).statusCode, 207, 'two different failures')
  const wrong = await post(app, { records: [{ value: '1', partition: 9 }, { value: '2', partition: 9 }] })
  t.equal(wrong.statusCode, 400)
  t.equal(wrong.json<{ records: unknown[] }>().records.length, 2)
})

test('a fault anywhere in a batch refuses all of it', async t => {
  const { app, kafka } = await produceApp()
  const problem = isProblem(t, await post(app, { records: [{ value: 1 }, { value: 2 }, { valu: 3 }] }), 400, 'SLUICE_INVALID_REQUEST')
  t.equal(problem.pointer, '#/records/2')
  t.same(kafka.sent, [])
})

test('a refusal of the whole batch is one problem', async t => {
  const { app, kafka } = await produceApp()
  kafka.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  isProblem(t, await post(app, { records: [{ value: 1 }, { value: 2 }] }), 503, 'SLUICE_QUEUE_FULL')
})

test('each error of the producer is a problem with its status', async t => {
  const { app, kafka } = await produceApp()
  const expected: [ErrorCode, number][] = [
    ['SLUICE_QUEUE_FULL', 503], ['SLUICE_BROKER_UNAVAILABLE', 503], ['SLUICE_NOT_PRODUCED', 503], ['SLUICE_CLOSING', 503],
    ['SLUICE_DELIVERY_UNKNOWN', 504], ['SLUICE_RECORD_TOO_LARGE', 413], ['SLUICE_NOT_AUTHORIZED', 403], ['SLUICE_RECORD_REJECTED', 400],
    ['SLUICE_UNKNOWN_TOPIC', 404], ['SLUICE_UNKNOWN_PARTITION', 400]
  ]
  for (const [code, status] of expected) {
    kafka.refusal = new SluiceError(code, 'why')
    isProblem(t, await post(app, { value: 1 }), status, code, /^why$/)
  }
})

test('an unexpected error is 500, tells nothing, and is logged with its stack', async t => {
  const { app, kafka, logged } = await produceApp()
  kafka.refusal = new Error('secret inside')
  const res = await post(app, { value: 1 })
  isProblem(t, res, 500, 'SLUICE_INTERNAL')
  t.notMatch(res.body, /secret/)
  t.match(logged.at(-1), { level: 50, msg: 'request failed', code: 'SLUICE_INTERNAL', err: { message: 'secret inside', stack: /records/ } })
})

test('topic names: every limit from both sides', async t => {
  const { app, kafka } = await produceApp()
  const longest = 'x'.repeat(249)
  kafka.partitions.set(longest, 1).set('a.b_c-D9', 1)
  await kafka.refreshTopics()
  t.equal((await post(app, { value: 1 }, { url: `/topics/${longest}/records` })).statusCode, 200)
  t.equal((await post(app, { value: 1 }, { url: `/topics/${'%78'.repeat(249)}/records` })).statusCode, 200, 'percent-encoded')
  t.equal((await post(app, { value: 1 }, { url: '/topics/a.b_c-D9/records' })).statusCode, 200)
  for (const bad of ['x'.repeat(250), 'a%20b', 'a%2Fb', 'caf%C3%A9', 'a%00']) {
    isProblem(t, await post(app, { value: 1 }, { url: `/topics/${bad}/records` }), 400, 'SLUICE_INVALID_TOPIC_NAME')
  }
  isProblem(t, await post(app, { value: 1 }, { url: `/topics/${'x'.repeat(1025)}/records` }), 414, 'SLUICE_URI_TOO_LONG')
  isProblem(t, await post(app, { value: 1 }, { url: '/topics/a%ZZ/records' }), 400, 'SLUICE_BAD_URL')
  isProblem(t, await post(app, { value: 1 }, { url: '/topics//records' }), 400, 'SLUICE_INVALID_TOPIC_NAME')
})

test('dot segments are names that no topic can have', async t => {
  const { app } = await produceApp()
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  for (const name of ['.', '..', '%2e', '%2E%2e']) {
    // Unlike fetch and inject, `request` leaves the path as it is.
    const { port } = app.server.address() as AddressInfo
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ port, method: 'POST', path: `/topics/${name}/records`, headers: json }, resolve).on('error', reject).end('{"value":1}')
    })
    t.equal(res.statusCode, 400, name)
    t.match(Buffer.concat(await res.toArray()).toString(), 'SLUICE_INVALID_TOPIC_NAME')
  }
})

test('reserved topics are refused though they exist', async t => {
  const { app, kafka } = await produceApp()
  for (const name of ['__consumer_offsets', '_schemas', '__x']) {
    isProblem(t, await post(app, { value: 1 }, { url: `/topics/${name}/records` }), 403, 'SLUICE_TOPIC_NOT_ALLOWED')
  }
  kafka.partitions.set('_schemas2', 1).set('_x', 1)
  await kafka.refreshTopics()
  t.equal((await post(app, { value: 1 }, { url: '/topics/_schemas2/records' })).statusCode, 200)
  t.equal((await post(app, { value: 1 }, { url: '/topics/_x/records' })).statusCode, 200)
})

test('an unknown topic is 404', async t => {
  const { app, kafka } = await produceApp()
  isProblem(t, await post(app, { value: 1 }, { url: '/topics/nope/records' }), 404, 'SLUICE_UNKNOWN_TOPIC', /nope/)
  isProblem(t, await post(app, { records: [{ value: 1 }] }, { url: '/topics/nope/records' }), 404, 'SLUICE_UNKNOWN_TOPIC')
  t.same(kafka.asked, [], 'and is not asked for by name, which might make it')
})

test('an unknown topic is made where that is configured', async t => {
  const { app, kafka } = await produceApp({ settings: { ...producerSettings, allowAutoCreateTopics: true } })
  t.equal((await post(app, { value: 1 }, { url: '/topics/new/records' })).statusCode, 200)
  t.same(kafka.asked, ['new'])
})

test('partitions: the last one that exists, and the first that does not', async t => {
  const { app } = await produceApp()
  t.equal((await post(app, { value: 1, partition: 3 })).statusCode, 200)
  isProblem(t, await post(app, { value: 1, partition: 4 }), 400, 'SLUICE_UNKNOWN_PARTITION')
  isProblem(t, await post(app, { value: 1, partition: 2147483647 }), 400, 'SLUICE_UNKNOWN_PARTITION')
  isProblem(t, await post(app, { value: 1, partition: 2147483648 }), 400, 'SLUICE_INVALID_REQUEST', /\/partition/)
  isProblem(t, await post(app, { value: 1, partition: -1 }), 400, 'SLUICE_INVALID_REQUEST', /\/partition/)
})

test('while the list of topics cannot be read, the deadline withdraws the request: 503, not produced', async t => {
  const { app, kafka } = await produceApp()
  kafka.topicList = null
  kafka.onRefresh = async () => { await new Promise(resolve => { setTimeout(resolve, 500).unref() }) }
  isProblem(t, await post(app, { value: 1 }, { headers: { 'request-timeout': '0.05' } }), 503, 'SLUICE_NOT_PRODUCED')
  t.same(kafka.sent, [])
})

test('Request-Timeout', async t => {
  const { app, kafka } = await produceApp()
  await post(app, { value: 1 })
  for (const [header, ms] of [['1', 1_000], ['0.0001', 1], ['2.5', 2_500], ['3600', 3_600_000], ['10.999999', 11_000]] as const) {
    t.equal((await post(app, { value: 1 }, { headers: { 'request-timeout': header } })).statusCode, 200)
    t.equal(kafka.timeouts.at(-1), ms)
  }
  for (const bad of ['', '0', '0.0', '-1', '1e3', 'soon', '3600.1', '99999', '1,5', ' 1s', 'Infinity', '0x10']) {
    isProblem(t, await post(app, { value: 1 }, { headers: { 'request-timeout': bad } }), 400, 'SLUICE_INVALID_REQUEST', /Request-Timeout/)
  }
})

test('bodies that are not JSON', async t => {
  const { app, kafka } = await produceApp()
  for (const bad of [
    '', ' ', '{', '{"value":1}x', '{"value":1,}', '{\'value\':1}', '{"value":01}', '{"value":NaN}', '{"value":"\u0000"}', '{"value":1}{"value":2}',
    Buffer.from([0x22, 0xff, 0x22]), Buffer.from('{"value":"\xe9"}', 'latin1'), Buffer.from([0xff, 0xfe, 0x7b, 0])
  ]) isProblem(t, await post(app, bad), 400, 'SLUICE_MALFORMED_JSON')
  t.same(kafka.sent, [])
  t.equal((await post(app, '\ufeff{"value":1}')).statusCode, 200, 'a byte order mark is passed over')
})

test('deep nesting is refused, whether it is closed or not', async t => {
  const { app } = await produceApp()
  const nested = (depth: number) => `{"value":${'['.repeat(depth)}${']'.repeat(depth)}}`
  t.equal((await post(app, nested(999))).statusCode, 200)
  isProblem(t, await post(app, nested(1_000)), 400, 'SLUICE_MALFORMED_JSON', /1000 deep/)
  isProblem(t, await post(app, nested(100_000)), 400, 'SLUICE_MALFORMED_JSON')
  isProblem(t, await post(app, '['.repeat(100_000)), 400, 'SLUICE_MALFORMED_JSON')
  isProblem(t, await post(app, '{"a":'.repeat(100_000)), 400, 'SLUICE_MALFORMED_JSON')
})

test('the body limit from both sides', async t => {
  const { app } = await produceApp()
  const record = '{"value":"x"}'
  t.equal((await post(app, record.padEnd(bodyLimitBytes))).statusCode, 200)
  const problem = isProblem(t, await post(app, record.padEnd(bodyLimitBytes + 1)), 413, 'SLUICE_BODY_TOO_LARGE', /2000000 bytes/)
  t.equal(problem.limit, bodyLimitBytes)
})

test('the record limit from both sides, headers counted', async t => {
  const { app, kafka } = await produceApp()
  kafka.messageMaxBytes = 100
  const record = { key: 'kk', value: 'v'.repeat(90), headers: { hhh: 'é'.repeat(2) } }
  t.equal((await post(app, { ...record, headers: { hhhh: 'éé' } })).statusCode, 200)
  const problem = isProblem(t, await post(app, { ...record, headers: { hhhhh: 'éé' } }), 413, 'SLUICE_RECORD_TOO_LARGE', /100 bytes/)
  t.equal(problem.limit, 100)
})

test('the number of records in a batch from both sides', async t => {
  const { app } = await produceApp()
  const batch = (n: number) => ({ records: new Array(n).fill({ value: 1 }) })
  isProblem(t, await post(app, batch(0)), 400, 'SLUICE_INVALID_REQUEST', /at least one/)
  t.equal((await post(app, batch(maxBatchRecords))).statusCode, 200)
  t.equal(isProblem(t, await post(app, batch(maxBatchRecords + 1)), 413, 'SLUICE_BATCH_TOO_LARGE').limit, maxBatchRecords)
})

test('media types and encodings', async t => {
  const { app } = await produceApp()
  for (const type of ['application/json', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'Application/JSON']) {
    t.equal((await post(app, { value: 1 }, { headers: { 'content-type': type } })).statusCode, 200, type)
  }
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', 'json', 'application/json; charset=latin1']) {
    isProblem(t, await post(app, { value: 1 }, { headers: { 'content-type': type } }), 415, 'SLUICE_UNSUPPORTED_MEDIA_TYPE')
  }
  isProblem(t, await app.inject({ method: 'POST', url: '/topics/a/records', payload: Buffer.from('{}') }), 415, 'SLUICE_UNSUPPORTED_MEDIA_TYPE')
  isProblem(t, await app.inject({ method: 'POST', url: '/topics/a/records' }), 400, 'SLUICE_MALFORMED_JSON', /empty/)
  isProblem(t, await post(app, { value: 1 }, { headers: { 'content-encoding': 'gzip' } }), 415, 'SLUICE_UNSUPPORTED_MEDIA_TYPE')
  t.equal((await post(app, { value: 1 }, { headers: { 'content-encoding': 'identity' } })).statusCode, 200)
})

test('the parts of a record, each wrong once: 400 says what and where', async t => {
  const { app, kafka } = await produceApp()
  const faults: [unknown, RegExp, string][] = [
    [1, /must be an object/, '#'],
    [null, /must be an object/, '#'],
    [[], /must be an object/, '#'],
    [{}, /no value/, '#'],
    [{ key: 1 }, /no value/, '#'],
    [{ value: 1, extra: 1 }, /"extra"/, '#'],
    [{ value: 1, Key: 1 }, /"Key"/, '#'],
    [{ value: 1, ['x'.repeat(100_000)]: 1 }, /"x{64}…"/, '#'],
    [{ records: 1 }, /array/, '#/records'],
    [{ records: null }, /array/, '#/records'],
    [{ records: [{ value: 1 }], value: 1 }, /"value" beside records/, '#'],
    [{ records: [1] }, /must be an object/, '#/records/0'],
    [{ value: 1, partition: '1' }, /integer/, '#/partition'],
    [{ value: 1, partition: 1.5 }, /integer/, '#/partition'],
    [{ value: 1, partition: true }, /integer/, '#/partition'],
    [{ value: 1, timestamp: 0 }, /from 1 to/, '#/timestamp'],
    [{ value: 1, timestamp: -1 }, /integer/, '#/timestamp'],
    [{ value: 1, timestamp: '2020-01-01' }, /integer/, '#/timestamp'],
    [{ value: 1, timestamp: 9007199254740992 }, /integer/, '#/timestamp'],
    [{ value: 1, encoding: 'utf8' }, /string, because its encoding is utf8/, '#/value'],
    [{ value: {}, encoding: 'base64' }, /string/, '#/value'],
    [{ value: 'x', encoding: 'hex' }, /"json", "utf8" or "base64"/, '#/encoding'],
    [{ value: 'x', encoding: null }, /"json", "utf8" or "base64"/, '#/encoding'],
    [{ value: null, encoding: 'hex' }, /"json", "utf8" or "base64"/, '#/encoding'],
    [{ value: 1, keyEncoding: 'hex' }, /"json", "utf8" or "base64"/, '#/keyEncoding'],
    [{ value: 1, key: 1, keyEncoding: 'utf8' }, /string/, '#/key'],
    [{ value: '\ud800' }, /surrogate/, '#/value'],
    [{ value: 1, key: 'a\udfff' }, /surrogate/, '#/key'],
    [{ value: 'YQ', encoding: 'base64' }, /base64/, '#/value'],
    [{ value: 'YR==', encoding: 'base64' }, /base64/, '#/value'],
    [{ value: 'Y Q==', encoding: 'base64' }, /base64/, '#/value'],
    [{ value: '_-8=', encoding: 'base64' }, /base64/, '#/value'],
    [{ value: 1, headers: 'x' }, /object of strings/, '#/headers'],
    [{ value: 1, headers: null }, /object of strings/, '#/headers'],
    [{ value: 1, headers: { h: null } }, /"h"/, '#/headers'],
    [{ value: 1, headers: { h: 1 } }, /"h"/, '#/headers'],
    [{ value: 1, headers: { h: ['x', null] } }, /"h"/, '#/headers'],
    [{ value: 1, headers: { 'h\0': 'x' } }, /NUL/, '#/headers'],
    [{ value: 1, headers: { '\ud800': 'x' } }, /surrogate/, '#/headers'],
    [{ value: 1, headers: [1] }, /object/, '#/headers/0'],
    [{ value: 1, headers: [{ value: 'x' }] }, /string/, '#/headers/0/name'],
    [{ value: 1, headers: [{ name: 'h' }] }, /string/, '#/headers/0/value'],
    [{ value: 1, headers: [{ name: 'h', value: null }] }, /string/, '#/headers/0/value'],
    [{ value: 1, headers: [{ name: 'h\0', value: '' }] }, /NUL/, '#/headers/0/name'],
    [{ value: 1, headers: [{ name: 'h', value: '', encoding: 'json' }] }, /utf8/, '#/headers/0/encoding'],
    [{ value: 1, headers: [{ name: 'h', value: '?', encoding: 'base64' }] }, /base64/, '#/headers/0/value'],
    [{ value: 1, headers: [{ name: 'h', value: '', more: 1 }] }, /"more"/, '#/headers/0']
  ]
  for (const [body, detail, pointer] of faults) {
    const problem = isProblem(t, await post(app, body === null ? 'null' : JSON.stringify(body)), 400, 'SLUICE_INVALID_REQUEST', detail)
    t.equal(problem.pointer, pointer, JSON.stringify(body).slice(0, 80))
  }
  t.same(kafka.sent, [])
})

test('__proto__ and constructor are data in a value, unknown members in a record', async t => {
  const { app, kafka } = await produceApp()
  t.equal((await post(app, '{"value":{"__proto__":{"x":1},"constructor":{"prototype":1}},"headers":{"__proto__":"h"}}')).statusCode, 200)
  t.match(kafka.sent, [{ value: '{"__proto__":{"x":1},"constructor":{"prototype":1}}', headers: [{ name: '__proto__', value: 'h' }] }])
  isProblem(t, await post(app, '{"value":1,"__proto__":{"partition":1}}'), 400, 'SLUICE_INVALID_REQUEST', /__proto__/)
  isProblem(t, await post(app, '{"__proto__":{"value":1}}'), 400, 'SLUICE_INVALID_REQUEST')
  isProblem(t, await post(app, '{"value":1,"constructor":1}'), 400, 'SLUICE_INVALID_REQUEST', /constructor/)
})

test('other methods on the path are 405 with Allow', async t => {
  const { app } = await produceApp()
  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'] as const) {
    const res = await app.inject({ method, url: '/topics/a/records?x=1' })
    isProblem(t, res, 405, 'SLUICE_METHOD_NOT_ALLOWED')
    t.equal(res.headers.allow, 'POST')
  }
})
