import { test } from 'tap'
import { anyone, type Principal, type Right } from '../../src/access.js'
import { SluiceError } from '../../src/errors.js'
import type { KafkaRecord } from '../../src/record.js'
import { readerApp } from '../support/reader-app.js'

const only = (rights: readonly Right[], topics: readonly string[]): Principal =>
  ({ name: 'p', may: (right, topic) => rights.includes(right) && (topic === undefined || topics.includes(topic)) })

const stored = (more: Partial<KafkaRecord>): KafkaRecord =>
  ({ topic: 'a', partition: 0, offset: 1, leaderEpoch: 0, timestamp: 5, key: null, value: Buffer.from('v'), headers: [], size: 1, ...more })

test('topics are those that the caller may read; what belongs to Kafka only with the right to operate', async t => {
  const names = async (principal: Principal) => {
    const { app } = await readerApp(principal)
    const res = await app.inject('/topics')
    t.equal(res.headers.vary, 'Accept')
    return res.json<{ topics: { name: string }[] }>().topics.map(({ name }) => name)
  }
  t.same(await names(anyone), ['__consumer_offsets', '_schemas', 'a', 'b'])
  t.same(await names(only(['read'], ['a', '_schemas', '__consumer_offsets'])), ['a'])
  t.same(await names(only(['read', 'operate'], ['a', '_schemas'])), ['_schemas', 'a'])
  t.same(await names(only(['read'], [])), [])
})

test('with Confluent\'s Accept, an array of names', async t => {
  const { app } = await readerApp(only(['read'], ['a', 'b']))
  for (const accept of ['application/vnd.kafka.v2+json', 'text/plain, application/vnd.kafka.v2+json;q=0.5']) {
    const res = await app.inject({ url: '/topics', headers: { accept } })
    t.equal(res.headers['content-type'], 'application/vnd.kafka.v2+json')
    t.same(res.json(), ['a', 'b'])
  }
  const res = await app.inject({ url: '/topics', headers: { accept: 'application/json, */*' } })
  t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
  t.same(res.json(), { topics: [{ name: 'a', partitions: 4 }, { name: 'b', partitions: 2 }] })
})

test('a topic with its partitions, and what is wrong with names', async t => {
  const { app } = await readerApp(anyone)
  t.same((await app.inject('/topics/b')).json(), {
    name: 'b', partitions: [0, 1].map(partition => ({ partition, leader: 1, beginOffset: 0, endOffset: 5, stableOffset: null }))
  })
  t.match((await app.inject('/topics/nothing')).json(), { status: 404, code: 'SLUICE_UNKNOWN_TOPIC' })
  t.match((await app.inject('/topics/a%20b')).json(), { status: 400, code: 'SLUICE_INVALID_TOPIC_NAME' })
  t.match((await app.inject('/topics/b?x=1')).json(), { status: 400, detail: /"x"/ })
  t.match((await app.inject('/topics?x=1')).json(), { status: 400, detail: /"x"/ })
  t.match((await app.inject('/topics/..%2F')).json(), { status: 400, code: 'SLUICE_INVALID_TOPIC_NAME' })
})

test('the right to read is asked for the topic, and for what belongs to Kafka the right to operate', async t => {
  const { app, reader } = await readerApp(only(['read'], ['a', '__consumer_offsets']))
  for (const path of ['', '/partitions/0/records']) {
    t.equal((await app.inject(`/topics/a${path}`)).statusCode, 200)
    for (const topic of ['b', 'nothing', '__consumer_offsets']) {
      t.match((await app.inject(`/topics/${topic}${path}`)).json(), { status: 403, code: 'SLUICE_FORBIDDEN' })
    }
  }
  t.equal(reader.asked.length, 1)
})

