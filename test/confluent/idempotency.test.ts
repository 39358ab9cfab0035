import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { test, type Test } from 'tap'
import { SluiceError } from '../../src/errors.js'
import { awaitingReport } from '../../src/kafka/late-report.js'
import { confluentApp } from '../support/confluent-app.js'
import { bodyLimitBytes } from '../support/produce-app.js'

interface Route {
  readonly url: string
  readonly type: string
  /** A body with one record of this text. */
  readonly body: (text: string) => string
  /** The Confluent code of the one record, or `null` where it was written, and its offset. */
  readonly read: (body: Record<string, unknown>) => { code: number | null, offset: number | null }
}

type Entry = { error_code: number | null, offset?: number | null }
const entry = ({ error_code: code, offset }: Entry) => ({ code: code === 200 ? null : code, offset: offset ?? null })
const v2 = { type: 'application/vnd.kafka.json.v2+json', body: (text: string) => JSON.stringify({ records: [{ value: text }] }) }
const v2Read = (body: Record<string, unknown>) => entry((body['offsets'] as Entry[])[0]!)
const record = (text: string) => ({ value: { type: 'STRING', data: text } })

const routes: Readonly<Record<string, Route>> = {
  v2: { url: '/topics/a', ...v2, read: v2Read },
  'v2, a partition': { url: '/topics/a/partitions/1', ...v2, read: v2Read },
  'v3, one record': {
    url: '/v3/clusters/c/topics/a/records',
    type: 'application/json',
    body: text => JSON.stringify(record(text)),
    read: body => entry(body as unknown as Entry)
  },
  'v3, a batch': {
    url: '/kafka/v3/clusters/c/topics/a/records:batch',
    type: 'application/json',
    body: text => JSON.stringify({ entries: [{ id: '1', ...record(text) }] }),
    read: ({ successes, failures }) => {
      const [success] = successes as { offset: number }[]
      return success === undefined ? entry((failures as Entry[])[0]!) : { code: null, offset: success.offset }
    }
  }
}

const send = ({ url, type }: Route, app: FastifyInstance, key: string | null, payload: string | Readable) => app.inject({
  method: 'POST', url, payload, headers: { 'content-type': type, ...(key !== null && { 'idempotency-key': key }) }
})

type Response = Awaited<ReturnType<typeof send>>

function isReplayOf (t: Test, second: Response, first: Response) {
  t.equal(second.statusCode, first.statusCode)
  t.equal(second.body, first.body)
  t.equal(second.headers['content-type'], first.headers['content-type'])
  t.equal(second.headers['idempotency-replayed'], 'true')
  t.equal(first.headers['idempotency-replayed'], undefined)
}

const turn = () => new Promise(resolve => { setImmediate(resolve) })

for (const [name, route] of Object.entries(routes)) {
  test(`${name}: the same key is produced once, another request with it is refused in Confluent's form`, async t => {
    const { app, kafka } = await confluentApp()
    const first = await send(route, app, 'k', route.body('x'))
    t.same(route.read(first.json()), { code: null, offset: 0 }, first.body)
    isReplayOf(t, await send(route, app, '"k"', route.body('x')), first)
    const other = await send(route, app, 'k', route.body('y'))
    t.equal(other.statusCode, 422)
    t.match(other.json(), { error_code: 422, message: /Idempotency-Key/ })
    t.equal(kafka.sent.length, 1)
    t.same(route.read((await send(route, app, null, route.body('x'))).json()), { code: null, offset: 1 }, 'without a key all is produced')
    t.match((await send(route, app, 'a b', route.body('x'))).json(), { error_code: 400 })
    t.equal(kafka.sent.length, 2)
  })

  test(`${name}: what may be tried again is not remembered, whatever the status says; what may not is`, async t => {
    const { app, kafka } = await confluentApp()
    for (const code of ['SLUICE_QUEUE_FULL', 'SLUICE_BROKER_UNAVAILABLE', 'SLUICE_NOT_AUTHORIZED'] as const) {
      kafka.outcomes.push(new SluiceError(code, 'not now'))
      const refused = route.read((await send(route, app, code, route.body('x'))).json())
      t.equal(refused.code, code === 'SLUICE_NOT_AUTHORIZED' ? 40301 : 50003)
      t.equal(route.read((await send(route, app, code, route.body('x'))).json()).code, null, code)
    }
    kafka.outcomes.push(new SluiceError('SLUICE_RECORD_TOO_LARGE', 'large'))
    const first = await send(route, app, 'large', route.body('x'))
    isReplayOf(t, await send(route, app, 'large', route.body('x')), first)
    t.equal(kafka.sent.length, 3)
  })

  test(`${name}: after a time limit the key waits for the report, and then answers truthfully`, async t => {
    const { app, kafka } = await confluentApp()
    const receipt = { topic: 'a', partition: 1, offset: 7, timestamp: 1767225600000 }
    const ends = [[receipt, null], [new SluiceError('SLUICE_RECORD_TOO_LARGE', 'large'), name.startsWith('v2') ? 50002 : 413]] as const
    for (const [i, [outcome, code]] of ends.entries()) {
      const { error, reported } = awaitingReport()
      kafka.outcomes.push(error)
      const first = await send(route, app, `k${i}`, route.body('x'))
      t.equal(route.read(first.json()).code, 50003, first.body)
      const waiting = await send(route, app, `k${i}`, route.body('x'))
      t.equal(waiting.statusCode, 409)
      t.match(waiting.json(), { error_code: 409 })
      t.equal(waiting.headers['retry-after'], '1')
      reported(outcome)
      await turn()
      const late = await send(route, app, `k${i}`, route.body('x'))
      t.same(route.read(late.json()), { code, offset: code === null ? 7 : null })
      t.equal(late.headers['content-type'], first.headers['content-type'])
      t.equal(late.headers['idempotency-replayed'], 'true')
    }
    t.same(kafka.sent, [])
  })
}

