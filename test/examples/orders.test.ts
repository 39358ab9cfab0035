import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { loadModule } from '../../src/handlers/module.js'
import { readTopic } from '../support/embedded-reader.js'
import { gatewayApp, until } from '../support/gateway-app.js'

const example = fileURLToPath(new URL('../../examples/orders/handler.mjs', import.meta.url))
const headers = { 'content-type': 'application/json' }

// The service that the example asks. What it answers, and what it was asked, by order.
const answers = new Map<string, { status: number, headers?: Record<string, string> }[]>()
const asked: { id: string, idempotencyKey: string | undefined }[] = []
const silent = new Set<string>()
let gone = 0

async function answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const { id } = JSON.parse(Buffer.concat(chunks).toString()) as { id: string }
  asked.push({ id, idempotencyKey: request.headers['idempotency-key'] as string | undefined })
  if (silent.has(id)) {
    response.on('close', () => { gone++ })
    return
  }
  const { status, headers = {} } = answers.get(id)?.shift() ?? { status: 200 }
  response.writeHead(status, headers).end(JSON.stringify({ id: `payment-of-${id}` }))
}

const service = createServer((request, response) => { answer(request, response).catch(() => response.destroy()) })
service.listen(0, '127.0.0.1')
await once(service, 'listening')
t.teardown(() => service.close())
// Read when the module is loaded.
process.env.PAYMENTS_URL = `http://127.0.0.1:${(service.address() as AddressInfo).port}/`

t.test('the example on the embedded broker: orders are paid, bad ones and refused ones are dead letters, a busy service is asked again', async t => {
  answers.set('o-busy', [{ status: 503, headers: { 'retry-after': '0.01' } }, { status: 500 }])
  answers.set('o-refused', [{ status: 402 }])
  const { app, logged } = await gatewayApp({
    KAFKA_TOPIC: 'orders',
    KAFKA_ALLOW_AUTO_CREATE_TOPICS: 'true',
    KAFKA_HANDLER: path.relative(process.cwd(), example),
    KAFKA_RETRY_BACKOFF_MS: '1',
    KAFKA_RETRY_BACKOFF_MAX_MS: '5'
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  const records = [
    { key: 'customer-1', value: { id: 'o-1', cents: 1250 } },
    { key: 'customer-2', value: { id: 'o-busy', cents: 1 } },
    { key: 'customer-3', value: { id: 'o-refused', cents: 1 } },
    { key: 'customer-4', value: 'no order' },
    { key: 'customer-5', value: { id: 'o-free', cents: 0 } },
    { key: 'customer-6', value: null }
  ]
  const posted = await app.inject({ method: 'POST', url: '/topics/orders/records', headers, payload: JSON.stringify({ records }) })
  t.equal(posted.statusCode, 200)
  const total = () => app.consumers[0].state.partitions.reduce((sum, { commitOffset }) => sum + Math.max(0, commitOffset), 0)
  await until(() => total() === records.length, 'all to be completed')

  const brokers = logged.find(({ msg }) => msg.startsWith('no KAFKA_BOOTSTRAP_SERVERS'))!.brokers as string
  const [paid, dead] = await Promise.all([readTopic(brokers, 'payments', 2), readTopic(brokers, 'orders.dlq', 4)])
  const byKey = (read: typeof paid) => new Map(read.map(one => [one.key!.toString(), one]))
  t.same([...byKey(paid).keys()].sort(), ['customer-1', 'customer-2'])
  const payment = byKey(paid).get('customer-1')!
  t.same(JSON.parse(payment.value!.toString()), { orderId: 'o-1', paymentId: 'payment-of-o-1' })
  t.match(payment.headers[0].value.toString(), /^orders\/\d\/0$/)
  t.same([...byKey(dead).keys()].sort(), ['customer-3', 'customer-4', 'customer-5', 'customer-6'])
  const why = [...byKey(dead)].map(([key, one]) => {
    const of = (name: string) => one.headers.find(header => header.name === `sluice-${name}`)?.value.toString()
    return [key, of('attempts'), of('error-class'), of('error-message')]
  })
  t.same(why.sort(), [
    ['customer-3', '1', 'Error', 'the payment service answered 402'],
    ['customer-4', '1', 'OrderRefused', 'the order is not JSON'],
    ['customer-5', '1', 'OrderRefused', 'an order needs an id and a positive amount in cents'],
    ['customer-6', '1', 'OrderRefused', 'an order needs an id and a positive amount in cents']
  ])
  t.same(asked.filter(({ id }) => id === 'o-busy'), Array(3).fill({ id: 'o-busy', idempotencyKey: 'o-busy' }))
  t.match(logged.find(({ msg }) => msg === 'order paid'), { topic: 'orders', orderId: 'o-1', attempt: 1 })
  t.match(logged.find(({ msg }) => msg === 'order paid, though not at once'), { topic: 'orders', orderId: 'o-busy', attempt: 3 })
})

t.test('the example refuses what is not JSON, and lets go of the service when its signal is aborted', async t => {
  const handle = await loadModule(example) as (record: object, context: object) => Promise<void>
  await t.rejects(handle({ value: Buffer.from('{') }, {}), { name: 'OrderRefused', message: 'the order is not JSON', retriable: false })
  silent.add('o-silent')
  const abort = new AbortController()
  const attempt = handle({ value: Buffer.from('{"id":"o-silent","cents":1}') }, { attempt: 1, signal: abort.signal })
  await until(() => asked.some(({ id }) => id === 'o-silent'), 'the question')
  abort.abort(new Error('out of time'))
  await t.rejects(attempt, { message: 'out of time' })
  await until(() => gone === 1, 'the connection to be closed')
})
