import { CloudEvent, HTTP } from 'cloudevents'
import fc from 'fast-check'
import t from 'tap'
import { decodeAttribute } from '../../src/cloud-event-headers.js'
import { batchedContent, binaryContent, encodeAttribute, structuredContent, type Content, type ContentOptions } from '../../src/handlers/push-content.js'
import { RecordEvents } from '../../src/handlers/push-event.js'
import { PushHeaders } from '../../src/handlers/push-headers.js'
import type { KafkaRecord } from '../../src/record.js'

const options = (allowed: string[] = [], contentType = 'application/json'): ContentOptions =>
  ({ events: new RecordEvents('/clusters/c/topics/'), contentType, headers: new PushHeaders(allowed) })

type Fields = Partial<Omit<KafkaRecord, 'headers'>> & { headers?: [string, string | Buffer][] }

function record ({ headers = [], ...fields }: Fields = {}): KafkaRecord {
  return {
    topic: 'orders',
    partition: 0,
    offset: 564,
    leaderEpoch: 0,
    timestamp: 1_767_225_600_123,
    key: Buffer.from('customer-7'),
    value: Buffer.from('{"total":12.50}'),
    size: 0,
    ...fields,
    headers: headers.map(([name, value]) => ({ name, value: Buffer.from(value as string) }))
  }
}

function pairs ({ headers }: Content): Record<string, string> {
  const found: Record<string, string> = {}
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]! in found) throw new Error(`${headers[i]} is there twice`)
    found[headers[i]!] = headers[i + 1]!
  }
  return found
}

const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

t.test('binary: what a record is, in headers; its value as it is', async t => {
  const content = binaryContent(record(), options())
  t.same(pairs(content), {
    'ce-specversion': '1.0',
    'ce-id': 'partition:0/offset:564',
    'ce-source': '/clusters/c/topics/orders',
    'ce-type': 'sluice.kafka.record',
    'ce-subject': 'customer-7',
    'ce-time': '2026-01-01T00:00:00.123Z',
    'content-type': 'application/json'
  })
  t.equal(String(content.body), '{"total":12.50}')
  const event = HTTP.toEvent({ headers: pairs(content), body: String(content.body) }) as CloudEvent<{ total: number }>
  t.match(event, { id: 'partition:0/offset:564', source: '/clusters/c/topics/orders', subject: 'customer-7', data: { total: 12.5 } })
})

t.test('the subject is the key where it is text that an attribute can hold, and not too long', async t => {
  const subject = (key: Buffer | null) => pairs(binaryContent(record({ key }), options()))['ce-subject']
  t.equal(subject(null), undefined)
  t.equal(subject(Buffer.alloc(0)), undefined)
  t.equal(subject(Buffer.from([0xff, 0xfe])), undefined)
  t.equal(subject(Buffer.from('a\r\nx: y')), undefined)
  t.equal(subject(Buffer.from('a\uffffb')), undefined)
  t.equal(subject(Buffer.from('Müller "1" 50% 💧')), 'M%C3%BCller%20%221%22%2050%25%20%F0%9F%92%A7')
  t.equal(subject(Buffer.alloc(1024, 'k'))?.length, 1024)
  t.equal(subject(Buffer.alloc(1025, 'k')), undefined)
})

t.test('the time is left out where there is none, or where it is beyond what can be written', async t => {
  const time = (timestamp: number) => pairs(binaryContent(record({ timestamp }), options()))['ce-time']
  t.equal(time(-1), undefined)
  t.equal(time(0), '1970-01-01T00:00:00.000Z')
  t.equal(time(253_402_300_799_999), '9999-12-31T23:59:59.999Z')
  t.equal(time(253_402_300_800_000), undefined)
  const { events } = options()
  fc.assert(fc.property(fc.array(fc.nat(253_402_300_799_999)), times => times.every(timestamp => {
    let written = ''
    events.attributes(record({ timestamp }), (name, value) => { if (name === 'time') written = value })
    return written === new Date(timestamp).toISOString()
  })))
})

