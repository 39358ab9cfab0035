import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { gatewayApp, until } from '../support/gateway-app.js'

const headers = { 'content-type': 'application/json' }

t.test('the example on the embedded broker: every order is paid or refused, and archived, whoever is faster', async t => {
  const archive = path.join(t.testdir({}), 'orders.jsonl')
  // Read when the modules are loaded.
  process.env.ARCHIVE_FILE = archive
  delete process.env.PAYMENTS_URL
  const { app, logged } = await gatewayApp({
    KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true', KAFKA_CONSUMERS_FILE: 'examples/consumers/consumers.yaml', KAFKA_COMMIT_INTERVAL_SECONDS: '0.1'
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  const records = [
    { key: 'customer-1', value: { id: 'o-1', cents: 1250 } }, { value: 'no order' }, { key: 'customer-2', value: { id: 'o-2', cents: 1 } }
  ]
  const posted = await app.inject({ method: 'POST', url: '/topics/orders/records', headers, payload: JSON.stringify({ records }) })
  t.equal(posted.statusCode, 200)

  const total = (index: number) =>
    app.consumers[index].state.partitions.reduce((sum, { committedOffset }) => sum + Math.max(0, committedOffset), 0)
  await until(() => total(0) === 3 && total(1) === 4, 'both to commit all', 60_000)
  t.equal(logged.filter(({ msg }) => msg === 'order paid').length, 2)
  const lines = (await readFile(archive, 'utf8')).trimEnd().split('\n').map(line => JSON.parse(line) as { topic: string, value: string })
  const archived = (of: string) => lines.filter(({ topic }) => topic === of).map(({ value }) => value).sort()
  t.same(archived('orders'), ['no order', '{"id":"o-1","cents":1250}', '{"id":"o-2","cents":1}'])
  t.same(archived('orders.unpaid'), ['no order'], 'the dead letter of one is a record for the other')
  t.match((await app.inject('/consumers')).json(), { limit: 20, consumers: [{ name: 'payments', limit: 50 }, { name: 'archive', limit: 4 }] })
})
