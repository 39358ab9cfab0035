import { randomBytes } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import auth from '../../plugins/auth.js'
import errors from '../../plugins/errors.js'
import metrics from '../../plugins/metrics.js'
import producer from '../../plugins/producer.js'
import records from '../../routes/records.js'
import type { ProducerConfig } from '../../src/config.js'
import { serverOptions } from '../../src/server-options.js'
import { noKafka, noOwnKafka, sharedKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { producerSettings, streamSettings } from '../support/produce-app.js'

t.setTimeout(180_000)

async function gateway (t: Test, kafka: Kafka, settings: Partial<ProducerConfig> = {}): Promise<FastifyInstance> {
  const app = Fastify(serverOptions({ bodyLimitBytes: 4_000_000 }))
  await app.register(errors)
  await app.register(metrics)
  await app.register(auth, { host: '127.0.0.1', allowedHosts: ['*'], auth: 'loopback' })
  await app.register(producer, {
    client: { 'bootstrap.servers': kafka.bootstrapServers },
    settings: { ...producerSettings, queueMaxRecords: 100_000, queueMaxBytes: 100_000_000, ...settings },
    closeTimeoutMs: 5_000
  })
  await app.register(records, { requestTimeoutMs: 10_000, streams: streamSettings })
  t.teardown(() => app.close())
  await app.ready()
  await waitFor('the producer', () => app.producer.state.reachable)
  return app
}

const post = async (app: FastifyInstance, topic: string, payload: object, headers: Record<string, string> = {}) =>
  await app.inject({ method: 'POST', url: `/topics/${topic}/records`, payload, headers })

t.test('what was posted is what Kafka\'s own client reads', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('bytes'), { partitions: 2 })
  const bytes = randomBytes(300)
  const headers = [
    { name: 'b', value: '1' }, { name: 'a', value: Buffer.from([0, 255]).toString('base64'), encoding: 'base64' }, { name: 'b', value: 'x\0y' },
    { name: '__proto__', value: 'p' }, { name: '', value: '' }, { name: '7', value: 'é' }
  ]
  const res = await post(app, topic, {
    records: [
      { partition: 0, value: null }, { partition: 0, value: '', key: '' }, { partition: 0, value: 'v\0𝄞', key: 'k\0' },
      { partition: 0, value: bytes.toString('base64'), encoding: 'base64', timestamp: 1700000000000, headers },
      { partition: 0, value: { a: [1] }, key: 7 }
    ]
  })
  t.equal(res.statusCode, 200, res.body)
  const receipts = res.json<{ records: { offset: number, timestamp: number, partition: number }[] }>().records
  t.same(receipts.map(({ offset }) => offset), [0, 1, 2, 3, 4])
  const stored = await kafka.readAll(topic)
  t.same(stored.map(({ key, value }) => [key, value]), [
    [null, null], [Buffer.alloc(0), Buffer.alloc(0)], [Buffer.from('k\0'), Buffer.from('v\0𝄞')], [null, bytes], [Buffer.from('7'), Buffer.from('{"a":[1]}')]
  ])
  t.same(stored[3]?.headers.map(([name, value]) => [name, String(value)]), [
    ['b', '1'], ['a', String(Buffer.from([0, 255]))], ['b', 'x\0y'], ['__proto__', 'p'], ['', ''], ['7', 'é']
  ])
  t.same(stored.map(({ timestamp }) => timestamp), receipts.map(({ timestamp }) => timestamp), 'the receipts\' timestamps are the stored ones')
  t.equal(stored[3]?.timestamp, 1700000000000)
})

t.test('a key goes to the partition that Java\'s producer chooses', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('murmur'), { partitions: 17 })
  const keys = ['', 'a', 'é', 'key', ...Array.from({ length: 300 }, (_, i) => randomBytes(i % 40).toString('hex'))]
  const java = await kafka.produce(topic, keys.map(key => ({ key, value: 'x' })))
  const ours = await post(app, topic, { records: keys.map(key => ({ key, value: 'x' })) })
  const chosen = ours.json<{ records: { partition: number }[] }>().records.map(({ partition }) => partition)
  t.same(chosen, java.map(({ partition }) => partition))
})

t.test('an unknown topic is refused at once and not made; a new one is found within about a second', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = uniqueName('later')
  const start = performance.now()
  const res = await post(app, topic, { value: 1 })
  t.match(res.json(), { status: 404, code: 'SLUICE_UNKNOWN_TOPIC' })
  t.ok(performance.now() - start < 5_000, 'without waiting for a time limit')
  await kafka.createTopic(topic, { partitions: 1 })
  const made = performance.now()
  await waitFor('the topic', async () => (await post(app, topic, { value: 1 })).statusCode === 200)
  t.ok(performance.now() - made < 10_000, `${performance.now() - made} ms`)

  await kafka.deleteTopic(topic)
  const deleted = performance.now()
  await waitFor('the topic to be unknown', async () => (await post(app, topic, { value: 1 }, { 'request-timeout': '5' })).statusCode === 404, { timeoutMs: 20_000 })
  t.ok(performance.now() - deleted < 15_000, `${performance.now() - deleted} ms`)
  await kafka.createTopic(topic, { partitions: 1 })
  await waitFor('the topic made anew', async () => (await post(app, topic, { value: 1 })).statusCode === 200)
})

