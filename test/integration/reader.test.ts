import { randomBytes } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import errors from '../../plugins/errors.js'
import metrics from '../../plugins/metrics.js'
import producer from '../../plugins/producer.js'
import reader from '../../plugins/reader.js'
import records from '../../routes/records.js'
import topics from '../../routes/topics.js'
import { anyone } from '../../src/access.js'
import type { ReaderConfig } from '../../src/config.js'
import { serverOptions } from '../../src/server-options.js'
import { kcat, noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { producerSettings, streamSettings } from '../support/produce-app.js'

t.setTimeout(180_000)

async function gateway (t: Test, kafka: Kafka, settings: Partial<ReaderConfig> = {}): Promise<FastifyInstance> {
  const app = Fastify(serverOptions({ bodyLimitBytes: 4_000_000 }))
  const config: ReaderConfig = { clients: 2, maxWaiting: 50, maxBytes: 100_000, ...settings }
  const client = { 'bootstrap.servers': kafka.bootstrapServers }
  await app.register(errors)
  await app.register(metrics)
  app.decorateRequest('principal', { getter: () => anyone })
  await app.register(producer, { client, settings: producerSettings, closeTimeoutMs: 5_000 })
  await app.register(reader, { client, settings: config, closeTimeoutMs: 5_000 })
  await app.register(records, { requestTimeoutMs: 10_000, streams: streamSettings })
  await app.register(topics, { readMaxBytes: config.maxBytes })
  t.teardown(() => app.close())
  await app.ready()
  await waitFor('the producer', () => app.producer.state.reachable)
  return app
}

interface Page {
  beginOffset: number
  endOffset: number
  nextOffset: number
  records: { offset: number, timestamp: number, size: number, record: Record<string, unknown> & { value: string | null } }[]
}

async function page (t: Test, app: FastifyInstance, topic: string, query = '', partition = 0): Promise<Page> {
  const res = await app.inject(`/topics/${topic}/partitions/${partition}/records?${query}`)
  t.equal(res.statusCode, 200, res.body)
  return res.json<Page>()
}

const offsetsOf = ({ records }: Page) => records.map(({ offset }) => offset)

t.test('what is read, posted again, is the same byte for byte', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const from = await kafka.createTopic(uniqueName('read-from'))
  const to = await kafka.createTopic(uniqueName('read-to'))
  await kafka.produce(from, [
    { value: null, key: 'tombstone' }, { value: '', key: '' }, { value: 'v\0𝄞', key: 'k\0' }, { value: randomBytes(300), key: randomBytes(9) },
    { value: 'text', headers: [['b', '1'], ['a', Buffer.from([0, 255])], ['b', ''], ['__proto__', 'p'], ['é', 'é']], timestamp: 1700000000000 },
    { value: '{"n":1.10}' }
  ])
  const { records } = await page(t, app, from)
  const res = await app.inject({ method: 'POST', url: `/topics/${to}/records`, payload: { records: records.map(({ record }) => record) } })
  t.equal(res.statusCode, 200, res.body)
  t.strictSame(await kafka.readAll(to), await kafka.readAll(from))
})

t.test('pages follow one another over markers and aborted records', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('read-gaps'))
  await kafka.produce(topic, [{ value: '0' }, { value: '1' }])
  await kafka.produceInTransaction(topic, [{ value: 'aborted' }, { value: 'aborted' }], { commit: false })
  await kafka.produceInTransaction(topic, [{ value: '5' }])
  await kafka.produceInTransaction(topic, [{ value: 'aborted' }], { commit: false })
  await waitFor('the markers', async () => (await kafka.endOffsets(topic, 'read_committed'))[0] === 9)

  const all = await page(t, app, topic)
  t.same(offsetsOf(all), [0, 1, 5])
  t.match(all, { beginOffset: 0, endOffset: 9, nextOffset: 9 })
  t.same(offsetsOf(await page(t, app, topic, 'isolation=read_uncommitted')), [0, 1, 2, 3, 5, 7])

  const seen: number[] = []
  for (let next = 0; next < 9;) {
    const one = await page(t, app, topic, `offset=${next}&limit=1`)
    seen.push(...offsetsOf(one))
    t.ok(one.nextOffset > next, 'it moves on')
    next = one.nextOffset
  }
  t.same(seen, [0, 1, 5])
  t.same(offsetsOf(await page(t, app, topic, 'offset=-4')), [5], 'of the last four offsets one can be read')
  t.same(offsetsOf(await page(t, app, topic, 'offset=-100')), [0, 1, 5])
  t.match(await page(t, app, topic, 'offset=end'), { records: [], nextOffset: 9 })
  t.match(await page(t, app, topic, 'offset=9'), { records: [], nextOffset: 9 })
})

