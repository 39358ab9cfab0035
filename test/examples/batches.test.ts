import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readTopic } from '../support/embedded-reader.js'
import { gatewayApp, until } from '../support/gateway-app.js'

const example = fileURLToPath(new URL('../../examples/batches/handler.mjs', import.meta.url))
const headers = { 'content-type': 'application/json' }
const table = path.join(t.testdir({}), 'table')
process.env.TABLE_FILE = table

t.test('the example on the embedded broker: orders are inserted many at once, and bad ones are dead letters by themselves', async t => {
  const { app, logged } = await gatewayApp({
    KAFKA_TOPIC: 'orders',
    KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true',
    KAFKA_HANDLER: path.relative(process.cwd(), example),
    KAFKA_HANDLER_BATCH_SIZE: '100',
    KAFKA_HANDLER_BATCH_WAIT_MS: '50'
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  const orders = Array.from({ length: 40 }, (_, n) => ({ key: 'customer', value: { id: `o-${n}`, cents: n } }))
  const records = [...orders.slice(0, 20), { key: 'customer', value: 'no order' }, ...orders.slice(20)]
  const { statusCode } = await app.inject({ method: 'POST', url: '/topics/orders/records', headers, payload: { records } })
  t.equal(statusCode, 200)
  const rows = () => readFileSync(table, 'utf8').split('\n').slice(0, -1).map(line => JSON.parse(line) as { id: string })
  await until(() => existsSync(table), 'the table')
  await until(async () => new Set(rows().map(({ id }) => id)).size === 40, 'all orders to be inserted', 20_000)
  const lines = () => logged.filter(({ msg }) => msg === 'orders inserted')
  // It is told after it was done.
  await until(() => lines().some(({ inserted }) => (inserted as number) > 1), 'the line of a batch of many')
  t.ok(lines().length < 20, `${lines().length} batches for 41 records`)
  const brokers = logged.find(({ msg }) => msg.startsWith('no KAFKA_BOOTSTRAP_SERVERS'))!.brokers as string
  const [letter] = await readTopic(brokers, 'orders.dlq', 1)
  t.equal(letter.value!.toString(), 'no order')
})
