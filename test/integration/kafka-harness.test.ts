import t from 'tap'
import { noKafka, noKcat, sharedKafka, uniqueName } from '../support/kafka.js'

t.test('what kcat writes, Kafka\'s own client reads back byte for byte', { skip: noKafka || noKcat }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('harness'), { partitions: 3 })
  await kafka.kcatProduce(topic, Array.from({ length: 10_000 }, (_, i) => `key-${i % 100}:value ${i}`), { delimiter: ':' })

  t.equal((await kafka.endOffsets(topic)).reduce((sum, end) => sum + end, 0), 10_000)
  const records = await kafka.readAll(topic)
  t.equal(records.length, 10_000)
  t.equal(new Set(records.map(record => String(record.key))).size, 100)
  const seventh = records.filter(record => String(record.key) === 'key-7').map(record => String(record.value))
  t.strictSame(seventh, Array.from({ length: 100 }, (_, i) => `value ${i * 100 + 7}`), 'in order within the key')
})

t.test('null, empty, binary and headers survive, and kcat sees the same records', { skip: noKafka || noKcat }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic()
  const written = await kafka.produce(topic, [
    { key: 'k', value: null },
    { key: null, value: '' },
    { key: Buffer.from([0, 255, 10]), value: Buffer.from([0xc3, 0x28]), timestamp: 1_700_000_000_123 },
    { value: 'with headers', headers: [['a', '1'], ['a', '2'], ['none', null]] }
  ])
  t.strictSame(written.map(({ offset }) => offset), [0, 1, 2, 3])

  const [tombstone, empty, binary, headers] = await kafka.readAll(topic)
  t.strictSame([tombstone?.key, tombstone?.value], [Buffer.from('k'), null])
  t.strictSame([empty?.key, empty?.value], [null, Buffer.alloc(0)])
  t.strictSame([binary?.key, binary?.value, binary?.timestamp], [Buffer.from([0, 255, 10]), Buffer.from([0xc3, 0x28]), 1_700_000_000_123])
  t.strictSame(headers?.headers, [['a', Buffer.from('1')], ['a', Buffer.from('2')], ['none', null]])

  const plain = await kafka.createTopic()
  await kafka.produce(plain, [{ key: 'k', value: 'v', headers: [['h', '1']] }])
  t.match(await kafka.kcatReadAll(plain), [{ partition: 0, offset: 0, key: 'k', payload: 'v', headers: ['h', '1'] }])
})

t.test('what a kcat consumer committed is what the broker holds for its group', { skip: noKafka || noKcat }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic()
  const group = uniqueName('group')
  await kafka.produce(topic, Array.from({ length: 20 }, (_, i) => ({ value: String(i) })))

  t.strictSame(await kafka.committedOffsets(group), [])
  t.equal((await kafka.describeGroup(group)).state, 'Dead')
  t.equal((await kafka.kcatConsume(group, topic, 12)).length, 12)
  t.equal(await kafka.committedOffset(group, topic), 12)
  t.match(await kafka.describeGroup(group), { state: 'Empty', type: 'Classic', members: [] })

  await kafka.commitOffset(group, topic, 0, 5, 'by hand')
  t.match(await kafka.committedOffsets(group), [{ topic, partition: 0, offset: 5, metadata: 'by hand' }])
  await kafka.deleteGroup(group)
  t.equal(await kafka.committedOffset(group, topic), null)
})

t.test('markers, aborted records and deleted ones show in the offsets, not in what is read', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic()
  await kafka.produceInTransaction(topic, [{ value: 'kept' }])
  await kafka.produceInTransaction(topic, [{ value: 'aborted' }], { commit: false })
  t.strictSame(await kafka.endOffsets(topic, 'read_committed'), [4])
  t.strictSame((await kafka.readAll(topic)).map(({ value }) => String(value)), ['kept'])
  t.strictSame((await kafka.readAll(topic, { isolation: 'read_uncommitted' })).map(({ offset }) => offset), [0, 2])

  await kafka.deleteRecords(topic, 0, 2)
  t.strictSame(await kafka.beginningOffsets(topic), [2])
  await kafka.deleteTopic(topic)
  await t.rejects(kafka.readAll(topic))
})
