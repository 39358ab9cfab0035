import type { AddressInfo } from 'node:net'
import { CloudEvent, emitterFor, HTTP, httpTransport, Kafka as KafkaBinding, Mode } from 'cloudevents'
import type { FastifyInstance } from 'fastify'
import fc from 'fast-check'
import { test, type Test } from 'tap'
import { maxAttributeLength, maxEventAttributes } from '../../src/cloud-event-attributes.js'
import { SluiceError, type ErrorCode } from '../../src/errors.js'
import { deliveryUnknown } from '../../src/kafka/delivery-errors.js'
import { maxBatchRecords } from '../../src/record-json.js'
import type { OutgoingRecord } from '../../src/record.js'
import { produceApp } from '../support/produce-app.js'

const structured = 'application/cloudevents+json'
const batched = 'application/cloudevents-batch+json'
const required = { specversion: '1.0', id: '1', source: '/s', type: 't' }
const ce = { 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 't' }

async function post (app: FastifyInstance, headers: Record<string, string>, payload?: string | Buffer, url = '/topics/a/events') {
  return await app.inject({ method: 'POST', url, headers, ...(payload !== undefined && { payload }) })
}

const postEvent = async (app: FastifyInstance, event: unknown) =>
  await post(app, { 'content-type': structured }, typeof event === 'string' ? event : JSON.stringify(event))

function isProblem (t: Test, res: Awaited<ReturnType<typeof post>>, status: number, code: ErrorCode, detail?: RegExp, pointer?: string) {
  t.equal(res.statusCode, status, res.body)
  t.match(res.json(), { status, code, ...(detail && { detail }) })
  if (pointer !== undefined) t.equal(res.json<{ pointer?: string }>().pointer, pointer)
}

const headersOf = (record: OutgoingRecord | undefined) =>
  Object.fromEntries((record?.headers ?? []).map(({ name, value }) => [name, String(value)]))

/** As the SDK wants a record: text where there is some. */
function message (record: OutgoingRecord | undefined) {
  const value = record?.value
  const key = record?.key == null ? undefined : String(record.key)
  return { headers: headersOf(record), key, value: Buffer.isBuffer(value) ? value.toString() : value, body: value }
}

const readBack = (record: OutgoingRecord | undefined) => KafkaBinding.toEvent(message(record) as never) as CloudEvent<unknown>

