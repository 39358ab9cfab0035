import type { FastifyInstance, InjectOptions } from 'fastify'
import { test, type Test } from 'tap'
import { SluiceError, type ErrorCode } from '../../src/errors.js'
import { deliveryUnknown } from '../../src/kafka/delivery-errors.js'
import { maxBatchRecords } from '../../src/record-json.js'
import { confluentApp } from '../support/confluent-app.js'
import { bodyLimitBytes } from '../support/produce-app.js'

const binary = 'application/vnd.kafka.binary.v2+json'
const json = 'application/vnd.kafka.json.v2+json'

async function post (app: FastifyInstance, payload: string | object, type = json, options: InjectOptions = {}) {
  return await app.inject({
    method: 'POST',
    url: '/topics/a',
    ...options,
    headers: { 'content-type': type, ...options.headers },
    payload: typeof payload === 'string' ? payload : JSON.stringify(payload)
  })
}

type Response = Awaited<ReturnType<typeof post>>

function isError (t: Test, res: Response, status: number, code: number, message?: RegExp) {
  t.equal(res.statusCode, status, res.body)
  t.equal(res.headers['content-type'], 'application/vnd.kafka.v2+json')
  const body = res.json<{ error_code: number, message: string }>()
  t.same(Object.keys(body), ['error_code', 'message'])
  t.equal(body.error_code, code)
  if (message !== undefined) t.match(body.message, message)
  t.equal(res.headers['retry-after'] !== undefined, status === 503 || status === 429)
}

test('binary: base64 becomes bytes, and the answer is the proxy\'s', async t => {
  const { app, kafka } = await confluentApp()
  const res = await post(app, { records: [{ key: 'a2V5', value: 'Y29uZmx1ZW50' }, { value: 'a2Fma2E=', partition: 1 }, { value: 'bG9ncw==' }] }, binary,
    { headers: { accept: 'application/vnd.kafka.v2+json, application/vnd.kafka+json, application/json' } })
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'application/vnd.kafka.v2+json')
  t.equal(res.body, '{"offsets":[{"partition":0,"offset":0,"error_code":null,"error":null},{"partition":1,"offset":1,"error_code":null,"error":null},' +
    '{"partition":0,"offset":2,"error_code":null,"error":null}],"key_schema_id":null,"value_schema_id":null}')
  t.same(kafka.sent.map(({ key, value, partition }) => [key, value, partition]), [
    [Buffer.from('key'), Buffer.from('confluent'), null], [null, Buffer.from('kafka'), 1], [null, Buffer.from('logs'), null]
  ])
  for (const type of ['application/vnd.kafka.v2+json', 'application/vnd.kafka+json', `${binary}; charset=utf-8`, binary.toUpperCase()]) {
    t.equal((await post(app, { records: [{ value: 'eA==' }] }, type)).statusCode, 200, type)
    t.same(kafka.sent.at(-1)?.value, Buffer.from('x'), 'no format means binary')
  }
})

test('JSON: its text is written, with every digit as it was', async t => {
  const { app, kafka } = await confluentApp()
  await post(app, '{"records":[{"value": {"n": 12345678901234567890.10}, "key":"k"},{"value":"text"},{"value":null},{"value":1.50},{}],"value_schema_id":null}')
  t.same(kafka.sent.map(({ key, value }) => [key, value]), [['"k"', '{"n": 12345678901234567890.10}'], [null, '"text"'], [null, null], [null, '1.50'], [null, null]])
})

test('timestamps and headers', async t => {
  const { app, kafka } = await confluentApp()
  await post(app, { records: [{ value: 1, timestamp: 1700000000000, headers: [{ key: 'h', value: 'AP8=' }, { key: 'h', value: '' }] }] }, json,
    { headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } })
  t.match(kafka.sent[0], {
    timestamp: 1700000000000, headers: [{ name: 'h', value: Buffer.from([0, 255]) }, { name: 'h', value: Buffer.alloc(0) }, { name: 'traceparent' }]
  })
})