t.test('automatic creation, where gateway and broker have it on', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka({ properties: { 'auto.create.topics.enable': true } })
  t.teardown(() => kafka.stop())
  const app = await gateway(t, kafka, { allowAutoCreateTopics: true })
  const made = await Promise.all([post(app, 'made', { value: 1 }), post(app, 'made', { value: 2 })])
  t.same(made.map(({ statusCode }) => statusCode), [200, 200])

  const without = await gateway(t, kafka)
  for (let i = 0; i < 3; i++) t.equal((await post(without, 'not-made', { value: 1 })).statusCode, 404)
  await t.rejects(kafka.describeTopic('not-made'), 'asking whether it is there did not make it')
})

t.test('added partitions are found; a partition that is not there is refused', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('partitions'), { partitions: 2 })
  t.match((await post(app, topic, { value: 1, partition: 2 })).json(), { status: 400, code: 'SLUICE_UNKNOWN_PARTITION' })
  t.match((await post(app, topic, { records: [{ value: 1, partition: 2 }, { value: 2, partition: 1 }] })).json(),
    { records: [{ status: 400 }, { partition: 1, offset: 0 }] })
})

t.test('a record that only the topic finds too large is 413; one without a key in a compacted topic is refused', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const small = await kafka.createTopic(uniqueName('small'), { partitions: 1, config: { 'max.message.bytes': '1000' } })
  t.match((await post(app, small, { value: 'x'.repeat(2_000) })).json(), { status: 413, code: 'SLUICE_RECORD_TOO_LARGE' })
  const compacted = await kafka.createTopic(uniqueName('compacted'), { partitions: 1, config: { 'cleanup.policy': 'compact' } })
  await waitFor('the new topic', async () => (await post(app, compacted, { value: 'x', key: 'k' })).statusCode === 200)
  t.match((await post(app, compacted, { value: 'x' })).json(), { status: 400, code: 'SLUICE_RECORD_REJECTED' })
})

interface Answered { readonly status?: number, readonly code?: string, readonly offset?: number }

/** What is in the topic is what was answered with a receipt, once each and in the order of its key. */
async function isAsAnswered (
  t: Test, kafka: Kafka, topic: string, sent: readonly { key?: string | null, value: string }[], answered: readonly Answered[]
): Promise<void> {
  const stored = (await kafka.readAll(topic)).map(({ key, value }) => ({ key: key === null ? null : String(key), value: String(value) }))
  const written = sent.filter((_, i) => answered[i]!.offset !== undefined)
  t.equal(stored.length, written.length, 'each once')
  for (const key of new Set(sent.map(({ key }) => key ?? null))) {
    const valuesOf = (records: readonly { key?: string | null, value: string }[]) =>
      records.filter(one => (one.key ?? null) === key).map(({ value }) => value)
    t.strictSame(valuesOf(stored), valuesOf(written), `in order: ${key}`)
  }
}

// What is handed over in one turn is one batch of the client's. Of several, the later ones might overtake what is refused, which is not
// produced then.
const together = 20

t.test('a topic that takes less than the client\'s batches: only what is too large by itself is refused', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('smaller'), { partitions: 2, config: { 'max.message.bytes': '10000' } })
  const other = await kafka.createTopic(uniqueName('smaller'), { partitions: 1, config: { 'max.message.bytes': '10000' } })
  const app = await gateway(t, kafka, { lingerMs: together })
  const isLarge = (i: number) => i % 100 === 77
  const sent = Array.from({ length: 300 }, (_, i) => ({ key: `k${i % 7}`, value: `${i} `.padEnd(isLarge(i) ? 50_000 : 1_000, 'x') }))
  const res = await post(app, topic, { records: sent })
  const answered = res.json<{ records: Answered[] }>().records
  t.strictSame(answered.flatMap(({ offset, code }, i) => offset === undefined ? [`${i} ${code}`] : []), [77, 177, 277].map(i => `${i} SLUICE_RECORD_TOO_LARGE`))
  await isAsAnswered(t, kafka, topic, sent, answered)

  const single = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: `${i} `.padEnd(isLarge(i) ? 50_000 : 1_000, 'x') }))
  const produce = async (record: object) => (await post(app, other, record)).json<Answered>()
  // Once a flight has taken longer than a short one, one goes at a time.
  const answers = [await produce(single[0]!), ...await Promise.all(single.slice(1).map(produce))]
  t.strictSame(answers.flatMap(({ offset, code }, i) => offset === undefined ? [`${i} ${code}`] : []), [77, 177, 277].map(i => `${i} SLUICE_RECORD_TOO_LARGE`))
  await isAsAnswered(t, kafka, other, single, answers)
})

