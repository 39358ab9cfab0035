import { createHmac, randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { CloudEvent, emitterFor, HTTP, httpTransport, Kafka as KafkaBinding, Mode } from 'cloudevents'
import t, { type Test } from 'tap'
import { buildApp } from '../../src/app.js'
import { loadConfig } from '../../src/config.js'
import { noKafka, noKcat, sharedKafka, uniqueName, waitFor, type Kafka, type StoredRecord } from '../support/kafka.js'

t.setTimeout(180_000)

const secret = 'It\'s a Secret to Everybody'
const sign = (body: Buffer) => 'sha256=' + createHmac('sha256', secret).update(body).digest('hex')

// As GitHub sends it: not a byte of it may change, or the consumer cannot check the signature again.
const push = Buffer.from('{\n  "ref": "refs/heads/main",\n  "repository": {"id": 12345678901234567890, "full_name": "octo/caf\\u00e9 — ☕"},\n  "commits": []\n}\n')

async function gateway (t: Test, kafka: Kafka, env: Record<string, string> = {}): Promise<string> {
  const { config } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: kafka.bootstrapServers, PORT: '0', ...env })
  const app = await buildApp(config, { logger: false })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  await waitFor('the producer', () => app.producer.state.reachable)
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

const headersOf = ({ headers }: StoredRecord) => headers.map(([name, value]) => [name, String(value)])

t.test('GitHub\'s webhook arrives byte for byte, with its key and the headers that were asked for', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('github'))
  const url = await gateway(t, kafka, { WEBHOOK_SIGNATURES: JSON.stringify({ [topic]: { scheme: 'github', secrets: [secret] } }) })
  const post = async (body: Buffer, signature: string) => await fetch(
    `${url}/topics/${topic}/raw?keyPointer=/repository/id&headers=x-github-event,x-github-delivery`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-github-event': 'push',
        'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
        'x-hub-signature-256': signature
      },
      body
    })
  const good = await post(push, sign(push))
  t.equal(good.status, 200, await good.clone().text())
  t.match(await good.json(), { topic, partition: 0, offset: 0 })
  t.equal((await post(push, sign(Buffer.from('{}')))).status, 403)
  const [stored, ...others] = await kafka.readAll(topic)
  t.same(others, [], 'what is not signed is not there')
  t.ok(push.equals(stored!.value!), 'every byte')
  t.equal(String(stored!.key), '12345678901234567890')
  t.same(headersOf(stored!).sort(), [
    ['content-type', 'application/json'], ['x-github-delivery', '72d3162e-cc78-11e3-81ab-4c9367dc0958'], ['x-github-event', 'push']
  ])
  t.test('and kcat reads the same', { skip: noKcat }, async t => {
    const [record] = await kafka.kcatReadAll(topic)
    t.equal(record?.payload, push.toString())
    t.equal(record?.key, '12345678901234567890')
  })
})

t.test('any bytes arrive as they are, and none are empty, not a tombstone', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('raw'))
  const url = await gateway(t, kafka)
  const bodies = [randomBytes(100_000), Buffer.from([0]), Buffer.alloc(0)]
  for (const body of bodies) {
    const res = await fetch(`${url}/topics/${topic}/raw`, { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body })
    t.equal(res.status, 200)
  }
  t.same((await kafka.readAll(topic)).map(({ value, key }) => [value, key]), bodies.map(body => [body, null]))
})

t.test('events of the SDK, in every mode: its Kafka binding reads back the same event from the topic', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('events'))
  const url = `${await gateway(t, kafka)}/topics/${topic}/events`
  const event = new CloudEvent({
    source: '/shop', type: 'order.placed', subject: 'order-7', partitionkey: 'customer-7', datacontenttype: 'application/json', data: { total: 12.5, name: 'é' }
  })
  for (const mode of [Mode.BINARY, Mode.STRUCTURED]) await emitterFor(httpTransport(url), { binding: HTTP, mode })(event)
  const batch = await fetch(url, {
    method: 'POST', headers: { 'content-type': 'application/cloudevents-batch+json' }, body: JSON.stringify([event, event.cloneWith({ id: 'second' })])
  })
  t.equal(batch.status, 200, await batch.clone().text())
  // Without data, on a topic that is compacted: the binding's tombstone.
  const without = await fetch(url, {
    method: 'POST', headers: { 'ce-specversion': '1.0', 'ce-id': '%E2%98%95', 'ce-source': '/s', 'ce-type': 't', 'ce-partitionkey': 'customer-7' }
  })
  t.equal(without.status, 200, await without.clone().text())
  const stored = await kafka.readAll(topic)
  const read = (record: StoredRecord) => KafkaBinding.toEvent({
    headers: Object.fromEntries(headersOf(record)), key: String(record.key), value: String(record.value), body: String(record.value)
  } as never) as CloudEvent<unknown>
  const expected = event.toJSON()
  t.same(stored.slice(0, 4).map(record => read(record).toJSON()), [expected, expected, expected, { ...expected, id: 'second' }])
  t.same(stored.map(({ key }) => String(key)), new Array(5).fill('customer-7'))
  t.equal(stored[4]?.value, null)
  t.match(Object.fromEntries(headersOf(stored[4]!)), { ce_id: '☕', ce_partitionkey: 'customer-7' })
  t.same(headersOf(stored[1]!), [['content-type', 'application/cloudevents+json; charset=UTF-8']])
})