test('the SDK\'s emitter, in binary and in structured mode: what its Kafka binding reads back is the event', async t => {
  const { app, kafka } = await produceApp()
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/topics/a/events`
  const event = new CloudEvent({
    source: '/shop', type: 'order.placed', subject: 'order-7', partitionkey: 'customer-7', datacontenttype: 'application/json', data: { total: 12.5, name: 'é' }, traceparent: '00-x'
  })
  for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
    const answer = await emitterFor(httpTransport(url), { binding: HTTP, mode })(event) as { body: string }
    t.match(JSON.parse(answer.body), { topic: 'a', offset: Number }, `${mode}: ${answer.body}`)
    const record = kafka.sent.at(-1)
    t.equal(String(record?.key), 'customer-7')
    t.same(readBack(record).toJSON(), event.toJSON(), mode)
  }
  t.match(headersOf(kafka.sent[0]), { ce_id: event.id, ce_partitionkey: 'customer-7', ce_traceparent: '00-x', 'content-type': /^application\/json/ })
  t.same(headersOf(kafka.sent[1]), { 'content-type': 'application/cloudevents+json; charset=UTF-8' })
  const res = await fetch(url, { method: 'POST', headers: { 'content-type': batched }, body: JSON.stringify([event, event.cloneWith({ id: 'second' })]) })
  t.equal(res.status, 200)
  t.match(await res.json(), { records: [{ offset: 2 }, { offset: 3 }] })
  t.same(kafka.sent.slice(2).map(record => readBack(record).id), [event.id, 'second'])
})

test('binary mode: headers are decoded, the data stay bytes', async t => {
  const { app, kafka } = await produceApp()
  const body = Buffer.from([0, 255, 123])
  const res = await post(app, {
    ...ce, 'content-type': 'application/octet-stream', 'CE-Subject': 'Euro%20%E2%82%AC%20%F0%9F%98%80', 'ce-quoted': '"a \\"b\\" \\\\ %25"', 'ce-raw': 'caf\xc3\xa9'
  }, body)
  t.equal(res.statusCode, 200, res.body)
  t.same(kafka.sent[0]?.value, body)
  t.equal(kafka.sent[0]?.key, null)
  t.same(headersOf(kafka.sent[0]), {
    'content-type': 'application/octet-stream',
    ce_specversion: '1.0',
    ce_id: '1',
    ce_source: '/s',
    ce_type: 't',
    ce_subject: 'Euro € 😀',
    ce_quoted: 'a "b" \\ %',
    ce_raw: 'café'
  })
})

test('an event without data is a record without a value; empty data are an empty value', async t => {
  const { app, kafka } = await produceApp()
  t.equal((await post(app, { ...ce, 'ce-partitionkey': 'k' })).statusCode, 200)
  t.equal(kafka.sent[0]?.value, null)
  t.equal(kafka.sent[0]?.key, 'k')
  t.equal((await post(app, { ...ce, 'content-type': 'text/plain' }, '')).statusCode, 200)
  t.same(kafka.sent[1]?.value, Buffer.alloc(0))
})

test('for any event in binary mode, the record has its attributes and its data', async () => {
  const { app, kafka } = await produceApp()
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }).filter(value => !/[\p{Cc}\ufdd0-\ufdef\ufffe\uffff]/u.test(value))
  const name = fc.stringMatching(/^[a-z0-9]{1,20}$/).filter(name => !(name in required) && !['data', 'time', 'datacontenttype'].includes(name))
  // As the binding says, written apart from what is tested.
  const encode = (value: string) => [...value].map(c => c > ' ' && c <= '~' && c !== '"' && c !== '%' ? c : encodeURIComponent(c)).join('')
  await fc.assert(fc.asyncProperty(text, text, text, fc.dictionary(name, text, { maxKeys: 8 }), fc.uint8Array({ minLength: 1 }),
    async (id, source, type, extensions, data) => {
      const attributes = { specversion: '1.0', id, source, type, ...extensions }
      const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce-${name}`, encode(value)]))
      const res = await post(app, headers, Buffer.from(data))
      const record = kafka.sent.at(-1)
      const expected = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value]))
      return res.statusCode === 200 && Buffer.from(data).equals(record!.value as Buffer) &&
        JSON.stringify(headersOf(record)) === JSON.stringify(expected) && record!.key === (extensions['partitionkey'] ?? null)
    }))
})

test('structured mode: the event stays as it was written, digits and white space', async t => {
  const { app, kafka } = await produceApp()
  const body = '{ "specversion":"1.0","id":"1", "source":"/s","type":"t","partitionkey":"k","n":7,"b":true,"gone":null,\n"data":{"id":12345678901234567890,"x":1.0}}'
  t.equal((await post(app, { 'content-type': 'Application/CloudEvents+JSON; charset="utf-8"' }, body)).statusCode, 200)
  t.equal(String(kafka.sent[0]?.value), body)
  t.equal(kafka.sent[0]?.key, 'k')
  t.equal((await postEvent(app, '\ufeff' + body)).statusCode, 200)
  t.equal(String(kafka.sent[1]?.value), body, 'without its byte order mark')
})

