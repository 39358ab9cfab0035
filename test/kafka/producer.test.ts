import driver from '@confluentinc/kafka-javascript'
import { test, type Test } from 'tap'
import type { ProducerConfig } from '../../src/config.js'
import { SluiceError } from '../../src/errors.js'
import { startEmbeddedBroker } from '../../src/kafka/embedded-broker.js'
import { lateReport } from '../../src/kafka/late-report.js'
import { KafkaProducer } from '../../src/kafka/producer.js'
import type { ProducerObserver } from '../../src/kafka/record-producer.js'
import { producerSettings } from '../support/produce-app.js'

interface Stored {
  partition: number
  offset: number
  key: Buffer | null
  value: Buffer | null
  timestamp: number
  headers?: { [name: string]: Buffer }[]
}

const log = { debug () {}, info () {}, warn () {}, error () {} }

/** A connected producer at an embedded broker with the topic `a`, and what the topic holds. */
async function connected (t: Test, settings: Partial<ProducerConfig> = {}, observer?: ProducerObserver) {
  const broker = await startEmbeddedBroker({ topics: ['a'] })
  const producer = new KafkaProducer({
    client: { 'bootstrap.servers': broker.bootstrapServers },
    settings: { ...producerSettings, ...settings },
    log,
    reportsTimestamps: false,
    ...(observer && { observer })
  })
  await producer.connect()
  t.teardown(async () => {
    await producer.close(1_000)
    await broker.close()
  })
  return { producer, broker, stored: (count: number) => readAll(broker.bootstrapServers, count) }
}

/** Reads records of the topic `a` with a consumer of the driver's own. */
async function readAll (bootstrapServers: string, count: number): Promise<Stored[]> {
  const consumer = new driver.RdKafka.KafkaConsumer(
    { 'bootstrap.servers': bootstrapServers, 'group.id': 'test', 'auto.offset.reset': 'earliest', 'enable.auto.commit': false } as never)
  await new Promise<void>((resolve, reject) => { consumer.connect({}, err => { err ? reject(err) : resolve() }) })
  consumer.assign([0, 1, 2, 3].map(partition => ({ topic: 'a', partition, offset: 0 })))
  const records: Stored[] = []
  while (records.length < count) {
    records.push(...await new Promise<Stored[]>((resolve, reject) => {
      consumer.consume(count, (err, messages) => { err ? reject(err) : resolve(messages as unknown as Stored[]) })
    }))
  }
  await new Promise<void>(resolve => { consumer.disconnect(() => resolve()) })
  return records
}

test('what is produced is what is stored: nulls, empty bytes, NULs, headers in order, timestamps, partitions', async t => {
  const { producer, stored } = await connected(t)
  const timestamp = 1700000000000
  const records = [
    { topic: 'a', partition: 0, key: null, value: null },
    { topic: 'a', partition: 0, key: '', value: '' },
    { topic: 'a', partition: 0, key: Buffer.alloc(0), value: Buffer.alloc(0) },
    { topic: 'a', partition: 0, key: 'k\0k', value: 'v\0v\u{1d11e}' },
    { topic: 'a', partition: 0, value: Buffer.from([0, 255, 0]), timestamp },
    {
      topic: 'a',
      partition: 0,
      value: 'h',
      headers: [{ name: 'b', value: '1' }, { name: 'a', value: Buffer.from([0, 1]) }, { name: 'b', value: 'x\0y' }, { name: 'é', value: '' }]
    }
  ]
  for (const [offset, record] of records.entries()) {
    const before = Date.now()
    const receipt = await producer.send(record)
    t.match(receipt, { topic: 'a', partition: 0, offset })
    t.ok(receipt.timestamp === timestamp || (receipt.timestamp >= before && receipt.timestamp <= Date.now()))
  }
  const read = await stored(records.length)
  t.same(read.map(({ key, value }) => [key, value]), [
    [null, null],
    [Buffer.alloc(0), Buffer.alloc(0)],
    [Buffer.alloc(0), Buffer.alloc(0)],
    [Buffer.from('k\0k'), Buffer.from('v\0v\u{1d11e}')],
    [null, Buffer.from([0, 255, 0])],
    [null, Buffer.from('h')]
  ])
  t.equal(read[4]?.timestamp, timestamp)
  t.same(read[5]?.headers?.map(header => Object.entries(header).flat().map(part => Buffer.from(part).toString())), [
    ['b', '1'], ['a', '\0\u0001'], ['b', 'x\0y'], ['é', '']
  ])
})

