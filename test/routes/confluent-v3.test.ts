import { once } from 'node:events'
import { request, type ClientRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, InjectOptions } from 'fastify'
import { test, type Test } from 'tap'
import { maxUnanswered } from '../../src/confluent/answer-stream.js'
import { SluiceError } from '../../src/errors.js'
import { confluentApp } from '../support/confluent-app.js'
import { until } from '../support/gateway-app.js'
import { bodyLimitBytes } from '../support/produce-app.js'

const url = '/v3/clusters/cluster-1/topics/a/records'

async function post (app: FastifyInstance, payload: string, options: InjectOptions = {}) {
  return await app.inject({ method: 'POST', url, ...options, headers: { 'content-type': 'application/json', ...options.headers }, payload })
}

const answers = (text: string): Record<string, unknown>[] => text.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as Record<string, unknown>)

async function produced (app: FastifyInstance, record: unknown) {
  const res = await post(app, JSON.stringify(record))
  return { status: res.statusCode, ...res.json<{ error_code: number, message?: string }>() }
}

test('a record as the documentation shows it', async t => {
  const { app, kafka } = await confluentApp()
  for (const path of [url, `/kafka${url}`]) {
    const res = await post(app, JSON.stringify({
      partition_id: 1,
      headers: [{ name: 'Header-1', value: 'SGVhZGVyLTE=' }, { name: 'Header-2', value: 'SGVhZGVyLTI=' }],
      key: { type: 'BINARY', data: 'Zm9v' },
      value: { type: 'JSON', data: { foo: 'bar' } },
      timestamp: '2021-02-05T19:14:42Z'
    }), { url: path })
    t.equal(res.statusCode, 200)
    t.equal(res.headers['content-type'], 'application/json')
    t.same(res.json(), {
      error_code: 200,
      cluster_id: 'cluster-1',
      topic_name: 'a',
      partition_id: 1,
      offset: path === url ? 0 : 1,
      timestamp: '2021-02-05T19:14:42Z',
      key: { type: 'BINARY', size: 3 },
      value: { type: 'JSON', size: 13 }
    })
    t.same(kafka.sent.at(-1), {
      topic: 'a',
      partition: 1,
      key: Buffer.from('foo'),
      value: '{"foo":"bar"}',
      timestamp: 1612552482000,
      headers: [{ name: 'Header-1', value: Buffer.from('Header-1') }, { name: 'Header-2', value: Buffer.from('Header-2') }]
    })
  }
})

test('types, nulls, and what is left out', async t => {
  const { app, kafka } = await confluentApp()
  const res = await post(app, [
    '{"key":{"type":"STRING","data":"é"},"value":{"type":"JSON","data":{"n":1.50, "m":12345678901234567890}}}',
    '{"value":{"type":"BINARY","data":null},"key":{"type":"STRING"}}', '{}', '{"value":{"type":"BINARY","data":""},"key":null}',
    '{"value":{"type":"JSON","data":null}}'
  ].join(''))
  t.same(kafka.sent.map(({ key, value }) => [key, value]),
    [['é', '{"n":1.50, "m":12345678901234567890}'], [null, null], [null, null], [null, Buffer.alloc(0)], [null, null]])
  t.same(answers(res.body).map(({ key, value }) => [key, value]), [
    [{ type: 'STRING', size: 2 }, { type: 'JSON', size: 36 }], [{ type: 'STRING', size: 0 }, { type: 'BINARY', size: 0 }], [undefined, undefined],
    [undefined, { type: 'BINARY', size: 0 }], [undefined, { type: 'JSON', size: 0 }]
  ])
})

