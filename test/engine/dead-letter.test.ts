import t from 'tap'
import { DEAD_LETTER_HEADERS, deadLetterRecord } from '../../src/engine/dead-letter.js'
import type { OutgoingRecord } from '../../src/record.js'
import { record } from '../support/fake-source.js'

const original = record({
  topic: 'orders',
  partition: 3,
  offset: 4711,
  timestamp: 1_700_000_000_000,
  key: Buffer.from('k'),
  value: Buffer.from('value'),
  headers: [{ name: 'a', value: Buffer.from('1') }, { name: 'b', value: Buffer.from([0xff, 0]) }, { name: 'a', value: Buffer.from('2') }]
})
const options = { topic: 'orders.dlq', groupId: 'billing', maxBytes: 1_000_000, nowMs: 1_800_000_000_000 }

/** As in prepared-record.ts: what the producer counts against the largest record. */
function sizeOf ({ key, value, headers = [] }: OutgoingRecord): number {
  const bytes = (one: Buffer | string | null | undefined) => one == null ? 0 : Buffer.byteLength(one)
  return headers.reduce((sum, { name, value }) => sum + bytes(name) + bytes(value), bytes(key) + bytes(value))
}

function header ({ headers = [] }: OutgoingRecord, name: string): string | undefined {
  return headers.find(one => one.name === name)?.value.toString()
}

t.test('key, value and headers stay as they are; what happened is told in headers behind them', async t => {
  const letter = deadLetterRecord({ record: original, attempts: 5, error: new TypeError('no such customer') }, options)
  t.equal(letter.topic, 'orders.dlq')
  t.equal(letter.key, original.key)
  t.equal(letter.value, original.value)
  t.notOk('partition' in letter, 'it follows from the key')
  t.notOk('timestamp' in letter, 'it is now')
  t.same(letter.headers?.slice(0, 3), original.headers)
  t.same(letter.headers?.slice(3), [
    { name: 'sluice-original-topic', value: 'orders' },
    { name: 'sluice-original-partition', value: '3' },
    { name: 'sluice-original-offset', value: '4711' },
    { name: 'sluice-original-timestamp', value: '1700000000000' },
    { name: 'sluice-group', value: 'billing' },
    { name: 'sluice-attempts', value: '5' },
    { name: 'sluice-error-class', value: 'TypeError' },
    { name: 'sluice-error-message', value: 'no such customer' },
    { name: 'sluice-dead-lettered-at', value: '1800000000000' }
  ])
})

t.test('a null value stays null, an empty one empty, a null key null', async t => {
  const error = new Error('x')
  t.equal(deadLetterRecord({ record: { ...original, value: null }, attempts: 1, error }, options).value, null)
  t.equal(deadLetterRecord({ record: { ...original, value: Buffer.alloc(0) }, attempts: 1, error }, options).value?.length, 0)
  t.equal(deadLetterRecord({ record: { ...original, key: null }, attempts: 1, error }, options).key, null)
})

t.test('a record that was dead-lettered before keeps the earlier headers, in front of the new ones', async t => {
  const error = new Error('x')
  const first = deadLetterRecord({ record: original, attempts: 1, error }, options)
  const headers = first.headers!.map(({ name, value }) => ({ name, value: Buffer.from(value) }))
  const second = deadLetterRecord({ record: { ...original, topic: 'orders.dlq', headers }, attempts: 2, error }, options)
  t.same(second.headers!.filter(({ name }) => name === DEAD_LETTER_HEADERS.topic).map(({ value }) => value.toString()), ['orders', 'orders.dlq'])
})

t.test('the text of an error is limited, at 2,048 characters and its class at 128', async t => {
  const letter = (length: number) => deadLetterRecord({
    record: original, attempts: 1, error: Object.assign(new Error('m'.repeat(length)), { name: 'n'.repeat(length) })
  }, options)
  for (const length of [127, 128, 129, 2047, 2048, 2049]) {
    t.equal(header(letter(length), DEAD_LETTER_HEADERS.errorMessage)?.length, Math.min(length, 2048))
    t.equal(header(letter(length), DEAD_LETTER_HEADERS.errorClass)?.length, Math.min(length, 128))
  }
})

t.test('an error whose name or message is no string does no harm', async t => {
  const error = Object.assign(new Error('x'), { name: 5, message: { a: 1 } }) as unknown as Error
  const letter = deadLetterRecord({ record: original, attempts: 1, error }, options)
  t.equal(header(letter, DEAD_LETTER_HEADERS.errorClass), '5')
  t.equal(header(letter, DEAD_LETTER_HEADERS.errorMessage), '[object Object]')
})

/** The smallest limit under which `holds`, found by halving. */
function smallestLimit (holds: (maxBytes: number) => boolean): number {
  let [low, high] = [0, 1_000_000]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}

t.test('too large: first the text of the error is cut, then the value is left out; each exactly at the limit', async t => {
  const letter = { record: { ...original, value: Buffer.alloc(10_000) }, attempts: 1, error: new Error('m'.repeat(2048)) }
  const of = (maxBytes: number) => deadLetterRecord(letter, { ...options, maxBytes })
  const whole = smallestLimit(maxBytes => header(of(maxBytes), DEAD_LETTER_HEADERS.errorMessage)!.length === 2048)
  const short = smallestLimit(maxBytes => of(maxBytes).value !== null)
  t.equal(whole - short, 2048 - 128, 'one byte a character that is cut')
  t.equal(header(of(whole - 1), DEAD_LETTER_HEADERS.errorMessage)?.length, 128)
  t.equal(of(whole - 1).value?.length, 10_000)
  t.equal(header(of(whole - 1), DEAD_LETTER_HEADERS.valueOmitted), undefined)
  t.equal(of(short).value?.length, 10_000)
  t.equal(of(short - 1).value, null)
  t.equal(header(of(short - 1), DEAD_LETTER_HEADERS.valueOmitted), '10000')
  t.same(of(short - 1).headers?.slice(0, 3), original.headers, 'the record\'s own headers stay')
  for (const maxBytes of [whole, whole - 1, short, short - 1]) {
    t.ok(sizeOf(of(maxBytes)) <= maxBytes, `${sizeOf(of(maxBytes))} bytes with a limit of ${maxBytes}: the producer takes it`)
  }
})

t.test('what has no value has none to leave out: no mark says that there was one', async t => {
  const letter = deadLetterRecord({ record: { ...original, value: null }, attempts: 1, error: new Error('m'.repeat(2048)) }, { ...options, maxBytes: 600 })
  t.equal(letter.value, null)
  t.equal(header(letter, DEAD_LETTER_HEADERS.errorMessage)?.length, 128)
  t.equal(header(letter, DEAD_LETTER_HEADERS.valueOmitted), undefined)
})