test('a batch is enqueued in its order; a record that fails stops no other', async t => {
  const codes: string[] = []
  let acknowledged = 0
  const { producer, stored } = await connected(t, { messageMaxBytes: 1_000 }, {
    acknowledged (topic, seconds) { t.equal(topic, 'a'); t.ok(seconds > 0); acknowledged++ },
    failed (code) { codes.push(code) }
  })
  const outcomes = await producer.sendBatch([
    { topic: 'a', partition: 2, value: '0' },
    { topic: 'a', partition: 99, value: '1' },
    { topic: 'a', partition: 2, value: Buffer.alloc(1_001) },
    { topic: 'a', partition: 2, value: Buffer.alloc(1_000) },
    { topic: 'a', partition: 2, value: '4' }
  ])
  t.match(outcomes, [
    { partition: 2, offset: 0 },
    { code: 'SLUICE_UNKNOWN_PARTITION' },
    { code: 'SLUICE_RECORD_TOO_LARGE', details: { limit: 1_000 } },
    { partition: 2, offset: 1 },
    { partition: 2, offset: 2 }
  ])
  t.same((await stored(3)).map(({ value }) => value?.length), [1, 1_000, 1])
  t.equal(acknowledged, 3)
  t.same(codes.sort(), ['SLUICE_RECORD_TOO_LARGE', 'SLUICE_UNKNOWN_PARTITION'])
})

test('a record of the largest size is taken by the client, and one byte more is refused', async t => {
  const { producer } = await connected(t)
  const headers = [{ name: 'h'.repeat(10), value: 'v'.repeat(10) }]
  const { messageMaxBytes } = producerSettings
  t.match(await producer.send({ topic: 'a', key: 'k'.repeat(80), value: Buffer.alloc(messageMaxBytes - 100), headers }), { offset: 0 })
  await t.rejects(producer.send({ topic: 'a', key: 'k'.repeat(81), value: Buffer.alloc(messageMaxBytes - 100), headers }),
    { code: 'SLUICE_RECORD_TOO_LARGE', details: { limit: messageMaxBytes } })
})

test('a full queue says when to come back, once it is known how fast it empties', async t => {
  const { producer } = await connected(t, { queueMaxRecords: 1_000, lingerMs: 200 })
  await producer.send({ topic: 'a', value: 'x' })
  const held = producer.sendBatch(new Array(1_000).fill({ topic: 'a', value: 'x' }))
  // One record has left in what counts as half a second at least: 500 records take minutes.
  const refusal = await producer.send({ topic: 'a', value: 'x' }).catch((err: unknown) => err as SluiceError)
  t.match(refusal, { code: 'SLUICE_QUEUE_FULL', retryAfterSeconds: 60 })
  await held
  const again = producer.sendBatch(new Array(1_000).fill({ topic: 'a', value: 'x' }))
  await t.rejects(producer.send({ topic: 'a', value: 'x' }), { code: 'SLUICE_QUEUE_FULL', retryAfterSeconds: 1 })
  await again
})

test('records that nobody waits for: what is wrong by itself is told at once, the rest when its report comes, each once', async t => {
  const { producer, stored } = await connected(t, { queueMaxRecords: 5 })
  const told: [number, unknown][] = []
  await new Promise<void>(resolve => {
    const bad = { topic: 'a', value: 'x'.repeat(producerSettings.messageMaxBytes + 1) }
    producer.enqueue([{ topic: 'a', value: '0' }, bad, { topic: 'a', value: '2' }], (i, outcome) => {
      told.push([i, outcome])
      if (told.length === 3) resolve()
    })
    t.match(told, [[1, { code: 'SLUICE_RECORD_TOO_LARGE' }]])
  })
  t.same(told.map(([i]) => i).sort(), [0, 1, 2])
  t.equal((await stored(2)).length, 2)
  let called = false
  t.throws(() => { producer.enqueue(new Array(6).fill({ topic: 'a', value: 'x' }), () => { called = true }) }, { code: 'SLUICE_BATCH_TOO_LARGE' })
  t.notOk(called)
})