t.test('a tombstone has neither body nor content type; an empty value has a content type', async t => {
  const tombstone = binaryContent(record({ value: null, headers: [['content-type', 'text/plain'], ['content-encoding', 'gzip']] }), options())
  t.equal(tombstone.body, null)
  t.notOk('content-type' in pairs(tombstone) || 'content-encoding' in pairs(tombstone))
  const empty = binaryContent(record({ value: Buffer.alloc(0) }), options())
  t.equal(empty.body?.length, 0)
  t.equal(pairs(empty)['content-type'], 'application/json')
})

t.test('the record\'s own content type and encoding go with its value, the trace context with its headers, and nothing else', async t => {
  const content = binaryContent(record({
    headers: [['Content-Type', 'text/plain; charset=utf-8'], ['content-encoding', 'gzip'], ['traceparent', trace], ['tracestate', 'a=1'], ['x-tenant', 'b'],
      ['x-other', 'c'], ['content-type', 'second']]
  }), options(['x-tenant'], 'application/avro'))
  const { 'content-type': type, 'content-encoding': encoding, traceparent, tracestate, 'x-tenant': tenant, ...others } = pairs(content)
  t.same([type, encoding, traceparent, tracestate, tenant], ['text/plain; charset=utf-8', 'gzip', trace, 'a=1', 'b'])
  t.ok(Object.keys(others).every(name => name.startsWith('ce-')))
  const bad = pairs(binaryContent(
    record({ headers: [['traceparent', 'nonsense'], ['tracestate', 'a=1'], ['content-type', 'a\r\nb']] }), options([], 'application/avro')))
  t.notOk('traceparent' in bad || 'tracestate' in bad)
  t.equal(bad['content-type'], 'application/avro', 'what HTTP cannot carry counts as none')
})

const own: [string, string][] = [['ce_specversion', '1.0'], ['ce_id', 'e-1'], ['ce_source', '/shop'], ['ce_type', 'shop.order placed'], ['ce_tenant', 'ä']]

t.test('a binary CloudEvent keeps its attributes, and gets none', async t => {
  t.same(pairs(binaryContent(record({ headers: [...own, ['content-type', 'application/xml']] }), options())), {
    'ce-specversion': '1.0', 'ce-id': 'e-1', 'ce-source': '/shop', 'ce-type': 'shop.order%20placed', 'ce-tenant': '%C3%A4', 'content-type': 'application/xml'
  })
})

t.test('what is not quite a CloudEvent is a record like others', async t => {
  for (const broken of [own.slice(1), own.slice(0, 3), [...own, own[1]!], [['ce_specversion', '0.3'], ...own.slice(1)], [...own, ['ce_Bad', 'x']],
    [...own, ['ce_x', Buffer.from([0xff])]], [...own, ['ce_time', 'yesterday']], [...own, ['ce_data', 'x']]] as [string, string][][]) {
    const headers = pairs(binaryContent(record({ headers: broken }), options()))
    t.equal(headers['ce-id'], 'partition:0/offset:564', JSON.stringify(broken))
    t.notOk('ce-tenant' in headers)
  }
})

const event = '{"specversion":"1.0","id":"e-2","source":"/shop","type":"t","data":{"n":1.000000000000000000001}}'

t.test('a structured CloudEvent goes as it is, in both modes', async t => {
  for (const type of ['application/cloudevents+json; charset=UTF-8', 'Application/CloudEvents+avro']) {
    const given = record({ value: Buffer.from(event), headers: [['content-type', type]] })
    for (const content of [binaryContent(given, options()), structuredContent(given, options())]) {
      t.same(pairs(content), { 'content-type': type })
      t.equal(content.body, given.value)
    }
  }
})

t.test('structured: all of it is JSON, and JSON data keep every digit', async t => {
  const content = structuredContent(record({ value: Buffer.from('{"n": 1.000000000000000000001}'), headers: [['x-a', '1']] }), options(['x-a']))
  t.same(pairs(content), { 'content-type': 'application/cloudevents+json; charset=UTF-8', 'x-a': '1' })
  t.equal(String(content.body), '{"specversion":"1.0","id":"partition:0/offset:564","source":"/clusters/c/topics/orders","type":"sluice.kafka.record",' +
    '"subject":"customer-7","time":"2026-01-01T00:00:00.123Z","datacontenttype":"application/json","data":{"n": 1.000000000000000000001}}')
})