test('a partition in the path is that of all records', async t => {
  const { app, kafka } = await confluentApp()
  const to = (url: string, records: object[]) => post(app, { records }, json, { url })
  t.match((await to('/topics/a/partitions/3', [{ value: 1 }, { value: 2 }])).json(), { offsets: [{ partition: 3 }, { partition: 3 }] })
  t.same(kafka.sent.map(({ partition }) => partition), [3, 3])
  isError(t, await to('/topics/a/partitions/4', [{ value: 1 }]), 404, 40402, /partition 4/)
  isError(t, await to('/topics/a/partitions/x', [{ value: 1 }]), 404, 40402)
  isError(t, await to('/topics/a/partitions/2147483648', [{ value: 1 }]), 404, 40402)
  isError(t, await to('/topics/a/partitions/0', [{ value: 1, partition: 0 }]), 422, 422, /partition/)
})

test('entries that fail: the codes, and the status', async t => {
  const { app, kafka } = await confluentApp()
  const entry = async (error: SluiceError) => {
    kafka.outcomes.push(error, undefined)
    const res = await post(app, { records: [{ value: 1 }, { value: 2 }] })
    const [first, second] = res.json<{ offsets: Record<string, unknown>[] }>().offsets
    t.same([first?.['partition'], first?.['offset'], first?.['error']], [null, null, error.message])
    t.match(second, { partition: 0, error_code: null, error: null })
    return [res.statusCode, first?.['error_code']]
  }
  t.same(await entry(new SluiceError('SLUICE_QUEUE_FULL', 'full')), [200, 50003])
  t.same(await entry(new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'away')), [200, 50003])
  t.same(await entry(deliveryUnknown()), [200, 50003])
  t.same(await entry(new SluiceError('SLUICE_RECORD_TOO_LARGE', 'large')), [200, 50002])
  t.same(await entry(new SluiceError('SLUICE_RECORD_REJECTED', 'no')), [200, 50002])
  t.same(await entry(new SluiceError('SLUICE_NOT_AUTHORIZED', 'denied')), [403, 40301])
  const wrong = await post(app, { records: [{ value: 1, partition: 9 }, { value: 2 }] })
  t.equal(wrong.statusCode, 200)
  t.match(wrong.json(), { offsets: [{ partition: null, error_code: 50002 }, { partition: 0, error_code: null }] })
})

test('refusals of the whole request come in the proxy\'s form', async t => {
  const { app, kafka } = await confluentApp()
  isError(t, await post(app, { records: [{ value: 1 }] }, json, { url: '/topics/none' }), 404, 40401, /none/)
  isError(t, await post(app, { records: [{ value: 1 }] }, json, { url: '/topics/a%20b' }), 404, 40401)
  isError(t, await post(app, { records: [{ value: 1 }] }, json, { url: '/topics/_schemas' }), 403, 40301)
  isError(t, await post(app, { records: [{ value: 1 }] }, json, { url: '/topics/a?x=1' }), 400, 400, /"x"/)
  isError(t, await post(app, { records: [{ value: 1 }] }, json, { headers: { 'request-timeout': 'x' } }), 400, 400)
  isError(t, await post(app, { records: [{ value: 1 }] }, json, { headers: { host: 'evil.example' } }), 403, 403)
  isError(t, await post(app, '{"records":['), 400, 400)
  isError(t, await post(app, ''), 400, 400, /empty/)
  const expected: [ErrorCode, number, number][] = [
    ['SLUICE_QUEUE_FULL', 503, 50003], ['SLUICE_BROKER_UNAVAILABLE', 503, 50003], ['SLUICE_NOT_PRODUCED', 503, 50003], ['SLUICE_CLOSING', 503, 50003],
    ['SLUICE_DELIVERY_UNKNOWN', 504, 50003], ['SLUICE_RATE_LIMITED', 429, 429], ['SLUICE_INTERNAL', 500, 500], ['SLUICE_UNAUTHENTICATED', 401, 40101]
  ]
  for (const [code, status, errorCode] of expected) {
    kafka.refusal = new SluiceError(code, 'why')
    isError(t, await post(app, { records: [{ value: 1 }] }), status, errorCode, /^why$/)
  }
  kafka.refusal = new Error('secret')
  isError(t, await post(app, { records: [{ value: 1 }] }), 500, 500, /unexpected/)
  t.same(kafka.sent, [])
})

