import fc from 'fast-check'
import t from 'tap'
import { prepareRecord } from '../../src/kafka/prepared-record.js'
import { PRODUCED_MAX_RECORDS, producedBy } from '../../src/handlers/produced.js'

const refusal = (record: unknown) => {
  try {
    producedBy({ produce: [{ topic: 'a', value: 'fine' }, record] })
  } catch (error) {
    return error as Error & { retriable: boolean }
  }
  return null
}

t.test('an answer without `produce` asks for nothing, whatever it is', async t => {
  for (const answer of [undefined, null, 1, 'produce', [], {}, [{ topic: 'a', value: 'v' }], { produce: undefined }, { produce: null }, { produce: [] }, () => {}]) {
    t.same(producedBy(answer), [])
  }
})

t.test('records come through as they are, in their order, and nothing that is not theirs', async t => {
  const key = Buffer.from('k')
  const whole = { topic: 'a', partition: 0, key, value: '', headers: [{ name: 'n', value: Buffer.from('h') }, { name: 'n', value: '' }], timestamp: 1 }
  t.same(producedBy({ produce: [whole, { topic: 'b', value: null }] }), [whole, { topic: 'b', value: null }])
  t.equal(producedBy({ produce: [whole] })[0].key, key, 'not copied')
  t.same(producedBy({ produce: [{ topic: 'b', value: null, key: null, partition: null, timestamp: null, headers: null, offset: 7 }] }), [{ topic: 'b', value: null }])
})

t.test('bytes that come from another thread are a Uint8Array, of a larger buffer maybe', async t => {
  const bytes = new Uint8Array(Buffer.from('xxhello')).subarray(2)
  const [{ value, key, headers }] = producedBy({ produce: [{ topic: 'a', value: bytes, key: bytes, headers: [{ name: 'n', value: bytes }] }] })
  for (const one of [value, key, headers![0].value]) {
    t.ok(Buffer.isBuffer(one))
    t.equal(String(one), 'hello')
  }
})

t.test('what is wrong is told with its index, is not worth another attempt, and shows no content', async t => {
  const header = (header: unknown) => ({ topic: 'a', value: 'v', headers: [header] })
  for (const [record, message] of [
    [null, /record 1: must be an object, got null/],
    [[], /record 1: must be an object, got an array/],
    [{ value: 'v' }, /'topic' must be the name of a topic, got undefined/],
    [{ topic: 'secret text', value: 'v' }, /'topic' must be the name of a topic, got a string of 11 characters/],
    [{ topic: '__consumer_offsets', value: 'v' }, /the topic __consumer_offsets is reserved/],
    [{ topic: 'a' }, /'value' is missing; null is a tombstone/],
    [{ topic: 'a', value: { secret: 1 } }, /'value' must be a string, bytes or null, got an object/],
    [{ topic: 'a', value: 'v', key: 7 }, /'key' must be a string, bytes or null, got 7/],
    [{ topic: 'a', value: 'v', partition: -1 }, /'partition' must be a whole number from 0 to 2147483647, got -1/],
    [{ topic: 'a', value: 'v', partition: 2_147_483_648 }, /'partition' must be/],
    [{ topic: 'a', value: 'v', timestamp: 0 }, /'timestamp' must be milliseconds since 1970, got 0/],
    [{ topic: 'a', value: 'v', timestamp: new Date() }, /'timestamp' must be milliseconds since 1970, got an object/],
    [{ topic: 'a', value: 'v', headers: { n: 'v' } }, /'headers' must be an array of { name, value }, got an object/],
    [header(null), /header 0: 'name' must be a string without NUL, got undefined/],
    [header({ name: 'a\0b', value: '' }), /header 0: 'name' must be a string without NUL/],
    [header({ name: 'n' }), /header 0: 'value' must be a string or bytes, got undefined/],
    [header({ name: 'n', value: null }), /header 0: 'value' must be a string or bytes, got null/]
  ] as const) {
    const error = refusal(record)
    t.match(error?.message, message)
    t.match(error?.message, /record 1/)
    t.notMatch(error?.message, /secret text/)
    t.equal(error?.retriable, false)
  }
  t.equal(refusal({ topic: 'a', value: 'v', partition: 2_147_483_647, timestamp: 1, headers: [] }), null)
})

t.test('`produce` that is no array is a mistake that would lose records', async t => {
  for (const produce of [{ topic: 'a', value: 'v' }, 'a', 0, () => []]) t.throws(() => producedBy({ produce }), /'produce' must be an array of records/)
  const hole = new Array(2)
  hole[1] = { topic: 'a', value: 'v' }
  t.throws(() => producedBy({ produce: hole }), /record 0: must be an object, got undefined/)
})

t.test('one answer may hold 10,000 records', async t => {
  const records = (length: number) => ({ produce: Array.from({ length }, () => ({ topic: 'a', value: null })) })
  t.equal(producedBy(records(PRODUCED_MAX_RECORDS)).length, PRODUCED_MAX_RECORDS)
  t.throws(() => producedBy(records(PRODUCED_MAX_RECORDS + 1)), /it has 10001 records, and may have 10000/)
})

t.test('for any answer: a list that Kafka\'s client can be given, or an error that says what is wrong', async () => {
  const field = fc.oneof(fc.anything(), fc.constantFrom('a', null, undefined, Buffer.from('b'), 0, 1), fc.array(fc.record({ name: fc.anything(), value: fc.anything() }, { requiredKeys: [] })))
  const record = fc.record({ topic: fc.oneof(fc.constant('a'), field), partition: field, key: field, value: field, headers: field, timestamp: field }, { requiredKeys: [] })
  fc.assert(fc.property(fc.oneof(fc.anything(), fc.record({ produce: fc.array(fc.oneof(record, fc.anything())) })), answer => {
    let records
    try {
      records = producedBy(answer)
    } catch (error) {
      return (error as Error).name === 'ProducedError'
    }
    for (const one of records) prepareRecord(one, Infinity)
    return true
  }), { numRuns: 300 })
})