t.test('pages follow one another over what compaction took, also where it took the end of a page', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  // A segment that is written to is never compacted: each record comes into one of its own.
  const topic = await kafka.createTopic(uniqueName('read-compacted'), {
    config: { 'cleanup.policy': 'compact', 'segment.ms': 1, 'min.cleanable.dirty.ratio': 0.001, 'max.compaction.lag.ms': 1 }
  })
  const keys = ['a', 'b', 'a', 'a', 'c', 'b', 'a', 'a', 'last']
  for (const [i, key] of keys.entries()) await kafka.produce(topic, [{ key, value: String(i) }])
  const kept = async () => (await kafka.readAll(topic)).map(({ offset }) => offset)
  await waitFor('the compaction', async () => (await kept()).length <= 4, { timeoutMs: 90_000, everyMs: 500 })
  const offsets = await kept()
  t.ok(offsets.includes(8) && !offsets.includes(0) && !offsets.includes(2), `Kafka holds ${offsets.join()}`)

  const all = await page(t, app, topic)
  t.same(offsetsOf(all), offsets, 'what another client reads')
  t.match(all, { endOffset: 9, nextOffset: 9 })
  const seen: number[] = []
  for (let next = all.beginOffset; next < 9;) {
    const one = await page(t, app, topic, `offset=${next}&limit=1`)
    seen.push(...offsetsOf(one))
    t.ok(one.nextOffset > next, 'it moves on')
    next = one.nextOffset
  }
  t.same(seen, offsets)
  t.same(offsetsOf(await page(t, app, topic, 'offset=2&limit=1')), [offsets.find(offset => offset >= 2)], 'an offset that is gone is where the next one is')
})

t.test('offsets that are not there are 400 with the bounds; what waits behind an open transaction is not', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('read-bounds'), { partitions: 2 })
  await kafka.produce(topic, ['0', '1', '2'].map(value => ({ value, partition: 0 })))
  await kafka.deleteRecords(topic, 0, 2)
  const url = `/topics/${topic}/partitions/0/records`
  for (const offset of [0, 1, 4, Number.MAX_SAFE_INTEGER]) {
    const res = await app.inject(`${url}?offset=${offset}`)
    t.match(res.json(), { status: 400, code: 'SLUICE_OFFSET_OUT_OF_RANGE', detail: /begins at 2 and ends at 3/ })
  }
  t.match(await page(t, app, topic), { beginOffset: 2, endOffset: 3, nextOffset: 3 })

  await kafka.leaveTransactionOpen(topic, [{ value: 'open', partition: 0 }], uniqueName('left'))
  await kafka.produce(topic, [{ value: 'behind', partition: 0 }])
  t.match(await page(t, app, topic, 'offset=5'), { records: [], endOffset: 3, nextOffset: 5 })
  t.same(offsetsOf(await page(t, app, topic, 'isolation=read_uncommitted')), [2, 3, 4])
  const described = (await app.inject(`/topics/${topic}`)).json<{ partitions: object[] }>()
  t.match(described, {
    name: topic,
    partitions: [
      { partition: 0, leader: Number, beginOffset: 2, endOffset: 5, stableOffset: 3 },
      { partition: 1, leader: Number, beginOffset: 0, endOffset: 0, stableOffset: 0 }
    ]
  })
  t.match((await app.inject(`/topics/${topic}/partitions/2/records`)).json(), { status: 400, code: 'SLUICE_UNKNOWN_PARTITION' })
  t.match((await app.inject(`/topics/${uniqueName('none')}/partitions/0/records`)).json(), { status: 404, code: 'SLUICE_UNKNOWN_TOPIC' })
})