test('batched mode: one record an event, in order, as each was written', async t => {
  const { app, kafka } = await produceApp()
  const first = '{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1.50}'
  const second = '{"specversion":"1.0","id":"2","source":"/s","type":"t","partitionkey":"ключ","data":[ 12345678901234567890 ]}'
  const res = await post(app, { 'content-type': batched }, ` [ ${first} ,\n${second}]`)
  t.equal(res.statusCode, 200)
  t.same(res.json<{ records: { offset: number }[] }>().records.map(({ offset }) => offset), [0, 1])
  t.same(kafka.sent.map(({ value, key }) => [value, key]), [[first, null], [second, 'ключ']])
  t.same(kafka.sent.map(headersOf), new Array(2).fill({ 'content-type': 'application/cloudevents+json; charset=UTF-8' }))
  const none = await post(app, { 'content-type': batched }, '[]')
  t.equal(none.statusCode, 200, 'a batch of no events is one')
  t.same(none.json(), { records: [] })
})

test('for any events, structured or batched, each record\'s JSON is its event', async () => {
  const { app, kafka } = await produceApp()
  const text = fc.string({ minLength: 1 }).filter(value => !/[\p{Cc}\p{Cs}\ufdd0-\ufdef\ufffe\uffff]/u.test(value))
  const extension = fc.oneof(text, fc.boolean(), fc.integer(), fc.constant(null))
  const event = fc.record({
    specversion: fc.constant('1.0'), id: text, source: text, type: text, partitionkey: text, data: fc.jsonValue(), xyz: extension, x1: extension
  }, { requiredKeys: ['specversion', 'id', 'source', 'type'] })
  await fc.assert(fc.asyncProperty(fc.array(event, { maxLength: 5 }), async events => {
    const before = kafka.sent.length
    const texts = events.map(event => JSON.stringify(event))
    const res = await post(app, { 'content-type': batched }, `[${texts.join()}]`)
    for (const text of texts) await postEvent(app, text)
    const values = kafka.sent.slice(before).map(({ value, key }) => `${value} ${key}`)
    const expected = events.map((event, i) => `${texts[i]} ${event.partitionkey ?? null}`)
    return res.statusCode === 200 && values.join('\n') === [...expected, ...expected].join('\n')
  }))
})

test('a batch answers 207 where its events end differently', async t => {
  const { app, kafka } = await produceApp()
  const batch = JSON.stringify([required, required])
  kafka.outcomes.push(undefined, deliveryUnknown())
  const mixed = await post(app, { 'content-type': batched }, batch)
  t.equal(mixed.statusCode, 207)
  t.match(mixed.json(), { records: [{ offset: 0 }, { code: 'SLUICE_DELIVERY_UNKNOWN' }] })
  kafka.outcomes.push(new SluiceError('SLUICE_QUEUE_FULL', 'full'), new SluiceError('SLUICE_QUEUE_FULL', 'full'))
  const full = await post(app, { 'content-type': batched }, batch)
  t.equal(full.statusCode, 503)
  t.equal(full.headers['retry-after'], '1')
})