test('of a batch that was written in part the answer is kept, so that nothing of it comes twice', async t => {
  const { app, kafka } = await confluentApp()
  const bodies = [
    [routes['v2']!, JSON.stringify({ records: [{ value: 1 }, { value: 2 }] })],
    [routes['v3, a batch']!, JSON.stringify({ entries: [{ id: '1', ...record('x') }, { id: '2', ...record('y') }] })]
  ] as const
  for (const [route, body] of bodies) {
    // For v2 the status of that is 403.
    kafka.outcomes.push(undefined, new SluiceError('SLUICE_NOT_AUTHORIZED', 'denied'))
    const { length } = kafka.sent
    const first = await send(route, app, 'k', body)
    isReplayOf(t, await send(route, app, 'k', body), first)
    t.equal(kafka.sent.length, length + 1)
  }
})

test('v3: with a key the body is one record, whether its length is known or not; a stream takes none', async t => {
  const { app, kafka } = await confluentApp()
  const route = routes['v3, one record']!
  const pieces = (...parts: string[]) => Readable.from(parts.map(part => Buffer.from(part)))
  const first = await send(route, app, 'chunked', pieces('{"value":', '{"type":"STRING","data":"x"}} \n'))
  t.match(first.json(), { error_code: 200, offset: 0 })
  isReplayOf(t, await send(route, app, 'chunked', pieces('{"value":{"type":"STRING",', '"data":"x"}} \n')), first)
  for (const [i, body] of ['{}{}', pieces('{}', '\n', '{}')].entries()) {
    const refused = await send(route, app, `several${i}`, body)
    t.equal(refused.statusCode, 400)
    t.match(refused.json(), { error_code: 400, message: /one record.*records:batch/ })
  }
  t.match((await send(route, app, 'none', pieces(' '))).json(), { error_code: 42206 })
  t.match((await send(route, app, 'none2', '')).json(), { error_code: 42206 })
  t.match((await send(route, app, 'half', '{"value":')).json(), { error_code: 400, message: /ends within/ })
  const large = await send(route, app, 'large', pieces(`{"value":"${'x'.repeat(bodyLimitBytes)}`, '"}'))
  t.equal(large.statusCode, 413, large.body)
  t.match(large.json(), { error_code: 413 })
  t.equal(kafka.sent.length, 1)
  t.equal((await send(route, app, null, '{}{}')).body.split('\n').length, 3, 'without one it is a stream as ever')
})

test('Prefer: respond-async has no effect: the answer is Confluent\'s', async t => {
  const { app } = await confluentApp()
  for (const route of Object.values(routes)) {
    const res = await app.inject({
      method: 'POST', url: route.url, payload: route.body('x'), headers: { 'content-type': route.type, prefer: 'respond-async' }
    })
    t.equal(route.read(res.json()).code, null)
    t.equal(res.headers['preference-applied'], undefined)
  }
})