test('a report that comes after the deadline is told to whoever asks, and so is that none came', async t => {
  const { producer, broker } = await connected(t, { lingerMs: 200 })
  const unknown = await producer.send({ topic: 'a', value: 'x' }, 10).catch((err: unknown) => err)
  t.match(await lateReport(unknown), { topic: 'a', offset: 0 })
  const [one] = await producer.sendBatch([{ topic: 'a', value: 'x' }], 10)
  t.match(await lateReport(one), { offset: Number })
  t.equal(lateReport(new SluiceError('SLUICE_DELIVERY_UNKNOWN', 'by itself')), undefined)
  await broker.close()
  const never = await producer.send({ topic: 'a', value: 'x' }, 10).catch((err: unknown) => err)
  await producer.close(100)
  t.match(await lateReport(never), { code: 'SLUICE_DELIVERY_UNKNOWN' })
})

test('the queue takes exactly as many records as it says; nothing of a batch that does not fit', async t => {
  const { producer, stored } = await connected(t, { queueMaxRecords: 5, lingerMs: 100 })
  const record = { topic: 'a', partition: 0, value: 'x' }
  const batch = producer.sendBatch([record, record, record])
  t.match(producer.state, { pendingRecords: 3, pendingBytes: 3 })
  await t.rejects(producer.sendBatch([record, record, record]), { code: 'SLUICE_QUEUE_FULL', retryAfterSeconds: 1 })
  const rest = producer.sendBatch([record, record])
  await t.rejects(producer.send(record), { code: 'SLUICE_QUEUE_FULL' })
  t.match(await Promise.all([batch, rest]), [[{ offset: 0 }, { offset: 1 }, { offset: 2 }], [{ offset: 3 }, { offset: 4 }]])
  t.match(producer.state, { pendingRecords: 0, pendingBytes: 0 }, 'the room is free again')
  t.match(await producer.send(record), { offset: 5 })
  t.equal((await stored(6)).length, 6)
  await t.rejects(producer.sendBatch(new Array(6).fill(record)), { code: 'SLUICE_BATCH_TOO_LARGE', details: { limit: 5 } }, 'this will never fit')
})

test('the queue counts bytes', async t => {
  const { producer } = await connected(t, { queueMaxBytes: 100, lingerMs: 100 })
  const first = producer.send({ topic: 'a', value: 'x'.repeat(60) })
  await t.rejects(producer.send({ topic: 'a', value: 'x'.repeat(41) }), { code: 'SLUICE_QUEUE_FULL' })
  const second = producer.send({ topic: 'a', value: 'x'.repeat(40) })
  await t.rejects(producer.sendBatch([{ topic: 'a', value: 'x'.repeat(101) }]), { code: 'SLUICE_BATCH_TOO_LARGE', details: { limit: 100 } })
  await Promise.all([first, second])
})

test('a deadline ends the wait as unknown; the room stays taken until the report', async t => {
  const { producer } = await connected(t, { lingerMs: 500 })
  await t.rejects(producer.send({ topic: 'a', value: 'x' }, 10), { code: 'SLUICE_DELIVERY_UNKNOWN' })
  t.equal(producer.state.pendingRecords, 1)
  const outcomes = await producer.sendBatch([{ topic: 'a', value: 'x' }, { topic: 'a', value: 'y', partition: 99 }], 10)
  t.match(outcomes, [{ code: 'SLUICE_DELIVERY_UNKNOWN' }, { code: 'SLUICE_UNKNOWN_PARTITION' }])
  t.equal(producer.state.pendingRecords, 2)
  await t.resolves(producer.send({ topic: 'a', value: 'x' }, 5_000))
  t.equal(producer.state.pendingRecords, 0)
})

test('close waits for what is pending, refuses what comes, and twice is once', async t => {
  const { producer } = await connected(t, { lingerMs: 300 })
  const pending = producer.sendBatch(new Array(500).fill({ topic: 'a', value: 'x' }))
  const closed = producer.close(5_000)
  t.equal(producer.close(1), closed)
  await t.rejects(producer.send({ topic: 'a', value: 'x' }), { code: 'SLUICE_CLOSING' })
  await closed
  t.equal((await pending).filter(outcome => outcome instanceof SluiceError).length, 0)
  t.match(producer.state, { connected: false, pendingRecords: 0 })
})

test('close with a broker that is gone ends in time, and says that it does not know', async t => {
  const { producer, broker } = await connected(t, { lingerMs: 100 })
  const pending = producer.send({ topic: 'a', value: 'x' })
  await broker.close()
  const start = performance.now()
  await Promise.all([producer.close(500), t.rejects(pending, { code: 'SLUICE_DELIVERY_UNKNOWN' })])
  t.ok(performance.now() - start < 4_000)
})

