import t, { type Test } from 'tap'
import { noKafka, noOwnKafka, sharedKafka, startKafka, uniqueName, waitFor, type Kafka, type StoredRecord } from '../support/kafka.js'
import { transact, transactionGateway } from '../support/transaction-app.js'

t.setTimeout(240_000)

type Options = Parameters<typeof transactionGateway>[1]

async function gateway (t: Test, kafka: Kafka, options?: Options) {
  const app = await transactionGateway(kafka, options)
  t.teardown(() => app.close())
  return app
}

/** An acknowledged commit is decided; the markers that let readers go on come a moment later. */
async function settled (kafka: Kafka, topic: string): Promise<StoredRecord[]> {
  await waitFor('the markers', async () =>
    String(await kafka.endOffsets(topic, 'read_committed')) === String(await kafka.endOffsets(topic, 'read_uncommitted')))
  return await kafka.readAll(topic)
}

const valuesOf = async (kafka: Kafka, topic: string) => (await settled(kafka, topic)).map(({ value }) => String(value))

t.test('records of several topics are written in one transaction, and the receipts are where they are', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const a = await kafka.createTopic(uniqueName('tx-a'), { partitions: 3 })
  const b = await kafka.createTopic(uniqueName('tx-b'))
  for (const round of [0, 1]) {
    const res = await transact(app, [
      { topic: b, value: `b${round}`, timestamp: 1700000000000 }, { topic: a, value: 'a0', key: 'k', headers: { h: 'x' } }, { topic: a, value: 'a1', partition: 2 }
    ])
    t.equal(res.statusCode, 200, res.body)
    const { records } = res.json<{ records: { topic: string, partition: number, offset: number, timestamp: number }[] }>()
    t.same(records.map(({ topic }) => topic), [b, a, a])
    const stored = { [a]: await settled(kafka, a), [b]: await settled(kafka, b) }
    for (const [i, value] of [`b${round}`, 'a0', 'a1'].entries()) {
      const { topic, partition, offset, timestamp } = records[i]!
      const found = stored[topic]!.find(one => one.partition === partition && one.offset === offset)
      t.equal(String(found?.value), value)
      t.equal(found?.timestamp, timestamp)
    }
  }
  t.equal((await kafka.readAll(b)).length, 2)
  t.same((await kafka.readAll(b)).map(({ offset }) => offset), [0, 2], 'each commit left a marker')
})

t.test('one record that Kafka refuses takes all of them along', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka, { settings: { producers: 1 } })
  const a = await kafka.createTopic(uniqueName('tx-ok'))
  const compacted = await kafka.createTopic(uniqueName('tx-compacted'), { config: { 'cleanup.policy': 'compact' } })
  const small = await kafka.createTopic(uniqueName('tx-small'), { config: { 'max.message.bytes': '1000' } })
  const refused = await transact(app, [{ topic: a, value: 'no' }, { topic: compacted, value: 'without a key' }])
  t.match(refused.json(), { status: 400, code: 'SLUICE_RECORD_REJECTED', pointer: '#/records/1' })
  const large = await transact(app, [{ topic: a, value: 'no' }, { topic: small, value: 'x'.repeat(2_000) }])
  t.match(large.json(), { status: 413, code: 'SLUICE_RECORD_TOO_LARGE', pointer: '#/records/1' })
  const beside = await transact(app, [{ topic: compacted, key: 'k', value: 'no' }, { topic: compacted, value: 'without a key' }])
  t.match(beside.json(), { status: 400, code: 'SLUICE_RECORD_REJECTED', pointer: '#/records/1' }, 'in one batch with one that is fine')
  const ofTen = (sizes: readonly number[]) => sizes.map((size, n) => ({ topic: small, value: `${n} `.padEnd(size, 'x') }))
  const oneOfTen = await transact(app, ofTen([200, 200, 200, 200, 200, 200, 200, 2_000, 200, 200]))
  t.match(oneOfTen.json(), { status: 413, code: 'SLUICE_RECORD_TOO_LARGE', pointer: '#/records/7' }, 'the one that is too large, and not its batch')
  t.equal((await transact(app, ofTen(new Array(10).fill(200)))).statusCode, 200, 'together too large for one batch')
  t.equal((await kafka.readAll(small)).length, 10)
  const unknown = await transact(app, [{ topic: a, value: 'no' }, { topic: uniqueName('none'), value: 'x' }])
  t.match(unknown.json(), { status: 404, code: 'SLUICE_UNKNOWN_TOPIC', pointer: '#/records/1' })
  const partition = await transact(app, [{ topic: a, value: 'no' }, { topic: a, value: 'no', partition: 1 }])
  t.match(partition.json(), { status: 400, code: 'SLUICE_UNKNOWN_PARTITION', pointer: '#/records/1' })
  const good = await transact(app, [{ topic: a, value: 'yes' }, { topic: compacted, key: 'k', value: 'yes' }])
  t.equal(good.statusCode, 200, 'the same producer goes on')
  t.same(await valuesOf(kafka, a), ['yes'])
  t.same(await valuesOf(kafka, compacted), ['yes'])
})

