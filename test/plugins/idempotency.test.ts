import type { FastifyInstance } from 'fastify'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { SluiceError, type ErrorCode } from '../../src/errors.js'
import { awaitingReport } from '../../src/kafka/late-report.js'
import type { OutgoingRecord, Receipt } from '../../src/record.js'
import { until } from '../support/gateway-app.js'
import { produceApp } from '../support/produce-app.js'

interface Sending {
  readonly url?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

const send = (app: FastifyInstance, key: string | null, { url = '/topics/a/records', body = '{"value":1}', headers = {} }: Sending = {}) => app.inject({
  method: 'POST', url, payload: body, headers: { 'content-type': 'application/json', ...(key !== null && { 'idempotency-key': key }), ...headers }
})

type Response = Awaited<ReturnType<typeof send>>

function isProblem (t: Test, res: Response, status: number, code: ErrorCode) {
  t.equal(res.statusCode, status)
  t.match(res.json(), { status, code })
  t.equal(res.headers['idempotency-replayed'], undefined)
}

const isReplayOf = (t: Test, second: Response, first: Response) => {
  t.equal(second.statusCode, first.statusCode)
  t.equal(second.body, first.body)
  t.equal(second.headers['content-type'], first.headers['content-type'])
  t.equal(second.headers['idempotency-replayed'], 'true')
  t.equal(first.headers['idempotency-replayed'], undefined)
}

t.test('the same request twice is produced once, on every route that produces', async t => {
  const { app, kafka } = await produceApp()
  const cases: Sending[] = [
    {}, { body: '{"records":[{"value":1},{"value":2}]}' }, { url: '/topics/a/raw?key=x', body: 'x' },
    { url: '/api/kafka/send-message', body: '"x"' },
    { url: '/topics/a/events', body: '{"specversion":"1.0","id":"1","source":"/s","type":"t"}', headers: { 'content-type': 'application/cloudevents+json' } },
    { headers: { prefer: 'respond-async' } }
  ]
  for (const [i, one] of cases.entries()) {
    const first = await send(app, `k${i}`, one)
    t.ok(first.statusCode === 200 || first.statusCode === 202, first.body)
    await new Promise(resolve => { setImmediate(resolve) })
    const sent = kafka.sent.length
    isReplayOf(t, await send(app, `"k${i}"`, one), first)
    t.equal(kafka.sent.length, sent, JSON.stringify(one))
  }
})

t.test('without a key everything is produced', async t => {
  const { app, kafka } = await produceApp()
  for (let i = 0; i < 3; i++) t.equal((await send(app, null)).headers['idempotency-replayed'], undefined)
  t.equal(kafka.sent.length, 3)
})

t.test('another query, type or body with the same key is 422; another path is another request', async t => {
  const { app, kafka } = await produceApp()
  kafka.partitions.set('b', 1)
  await kafka.refreshTopics()
  const raw = '/topics/a/raw?key=1'
  await send(app, 'k', { url: raw })
  isProblem(t, await send(app, 'k', { url: '/topics/a/raw?key=2' }), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
  isProblem(t, await send(app, 'k', { url: raw, headers: { 'content-type': 'text/plain' } }), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
  isProblem(t, await send(app, 'k', { url: raw, body: '{"value":1} ' }), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
  isProblem(t, await send(app, 'k', { url: raw, body: '' }), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
  t.equal(kafka.sent.length, 1)
  t.equal((await send(app, 'k', { url: '/topics/b/raw?key=1' })).statusCode, 200)
  t.equal((await send(app, 'k')).statusCode, 200)
  t.equal(kafka.sent.length, 3)
})

t.test('another header that the record is made of is another request; any other header is not', async t => {
  const { app, kafka } = await produceApp()
  const event = { 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 't', 'content-type': 'text/plain' }
  const whole = { 'content-type': 'application/cloudevents+json' }
  const raw = '/topics/a/raw?keyHeader=X-Id&headers=x-event,X-More'
  const asked = { 'x-id': 'k', 'x-event': 'push', 'x-more': 'm' }
  const span = (id: string) => ({ traceparent: `00-${'1'.repeat(32)}-${id.repeat(16)}-01` })
  type Headers = NonNullable<Sending['headers']>
  const cases: { what: string, sending: Sending, same?: Headers[], different?: Headers[] }[] = [
    {
      what: 'a binary event',
      sending: { url: '/topics/a/events', headers: event },
      same: [Object.fromEntries(Object.entries(event).reverse()), { ...event, 'x-attempt': '2', 'user-agent': 'other' }, { ...event, ...span('2') }, { 'CE-ID': '1', ...event, 'request-timeout': '3' }],
      different: [
        { ...event, 'ce-id': '2' }, { ...event, 'ce-partitionkey': 'p' }, { ...event, 'ce-source': '/S' }, { ...event, 'content-type': 'text/html' },
        // What would be the same if names and values were put together without their lengths.
        { ...event, 'ce-sourc': 'e/s' }
      ]
    },
    {
      what: 'a whole event',
      sending: { url: '/topics/a/events', headers: whole, body: '{"specversion":"1.0","id":"1","source":"/s","type":"t"}' },
      same: [{ ...whole, 'ce-id': '2' }],
      different: [{ 'content-type': 'Application/cloudevents+json' }]
    },
    {
      what: 'a raw body',
      sending: { url: raw, headers: asked },
      same: [{ ...asked, 'x-other': '1' }, { ...asked, ...span('2') }, { ...asked, 'ce-id': '1' }],
      different: [{ ...asked, 'x-id': 'l' }, { ...asked, 'x-event': 'pull' }, { 'x-id': 'k', 'x-event': 'push' }, { ...asked, 'content-encoding': 'gzip' }]
    },
    {
      what: 'a raw body whose Content-Type is none',
      sending: { url: '/topics/a/raw', headers: { 'content-type': 'a b' } },
      same: [{ 'content-type': 'a b', 'x-event': 'push' }],
      different: [{ 'content-type': 'a c' }]
    },
    { what: 'records', sending: {}, same: [{ 'ce-id': '1', 'x-event': 'push', ...span('2') }] }
  ]
  for (const { what, sending, same = [], different = [] } of cases) {
    const first = await send(app, what.replaceAll(' ', '-'), sending)
    t.equal(first.statusCode, 200, first.body)
    const { length } = kafka.sent
    for (const headers of different) isProblem(t, await send(app, what.replaceAll(' ', '-'), { ...sending, headers }), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
    for (const headers of same) isReplayOf(t, await send(app, what.replaceAll(' ', '-'), { ...sending, headers }), first)
    t.equal(kafka.sent.length, length, what)
  }
})

t.test('of a header that is there more than once the order counts, and a query that is refused is refused again', async t => {
  const { app, kafka } = await produceApp()
  const twice = (values: string[]) => app.inject({
    method: 'POST', url: '/topics/a/raw?headers=x-event', payload: 'x', headers: { 'idempotency-key': 'k', 'x-event': values }
  })
  const first = await twice(['1', '2'])
  t.equal(first.statusCode, 200, first.body)
  isProblem(t, await twice(['2', '1']), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
  isReplayOf(t, await twice(['1', '2']), first)
  const refused = { url: '/topics/a/raw?headers=authorization' }
  const one = await send(app, 'refused', refused)
  t.equal(one.statusCode, 400)
  isReplayOf(t, await send(app, 'refused', { ...refused, headers: { authorization: 'x' } }), one)
  t.equal(kafka.sent.length, 1)
})

t.test('a key that is none is refused, and nothing is produced', async t => {
  const { app, kafka } = await produceApp()
  for (const bad of ['', 'a b', '"', 'x'.repeat(256)]) isProblem(t, await send(app, bad), 400, 'SLUICE_INVALID_REQUEST')
  t.same(kafka.sent, [])
})

t.test('definite refusals are remembered', async t => {
  const { app, kafka } = await produceApp()
  for (const [i, code] of (['SLUICE_UNKNOWN_TOPIC', 'SLUICE_RECORD_REJECTED', 'SLUICE_RECORD_TOO_LARGE'] as const).entries()) {
    kafka.outcomes.push(new SluiceError(code, 'no'))
    const first = await send(app, `k${i}`)
    t.match(first.json(), { code })
    isReplayOf(t, await send(app, `k${i}`), first)
  }
  const fault = await send(app, 'fault', { body: '{"valu":1}' })
  isReplayOf(t, await send(app, 'fault', { body: '{"valu":1}' }), fault)
  t.same(kafka.sent, [])
})

t.test('what may be otherwise next time is not', async t => {
  const { app, kafka } = await produceApp()
  for (const code of ['SLUICE_UNAUTHENTICATED', 'SLUICE_NOT_AUTHORIZED', 'SLUICE_RATE_LIMITED', 'SLUICE_QUEUE_FULL', 'SLUICE_BROKER_UNAVAILABLE'] as const) {
    kafka.outcomes.push(new SluiceError(code, 'not now'))
    t.match((await send(app, code)).json(), { code })
    t.equal((await send(app, code)).statusCode, 200, code)
  }
  t.equal(kafka.sent.length, 5)
})

t.test('while the first is under way the second is 409; the answer is remembered though its caller has gone', async t => {
  const { app, kafka } = await produceApp()
  let write = () => {}
  let reached = false
  const { send: sendOne } = kafka
  kafka.send = async (record: OutgoingRecord): Promise<Receipt> => {
    reached = true
    await new Promise<void>(resolve => { write = resolve })
    return await sendOne.call(kafka, record)
  }
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  const { port } = app.server.address() as { port: number }
  const gone = new AbortController()
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'k' }
  const first = fetch(`http://127.0.0.1:${port}/topics/a/records`, { method: 'POST', body: '{"value":1}', headers, signal: gone.signal })
  await until(() => reached, 'the first to reach the producer')
  const second = await send(app, 'k')
  isProblem(t, second, 409, 'SLUICE_IDEMPOTENCY_KEY_IN_FLIGHT')
  t.equal(second.headers['retry-after'], '1')
  isProblem(t, await send(app, 'k', { body: '{"value":2}' }), 422, 'SLUICE_IDEMPOTENCY_KEY_REUSED')
  gone.abort()
  await t.rejects(first)
  write()
  await new Promise(resolve => { setImmediate(resolve) })
  const third = await send(app, 'k')
  t.match(third.json(), { topic: 'a', offset: 0 })
  t.equal(third.headers['idempotency-replayed'], 'true')
  t.equal(kafka.sent.length, 1)
})

t.test('after a 504 the key waits for the report, and then answers truthfully', async t => {
  const { app, kafka } = await produceApp()
  const receipt = { topic: 'a', partition: 1, offset: 7, timestamp: 1 }
  const unknown = new SluiceError('SLUICE_DELIVERY_UNKNOWN', 'and it stays so')
  const cases = [
    [receipt, 200, receipt], [new SluiceError('SLUICE_RECORD_TOO_LARGE', 'too large'), 413, { code: 'SLUICE_RECORD_TOO_LARGE' }],
    [unknown, 504, { code: 'SLUICE_DELIVERY_UNKNOWN' }]
  ] as const
  for (const [i, [outcome, status, body]] of cases.entries()) {
    const { error, reported } = awaitingReport()
    kafka.outcomes.push(error)
    isProblem(t, await send(app, `k${i}`), 504, 'SLUICE_DELIVERY_UNKNOWN')
    isProblem(t, await send(app, `k${i}`), 409, 'SLUICE_IDEMPOTENCY_KEY_IN_FLIGHT')
    reported(outcome)
    await new Promise(resolve => { setImmediate(resolve) })
    const late = await send(app, `k${i}`)
    t.equal(late.statusCode, status)
    t.match(late.json(), body)
    t.equal(late.headers['content-type'], `application/${status === 200 ? '' : 'problem+'}json; charset=utf-8`)
    t.equal(late.headers['idempotency-replayed'], 'true')
  }
  t.same(kafka.sent, [])

  const denied = awaitingReport()
  kafka.outcomes.push(denied.error)
  await send(app, 'denied')
  denied.reported(new SluiceError('SLUICE_NOT_AUTHORIZED', 'no'))
  await new Promise(resolve => { setImmediate(resolve) })
  t.equal((await send(app, 'denied')).statusCode, 200, 'not produced, and not remembered')
})

t.test('the same for a batch, and for the route that answers with a text', async t => {
  const { app, kafka } = await produceApp()
  const receipt = { topic: 'a', partition: 1, offset: 7, timestamp: 1 }
  const late = awaitingReport()
  kafka.outcomes.push(undefined, late.error)
  const body = '{"records":[{"value":1},{"value":2}]}'
  t.equal((await send(app, 'k', { body })).statusCode, 207)
  isProblem(t, await send(app, 'k', { body }), 409, 'SLUICE_IDEMPOTENCY_KEY_IN_FLIGHT')
  late.reported(receipt)
  await new Promise(resolve => { setImmediate(resolve) })
  const again = await send(app, 'k', { body })
  t.equal(again.statusCode, 200)
  t.match(again.json(), { records: [{ offset: 0 }, receipt] })

  const text = awaitingReport()
  kafka.outcomes.push(text.error)
  const message = { url: '/api/kafka/send-message', body: '"x"' }
  await send(app, 'text', message)
  text.reported(receipt)
  await new Promise(resolve => { setImmediate(resolve) })
  const sent = await send(app, 'text', message)
  t.equal(sent.body, 'Message sent to Kafka.')
  t.equal(sent.headers['content-type'], 'text/plain; charset=utf-8')
})

t.test('a full table is 503 for new keys only', async t => {
  const { app, kafka } = await produceApp({ idempotency: { maxEntries: 4 } })
  const first = await send(app, '1')
  await send(app, '2')
  const full = await send(app, '3')
  isProblem(t, full, 503, 'SLUICE_IDEMPOTENCY_FULL')
  t.ok(Number(full.headers['retry-after']) >= 1)
  isReplayOf(t, await send(app, '1'), first)
  t.equal((await send(app, null)).statusCode, 200)
  t.equal(kafka.sent.length, 3)
})

t.test('a body that is no JSON does not use the key up; a signature that is missing neither asks nor uses it', async t => {
  const { app, kafka } = await produceApp()
  t.equal((await send(app, 'k', { body: '{' })).statusCode, 400)
  t.equal((await send(app, 'k')).statusCode, 200)
  t.equal(kafka.sent.length, 1)
})

t.test('for any interleaving of requests with few keys and bodies, each key is produced once', async t => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ key: fc.constantFrom('k1', 'k2'), value: fc.constantFrom(1, 2) }) },
    { weight: 2, arbitrary: fc.record({ settle: fc.nat(5), end: fc.constantFrom('written' as const, 'refused' as const, 'full' as const) }) }
  )
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 14 }), async steps => {
    const { app, kafka } = await produceApp()
    const waiting: { settle (end: string): void }[] = []
    const produced = new Map<string, number>()
    kafka.send = record => new Promise((resolve, reject) => {
      waiting.push({
        settle (end) {
          if (end !== 'written') { reject(new SluiceError(end === 'full' ? 'SLUICE_QUEUE_FULL' : 'SLUICE_RECORD_REJECTED', end)); return }
          const key = String(record.key)
          produced.set(key, (produced.get(key) ?? 0) + 1)
          resolve({ topic: 'a', partition: 0, offset: produced.size, timestamp: 1 })
        }
      })
    })
    const turn = async () => { for (let i = 0; i < 10; i++) await new Promise(resolve => { setImmediate(resolve) }) }
    const answers: Promise<[string, Response]>[] = []
    for (const one of steps) {
      if ('key' in one) {
        const { key, value } = one
        answers.push(send(app, key, { body: JSON.stringify({ key, value }) }).then(res => [key, res]))
      } else {
        waiting.splice(one.settle % Math.max(waiting.length, 1), 1)[0]?.settle(one.end)
      }
      await turn()
    }
    for (const { settle } of waiting) settle('written')
    const bodies = new Map<string, Set<string>>()
    for (const [key, res] of await Promise.all(answers)) {
      if (![200, 400, 409, 422, 503].includes(res.statusCode)) throw new Error(res.body)
      if (res.statusCode === 200) bodies.set(key, (bodies.get(key) ?? new Set()).add(res.body))
    }
    for (const [key, count] of produced) if (count > 1) throw new Error(`${key} was produced ${count} times`)
    for (const [key, different] of bodies) if (different.size > 1) throw new Error(`${key} has ${different.size} receipts`)
    await app.close()
  }), { numRuns: 40 })
})
