import fc from 'fast-check'
import { test } from 'tap'
import { ConcatenatedJson, type Piece } from '../../src/confluent/concatenated-json.js'

function split (maxBytes: number, chunks: Iterable<Buffer>): (string | number | undefined)[] {
  const pieces = new ConcatenatedJson(maxBytes)
  const found: Piece[] = []
  for (const chunk of chunks) found.push(...pieces.push(chunk))
  pieces.end()
  return found.map(({ bytes, fault }) => fault === undefined ? bytes?.toString() : fault.details.limit)
}

/** Cuts bytes at these places, taken modulo the length. */
function cut (bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map(place => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((start, i) => bytes.subarray(start, at[i] ?? bytes.length))
}

const record = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ stringUnit: 'binary' }))
  .chain(value => fc.constantFrom(JSON.stringify(value), JSON.stringify(value, null, 2)))
const cuts = fc.array(fc.nat(), { maxLength: 30 })
const space = fc.stringMatching(/^[ \n\r\t]{0,3}$/)

test('for any objects, any white space between them and any split of the bytes, the objects come out as they were', async t => {
  fc.assert(fc.property(fc.array(fc.tuple(space, record), { maxLength: 8 }), space, cuts, (parts, last, places) => {
    const text = parts.map(([before, json]) => before + json).join('') + last
    t.strictSame(split(1_000_000, cut(Buffer.from(text), places)), parts.map(([, json]) => json))
  }))
  t.pass('held')
})

test('for any limit, larger objects are passed over and those around them come out', async t => {
  fc.assert(fc.property(fc.array(record, { maxLength: 8 }), fc.integer({ min: 2, max: 60 }), cuts, (texts, max, places) => {
    t.strictSame(split(max, cut(Buffer.from(texts.join('')), places)), texts.map(text => Buffer.byteLength(text) > max ? max : text))
  }))
  t.pass('held')
})

test('for any bytes, it either cuts or throws, and never yields more than the limit', async t => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 50 }), (bytes, max) => {
    const pieces = new ConcatenatedJson(max)
    try {
      for (const piece of pieces.push(Buffer.concat([Buffer.from('{"'), bytes]))) if ((piece.bytes?.length ?? 0) > max) return false
      pieces.end()
    } catch (err) {
      return (err as { code?: string }).code === 'SLUICE_MALFORMED_JSON'
    }
    return true
  }))
  t.pass('held')
})

test('brackets and quotes in strings, and escapes at the edges of chunks', async t => {
  const text = '{"a":"}{[]\\"\\\\"}{"b\\\\":[{"c":"{"}]}'
  t.strictSame(split(100, Buffer.from(text).map(byte => byte).reduce<Buffer[]>((all, byte) => [...all, Buffer.from([byte])], [])),
    ['{"a":"}{[]\\"\\\\"}', '{"b\\\\":[{"c":"{"}]}'])
})

test('the limit from both sides', async t => {
  t.strictSame(split(9, [Buffer.from('{"a":1234}{"a":123}')]), [9, '{"a":123}'])
  t.strictSame(split(9, [Buffer.from('{"a":1'), Buffer.from('23}{"a":'), Buffer.from('1234}'), Buffer.from('{}')]), ['{"a":123}', 9, '{}'])
})

test('arrays, other values, and an end within an object', async t => {
  t.throws(() => split(100, [Buffer.from('[{}]')]), { code: 'SLUICE_MALFORMED_JSON', message: /not an array/ })
  for (const text of ['1', '"a"', 'null', '{},{}', '{}]', '\ufeff{}']) t.throws(() => split(100, [Buffer.from(text)]), { code: 'SLUICE_MALFORMED_JSON' }, text)
  for (const text of ['{', '{"a', '{}{"a":{}']) t.throws(() => split(100, [Buffer.from(text)]), { code: 'SLUICE_MALFORMED_JSON', message: /ends within/ }, text)
  t.strictSame(split(100, [Buffer.from(' \n\t\r')]), [])
})