test('without Kafka every request is refused at once; when it comes, it is found', async t => {
  const broker = await startEmbeddedBroker({ topics: ['a'] })
  const { bootstrapServers } = broker
  await broker.close()
  const producer = new KafkaProducer({ client: { 'bootstrap.servers': bootstrapServers }, settings: producerSettings, log })
  await t.rejects(producer.send({ topic: 'a', value: 'x' }), { code: 'SLUICE_BROKER_UNAVAILABLE' }, 'before connect()')
  const connecting = producer.connect()
  await new Promise(resolve => { setTimeout(resolve, 300) })
  t.match(producer.state, { connected: false, reachable: false, lastError: /refused/i })
  await t.rejects(producer.send({ topic: 'a', value: 'x' }), { code: 'SLUICE_BROKER_UNAVAILABLE', message: /it refuses the connection. Nothing was produced/, retryAfterSeconds: 2 })
  await t.rejects(producer.refreshTopics(), { code: 'SLUICE_BROKER_UNAVAILABLE' })
  await producer.close(1_000)
  await connecting
})

test('a configuration that the client does not take is thrown at once', async t => {
  const producer = new KafkaProducer({ client: { 'no.such.property': 1 }, settings: producerSettings, log })
  await t.rejects(producer.connect(), /no\.such\.property/)
  await producer.close(100)
})

test('a fatal error makes a new client; the record that met it was not produced', async t => {
  const { producer } = await connected(t)
  const native = driver.RdKafka.Producer.prototype as unknown as { produce: (...args: unknown[]) => boolean }
  const { produce } = native
  native.produce = () => { throw Object.assign(new Error('fatal'), { code: -150 }) }
  await t.rejects(producer.send({ topic: 'a', value: 'x' }), { code: 'SLUICE_BROKER_UNAVAILABLE' })
  native.produce = produce
  await producer.connect()
  t.match(await producer.send({ topic: 'a', value: 'y', partition: 1 }), { offset: 0 })
})

test('an observer that throws keeps nobody waiting, and ends nothing', async t => {
  const { producer } = await connected(t, {}, { acknowledged () { throw new Error('observer') }, failed () {} })
  t.match(await producer.send({ topic: 'a', value: 'x' }, 5_000), { topic: 'a' })
  t.equal(producer.state.pendingRecords, 0)
})

test('the list of topics, and topics that are made by asking', async t => {
  const { producer } = await connected(t, { allowAutoCreateTopics: true })
  t.same([...producer.topicList?.partitions ?? []], [['a', 4]])
  const first = producer.refreshTopics()
  t.equal(producer.refreshTopics(), first, 'one question at a time')
  await first
  await producer.requestTopic('new')
  await producer.refreshTopics()
  t.same([...producer.topicList?.partitions.keys() ?? []].sort(), ['a', 'new'])
})

test('a record that still waits for earlier flights when its caller\'s time is up was not produced', async t => {
  const failed: string[] = []
  const { producer, stored } = await connected(t, { lingerMs: 500 }, { acknowledged () {}, failed (code) { failed.push(code) } })
  const earlier = await underway(producer)
  await t.rejects(producer.send({ topic: 'a', partition: 0, key: null, value: 'late' }, 1), { code: 'SLUICE_NOT_PRODUCED' })
  t.same(failed, ['SLUICE_NOT_PRODUCED'])
  t.equal(producer.state.pendingRecords, 4, 'its room is free again')
  await Promise.all(earlier)
  await producer.send({ topic: 'a', partition: 0, key: null, value: 'after' })
  t.same((await stored(5)).map(({ value }) => String(value)), ['0', '1', '2', '3', 'after'])
})

test('what waits for earlier flights is handed over when the producer closes', async t => {
  const { producer, stored } = await connected(t, { lingerMs: 200 })
  const earlier = await underway(producer)
  const last = producer.send({ topic: 'a', partition: 0, key: null, value: 'last' })
  await producer.close(5_000)
  t.equal((await last).offset, 4)
  t.equal((await Promise.all(earlier)).length, 4)
  t.equal((await stored(5)).length, 5)
})

/** As many flights as may be under way at once, with a record each. */
async function underway (producer: KafkaProducer): Promise<Promise<unknown>[]> {
  const sent: Promise<unknown>[] = []
  for (let n = 0; n < 4; n++) {
    sent.push(producer.send({ topic: 'a', partition: 0, key: null, value: `${n}` }))
    await new Promise(resolve => { setImmediate(resolve) })
  }
  return sent
}