t.test('many at once share the producers, and each is written once', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('tx-many'), { partitions: 2 })
  const all = await Promise.all(Array.from({ length: 60 }, (_, i) => transact(app, [
    { topic, value: `${i}a`, partition: 0 }, { topic, value: `${i}b`, partition: 1 }
  ])))
  t.same([...new Set(all.map(({ statusCode }) => statusCode))], [200])
  const values = await valuesOf(kafka, topic)
  t.same(values.sort(), Array.from({ length: 60 }, (_, i) => [`${i}a`, `${i}b`]).flat().sort())
  t.same(app.transactions.state, { open: 0, waiting: 0, bytes: 0 })
})

t.test('two processes with the same prefix: the first one gives way, and both go on', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('tx-fence'))
  const settings = { idPrefix: uniqueName('prefix'), producers: 1 }
  const first = await gateway(t, kafka, { settings })
  t.equal((await transact(first, [{ topic, value: 'first' }])).statusCode, 200)
  const second = await gateway(t, kafka, { settings })
  t.equal((await transact(second, [{ topic, value: 'second' }])).statusCode, 200)
  const fenced = await transact(first, [{ topic, value: 'lost' }])
  t.match(fenced.json(), { status: 503, code: 'SLUICE_NOT_PRODUCED' })
  t.equal(fenced.headers['retry-after'], '1')
  for (let i = 0; i < 3; i++) {
    for (const app of [first, second]) t.equal((await transact(app, [{ topic, value: `later ${i}` }])).statusCode, 200)
  }
  t.same(await valuesOf(kafka, topic), ['first', 'second', 'later 0', 'later 0', 'later 1', 'later 1', 'later 2', 'later 2'])
})

t.test('what an earlier process left open under the prefix is aborted at the start', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('tx-left'))
  const idPrefix = uniqueName('prefix')
  // As a killed gateway: its producer never comes back to it.
  await kafka.leaveTransactionOpen(topic, [{ value: 'open' }], `${idPrefix}-0`)
  await kafka.produce(topic, [{ value: 'behind' }])
  t.same(await kafka.endOffsets(topic, 'read_committed'), [0], 'readers wait behind it')
  const app = await gateway(t, kafka, { settings: { idPrefix, producers: 1 } })
  // The witness gave it a minute: only the new producer can have ended it before.
  await waitFor('readers to go on', async () => (await kafka.endOffsets(topic, 'read_committed'))[0]! > 0, { timeoutMs: 20_000 })
  t.same(await valuesOf(kafka, topic), ['behind'])
  t.equal((await transact(app, [{ topic, value: 'new' }])).statusCode, 200)
})

t.test('a broker that hangs: 503 before the commit, and it goes on when the broker does', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const app = await gateway(t, kafka, { settings: { producers: 1 } })
  const topic = await kafka.createTopic('hang')
  t.equal((await transact(app, [{ topic, value: 'before' }])).statusCode, 200)
  const broker = kafka.broker(1)
  await broker.pause()
  const during = await transact(app, [{ topic, value: 'during' }], { 'request-timeout': '1' })
  t.match(during.json(), { status: 503, code: 'SLUICE_NOT_PRODUCED' })
  const waiting = await transact(app, [{ topic, value: 'waiting' }], { 'request-timeout': '0.5' })
  t.equal(waiting.statusCode, 503, 'the abort is under way; it was not begun')
  await broker.resume()
  await waitFor('transactions again', async () => (await transact(app, [{ topic, value: 'after' }])).statusCode === 200, { timeoutMs: 60_000 })
  t.same(await valuesOf(kafka, topic), ['before', 'after'])
})
