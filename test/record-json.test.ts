import { Ajv } from 'ajv'
import fc from 'fast-check'
import { test } from 'tap'
import { parseJsonText } from '../src/json-text.js'
import { batchSchema, decodeRecords, recordSchema } from '../src/record-json.js'
import type { OutgoingRecord } from '../src/record.js'

const decode = (body: string) => decodeRecords('t', parseJsonText(Buffer.from(body)))
const decodeOne = (body: string): OutgoingRecord => decode(body).records[0] as OutgoingRecord

test('values and keys in each encoding', async t => {
  for (const [json, bytes] of [
    ['"value":null', null], ['"value":null,"encoding":"json"', null], ['"value":null,"encoding":"utf8"', null], ['"value":null,"encoding":"base64"', null],
    ['"value":""', ''], ['"value":"","encoding":"base64"', ''], ['"value":"","encoding":"json"', '""'],
    ['"value":"x"', 'x'], ['"value":"x","encoding":"utf8"', 'x'], ['"value":"x","encoding":"json"', '"x"'],
    ['"value":"eA==","encoding":"base64"', 'x'], ['"value":1', '1'], ['"value":true', 'true'], ['"value":[1,{"a":null}]', '[1,{"a":null}]'],
    ['"value":"\\u00e9\\ud834\\udd1e\\u0000"', 'é𝄞\0'], ['"value":"\\ud800","encoding":"json"', '"\\ud800"']
  ] as const) {
    const { value } = decodeOne(`{${json}}`)
    t.equal(value === null ? null : String(value), bytes, json)
    const { key } = decodeOne(`{"value":1,${json.replace('value', 'key').replace('encoding', 'keyEncoding')}}`)
    t.equal(key === null ? null : String(key), bytes, `${json} as a key`)
  }
  t.equal(decodeOne('{"value":1}').key, null, 'no key')
})

test('every digit of a number is kept, wherever it is', async t => {
  for (const number of [
    '9007199254740993', '123456789012345678901234567890', '0.10', '1.0', '-0', '-0.0', '1e5', '1E+2', '1e400', '1e-400', '3.141592653589793238462643383279', '12.5'
  ]) {
    t.equal(decodeOne(`{"value":${number}}`).value, number)
    t.equal(decodeOne(`{"value": {"a":[ ${number} ]} ,"key":${number}}`).key, number)
    t.equal(decodeOne(`{"value": {"a":[${number}]} }`).value, `{"a":[${number}]}`)
    t.same(decode(`{"records":[{"value":1},{"value":"1.0"},{"key":"1","value":${number}}]}`).records.map(({ value }) => value), ['1', '1.0', number])
    t.equal(decodeOne(`{"encoding":"json","value":${number}}`).value, number)
  }
})

test('of duplicate members the last wins, whether the text is needed or not', async t => {
  for (const number of ['2', '2.0']) {
    t.equal(decodeOne(`{"value":1,"value":${number}}`).value, number)
    t.equal(decodeOne(`{"value":1,"val\\u0075e":${number}}`).value, number)
    t.same(decode(`{"records":[{"value":9.0}],"records":[{"value":1,"value":${number}}]}`).records.map(({ value }) => value), [number])
    t.equal(decodeOne(`{"value":${number},"value":"x"}`).value, 'x')
  }
})

test('for any record, the text path and the plain path agree', t => {
  const record = fc.record({ value: fc.jsonValue(), key: fc.jsonValue() }, { requiredKeys: ['value'] })
  fc.assert(fc.property(fc.array(record, { minLength: 1 }), records => {
    // −0 has no JSON text of its own, and JSON.stringify writes 0.
    const body = JSON.stringify({ records })
    const plain = decode(body).records
    // A number in another place that has to be kept makes all of the body go the other way.
    const texts = decode(body.replace(/\]\}$/, ',{"value":1.0}]}')).records.slice(0, -1)
    if (JSON.stringify(plain) !== JSON.stringify(texts)) throw new Error('the paths differ')
  }))
  t.end()
})

test('for any bytes, base64 comes back as they are', t => {
  fc.assert(fc.property(fc.uint8Array(), bytes => {
    const value = Buffer.from(bytes).toString('base64')
    const decoded = decodeOne(JSON.stringify({ value, encoding: 'base64', headers: [{ name: 'h', value, encoding: 'base64' }] }))
    return Buffer.from(bytes).equals(decoded.value as Buffer) && Buffer.from(bytes).equals(decoded.headers?.[0]?.value as Buffer)
  }))
  t.end()
})

