import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readTopic } from '../support/embedded-reader.js'
import { gatewayApp, until } from '../support/gateway-app.js'

const example = fileURLToPath(new URL('../../examples/transform/handler.mjs', import.meta.url))
const headers = { 'content-type': 'application/json' }

t.test('the example on the embedded broker: each line of an order is a record, and what is no order is a dead letter', async t => {
  const { app, logged } = await gatewayApp({
    KAFKA_TOPIC: 'orders',
    KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true',
    KAFKA_HANDLER: path.relative(process.cwd(), example)
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  const lines = [{ article: 'pen', count: 2, warehouse: 'north' }, { article: 'ink', count: 1, warehouse: 'south' }]
  const records = [{ value: { id: 'o-1', lines } }, { value: 'no order' }, { value: { id: 'o-2', lines: [] } }]
  const { statusCode } = await app.inject({ method: 'POST', url: '/topics/orders/records', headers, payload: { records } })
  t.equal(statusCode, 200)
  await until(() => app.consumers[0].state.partitions.reduce((sum, { commitOffset }) => sum + Math.max(0, commitOffset), 0) === 3,
    'all orders to be handled', 20_000)
  const brokers = logged.find(({ msg }) => msg.startsWith('no KAFKA_BOOTSTRAP_SERVERS'))!.brokers as string
  const picks = (await readTopic(brokers, 'picks', 2)).map(({ key, value }) => ({ key: String(key), ...JSON.parse(String(value)) as object }))
  t.strictSame(picks.toSorted((a, b) => a.key < b.key ? -1 : 1), [
    { key: 'north', orderId: 'o-1', article: 'pen', count: 2 }, { key: 'south', orderId: 'o-1', article: 'ink', count: 1 }
  ])
  const [letter] = await readTopic(brokers, 'orders.dlq', 1)
  t.equal(letter.value!.toString(), 'no order')
})