t.test('beside a record that Kafka refuses, or several, the others of its batch are written', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topics = [[120], [20, 70, 71, 170]].map(bad => ({ name: uniqueName('compacted'), bad }))
  for (const { name } of topics) await kafka.createTopic(name, { partitions: 1, config: { 'cleanup.policy': 'compact' } })
  const app = await gateway(t, kafka, { lingerMs: together })
  for (const { name, bad } of topics) {
    const sent = Array.from({ length: 200 }, (_, i) => ({ key: bad.includes(i) ? null : `k${i % 7}`, value: `${i}` }))
    const answered = (await post(app, name, { records: sent })).json<{ records: Answered[] }>().records
    t.strictSame(answered.flatMap(({ offset, code }, i) => offset === undefined ? [`${i} ${code}`] : []), bad.map(i => `${i} SLUICE_RECORD_REJECTED`))
    await isAsAnswered(t, kafka, name, sent, answered)
  }
})

t.test('the largest record that the gateway takes, Kafka takes as well', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic(uniqueName('large'), { partitions: 1 })
  t.equal((await post(app, topic, { value: 'x'.repeat(1_000_000) })).statusCode, 200)
  t.equal((await post(app, topic, { value: 'x'.repeat(1_000_001) })).statusCode, 413)
})

t.test('a broker that hangs: what was handed over is unknown, what comes later is refused, and it all recovers', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic('hang', { partitions: 1 })
  const broker = kafka.brokers[0]
  if (broker === undefined) throw new Error('no broker')
  await waitFor('the first record', async () => (await post(app, topic, { value: 'before' })).statusCode === 200)

  await broker.pause()
  const stopped = performance.now()
  const handedOver = await post(app, topic, { value: 'during' }, { 'request-timeout': '1' })
  t.match(handedOver.json(), { status: 504, code: 'SLUICE_DELIVERY_UNKNOWN' })
  t.notOk('retry-after' in handedOver.headers)
  await waitFor('refusals', async () => !app.producer.state.reachable)
  t.ok(performance.now() - stopped < 20_000, `found away after ${performance.now() - stopped} ms`)
  for (let i = 0; i < 20; i++) {
    const start = performance.now()
    const refused = await post(app, topic, { value: 'refused' })
    t.equal(refused.statusCode, 503)
    t.match(refused.json(), { code: 'SLUICE_BROKER_UNAVAILABLE' })
    t.equal(refused.headers['retry-after'], '2')
    t.ok(performance.now() - start < 5_000, 'at once, without waiting for a time limit')
  }
  t.match(app.producer.state, { connected: true, reachable: false, pendingRecords: 1, lastError: String })

  await broker.resume()
  const resumed = performance.now()
  await waitFor('Kafka again', async () => (await post(app, topic, { value: 'after' })).statusCode === 200)
  t.ok(performance.now() - resumed < 20_000, `recovered after ${performance.now() - resumed} ms`)
  await waitFor('the late report', () => app.producer.state.pendingRecords === 0)
  t.strictSame((await kafka.readAll(topic)).map(({ value }) => String(value)).filter(value => value !== 'before'), ['during', 'after'],
    'the unknown one was written, none that was refused was')
})

t.test('a broker that is killed and started again', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic('kill', { partitions: 1 })
  const broker = kafka.brokers[0]
  if (broker === undefined) throw new Error('no broker')
  await waitFor('the first record', async () => (await post(app, topic, { value: 'before' })).statusCode === 200)
  await broker.kill()
  const killed = performance.now()
  await waitFor('refusals', async () => (await post(app, topic, { value: 'x' }, { 'request-timeout': '0.1' })).json().code === 'SLUICE_BROKER_UNAVAILABLE')
  t.ok(performance.now() - killed < 20_000, `found away after ${performance.now() - killed} ms`)
  t.match((await post(app, topic, { value: 'x' })).json(), { detail: /refuses the connection|does not answer|connection to it fails/ })
  await broker.start()
  const started = performance.now()
  await waitFor('Kafka again', async () => (await post(app, topic, { value: 'after' })).statusCode === 200, { timeoutMs: 30_000 })
  t.ok(performance.now() - started < 20_000, `recovered after ${performance.now() - started} ms`)
  const closing = performance.now()
  await app.close()
  t.ok(performance.now() - closing < 10_000)
})

t.test('closing while Kafka hangs ends in time and leaves nothing behind', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const app = await gateway(t, kafka)
  const topic = await kafka.createTopic('close', { partitions: 1 })
  await waitFor('the first record', async () => (await post(app, topic, { value: 'before' })).statusCode === 200)
  await kafka.brokers[0]?.pause()
  const pending = app.producer.send({ topic, value: 'x' })
  const closing = performance.now()
  await Promise.all([app.close(), t.rejects(pending, { code: 'SLUICE_DELIVERY_UNKNOWN' })])
  const took = performance.now() - closing
  t.ok(took > 4_000 && took < 20_000, `${took} ms`)
})
