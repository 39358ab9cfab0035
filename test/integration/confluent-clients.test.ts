import { spawn } from 'node:child_process'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import t from 'tap'
import { startGateway, type Gateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'

t.setTimeout(120_000)

/** Runs curl as a shell would, and resolves to what it printed. */
function curl (args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('curl', ['-sS', '--max-time', '20', ...args])
    let out = ''
    let said = ''
    child.stdout.on('data', data => { out += data })
    child.stderr.on('data', data => { said += data })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.once('error', reject)
    child.once('close', code => code === 0 ? resolve(out) : reject(new Error(`curl: exit code ${code}: ${said}`)))
  })
}

const answers = (text: string): Record<string, unknown>[] => text.trim().split('\n').map(line => JSON.parse(line) as Record<string, unknown>)

async function gatewayWithTopic (kafka: Kafka, partitions: number): Promise<{ gateway: Gateway, topic: string }> {
  const topic = await kafka.createTopic(uniqueName('confluent'), { partitions })
  const gateway = await startGateway({ kafka, env: { KAFKA_CLUSTER_ID: 'lkc-1' } })
  await waitFor('the producer', async () => (await gateway.get('/readyz')).status === 200)
  return { gateway, topic }
}

t.test('what Confluent\'s documentation sends with curl is what Kafka\'s own client reads', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const { gateway, topic } = await gatewayWithTopic(kafka, 1)
  t.teardown(() => gateway.kill())
  const written = (offset: number) =>
    `{"offsets":[{"partition":0,"offset":${offset},"error_code":null,"error":null}],"key_schema_id":null,"value_schema_id":null}`

  t.equal(await curl(['-X', 'POST', '-H', 'Content-Type: application/vnd.kafka.json.v2+json',
    '--data', '{"records":[{"value":{"foo":"bar"}}]}', `${gateway.url}/topics/${topic}`]), written(0))
  t.equal(await curl(['-X', 'POST', '-H', 'Content-Type: application/vnd.kafka.binary.v2+json', '-H', 'Accept: application/vnd.kafka.v2+json',
    '--data', '{"records":[{"key":"a2V5","value":"AAH/"}]}', `${gateway.url}/topics/${topic}/partitions/0`]), written(1))
  t.match(JSON.parse(await curl(['-X', 'POST', '-H', 'Content-Type: application/vnd.kafka.avro.v2+json', '-H', 'Accept: application/vnd.kafka.v2+json', '--data',
    '{"value_schema": "{\\"type\\": \\"record\\", \\"name\\": \\"User\\", \\"fields\\": [{\\"name\\": \\"name\\", \\"type\\": \\"string\\"}]}", "records": [{"value": {"name": "testUser"}}]}',
    `${gateway.url}/topics/${topic}`])), { error_code: 42206 })

  const { data: [cluster] } = JSON.parse(await curl([`${gateway.url}/v3/clusters`])) as { data: { cluster_id: string }[] }
  t.equal(cluster?.cluster_id, 'lkc-1')
  t.match(JSON.parse(await curl(['-X', 'POST', '-H', 'Content-Type: application/json', `${gateway.url}/v3/clusters/lkc-1/topics/${topic}/records`, '-d',
    '{"partition_id":0,"headers":[{"name":"Header-1","value":"SGVhZGVyLTE="}],"key":{"type":"BINARY","data":"Zm9vYmFy"},"value":{"type":"JSON","data":{"n":1.50}},"timestamp":"2021-02-05T19:14:42Z"}'])),
  { error_code: 200, cluster_id: 'lkc-1', topic_name: topic, partition_id: 0, offset: 2, timestamp: '2021-02-05T19:14:42Z', key: { type: 'BINARY', size: 6 }, value: { size: 10 } })
  // As Confluent Cloud's quick start streams from a terminal.
  const streamed = await curl(['-X', 'POST', '-H', 'Transfer-Encoding: chunked', '-H', 'Content-Type: application/json',
    `${gateway.url}/kafka/v3/clusters/lkc-1/topics/${topic}/records`, '-T-'], '{"value":{"type":"STRING","data":"hello"}}\n{"value":{"type":"BINARY","data":null}}{"value":1}{}')
  t.same(answers(streamed).map(({ error_code: code, offset }) => [code, offset]), [[200, 3], [200, 4], [400, undefined], [200, 5]])
  t.match(JSON.parse(await curl(['-X', 'POST', '-H', 'Content-Type: application/json', `${gateway.url}/v3/clusters/lkc-1/topics/${topic}/records:batch`, '-d',
    '{"entries":[{"id":"1","value":{"type":"STRING","data":"batch"}},{"id":"2","partition_id":7}]}'])),
  { successes: [{ id: '1', offset: 6 }], failures: [{ id: '2', error_code: 40403 }] })

  const stored = await kafka.readAll(topic)
  t.strictSame(stored.map(({ key, value }) => [key?.toString() ?? null, value?.toString('latin1') ?? null]), [
    [null, '{"foo":"bar"}'], ['key', '\0\x01ÿ'], ['foobar', '{"n":1.50}'], [null, 'hello'], [null, null], [null, null], [null, 'batch']
  ])
  t.strictSame([stored[2]?.timestamp, stored[2]?.headers.map(([name, value]) => [name, String(value)])], [1612552482000, [['Header-1', 'Header-1']]])

  const partition = JSON.parse(await curl([`${gateway.url}/topics/${topic}/partitions/0`])) as { leader: number, replicas: object[] }
  const { partitions: [described] } = await kafka.describeTopic(topic)
  const replicas = described?.replicas.map(broker => ({ broker, leader: broker === described.leader, in_sync: true }))
  t.same([partition.leader, partition.replicas], [described?.leader, replicas])
  t.ok((JSON.parse(await curl(['-H', 'Accept: application/vnd.kafka.v2+json', `${gateway.url}/topics`])) as string[]).includes(topic))
})

