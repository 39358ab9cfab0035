import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { readTopic } from '../support/embedded-reader.js'
import { gatewayApp, until } from '../support/gateway-app.js'

const receiver = fileURLToPath(new URL('../../examples/push/receiver.mjs', import.meta.url))
const secret = `whsec_${Buffer.alloc(32, 's').toString('base64')}`

/** The receiver in a process of its own, as its comment says to run it. */
async function startReceiver (): Promise<{ url: string, lines: string[] }> {
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, [receiver], { env: { ...env, PUSH_SECRET: secret, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill() })
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', line => lines.push(line))
  await until(() => lines.length > 0, 'the receiver to listen')
  return { url: lines.shift()!.replace('listening on ', ''), lines }
}

t.test('the example: orders arrive once, what is none is a dead letter, and nobody else gets in', async t => {
  const { url, lines } = await startReceiver()
  const { app, logged } = await gatewayApp({
    KAFKA_TOPIC: 'orders', KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true', KAFKA_HANDLER: url, KAFKA_PUSH_SECRET: secret
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  const records = [{ key: 'Müller & Söhne', value: { id: 'o-1' } }, { key: 'customer-2', value: 'no order' }, { value: { id: 'o-3' } }]
  await app.inject({ method: 'POST', url: '/topics/orders/records', headers: { 'content-type': 'application/json' }, payload: JSON.stringify({ records }) })
  const total = () => app.consumers[0].state.partitions.reduce((sum, { commitOffset }) => sum + Math.max(0, commitOffset), 0)
  await until(() => total() === records.length, 'all to be completed')
  await until(() => lines.length === 2, 'what the receiver says')
  const seen = lines.map(line => JSON.parse(line) as { order: string, customer: string | null, event: string })
  t.same(seen.map(({ order, customer }) => [order, customer]).sort(), [['o-1', 'Müller & Söhne'], ['o-3', null]])
  t.ok(seen.every(({ event }) => /^partition:\d\/offset:\d$/.test(event)))
  const brokers = logged.find(({ msg }) => msg.startsWith('no KAFKA_BOOTSTRAP_SERVERS'))!.brokers as string
  const dead = await readTopic(brokers, 'orders.dlq', 4)
  t.same(dead.map(({ key }) => String(key)), ['customer-2'])
  const unsigned = await fetch(url, { method: 'POST', body: '{"id":"o-4"}' })
  t.equal(unsigned.status, 401)
  t.equal((await fetch(new URL('/elsewhere', url), { method: 'POST' })).status, 404)
})
