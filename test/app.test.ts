import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { OutgoingRecord, Receipt } from '../src/record.js'
import { record } from './support/fake-source.js'
import { FAKE_CLUSTER, gatewayApp, samplesOf, until } from './support/gateway-app.js'

const json = { 'content-type': 'application/json' }

/** Posts to a port of this machine, and resolves with the status and the body. */
function post (port: number, path: string, body: string): Promise<{ status: number, body: string }> {
  return new Promise((resolve, reject) => {
    const sending = request({ host: '127.0.0.1', port, path, method: 'POST', headers: json }, response => {
      let text = ''
      response.on('data', (chunk: Buffer) => { text += chunk.toString() })
      response.on('end', () => resolve({ status: response.statusCode!, body: text }))
    })
    sending.on('error', reject)
    sending.end(body)
  })
}

interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly responses: Readonly<Record<string, Answer>>
}

interface Answer {
  readonly description: string
  readonly content?: Readonly<Record<string, { readonly examples?: object }>>
}

t.test('every route is in the document, with an operationId of its own, a summary, a tag, and an example of each answer', async t => {
  const { app } = await gatewayApp()
  t.teardown(() => app.close())
  const document = (await app.inject('/openapi.json')).json<{ paths: Record<string, Record<string, Operation>> }>()
  const ids: string[] = []
  for (const [url, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const name = `${method} ${url}`
      t.match(operation.operationId, /^[a-z][A-Za-z0-9]+$/, name)
      ids.push(operation.operationId!)
      t.ok(operation.summary, name)
      t.equal(operation.tags?.length, 1, name)
      t.ok(operation.responses['200'] ?? operation.responses['207'], name)
      // The document does not hold itself as an example.
      if (url === '/openapi.json') continue
      for (const [status, { description, content = {} }] of Object.entries(operation.responses)) {
        t.ok(description, `${name} ${status}`)
        for (const [type, { examples }] of Object.entries(content)) t.ok(Object.keys(examples ?? {}).length > 0, `${name} ${status} ${type}`)
      }
    }
  }
  t.equal(new Set(ids).size, ids.length, 'no operationId twice')
  for (const url of ['/healthz', '/readyz', '/metrics', '/consumer', '/consumers', '/consumers/{name}', '/topics/{topic}/records', '/api/kafka/send-message']) {
    t.ok(document.paths[url], url)
  }
  t.match(document.paths['/consumer'].get.responses['404'].content, { 'application/problem+json': { examples: { SLUICE_NO_CONSUMER: {} } } })
  for (const url of ['/healthz', '/readyz']) t.ok(document.paths[url].get.responses['503'], url)
})

t.test('the consumer drains while its handlers can still produce; what it completed is committed before anything closes', async t => {
  const closed: string[] = []
  let finish = () => {}
  const { app, kafka, source } = await gatewayApp({ ...FAKE_CLUSTER, KAFKA_COMMIT_INTERVAL_SECONDS: '3600' }, {
    handler: async () => {
      await new Promise<void>(resolve => { finish = resolve })
      await app.producer.send({ topic: 'a', value: 'follow-up' })
      closed.push('handled')
    }
  })
  const { close } = source
  source.close = async () => {
    closed.push(`member, ${source.left ? 'after it left' : 'without leaving'}, committed ${source.committedOffsets.get('t/0')}`)
    await close.call(source)
  }
  await app.ready()
  source.append([record({ offset: 0 })])
  source.event('assigned', [{ topic: 't', partition: 0 }])
  await until(() => app.consumers[0].state.inFlight === 1, 'the handler')
  const closing = app.close().then(() => closed.push('app'))
  await until(() => app.consumers[0].state.phase === 'draining', 'the drain')
  finish()
  await closing
  t.same(closed, ['handled', 'member, after it left, committed 1', 'app'])
  t.same(kafka.sent, [{ topic: 'a', value: 'follow-up' }])
})

t.test('a handler that goes on is aborted when the time to drain is over, and the close ends', async t => {
  const reasons: unknown[] = []
  const { app, source } = await gatewayApp({ ...FAKE_CLUSTER, KAFKA_DRAIN_TIMEOUT_MS: '50' }, {
    handler: (_record, { signal }) => new Promise<void>(() => signal.addEventListener('abort', () => reasons.push((signal.reason as Error).message)))
  })
  await app.ready()
  source.append([record({ offset: 0 })])
  source.event('assigned', [{ topic: 't', partition: 0 }])
  await until(() => app.consumers[0].state.inFlight === 1, 'the handler')
  await app.close()
  t.same(reasons, ['the partition has to be given up'])
  t.ok(source.left && source.closed)
  t.equal(source.committedOffsets.get('t/0') ?? 0, 0, 'its record is delivered again')
})