test('what is wrong with an event in binary mode names the attribute and its header', async t => {
  const { app, kafka } = await produceApp()
  for (const name of Object.keys(required)) {
    const { [`ce-${name}`]: _, ...others } = ce as Record<string, string>
    isProblem(t, await post(app, others, 'x'), 400, 'SLUICE_INVALID_REQUEST', new RegExp(`"${name}" \\(header ce-${name}\\) is missing`))
    isProblem(t, await post(app, { ...ce, [`ce-${name}`]: '' }, 'x'), 400, 'SLUICE_INVALID_REQUEST', new RegExp(`ce-${name}\\) must`))
  }
  const faults: [Record<string, string>, RegExp][] = [
    [{ 'ce-specversion': '0.3' }, /"specversion".* must be "1.0"/],
    [{ 'ce-my_name': 'x' }, /"my_name".*a-z and 0-9/],
    [{ 'ce-a-b': 'x' }, /"a-b"/],
    [{ 'ce-datacontenttype': 'text/plain' }, /ce-datacontenttype must not be there/],
    [{ 'ce-data': 'x' }, /ce-data must not be there/],
    [{ 'ce-data_base64': 'x' }, /ce-data_base64 must not be there/],
    [{ 'ce-time': 'yesterday' }, /"time".*RFC 3339/],
    [{ 'ce-time': '2026-02-30T00:00:00Z' }, /"time".*RFC 3339/],
    [{ 'ce-subject': '' }, /"subject".*must not be empty/],
    [{ 'ce-partitionkey': '' }, /"partitionkey".*must not be empty/],
    [{ 'ce-x': '100%' }, /ce-x holds a percent sign/],
    [{ 'ce-x': '%C0%A0' }, /ce-x is not UTF-8/],
    [{ 'ce-x': '\xe9' }, /ce-x is not UTF-8/],
    [{ 'ce-x': '%00' }, /"x".*control character/],
    [{ 'ce-x': 'a'.repeat(maxAttributeLength + 1) }, /may have 16384 characters/]
  ]
  for (const [headers, detail] of faults) isProblem(t, await post(app, { ...ce, ...headers }, 'x'), 400, 'SLUICE_INVALID_REQUEST', detail)
  isProblem(t, await post(app, { 'content-type': 'application/json' }, '{}'), 400, 'SLUICE_INVALID_REQUEST', /not a CloudEvent.*binary mode.*structured.*batched/)
  t.same(kafka.sent, [])
  for (const time of ['2026-01-01T00:00:00Z', '2024-02-29T23:59:60.123456789+23:59', '2026-01-01t00:00:00z', '0000-01-01T00:00:00Z']) {
    t.equal((await post(app, { ...ce, 'ce-time': time }, 'x')).statusCode, 200, time)
  }
  t.equal((await post(app, { ...ce, 'ce-x': 'a'.repeat(maxAttributeLength), 'ce-empty': '' }, 'x')).statusCode, 200)
})

test('what is wrong with an event in JSON is named, with a pointer to it', async t => {
  const { app, kafka } = await produceApp()
  for (const name of Object.keys(required)) {
    isProblem(t, await postEvent(app, { ...required, [name]: undefined }), 400, 'SLUICE_INVALID_REQUEST', new RegExp(`"${name}" is missing`), `#/${name}`)
    isProblem(t, await postEvent(app, { ...required, [name]: null }), 400, 'SLUICE_INVALID_REQUEST', new RegExp(`"${name}" is missing`))
    isProblem(t, await postEvent(app, { ...required, [name]: 1 }), 400, 'SLUICE_INVALID_REQUEST', new RegExp(`"${name}" must be`))
  }
  const faults: [object, RegExp, string][] = [
    [{ myName: 'x' }, /"myName" has a name/, '#/myName'],
    [{ 'a/b~c': 'x' }, /"a\/b~c"/, '#/a~1b~0c'],
    [{ '\ud800': 'x' }, /a-z and 0-9/, '#/%EF%BF%BD'],
    [{ ext: {} }, /"ext" must be a string, an integer or a boolean/, '#/ext'],
    [{ ext: [1] }, /"ext"/, '#/ext'],
    [{ ext: 1.5 }, /"ext" must be an integer of 32 bits/, '#/ext'],
    [{ ext: 2147483648 }, /"ext" must be an integer of 32 bits/, '#/ext'],
    [{ ext: 'a\0' }, /control character/, '#/ext'],
    [{ ext: 'a\ud800' }, /do not allow/, '#/ext'],
    [{ partitionkey: 5 }, /"partitionkey" must be a string/, '#/partitionkey'],
    [{ time: 'x' }, /RFC 3339/, '#/time'],
    [{ data: 1, data_base64: 'AA==' }, /both/, '#/data_base64'],
    [{ data_base64: 'AA' }, /not base64/, '#/data_base64'],
    [{ data_base64: 5 }, /not base64/, '#/data_base64']
  ]
  for (const [members, detail, pointer] of faults) {
    isProblem(t, await postEvent(app, { ...required, ...members }), 400, 'SLUICE_INVALID_REQUEST', detail, pointer)
  }
  isProblem(t, await post(app, { 'content-type': batched }, JSON.stringify([required, { ...required, id: '' }])), 400, 'SLUICE_INVALID_REQUEST', /^\/1 .*"id"/, '#/1/id')
  isProblem(t, await post(app, { 'content-type': batched }, JSON.stringify(required)), 400, 'SLUICE_INVALID_REQUEST', /array/, '#')
  isProblem(t, await post(app, { 'content-type': batched }, '[1]'), 400, 'SLUICE_INVALID_REQUEST', /object/, '#/0')
  isProblem(t, await postEvent(app, [required]), 400, 'SLUICE_INVALID_REQUEST', /object/, '#')
  isProblem(t, await postEvent(app, '{'), 400, 'SLUICE_MALFORMED_JSON')
  isProblem(t, await postEvent(app, ''), 400, 'SLUICE_MALFORMED_JSON')
  t.same(kafka.sent, [], 'a fault anywhere refuses all of it')
  for (const members of [{ ext: -2147483648 }, { ext: 2147483647 }, { data_base64: '' }, { data: null }, { ext: null, subject: null }]) {
    t.equal((await postEvent(app, { ...required, ...members })).statusCode, 200, JSON.stringify(members))
  }
})

