import fc from 'fast-check'
import { test } from 'tap'
import type { SluiceError } from '../../src/errors.js'
import { prepareRecord } from '../../src/kafka/prepared-record.js'

test('an empty value or key has memory: without it the client makes null of it', async t => {
  for (const empty of ['', Buffer.alloc(0), Buffer.from('')]) {
    const { key, value, headers, size } = prepareRecord({ topic: 't', key: empty, value: empty, headers: [{ name: 'h', value: empty }] }, 1)
    for (const bytes of [key, value, headers?.[0]?.['h']]) {
      t.equal(bytes?.length, 0)
      t.ok((bytes?.buffer.byteLength ?? 0) > 0)
    }
    t.equal(size, 1, 'the header\'s name')
  }
  t.match(prepareRecord({ topic: 't', key: null, value: null }, 0), { key: null, value: null, partition: -1, timestamp: undefined, headers: undefined })
})

test('there is one object a header', async t => {
  const headers = [{ name: 'h', value: '1' }, { name: 'h', value: '2' }, { name: '__proto__', value: '3' }, { name: '0', value: '4' }]
  t.same(prepareRecord({ topic: 't', value: null, headers }, 100).headers?.map(header => Object.entries(header).flat().map(String)),
    [['h', '1'], ['h', '2'], ['__proto__', '3'], ['0', '4']])
})

test('the limit from both sides', async t => {
  const record = { topic: 't', key: 'é', value: Buffer.alloc(5), headers: [{ name: 'é', value: 'x' }] }
  t.equal(prepareRecord(record, 10).size, 10)
  t.throws(() => prepareRecord(record, 9), { code: 'SLUICE_RECORD_TOO_LARGE', details: { limit: 9 } })
})

test('for any arguments that the client could choke on, there is an error of ours or a record that it takes', t => {
  const odd = fc.constantFrom<unknown>(undefined, null, -1, 0, 1, 0x7fffffff, 0x80000000, 1.5, NaN, Infinity, 2 ** 53, '1')
  const bytes = fc.constantFrom<unknown>(undefined, null, '', 'x', 'x\0y', Buffer.alloc(0), Buffer.from('x'))
  const topic = fc.constantFrom<unknown>('t', '', '.', '..', 'a b', 'x'.repeat(249), 'x'.repeat(250), undefined, 1)
  const name = fc.constantFrom('h', 'h\0', '', '__proto__')
  const headers = fc.array(fc.record({ name, value: bytes }))
  const any = fc.record({ topic, partition: odd, timestamp: odd, key: bytes, value: bytes, headers })
  fc.assert(fc.property(any, record => {
    let prepared
    try {
      prepared = prepareRecord(record as Parameters<typeof prepareRecord>[0], 1_000)
    } catch (err) {
      if (!['SLUICE_INVALID_TOPIC_NAME', 'SLUICE_INVALID_REQUEST'].includes((err as SluiceError).code)) throw err
      return
    }
    if (!(prepared.partition >= -1 && prepared.partition <= 0x7fffffff)) throw new Error('partition')
    if (!(prepared.timestamp === undefined || prepared.timestamp >= 1)) throw new Error('timestamp')
    for (const bytes of [prepared.key, prepared.value]) if (bytes !== null && !Buffer.isBuffer(bytes)) throw new Error('bytes')
    for (const header of prepared.headers ?? []) {
      if (Object.keys(header).length !== 1 || !Buffer.isBuffer(Object.values(header)[0])) throw new Error('header')
    }
  }), { numRuns: 2_000 })
  t.end()
})