test('a record that fails is answered with 200 and its own code; those after it go on', async t => {
  const { app, kafka } = await confluentApp()
  const failing: [unknown, number, RegExp][] = [
    [{ value: { type: 'BINARY', data: 'x' } }, 400, /base64/], [{ value: { type: 'BINARY', data: 1 } }, 400, /base64/], [{ valu: 1 }, 400, /"valu"/],
    [{ value: { type: 'STRING', data: 1 } }, 400, /string/], [{ value: { type: 'X' } }, 400, /type/], [{ value: 1 }, 400, /value must be an object/],
    [{ value: { type: 'JSON', data: 1, schema_id: 1 } }, 400, /schema_id/], [{ value: { type: 'JSON', dat: 1 } }, 400, /"dat"/],
    [{ timestamp: 1612552482000 }, 400, /timestamp/], [{ partition_id: -1 }, 400, /partition_id/], [{ headers: [{ name: 'h', value: null }] }, 400, /headers/],
    [{ id: '1' }, 400, /"id"/], [{ partition_id: 9 }, 40403, /no partition 9/],
    [{ key: { data: 1000 } }, 42206, /Schema Registry/], [{ value: { schema_version: 1, data: null } }, 42206, /Schema Registry/],
    [{ value: { type: 'AVRO', schema: '"string"', data: 'foobar' } }, 42206, /Schema Registry/], [{ value: { type: 'PROTOBUF' } }, 42206, /Schema/]
  ]
  for (const [record, code, message] of failing) {
    const answer = await produced(app, record)
    t.match(answer, { status: 200, error_code: code, message }, JSON.stringify(record))
    t.same(Object.keys(answer), ['status', 'error_code', 'message'])
  }
  kafka.outcomes.push(undefined, new SluiceError('SLUICE_NOT_AUTHORIZED', 'denied'), new SluiceError('SLUICE_QUEUE_FULL', 'full'), undefined)
  const res = await post(app, '{}{}{}{a:1}{}\n' + JSON.stringify({ value: { type: 'JSON', data: 'x'.repeat(bodyLimitBytes) } }) + '{}')
  t.same(answers(res.body).map(({ error_code: code }) => code), [200, 40301, 50003, 400, 200, 413, 200])
  t.match((await post(app, '{}', { url: '/v3/clusters/c/topics/none/records' })).json(), { error_code: 40403 })
})

test('what is refused before any record: the status says so', async t => {
  const { app, kafka } = await confluentApp()
  const refused = async (payload: string, options?: InjectOptions) => {
    const res = await post(app, payload, options)
    t.equal(res.headers['content-type'], 'application/json', res.body)
    const { error_code: code, message, ...more } = res.json<{ error_code: number, message: string }>()
    t.type(message, 'string')
    t.same(more, {})
    return [res.statusCode, code]
  }
  t.same(await refused(''), [422, 42206])
  t.same(await refused(' \n '), [422, 42206])
  t.same(await refused('[{}]'), [400, 400])
  t.same(await refused('{"a":'), [400, 400])
  t.same(await refused('{}', { url: url + '?a=1' }), [400, 400])
  t.same(await refused('{}', { url: '/v3/clusters/c/topics/a%20b/records' }), [400, 40002])
  t.same(await refused('{}', { url: '/v3/clusters/c/topics/__x/records' }), [403, 40301])
  t.same(await refused('{}', { url: '/v3/clusters/%ZZ' }), [400, 400])
  t.same(await refused('{}', { url: '/v3/none' }), [404, 404])
  t.same(await refused('{}', { method: 'PUT' }), [405, 405])
  t.same(await refused('{}', { headers: { 'content-type': 'text/plain' } }), [415, 415])
  t.same(await refused('{}', { headers: { 'content-encoding': 'gzip' } }), [415, 415])
  t.same(await refused('{}', { headers: { 'content-type': 'application/json; charset=utf-16' } }), [415, 415])
  t.same(await refused('{}', { headers: { host: 'evil.example' } }), [403, 403])
  t.same(kafka.sent, [])
})

interface Open { readonly req: ClientRequest, readonly res: IncomingMessage, readonly text: () => string }

/** A request whose body goes on. */
async function opened (t: Test, app: FastifyInstance, first: string): Promise<Open> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const { port } = app.server.address() as AddressInfo
  const req = request({ port, method: 'POST', path: url, headers: { 'content-type': 'application/json' } })
  req.on('error', () => {})
  req.write(first)
  const [res] = await once(req, 'response') as [IncomingMessage]
  let text = ''
  res.setEncoding('utf8').on('data', (data: string) => { text += data }).on('error', () => {})
  return { req, res, text: () => text }
}