test('limits: attributes and events, from both sides', async t => {
  const { app } = await produceApp()
  const extensions = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`x${i}`, 'y']))
  t.equal((await postEvent(app, { ...required, ...extensions(maxEventAttributes - 4), data: 1 })).statusCode, 200)
  isProblem(t, await postEvent(app, { ...required, ...extensions(maxEventAttributes - 3) }), 400, 'SLUICE_INVALID_REQUEST', /has 101 attributes/)
  const headers = Object.fromEntries(Object.entries(extensions(maxEventAttributes - 3)).map(([name, value]) => [`ce-${name}`, value]))
  isProblem(t, await post(app, { ...ce, ...headers }, 'x'), 400, 'SLUICE_INVALID_REQUEST', /has 101 attributes/)
  const batch = (n: number) => JSON.stringify(new Array(n).fill(required))
  t.equal((await post(app, { 'content-type': batched }, batch(maxBatchRecords))).statusCode, 200)
  isProblem(t, await post(app, { 'content-type': batched }, batch(maxBatchRecords + 1)), 413, 'SLUICE_BATCH_TOO_LARGE')
})

test('media types and encodings', async t => {
  const { app } = await produceApp()
  for (const type of ['application/cloudevents+avro', 'application/cloudevents', 'application/cloudevents-batch', 'application/cloudevents-batch+xml',
    `${structured}; charset=latin1`, 'nonsense']) {
    isProblem(t, await post(app, { ...ce, 'content-type': type }, JSON.stringify(required)), 415, 'SLUICE_UNSUPPORTED_MEDIA_TYPE')
  }
  isProblem(t, await post(app, { ...ce, 'content-encoding': 'gzip' }, 'x'), 415, 'SLUICE_UNSUPPORTED_MEDIA_TYPE')
  t.equal((await post(app, { ...ce, 'content-encoding': 'identity' }, 'x')).statusCode, 200)
  isProblem(t, await post(app, ce, 'x', '/topics/a/events?key=1'), 400, 'SLUICE_INVALID_REQUEST', /"key".*takes none/)
  isProblem(t, await post(app, ce, 'x', '/topics/nope/events'), 404, 'SLUICE_UNKNOWN_TOPIC')
})

test('a trace context of the request travels in headers, apart from the event\'s own attribute', async t => {
  const { app, kafka } = await produceApp()
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  await post(app, { ...ce, 'ce-traceparent': '00-event', traceparent }, 'x')
  t.match(headersOf(kafka.sent[0]), { ce_traceparent: '00-event', traceparent })
})

test('where a topic asks for signatures, events need one', async t => {
  const signatures = [{ topic: 'a', scheme: 'standard-webhooks', secrets: ['AAECAwQFBgcICQ=='], toleranceSeconds: 300, authenticates: false }] as const
  const { app } = await produceApp({ signatures })
  isProblem(t, await post(app, ce, 'x'), 403, 'SLUICE_SIGNATURE_INVALID')
})