test('for any text of the base64 alphabet, only its one right form is taken', t => {
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom(...'AZaz09+/=-_ '), maxLength: 9 }), value => {
    const right = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$/.test(value)
    let taken = true
    try { decodeOne(JSON.stringify({ value, encoding: 'base64' })) } catch { taken = false }
    if (taken !== right) throw new Error(`taken: ${taken}`)
  }), { numRuns: 2_000 })
  t.end()
})

test('for any string, UTF-8 is taken as it is, and half a surrogate pair is refused', t => {
  fc.assert(fc.property(fc.string({ unit: fc.oneof(fc.constantFrom('\ud800', '\udfff', '\0', '𝄞', '"', '\\'), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })) }), value => {
    const wellFormed = Buffer.from(value).toString() === value
    let taken: unknown
    try { taken = decodeOne(JSON.stringify({ value })).value } catch { taken = null }
    if (taken !== (wellFormed ? value : null)) throw new Error(`taken: ${JSON.stringify(taken)}`)
  }), { numRuns: 1_000 })
  t.end()
})

test('header order is kept, by name and as a list', async t => {
  t.same(decodeOne('{"value":1,"headers":{"b":["1","2"],"a":"","c":[]}}').headers, [
    { name: 'b', value: '1' }, { name: 'b', value: '2' }, { name: 'a', value: '' }
  ])
  t.same(decodeOne('{"value":1,"headers":[{"name":"b","value":"1"},{"name":"a","value":"AA==","encoding":"base64"},{"name":"b","value":"2"}]}').headers, [
    { name: 'b', value: '1' }, { name: 'a', value: Buffer.from([0]) }, { name: 'b', value: '2' }
  ])
  t.same(decodeOne('{"value":1,"headers":{}}').headers, [])
})

test('null and absent are the same for key, partition and timestamp', async t => {
  t.same(decodeOne('{"value":1,"key":null,"partition":null,"timestamp":null}'), decodeOne('{"value":1}'))
})

// What cannot be said in a schema: base64, surrogates, NUL, an encoding that asks for a string.
const beyondSchema = /base64|surrogate|NUL|because its encoding/

test('for any body near to a record, the decoder takes what the schema says, and only that', t => {
  const ajv = new Ajv({ allowUnionTypes: true })
  const isRecord = ajv.compile(recordSchema)
  const isBatch = ajv.compile(batchSchema)
  const odd = fc.constantFrom<unknown>(
    null, true, 0, -1, 1, 1.5, 2147483647, 2147483648, 9007199254740991, 9007199254740992, '', 'x', 'json', 'utf8', 'base64',
    [], ['x'], [1], {}, { h: 'x' }, { h: ['x'] }, { h: 1 }, [{ name: 'h', value: 'x' }], [{ name: 'h' }],
    [{ name: 'h', value: 'x', encoding: 'json' }], [{ name: 'h', value: 'x', more: 1 }])
  const name = fc.constantFrom('value', 'key', 'encoding', 'keyEncoding', 'headers', 'partition', 'timestamp', 'records', 'extra', 'toString')
  const record = fc.tuple(fc.boolean(), fc.array(fc.tuple(name, odd), { maxLength: 4 }))
    .map(([hasValue, members]) => ({ ...(hasValue ? { value: 1 } : null), ...Object.fromEntries(members) }))
  const body = fc.oneof(record, odd, fc.record({ records: fc.array(record, { maxLength: 3 }) }), fc.record({ records: odd, extra: odd }, { requiredKeys: ['records'] }))
  let taken = 0
  fc.assert(fc.property(body, value => {
    const valid = isRecord(value) || isBatch(value)
    let fault: Error | null = null
    try { decode(JSON.stringify(value)) } catch (err) { fault = err as Error }
    if (fault === null) taken++
    if (valid !== (fault === null) && !(fault !== null && beyondSchema.test(fault.message))) throw new Error(`schema: ${valid}, decoder: ${String(fault)}`)
  }), { numRuns: 5_000 })
  t.ok(taken > 100, `${taken} were taken`)
  t.end()
})
