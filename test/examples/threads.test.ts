import { scryptSync } from 'node:crypto'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readTopic } from '../support/embedded-reader.js'
import { gatewayApp, samplesOf, until } from '../support/gateway-app.js'

const example = fileURLToPath(new URL('../../examples/threads/handler.mjs', import.meta.url))

t.test('the example on the embedded broker: a fingerprint for each document, made in threads', async t => {
  const { app, logged } = await gatewayApp({
    KAFKA_TOPIC: 'documents',
    KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true',
    KAFKA_HANDLER: path.relative(process.cwd(), example),
    KAFKA_HANDLER_THREADS: '2'
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  const records = [...Array.from({ length: 8 }, (_, n) => ({ key: `d-${n}`, value: `document ${n}` })), { key: 'd-none', value: null }]
  const posted = await app.inject({
    method: 'POST', url: '/topics/documents/records', headers: { 'content-type': 'application/json' }, payload: JSON.stringify({ records })
  })
  t.equal(posted.statusCode, 200)
  const total = () => app.consumers[0].state.partitions.reduce((sum, { commitOffset }) => sum + Math.max(0, commitOffset), 0)
  await until(() => total() === records.length, 'all to be completed')
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_consumer_threads{group="sluice"}'), 2)
  t.equal(samples.get('sluice_consumer_threads_lost_total{group="sluice",reason="ended"}'), 0)

  const brokers = logged.find(({ msg }) => msg.startsWith('no KAFKA_BOOTSTRAP_SERVERS'))!.brokers as string
  const [made, dead] = await Promise.all([readTopic(brokers, 'fingerprints', 8), readTopic(brokers, 'documents.dlq', 1)])
  t.equal(String(dead[0].key), 'd-none')
  const found = new Map(made.map(({ key, value }) => [String(key), JSON.parse(String(value)) as object]))
  t.equal(found.size, 8)
  for (const { key, value } of records.slice(0, 8)) {
    t.same(found.get(key), { fingerprint: scryptSync(value!, 'documents', 16, { N: 16_384 }).toString('hex') })
  }
  // What a thread logs comes by a way of its own.
  await until(() => logged.some(({ msg }) => msg === 'fingerprint made'), 'the line of a thread')
  t.match(logged.find(({ msg }) => msg === 'fingerprint made'), { level: 20, topic: 'documents', partition: Number, offset: Number, attempt: 1, group: 'sluice' })
})