t.test('by time', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('read-time'))
  await kafka.produce(topic, [1000, 2000, 3000].map(ms => ({ value: String(ms), timestamp: 1700000000000 + ms })))
  t.same(offsetsOf(await page(t, app, topic, 'timestamp=1700000002000')), [1, 2])
  t.same(offsetsOf(await page(t, app, topic, 'timestamp=1700000001500&limit=1')), [1])
  t.same(offsetsOf(await page(t, app, topic, 'timestamp=0')), [0, 1, 2])
  t.match(await page(t, app, topic, 'timestamp=1700000009000'), { records: [], nextOffset: 3 })
})

t.test('a page is bounded in records and bytes; a larger record comes truncated, and cannot be posted', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka, { maxBytes: 10_000 })
  const topic = await kafka.createTopic(uniqueName('read-large'))
  await kafka.produce(topic, [...Array.from({ length: 5 }, () => ({ value: 'x'.repeat(4_000) })), { value: 'é'.repeat(10_000), key: 'k' }, { value: 'last' }])
  t.same(offsetsOf(await page(t, app, topic)), [0, 1])
  t.same(offsetsOf(await page(t, app, topic, 'offset=2')), [2, 3])
  t.same(offsetsOf(await page(t, app, topic, 'offset=4')), [4], 'what does not fit is left to the next page')
  const large = await page(t, app, topic, 'offset=5')
  t.match(large, { records: [{ offset: 5, size: 20_001, record: { value: 'é'.repeat(5_000), encoding: 'utf8', truncated: { value: 20_000 } } }], nextOffset: 6 })
  const res = await app.inject({ method: 'POST', url: `/topics/${topic}/records`, payload: large.records[0]!.record })
  t.match(res.json(), { status: 400, detail: /"truncated"/ })
  t.same(offsetsOf(await page(t, app, topic, `offset=${large.nextOffset}`)), [6])
})

t.test('many readers share two clients; no group appears, and nothing is committed', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('read-many'), { partitions: 3 })
  await kafka.produce(topic, Array.from({ length: 30 }, (_, i) => ({ value: String(i), partition: i % 3 })))
  const pages = await Promise.all(Array.from({ length: 40 }, (_, i) => page(t, app, topic, `limit=${i % 10 + 1}${i % 4 === 0 ? '&isolation=read_uncommitted' : ''}`, i % 3)))
  for (const [i, one] of pages.entries()) {
    t.same(one.records.map(({ record }) => Number(record.value)), Array.from({ length: i % 10 + 1 }, (_, n) => n * 3 + i % 3))
  }
  t.ok(app.reader.state.clients <= 2)
  t.match(app.reader.state, { reading: 0, waiting: 0 })
  t.equal((await kafka.describeGroup('sluice-reader')).state, 'Dead', 'Kafka knows no such group')
  t.same(await kafka.committedOffsets('sluice-reader'), [])
})

t.test('where more wait than may, the next is 503', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka, { clients: 1, maxWaiting: 1 })
  const topic = await kafka.createTopic(uniqueName('read-busy'))
  await kafka.produce(topic, [{ value: 'x' }])
  const all = await Promise.all([0, 1, 2].map(() => app.inject(`/topics/${topic}/partitions/0/records`)))
  t.same(all.map(({ statusCode }) => statusCode).sort(), [200, 200, 503])
  const refused = all.find(({ statusCode }) => statusCode === 503)
  t.match(refused?.json(), { code: 'SLUICE_READ_BUSY' })
  t.equal(refused?.headers['retry-after'], '1')
})

t.test('topics by name; with Confluent\'s Accept an array of names', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('read-list'), { partitions: 3 })
  const list = async (accept: string) => await app.inject({ url: '/topics', headers: { accept } })
  await waitFor('the list', async () => (await list('*/*')).json<{ topics: { name: string }[] }>().topics.some(({ name }) => name === topic))
  const res = await list('application/json')
  t.equal(res.headers.vary, 'Accept')
  t.ok(res.json<{ topics: object[] }>().topics.some(one => JSON.stringify(one) === JSON.stringify({ name: topic, partitions: 3 })))
  const v2 = await list('application/vnd.kafka.v2+json')
  t.equal(v2.headers['content-type'], 'application/vnd.kafka.v2+json')
  t.ok(v2.json<string[]>().includes(topic))
  t.equal(v2.headers.vary, 'Accept')
  t.match(await kcat(['-L', '-b', kafka.bootstrapServers, '-t', topic]), /3 partitions/)
})
