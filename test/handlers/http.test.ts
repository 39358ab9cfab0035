import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config.js'
import type { Attempt, BatchedHandler, Handler } from '../../src/engine/types.js'
import { ofGroup } from '../../src/group-metrics.js'
import { createHandler } from '../../src/handlers/index.js'
import { createMetrics } from '../../src/metrics.js'
import type { KafkaRecord } from '../../src/record.js'
import { WebhookSignatures } from '../../src/webhook-signature.js'
import { CertificateAuthority, noOpenssl } from '../support/certificates.js'
import { FakeProducer } from '../support/fake-producer.js'

interface Seen { readonly method: string, readonly url: string, readonly headers: IncomingMessage['headers'], readonly body: Buffer }

interface Answered { readonly status: number, readonly headers?: Record<string, string>, readonly body?: string }

function receiver (seen: Seen[], answer: (seen: Seen) => Answered): RequestListener {
  return (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const one = { method: request.method!, url: request.url!, headers: request.headers, body: Buffer.concat(chunks) }
      seen.push(one)
      const { status, headers, body } = answer(one)
      response.writeHead(status, headers).end(body)
    })
  }
}

/** A handler as the configuration makes it, pushing to a server of this test's. */
async function push (t: Test, answer: Parameters<typeof receiver>[1] = () => ({ status: 204 }), env: NodeJS.ProcessEnv = {}, path = '/events?tenant=7') {
  const seen: Seen[] = []
  const server = createServer(receiver(seen, answer)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`
  const made = await handlerOf({ KAFKA_HANDLER: url, ...env })
  t.teardown(async () => {
    await made.close()
    server.closeAllConnections()
    server.close()
  })
  return { ...made, seen, url }
}

async function handlerOf (env: NodeJS.ProcessEnv) {
  const registry = new Registry()
  const { config } = loadConfig(env)
  const created = await createHandler(config.consumers[0]!, {
    log: {} as FastifyBaseLogger, producer: new FakeProducer(), metrics: ofGroup(createMetrics(registry).consumer, 'g')
  })
  return { ...created, handle: created.handle as Handler, registry }
}

const attempt: Attempt = { attempt: 1, signal: new AbortController().signal }

const record = (fields: Partial<KafkaRecord> = {}): KafkaRecord => ({
  topic: 'orders.v1', partition: 3, offset: 564, leaderEpoch: 0, timestamp: 0, key: Buffer.from('k'), value: Buffer.from('{"a":1}'), headers: [], size: 0, ...fields
})

t.test('a record is one POST to the path and query of the URL', async t => {
  const { handle, seen } = await push(t)
  t.equal(await handle(record(), attempt), undefined)
  const [{ method, url, headers, body }] = seen as [Seen]
  t.same([method, url, String(body)], ['POST', '/events?tenant=7', '{"a":1}'])
  t.match(headers, {
    'ce-id': 'partition:3/offset:564',
    'ce-source': '/clusters/sluice/topics/orders.v1',
    'content-type': 'application/json',
    'content-length': '7',
    'user-agent': 'sluice'
  })
  t.notOk('authorization' in headers || 'webhook-id' in headers || 'transfer-encoding' in headers)
})

t.test('a tombstone is a POST without a body', async t => {
  const { handle, seen } = await push(t)
  await handle(record({ value: null }), attempt)
  t.match(seen, [{ headers: { 'content-length': '0' } }])
  t.notOk('content-type' in seen[0]!.headers)
})

t.test('the Authorization of the configuration, and allowed headers, and none that a record brings', async t => {
  const { handle, seen } = await push(t, undefined, { KAFKA_PUSH_AUTHORIZATION: 'Bearer hunter2', KAFKA_PUSH_HEADERS: 'x-*' })
  await handle(record({ headers: [['authorization', 'Bearer mine'], ['X-A', '1'], ['y', '2']].map(([name, value]) => ({ name: name!, value: Buffer.from(value!) })) }), attempt)
  t.match(seen, [{ headers: { authorization: 'Bearer hunter2', 'x-a': '1', y: undefined } }])
})

t.test('signed: the id is the record\'s in every attempt, the time is now, and each secret verifies', async t => {
  const secrets = [7, 8].map(byte => `whsec_${Buffer.alloc(24, byte).toString('base64')}`)
  const { handle, seen } = await push(t, undefined, { KAFKA_PUSH_SECRET: secrets.join() })
  await handle(record(), attempt)
  await handle(record(), { ...attempt, attempt: 2 })
  await handle(record({ offset: 565, value: null }), attempt)
  for (const { headers, body } of seen) {
    t.ok(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000) < 60)
    for (const secret of secrets) {
      const rule = { topic: 'a', scheme: 'standard-webhooks', secrets: [secret], toleranceSeconds: 60, authenticates: false } as const
      const verify = (bytes: Buffer) => new WebhookSignatures([rule]).verify('a', headers, bytes)
      t.doesNotThrow(() => verify(body))
      t.throws(() => verify(Buffer.concat([body, Buffer.from(' ')])))
    }
  }
  const ids = seen.map(({ headers }) => headers['webhook-id'])
  t.same(ids, ['orders%2Ev1/3/564', 'orders%2Ev1/3/564', 'orders%2Ev1/3/565'], 'without a full stop, which separates what is signed')
})

t.test('what the answer says of the record comes out as the handler\'s error', async t => {
  let answer: Answered = { status: 200 }
  const { handle, registry } = await push(t, () => answer)
  const outcome = async (given: typeof answer) => {
    answer = given
    return await (handle(record(), attempt) as Promise<void>).then(() => 'done', (error: object) => ({ ...error }))
  }
  t.equal(await outcome({ status: 200, body: '{"status":"SUCCESS"}' }), 'done')
  t.match(await outcome({ status: 200, body: '{"status":"DROP"}' }), { drop: true })
  t.match(await outcome({ status: 429, headers: { 'retry-after': '3' } }), { retryAfterMs: 3000 })
  t.match(await outcome({ status: 503 }), { name: 'PushError', retriable: undefined })
  t.match(await outcome({ status: 400 }), { retriable: false })
  t.match(await outcome({ status: 404 }), { outage: true })
  t.match(await outcome({ status: 302, headers: { location: '/elsewhere' } }), { outage: true })
  const metrics = await registry.metrics()
  for (const [status, count] of [['2xx', 2], ['3xx', 1], ['4xx', 3], ['5xx', 1]]) {
    t.match(metrics, `sluice_push_duration_seconds_count{group="g",status="${status}"} ${count}`)
  }
})

t.test('structured, and batched with one event', async t => {
  const structured = await push(t, undefined, { KAFKA_PUSH_MODE: 'structured' })
  await structured.handle(record(), attempt)
  t.match(structured.seen[0], { headers: { 'content-type': 'application/cloudevents+json; charset=UTF-8' } })
  t.match(JSON.parse(String(structured.seen[0]!.body)), { id: 'partition:3/offset:564', data: { a: 1 } })
  const batched = await push(t, undefined, { KAFKA_PUSH_MODE: 'batched' })
  await batched.handle(record(), attempt)
  t.match(JSON.parse(String(batched.seen[0]!.body)), [{ id: 'partition:3/offset:564', data: { a: 1 } }])
  const avro = [{ name: 'content-type', value: Buffer.from('application/cloudevents+avro') }]
  t.throws(() => batched.handle(record({ headers: avro }), attempt), { name: 'PushError', message: /a batch cannot hold it/ })
  t.equal(batched.seen.length, 1)
})

t.test('a batch is one request; refused for good, each of its records goes once more on its own, in order', async t => {
  const idsOf = ({ body }: Seen) => (JSON.parse(String(body)) as { id: string }[]).map(({ id }) => Number(id.split(':').at(-1)))
  let answer = (_ids: number[]): Answered => ({ status: 204 })
  const { handle, seen } = await push(t, one => answer(idsOf(one)), {
    KAFKA_PUSH_MODE: 'batched', KAFKA_HANDLER_BATCH_SIZE: '10', KAFKA_PUSH_SECRET: Buffer.alloc(24).toString('base64')
  })
  const { handle: handleBatch, batches } = handle as unknown as BatchedHandler
  t.equal(batches.maxRecords, 10)
  const avro = record({ offset: 4, headers: [{ name: 'content-type', value: Buffer.from('application/cloudevents+avro') }] })
  const outcome = async (records: KafkaRecord[]) => {
    seen.length = 0
    return await handleBatch(records, { attempts: records.map(() => 1), signal: attempt.signal }) as undefined | { reason: Error }[]
  }
  const three = [1, 2, 3].map(offset => record({ offset }))
  t.equal(await outcome(three), undefined)
  t.same(seen.map(idsOf), [[1, 2, 3]])
  t.match(seen[0]!.headers, { 'webhook-id': /^orders%2Ev1\/3\/1-3\/[0-9a-f]{16}$/ })
  const id = seen[0]!.headers['webhook-id']
  await outcome([three[0]!, record({ offset: 5 }), three[2]!])
  t.not(seen[0]!.headers['webhook-id'], id, 'other records, another id')

  t.match(await outcome([three[0]!, avro, three[1]!]), [undefined, { reason: { retriable: false } }, undefined], 'what no array can hold fails alone')
  t.same(seen.map(idsOf), [[1, 2]])

  answer = () => ({ status: 503 })
  t.match(await outcome(three), [{ reason: { retriable: undefined } }, { reason: Error }, { reason: Error }])
  t.equal(seen.length, 1)

  answer = ids => ({ status: ids.includes(2) ? 400 : 200 })
  t.match(await outcome(three), [undefined, { reason: { retriable: false } }, undefined])
  t.same(seen.map(idsOf), [[1, 2, 3], [1], [2], [3]])
  t.same(seen[1]!.headers['webhook-id'], 'orders%2Ev1/3/1')

  answer = ids => ({ status: ids.length > 1 ? 413 : ids[0] === 2 ? 503 : 200 })
  const [first, second, third] = (await outcome(three))!
  t.same([first, second!.reason, third!.reason], [undefined, second!.reason, second!.reason], 'none passes one that is to be tried again')
  t.same(seen.map(idsOf), [[1, 2, 3], [1], [2]])
})

t.test('errors name neither the URL\'s path nor what is secret', async t => {
  const { handle, url, close } = await push(t, () => ({ status: 400, body: 'hunter2' }), { KAFKA_PUSH_AUTHORIZATION: 'Bearer hunter2' }, '/hooks/hunter2?code=hunter2')
  const texts = async () => (handle(record(), attempt) as Promise<void>).then(() => '', (error: Error) => JSON.stringify({ ...error, message: error.message, stack: error.stack }))
  t.notMatch(await texts(), 'hunter2')
  await close()
  const gone = await handlerOf({ KAFKA_HANDLER: url.replace(/:\d+/, ':1') })
  t.teardown(() => gone.close())
  t.notMatch(await (gone.handle(record(), attempt) as Promise<void>).catch((error: Error) => error.message), 'hunter2')
})

t.test('https with an authority of one\'s own', { skip: noOpenssl }, async t => {
  const authority = new CertificateAuthority('push')
  const { certificate: cert, key } = authority.sign('target', ['DNS:localhost'])
  const seen: Seen[] = []
  const server = createHttpsServer({ cert, key }, receiver(seen, () => ({ status: 202 }))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const KAFKA_HANDLER = `https://localhost:${(server.address() as AddressInfo).port}/`
  const trusting = await handlerOf({ KAFKA_HANDLER, KAFKA_PUSH_CA_FILE: authority.certificateFile })
  const doubting = await handlerOf({ KAFKA_HANDLER })
  t.teardown(async () => {
    await Promise.all([trusting.close(), doubting.close()])
    server.closeAllConnections()
    server.close()
    authority.remove()
  })
  await trusting.handle(record(), attempt)
  await t.rejects(doubting.handle(record(), attempt) as Promise<void>, { outage: true, message: /certificate/ })
  t.equal(seen.length, 1)
})