test('what a read is asked for: defaults, and every limit from both sides', async t => {
  const { app, reader } = await readerApp(anyone)
  const base = { topic: 'a', partition: 3, from: 'beginning', limit: 100, isolation: 'read_committed', maxWaitMs: 5_000 }
  const good: [string, object][] = [
    ['', {}], ['offset=beginning', {}], ['offset=end', { from: 'end' }], ['offset=0', { from: 0 }], ['offset=-1', { from: -1 }],
    ['offset=9007199254740991', { from: Number.MAX_SAFE_INTEGER }], ['timestamp=0', { from: { timestamp: 0 } }],
    ['timestamp=9007199254740991', { from: { timestamp: Number.MAX_SAFE_INTEGER } }], ['limit=1', { limit: 1 }], ['limit=1000', { limit: 1000 }],
    ['isolation=read_uncommitted&maxWaitMs=1', { isolation: 'read_uncommitted', maxWaitMs: 1 }], ['maxWaitMs=10000', { maxWaitMs: 10_000 }]
  ]
  for (const [query, expected] of good) {
    t.equal((await app.inject(`/topics/a/partitions/3/records?${query}`)).statusCode, 200, query)
    t.same(reader.asked.pop(), { ...base, ...expected }, query)
  }
  const bad = [
    'offset=', 'offset=-0', 'offset=01', 'offset=1.5', 'offset=1e3', 'offset=9007199254740992', 'offset=99999999999999999', 'offset=latest', 'offset=--1',
    'offset=0x1', 'offset=%201', 'timestamp=-1', 'timestamp=x', 'timestamp=9007199254740992', 'offset=1&timestamp=1', 'limit=0', 'limit=1001', 'limit=-1',
    'limit=', 'isolation=', 'isolation=READ_COMMITTED', 'maxWaitMs=0', 'maxWaitMs=10001', 'limit=1&limit=2', 'x=1', 'offset=%ff'
  ]
  for (const query of bad) {
    t.match((await app.inject(`/topics/a/partitions/3/records?${query}`)).json(), { status: 400, code: 'SLUICE_INVALID_REQUEST' }, query)
  }
  for (const partition of ['-1', '01', 'x', '1.0', '2147483648', '99999999999', '%00', ' ']) {
    t.match((await app.inject(`/topics/a/partitions/${encodeURI(partition)}/records`)).json(), { status: 400, code: 'SLUICE_INVALID_REQUEST' }, partition)
  }
  t.match((await app.inject('/topics/a/partitions/4/records')).json(), { status: 400, code: 'SLUICE_UNKNOWN_PARTITION' })
  t.match((await app.inject('/topics/a/partitions/2147483647/records')).json(), { status: 400, code: 'SLUICE_UNKNOWN_PARTITION' })
  t.equal(reader.asked.length, 0, 'nothing of that reached Kafka\'s client')
})

test('records in the form that can be posted; what is too large says so', async t => {
  const { app, reader } = await readerApp(anyone)
  reader.records = [
    stored({ offset: 1, key: Buffer.alloc(0), value: null, timestamp: -1 }),
    stored({ offset: 2, value: Buffer.from([255]), headers: [{ name: 'h', value: Buffer.from([0, 254]) }, { name: 'h', value: Buffer.from('x') }] }),
    stored({ offset: 3, value: Buffer.from('0123456789'), key: Buffer.from('0123456789'), size: 20 }),
    stored({ offset: 4, value: Buffer.from('12345678éé'), key: Buffer.alloc(11, 255), headers: [{ name: '12345', value: Buffer.from('123456') }], size: 34 })
  ]
  const res = await app.inject('/topics/a/partitions/0/records')
  t.same(res.json(), {
    topic: 'a',
    partition: 0,
    beginOffset: 0,
    endOffset: 10,
    records: [
      { offset: 1, timestamp: -1, size: 1, record: { key: '', keyEncoding: 'utf8', value: null } },
      {
        offset: 2,
        timestamp: 5,
        size: 1,
        record: {
          value: '/w==', encoding: 'base64', headers: [{ name: 'h', value: 'AP4=', encoding: 'base64' }, { name: 'h', value: 'x', encoding: 'utf8' }], timestamp: 5
        }
      },
      { offset: 3, timestamp: 5, size: 20, record: { key: '0123456789', keyEncoding: 'utf8', value: '0123456789', encoding: 'utf8', timestamp: 5 } },
      {
        offset: 4,
        timestamp: 5,
        size: 34,
        record: {
          key: Buffer.alloc(10, 255).toString('base64'),
          keyEncoding: 'base64',
          value: '12345678é',
          encoding: 'utf8',
          timestamp: 5,
          truncated: { key: 11, value: 12, headers: 11 }
        }
      }
    ],
    nextOffset: 10
  })
})

test('errors of the reader are problems', async t => {
  const { app, reader, kafka } = await readerApp(anyone)
  for (const code of ['SLUICE_READ_BUSY', 'SLUICE_BROKER_UNAVAILABLE', 'SLUICE_OFFSET_OUT_OF_RANGE', 'SLUICE_NOT_AUTHORIZED'] as const) {
    reader.failure = new SluiceError(code, 'why')
    const res = await app.inject('/topics/a/partitions/0/records')
    t.match(res.json(), { code, detail: 'why' })
    t.equal(res.headers['retry-after'] !== undefined, res.statusCode === 503)
  }
  kafka.topicList = null
  kafka.onRefresh = async () => { throw new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'Kafka cannot be reached: it does not answer. Nothing was produced.') }
  for (const url of ['/topics', '/topics/a', '/topics/a/partitions/0/records']) {
    t.match((await app.inject(url)).json(), { status: 503, detail: /^Kafka cannot be reached: it does not answer\.$/ }, url)
  }
})