t.test('structured: what is no JSON is base64, and a tombstone has no data', async t => {
  const of = (fields: Fields, contentType?: string) =>
    JSON.parse(String(structuredContent(record(fields), options([], contentType)).body)) as Record<string, unknown>
  t.match(of({ value: Buffer.from('not json') }), { datacontenttype: 'application/json', data_base64: Buffer.from('not json').toString('base64') })
  t.match(of({ value: Buffer.from([0xff]) }), { data_base64: '/w==' })
  t.match(of({ value: Buffer.from('1') }, 'text/plain'), { datacontenttype: 'text/plain', data_base64: 'MQ==' })
  t.match(of({ value: Buffer.from('1') }, 'application/vnd.a+json;charset=utf-8'), { data: 1 })
  t.match(of({ value: Buffer.alloc(0) }), { data_base64: '' })
  const tombstone = of({ value: null })
  t.notOk('data' in tombstone || 'data_base64' in tombstone || 'datacontenttype' in tombstone)
  t.match(of({ headers: own }), { specversion: '1.0', id: 'e-1', source: '/shop', type: 'shop.order placed', tenant: 'ä', data: { total: 12.5 } })
})

t.test('batched: an array of events, each as it would be alone; what cannot be in it is refused and spoils nothing', async t => {
  const type: [string, string] = ['content-type', 'application/cloudevents+json']
  const records = [
    record({ offset: 1 }),
    record({ offset: 2, value: Buffer.from(event), headers: [type] }),
    record({ offset: 3, value: Buffer.from('{"specversion"'), headers: [type] }),
    record({ offset: 4, value: Buffer.from('[]'), headers: [type] }),
    record({ offset: 5, value: null, headers: [type] }),
    record({ offset: 6, value: Buffer.from('x'), headers: [['content-type', 'application/cloudevents+avro']] }),
    record({ offset: 7, headers: own })
  ]
  const content = batchedContent(records, options(['x-a']))
  t.same(pairs(content), { 'content-type': 'application/cloudevents-batch+json; charset=UTF-8' })
  t.same(content.records.map(({ offset }) => offset), [1, 2, 7])
  t.same([...content.refused.keys()].map(({ offset }) => offset), [3, 4, 5, 6])
  t.match([...content.refused.values()], [{ retriable: false }, { retriable: false }, { retriable: false }, { retriable: false }])
  const events = HTTP.toEvent({ headers: pairs(content), body: String(content.body) }) as CloudEvent[]
  t.same(events.map(({ id }) => id), ['partition:0/offset:1', 'e-2', 'e-1'])
  t.ok(String(content.body).includes(event), 'as it was written')
})

t.test('for any text, an attribute is printable ASCII without spaces, and decodes to the same', async () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), text => {
    const encoded = encodeAttribute(text)
    return /^[\x21-\x7e]*$/.test(encoded) && decodeAttribute('x', encoded) === text
  }))
})

t.test('for any record, all headers are ones that HTTP can carry, and structured content is JSON', async () => {
  const bytes = fc.uint8Array({ maxLength: 60 }).map(array => Buffer.from(array))
  const name = fc.oneof(fc.constantFrom('content-type', 'content-encoding', 'traceparent', 'tracestate', 'x-a', ...own.map(([one]) => one)), fc.string())
  const value = fc.oneof(bytes, fc.constantFrom('1.0', 'application/cloudevents+json', trace, '/s').map(text => Buffer.from(text)))
  fc.assert(fc.property(fc.record({
    key: fc.option(bytes),
    value: fc.option(fc.oneof(bytes, fc.json().map(text => Buffer.from(text)))),
    timestamp: fc.maxSafeInteger(),
    headers: fc.array(fc.tuple(name, value))
  }), fields => {
    const given = record(fields)
    const all = options(['*'])
    for (const { headers } of [binaryContent(given, all), structuredContent(given, all)]) {
      for (let i = 0; i < headers.length; i += 2) {
        if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(headers[i]!) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(headers[i + 1]!)) return false
      }
    }
    JSON.parse(String(batchedContent([given], all).body))
    return true
  }), { numRuns: 500 })
})