test('a stream is answered record by record while it is open', async t => {
  const { app } = await confluentApp()
  const { req, res, text } = await opened(t, app, '{"partition_id":0}{"part')
  await until(() => answers(text()).length === 1, 'the first answer')
  req.write('ition_id":1}')
  await until(() => answers(text()).length === 2, 'the second answer')
  req.write('{"value":{"type":"STRING","data":"}{"}}\n{"partition_id":9}')
  await until(() => answers(text()).length === 4, 'two more')
  t.notOk(res.complete)
  req.end('{}')
  await once(res, 'end')
  const told = answers(text()).map(({ error_code: code, offset }) => [code, offset])
  t.same(told, [[200, 0], [200, 1], [200, 2], [40403, undefined], [200, 3]])
})

/** Keeps records until they are let go. */
function gate (kafka: Awaited<ReturnType<typeof confluentApp>>['kafka']): { held: (() => void)[], open: () => void } {
  const held: (() => void)[] = []
  let isOpen = false
  const send = kafka.send.bind(kafka)
  kafka.send = async (record, timeoutMs) => {
    const sent = send(record, timeoutMs)
    if (!isOpen) await new Promise<void>(resolve => { held.push(resolve) })
    return await sent
  }
  return { held, open: () => { isOpen = true; for (const release of held.splice(0)) release() } }
}

test('answers come in the order of the request, whatever the order of acknowledgement', async t => {
  const { app, kafka } = await confluentApp()
  const { held } = gate(kafka)
  const response = post(app, '{"partition_id":0}{"partition_id":1}{"partition_id":2}{"partition_id":9}')
  await until(() => held.length === 3, 'three records under way')
  for (const release of held.reverse()) {
    release()
    await new Promise(resolve => { setImmediate(resolve) })
  }
  t.same(answers((await response).body).map(({ partition_id: partition, error_code: code }) => partition ?? code), [0, 1, 2, 40403])
})

test('a stream that is not acknowledged is read no further than the limit', async t => {
  const { app, kafka } = await confluentApp()
  const { open } = gate(kafka)
  const many = 5 * maxUnanswered
  const response = post(app, '{}'.repeat(many))
  await until(() => kafka.sent.length === maxUnanswered, 'as many as may be unanswered')
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => { setImmediate(resolve) })
  t.equal(kafka.sent.length, maxUnanswered)
  open()
  t.equal(answers((await response).body).length, many)
})

test('where no record can begin, that is the last answer, and the connection ends though the body goes on', async t => {
  const { app, kafka } = await confluentApp()
  const { req, res, text } = await opened(t, app, '{}{} ,{}')
  await once(res, 'end')
  t.same(answers(text()).map(({ error_code: code }) => code), [200, 200, 400])
  req.write('{}{}')
  await once(req, 'close')
  t.equal(kafka.sent.length, 2)
})

test('a body that ends within a record: those before it are answered', async t => {
  const { app } = await confluentApp()
  const res = await post(app, '{}{"value":')
  t.match(answers(res.body), [{ error_code: 200 }, { error_code: 400, message: /ends within/ }])
})

test('a caller that goes away leaves nothing behind', async t => {
  const { app, kafka } = await confluentApp()
  const { open } = gate(kafka)
  open()
  const { req, text } = await opened(t, app, '{}')
  await until(() => text() !== '', 'the first answer')
  req.destroy()
  await app.close()
  t.equal(kafka.sent.length, 1)
})

test('a close ends open streams: what was taken is answered', async t => {
  const { app, kafka } = await confluentApp()
  const { held, open } = gate(kafka)
  const response = opened(t, app, '{}{}')
  await until(() => held.length === 2, 'both records under way')
  const closed = app.close()
  await new Promise(resolve => { setImmediate(resolve) })
  open()
  const { res, text } = await response
  if (!res.readableEnded) await once(res, 'end')
  t.equal(answers(text()).length, 2)
  await closed
})

test('while the topic is not known, records wait for one another', async t => {
  const { app, kafka } = await confluentApp()
  kafka.topicList = null
  kafka.onRefresh = async () => { await new Promise(resolve => { setImmediate(resolve) }) }
  const res = await post(app, '{"partition_id":1}{"partition_id":0}{"partition_id":9}{}')
  t.same(answers(res.body).map(({ error_code: code, offset }) => [code, offset]), [[200, 0], [200, 1], [40403, undefined], [200, 2]])
})
