import t from 'tap'
import { RecordReaderPool } from '../../src/kafka/record-reader-pool.js'
import { TransactionalProducerPool } from '../../src/kafka/transactional-producer-pool.js'
import { noOwnKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { producerSettings } from '../support/produce-app.js'
import { transactionSettings } from '../support/transaction-app.js'

t.setTimeout(120_000)

const silent = { debug () {}, info () {}, warn () {}, error () {} }
const password = 'not-a-secret-of-anybody'
const users = ['writer', 'reader', 'nobody']

let kafka: Kafka
t.before(async () => {
  if (noOwnKafka) return
  const listed = users.map(user => ` user_${user}="${password}"`).join('')
  kafka = await startKafka({
    listeners: { LOGIN: 'SASL_PLAINTEXT' },
    properties: {
      'listener.name.login.sasl.enabled.mechanisms': 'PLAIN',
      'listener.name.login.plain.sasl.jaas.config': `org.apache.kafka.common.security.plain.PlainLoginModule required${listed};`,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS'
    }
  })
})
t.after(async () => { if (!noOwnKafka) await kafka.stop() })

const client = (user: string) => ({
  'bootstrap.servers': kafka.listener('LOGIN').bootstrapServers,
  'security.protocol': 'sasl_plaintext',
  'sasl.mechanism': 'PLAIN',
  'sasl.username': user,
  'sasl.password': password
})

t.test('transactions need the right to the transactional id, and to each topic', { skip: noOwnKafka }, async t => {
  const [mine, other] = [await kafka.createTopic(uniqueName('mine')), await kafka.createTopic(uniqueName('other'))]
  const idPrefix = uniqueName('prefix')
  const pool = new TransactionalProducerPool({
    client: client('writer'),
    producer: producerSettings,
    settings: { ...transactionSettings, idPrefix, producers: 1 },
    log: silent,
    isReachable: () => true
  })
  t.teardown(() => pool.close(5_000))
  const run = (...topics: string[]) => pool.run(topics.map(topic => ({ topic, value: 'x' })), 10_000)
  await kafka.allow('writer', 'WRITE', 'TOPIC', mine)
  await t.rejects(run(mine), { code: 'SLUICE_NOT_AUTHORIZED', message: /transactional ids/ })
  await kafka.allow('writer', 'WRITE', 'TRANSACTIONAL_ID', `${idPrefix}-0`)
  await kafka.allow('writer', 'DESCRIBE', 'TRANSACTIONAL_ID', `${idPrefix}-0`)
  await waitFor('the right to be known', () => run(mine).then(() => true, () => false))
  await t.rejects(run(mine, other), { code: 'SLUICE_NOT_AUTHORIZED', message: /topic/ })
  t.match(await run(mine), [{ topic: mine, partition: 0 }], 'the next one is not held up')
  const before = (await kafka.readAll(mine)).length
  await waitFor('the markers', async () => String(await kafka.endOffsets(mine, 'read_committed')) === String(await kafka.endOffsets(mine)))
  t.ok((await kafka.readAll(mine)).length >= before)
  t.same(await kafka.readAll(other), [])
})

t.test('looking in needs the right to the topic, and none to any group', { skip: noOwnKafka }, async t => {
  const topic = await kafka.createTopic(uniqueName('read'))
  await kafka.produce(topic, [{ value: 'x' }])
  await kafka.allow('reader', 'READ', 'TOPIC', topic)
  await kafka.allow('nobody', 'DESCRIBE', 'TOPIC', topic)
  const readers = ['reader', 'nobody'].map(user => new RecordReaderPool({
    client: client(user), settings: { clients: 1, maxWaiting: 1, maxBytes: 1_000 }, log: silent, isReachable: () => true
  }))
  t.teardown(() => Promise.all(readers.map(pool => pool.close(5_000))))
  const [allowed, denied] = readers.map(pool =>
    () => pool.read({ topic, partition: 0, from: 'beginning', isolation: 'read_committed', limit: 10, maxWaitMs: 5_000 }))
  await waitFor('the right to be known', () => allowed!().then(() => true, () => false))
  t.match(await allowed!(), { records: [{ offset: 0, value: Buffer.from('x') }], nextOffset: 1 })
  await t.rejects(denied!(), { code: 'SLUICE_NOT_AUTHORIZED' }, 'it may know of the topic, and not read it')
})