t.test('a long stream: every record is there once, in order, and the memory of the gateway does not grow with it', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const { gateway, topic } = await gatewayWithTopic(kafka, 1)
  t.teardown(() => gateway.kill())
  const count = 20_000
  const padding = 'x'.repeat(1_000)
  const req = request(`${gateway.url}/v3/clusters/lkc-1/topics/${topic}/records`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  const response = new Promise<string>((resolve, reject) => {
    req.once('error', reject).once('response', res => {
      let text = ''
      res.setEncoding('utf8').on('data', (data: string) => { text += data }).once('end', () => { resolve(text) }).once('error', reject)
    })
  })
  for (let i = 0; i < count; i++) {
    const more = req.write(`{"value":{"type":"STRING","data":"${i} ${padding}"}}`)
    if (!more) await new Promise(resolve => { req.once('drain', resolve) })
  }
  req.end()
  const offsets = answers(await response).map(({ offset }) => offset)
  t.strictSame(offsets, Array.from({ length: count }, (_, i) => i))
  const stored = await kafka.readAll(topic)
  t.ok(stored.length === count && stored.every(({ value }, i) => String(value) === `${i} ${padding}`))
  t.comment(`resident: ${Math.round((await gateway.metric('process_resident_memory_bytes') ?? 0) / 1e6)} MB after ${Math.round(count * 1.03 / 1000)} MB`)
})

/** Confluent's own client for Node.js (2014), which speaks v1 unless it is told of v2. */
interface KafkaRest {
  new (options: { url: string, version: number }): {
    topic (name: string): { produce (...args: unknown[]): void, partition (id: number): { produce (...args: unknown[]): void } }
    topics: { list (done: (err: Error | null, topics: { name: string }[]) => void): void }
  }
  prototype: { SUPPORTED_VERSIONS: number[] }
}

// Only here: nobody has touched it in ten years.
const Client = createRequire(import.meta.url)('kafka-rest') as KafkaRest

t.test('kafka-rest, Confluent\'s client for Node.js, produces as it means to', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const { gateway, topic } = await gatewayWithTopic(kafka, 2)
  t.teardown(() => gateway.kill())
  Client.prototype.SUPPORTED_VERSIONS = [2]
  const client = new Client({ url: gateway.url, version: 2 })
  const produce = (to: { produce (...args: unknown[]): void }, ...messages: unknown[]) => new Promise<object>((resolve, reject) => {
    to.produce(...messages, (err: Error | null, result: object) => { err ? reject(err) : resolve(result) })
  })
  const first = await produce(client.topic(topic), { partition: 0, key: 'k', value: 'é' }, { partition: 1, value: Buffer.from([0, 255]) })
  t.match(first, { offsets: [{ partition: 0, offset: 0 }, { partition: 1, offset: 0 }] })
  t.match(await produce(client.topic(topic).partition(1), 'text'), { offsets: [{ partition: 1, offset: 1 }] })
  const refusal: unknown = await produce(client.topic(uniqueName('none')), 'x').catch((err: unknown) => err)
  t.match(refusal, { status: 404, data: { error_code: 40401 } })
  const stored = (await kafka.readAll(topic)).sort((a, b) => a.partition - b.partition)
  t.strictSame(stored.map(({ partition, key, value }) => [partition, key, value]), [
    [0, Buffer.from('k'), Buffer.from('é')], [1, null, Buffer.from([0, 255])], [1, null, Buffer.from('text')]
  ])
  const names = await new Promise<string[]>((resolve, reject) => {
    client.topics.list((err, topics) => { err ? reject(err) : resolve(topics.map(({ name }) => name)) })
  })
  t.ok(names.includes(topic))
})