test('faults in the body are 422, and name what is wrong', async t => {
  const { app, kafka } = await confluentApp()
  const faults: [string | object, RegExp, string?][] = [
    [{}, /records may not be empty/], [{ records: [] }, /may not be empty/], [[], /must be an object/], [{ records: [1] }, /records\/0/],
    [{ records: [{ valu: 1 }] }, /"valu"/], [{ records: [{ value: 1 }], x: 1 }, /"x"/], [{ records: [{ value: 1 }], value_schema_id: 1 }, /value_schema_id/],
    [{ records: [{ value: 1, partition: -1 }] }, /partition/], [{ records: [{ value: 1, timestamp: 0 }] }, /timestamp/],
    [{ records: [{ value: 1, headers: [{ key: 'h' }] }] }, /headers\/0\/value/], [{ records: [{ value: 1, headers: [{ key: 'a\0', value: '' }] }] }, /NUL/],
    [{ records: [{ value: 1, headers: { h: '' } }] }, /headers/], [{ records: [{ value: 1, headers: [{ name: 'h', value: '' }] }] }, /"name"/],
    [{ records: [{ value: 'x' }] }, /base64/, binary], [{ records: [{ value: 1 }] }, /base64/, binary], [{ records: [{ value: 'eA' }] }, /base64/, binary]
  ]
  for (const [body, message, type] of faults) isError(t, await post(app, body, type), 422, 422, message)
  isError(t, await post(app, { records: Array.from({ length: maxBatchRecords + 1 }, () => ({ value: 1 })) }), 413, 413)
  t.equal((await post(app, { records: Array.from({ length: maxBatchRecords }, () => ({ value: 1 })) })).statusCode, 200)
  t.equal(kafka.sent.length, maxBatchRecords, 'a fault anywhere refuses all of it')
  isError(t, await post(app, 'x'.repeat(bodyLimitBytes + 1)), 413, 413)
})

test('media types: those with schemas need a registry, others are 415; a method that is not there is 405', async t => {
  const { app } = await confluentApp()
  for (const format of ['avro', 'jsonschema', 'protobuf']) {
    isError(t, await post(app, { value_schema: '"string"', records: [{ value: 'x' }] }, `application/vnd.kafka.${format}.v2+json`), 422, 42206, /Schema Registry/)
  }
  for (const type of ['application/json', 'text/plain', 'application/octet-stream', 'application/vnd.kafka.binary.v1+json', 'application/vnd.kafka.x.v2+json']) {
    isError(t, await post(app, { records: [{ value: 'eA==' }] }, type), 415, 415, /415 Unsupported Media Type/)
  }
  isError(t, await post(app, '{}', `${json}; charset=latin1`), 415, 415)
  isError(t, await post(app, '{}', json, { headers: { 'content-encoding': 'gzip' } }), 415, 415)
  isError(t, await app.inject({ method: 'POST', url: '/topics/a' }), 415, 415)
  const put = await app.inject({ method: 'PUT', url: '/topics/a', headers: { accept: 'application/vnd.kafka.v2+json' } })
  isError(t, put, 405, 405)
  t.equal(put.headers.allow, 'POST')
  isError(t, await app.inject({ method: 'POST', url: '/consumers/g', headers: { 'content-type': 'application/vnd.kafka.v2+json' }, payload: '{}' }), 404, 404)
  const ours = await app.inject({ method: 'PUT', url: '/topics/a' })
  t.equal(ours.headers['content-type'], 'application/problem+json; charset=utf-8', 'without its media types an error is ours')
})