t.test('a request that is under way when the close begins is answered; those that come later are refused', async t => {
  const { app, kafka } = await gatewayApp()
  t.teardown(() => {
    write()
    return app.close()
  })
  let write = () => {}
  let reached = false
  const { send } = kafka
  kafka.send = async (one: OutgoingRecord, timeoutMs?: number): Promise<Receipt> => {
    reached = true
    await new Promise<void>(resolve => { write = resolve })
    return await send.call(kafka, one, timeoutMs)
  }
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  let answered = false
  const early = post(port, '/topics/a/records', '{"value":"early"}').finally(() => { answered = true })
  await until(() => reached, 'the request to reach the producer')
  let closed = false
  const closing = app.close().then(() => { closed = true })
  await until(() => !app.server.listening, 'the close to begin')
  await t.rejects(post(port, '/topics/a/records', '{"value":"late"}'), 'nobody takes new connections')
  t.notOk(answered)
  t.notOk(closed)
  write()
  const { status } = await early
  t.equal(status, 200)
  await closing
  t.same(kafka.sent.map(({ value }) => value), ['early'])
})

t.test('a start that fails half-way closes what it had started', async t => {
  const handler = path.join(t.testdir({ 'handler.mjs': 'throw new Error("no database")' }), 'handler.mjs')
  // The embedded broker and the producer are up by then. That nothing keeps the process alive is in server.test.ts.
  await t.rejects(gatewayApp({ KAFKA_HANDLER: handler }), { message: /^KAFKA_HANDLER: the module .*handler\.mjs could not be loaded: no database$/ })
})

t.test('end to end on the embedded broker: posted, handled, committed, lag 0; the producer closes after the consumer', async t => {
  const handled: string[] = []
  let finish = () => {}
  let receipt: Receipt | undefined
  const { app, logged } = await gatewayApp({ KAFKA_TOPIC: 'orders,invoices', KAFKA_COMMIT_INTERVAL_SECONDS: '0.05' }, {
    handler: async ({ topic, value }) => {
      const text = value!.toString()
      if (text === 'last') {
        await new Promise<void>(resolve => { finish = resolve })
        receipt = await app.producer.send({ topic: 'invoices.dlq', value: 'produced while closing' })
      }
      handled.push(`${topic}: ${text}`)
    }
  })
  t.teardown(() => app.close())
  await app.ready()
  await until(async () => (await app.inject('/readyz')).json<{ assignedPartitions: number }>().assignedPartitions === 8, '4 partitions of each topic')
  t.equal((await app.inject('/readyz')).statusCode, 200)

  const sent = await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers: json, payload: '"hello"' })
  t.match(sent, { statusCode: 200, body: 'Message sent to Kafka.' })
  const many = { records: Array.from({ length: 20 }, (_, n) => ({ key: `k${n}`, value: `v${n}` })) }
  t.equal((await app.inject({ method: 'POST', url: '/topics/invoices/records', headers: json, payload: many })).statusCode, 200)
  await until(() => handled.length === 21, 'all to be handled')
  t.same(handled.sort(), ['orders: hello', ...many.records.map(({ value }) => `invoices: ${value}`)].sort())
  const partitions = () => app.consumers[0].state.partitions
  await until(() => partitions().every(({ lag, commitOffset, committedOffset }) => lag === 0 && commitOffset === committedOffset), 'a lag of 0, committed')
  t.equal(partitions().reduce((sum, { committedOffset }) => sum + Math.max(0, committedOffset), 0), 21)
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_produce_records_total{topic="invoices"}'), 20)
  t.equal(samples.get('sluice_consumer_records_completed_total{group="sluice",topic="invoices",outcome="handled"}'), 20)
  t.equal([...samples].filter(([name]) => name.startsWith('sluice_consumer_lag_records{')).length, 8)

  t.equal((await app.inject({ method: 'POST', url: '/topics/orders/records', headers: json, payload: '{"value":"last"}' })).statusCode, 200)
  await until(() => app.consumers[0].state.inFlight === 1, 'the last one')
  const closing = app.close()
  await until(() => app.consumers[0].state.phase === 'draining', 'the drain')
  finish()
  await closing
  t.equal(handled.at(-1), 'orders: last')
  t.match(receipt, { topic: 'invoices.dlq', offset: 0 }, 'the producer was there until the consumer had drained')
  const of = (msg: string) => logged.findIndex(line => line.msg === msg)
  t.ok(of('draining the consumer') < of('the consumer has left its group') && of('draining the consumer') !== -1)
  t.notOk(logged.some(({ level }) => level >= 50), 'no error was logged')
})

t.test('the drain does not wait for a request that takes long', async t => {
  let write = () => {}
  let reached = false
  const { app, kafka, source } = await gatewayApp(FAKE_CLUSTER, { handler: () => {} })
  const { send } = kafka
  kafka.send = async (one: OutgoingRecord, timeoutMs?: number): Promise<Receipt> => {
    reached = true
    await new Promise<void>(resolve => { write = resolve })
    return await send.call(kafka, one, timeoutMs)
  }
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  source.append([record({ offset: 0 })])
  source.event('assigned', [{ topic: 't', partition: 0 }])
  await until(() => app.consumers[0].state.partitions[0]?.commitOffset === 1, 'the record to be handled')
  const response = post(port, '/topics/a/records', '{"value":1}')
  await until(() => reached, 'the request to reach the producer')
  const closing = app.close()
  await until(() => source.closed, 'the consumer to have drained, committed and left')
  t.equal(source.committedOffsets.get('t/0'), 1)
  write()
  t.equal((await response).status, 200, 'the producer was still there')
  await closing
})
