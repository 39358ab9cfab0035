import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { test, type Test } from 'tap'
import errors from '../../plugins/errors.js'
import { SluiceError } from '../../src/errors.js'
import { serverOptions } from '../../src/server-options.js'
import { gatewayApp, until } from '../support/gateway-app.js'

async function build (t: Test): Promise<FastifyInstance> {
  const app = Fastify(serverOptions({ bodyLimitBytes: 100 }))
  await app.register(errors)
  t.teardown(() => app.close())
  return app
}

/** Sends bytes over a connection of its own and returns all that comes back until it ends. */
async function raw (app: FastifyInstance, bytes: string): Promise<string> {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(bytes)
  const received = await socket.toArray() as Buffer[]
  return Buffer.concat(received).toString()
}

test('an unknown path is 404, whatever its body is', async t => {
  const app = await build(t)
  for (const payload of [undefined, '{', 'x'.repeat(200)]) {
    const res = await app.inject({ method: 'POST', url: '/nope', headers: { 'content-type': 'application/json' }, ...(payload && { payload }) })
    t.equal(res.statusCode, 404)
    t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
    t.equal(res.headers['cache-control'], 'no-store')
    t.match(res.json(), { type: 'urn:sluice:problem:not-found', title: String, status: 404, detail: String, code: 'SLUICE_NOT_FOUND' })
  }
})

test('another method is 405 with all that are allowed', async t => {
  const app = await build(t)
  app.get('/a/:b/c', async () => 1)
  app.delete('/a/:b/c', async () => 1)
  app.post('/v1/x::batch', async () => 1)
  app.get('/files/*', async () => 1)
  for (const [method, url, allow] of [
    ['POST', '/a/x/c', 'DELETE, GET, HEAD'], ['PUT', '/a/%20/c?d=1', 'DELETE, GET, HEAD'], ['GET', '/v1/x:batch', 'POST'], ['POST', '/files/a/b', 'GET, HEAD']
  ] as const) {
    const res = await app.inject({ method, url })
    t.equal(res.statusCode, 405, url)
    t.equal(res.headers.allow, allow)
    t.match(res.json(), { code: 'SLUICE_METHOD_NOT_ALLOWED', detail: new RegExp(allow) })
  }
  for (const url of ['/a/x/y/c', '/a//c', '/v1/xybatch', '/a/x/c/']) {
    t.equal((await app.inject({ method: 'POST', url })).statusCode, 404, url)
  }
})

test('validation says what is wrong and where', async t => {
  const app = await build(t)
  const body = { type: 'object', properties: { n: { type: 'integer' } }, additionalProperties: false, required: ['n'] }
  const querystring = { type: 'object', properties: { q: { type: 'boolean' } } }
  app.post('/v', { schema: { body, querystring } }, async request => request.body)
  const post = async (payload: object, url = '/v') => await app.inject({ method: 'POST', url, payload })
  t.equal((await post({ n: 1 })).statusCode, 200)
  for (const [payload, detail, pointer] of [
    [{ n: '1' }, 'body/n must be integer.', '#/n'], [{ n: 1, m: 2 }, 'body has an unknown member "m".', '#'], [{}, /required property 'n'/, '#']
  ] as const) {
    const res = await post(payload)
    t.equal(res.statusCode, 400)
    t.match(res.json(), { code: 'SLUICE_INVALID_REQUEST', detail, pointer })
  }
  const query = await post({ n: 1 }, '/v?q=true')
  t.equal(query.statusCode, 400, 'nothing is coerced, the query neither')
  t.match(query.json(), { code: 'SLUICE_INVALID_REQUEST', detail: /querystring\/q/ })
  t.notOk('pointer' in query.json<object>())
})

test('what Fastify refuses', async t => {
  const app = await build(t)
  app.post('/j', async () => 1)
  app.get('/p/:p', async () => 1)
  const post = async (type: string | undefined, payload: string) =>
    await app.inject({ method: 'POST', url: '/j', headers: type === undefined ? {} : { 'content-type': type }, payload })
  for (const [res, status, code] of [
    [await post('application/json', ''), 400, 'SLUICE_MALFORMED_JSON'],
    [await post('application/json', '{'), 400, 'SLUICE_MALFORMED_JSON'],
    [await post('application/xml', '<a/>'), 415, 'SLUICE_UNSUPPORTED_MEDIA_TYPE'],
    [await post('application/json', JSON.stringify('x'.repeat(98))), 200, undefined],
    [await post('application/json', JSON.stringify('x'.repeat(99))), 413, 'SLUICE_BODY_TOO_LARGE'],
    [await app.inject('/p/%zz'), 400, 'SLUICE_BAD_URL'],
    [await app.inject('/p/' + 'x'.repeat(1024)), 200, undefined],
    [await app.inject('/p/' + 'x'.repeat(1025)), 414, 'SLUICE_URI_TOO_LONG']
  ] as const) {
    t.equal(res.statusCode, status)
    if (code !== undefined) {
      t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
      t.equal(res.json<{ code: string }>().code, code)
    }
  }
})

test('errors of handlers and plugins', async t => {
  const app = await build(t)
  const thrown: Record<string, unknown> = {
    ours: new SluiceError('SLUICE_QUEUE_FULL', 'full', { retryAfterSeconds: 7 }),
    bug: new Error('inside /etc/passwd'),
    nothing: undefined,
    text: 'inside',
    plugin: Object.assign(new Error('Too many cooks'), { statusCode: 409 }),
    gone: Object.assign(new Error('inside'), { statusCode: 404 }),
    upstream: Object.assign(new Error('inside'), { statusCode: 502 })
  }
  app.get('/:kind', async request => { throw thrown[(request.params as { kind: string }).kind] })
  for (const [kind, status, code] of [
    ['ours', 503, 'SLUICE_QUEUE_FULL'], ['bug', 500, 'SLUICE_INTERNAL'], ['text', 500, 'SLUICE_INTERNAL'],
    ['plugin', 409, 'SLUICE_INVALID_REQUEST'], ['gone', 404, 'SLUICE_NOT_FOUND'], ['upstream', 500, 'SLUICE_INTERNAL']
  ] as const) {
    const res = await app.inject('/' + kind)
    t.equal(res.statusCode, status, kind)
    t.match(res.json(), { status, code })
    t.notMatch(res.body, 'inside')
    t.equal(res.headers['retry-after'], kind === 'ours' ? '7' : undefined)
  }
})

test('the request id is the caller\'s where it is fit for a log, else a new one', async t => {
  const app = await build(t)
  const id = async (given?: string) => (await app.inject({ url: '/nope', headers: given === undefined ? {} : { 'x-request-id': given } })).headers['x-request-id']
  t.equal(await id('abc-123'), 'abc-123')
  t.match(await id(), /^[0-9a-f]{8}-[0-9a-z]+$/)
  t.match(await id('x'.repeat(129)), /^[0-9a-f]{8}-[0-9a-z]+$/)
  t.match(await id('a b'), /^[0-9a-f]{8}-[0-9a-z]+$/)
})

test('while closing, what arrives is refused as a problem, but for public routes', async t => {
  const app = await build(t)
  let release: () => void = () => {}
  const released = new Promise<void>(resolve => { release = resolve })
  app.addHook('preClose', async () => { await released })
  app.get('/a', async () => 1)
  app.get('/healthz', { config: { public: true } }, async () => 1)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const closed = app.close()
  const refused = await fetch(url + '/a')
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('retry-after'), '5')
  t.equal(refused.headers.get('connection'), 'close')
  t.equal(refused.headers.get('content-type'), 'application/problem+json; charset=utf-8')
  t.match(await refused.json(), { code: 'SLUICE_CLOSING' })
  t.equal((await fetch(url + '/healthz')).status, 200)
  release()
  await closed
})

test('what is not HTTP is a problem as well, and the connection ends', async t => {
  const app = await build(t)
  app.get('/', async () => 'ok')
  for (const [bytes, status, code] of [
    ['GARBAGE\r\n\r\n', 400, 'SLUICE_MALFORMED_HTTP'],
    ['GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n', 400, 'SLUICE_MALFORMED_HTTP'],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'SLUICE_HEADERS_TOO_LARGE'],
    [`GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431, 'SLUICE_HEADERS_TOO_LARGE'],
    ['GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'SLUICE_INVALID_REQUEST']
  ] as const) {
    const [head = '', body = ''] = (await raw(app, bytes)).split('\r\n\r\n')
    t.match(head, new RegExp(`^HTTP/1.1 ${status} .*application/problem\\+json`, 'is'))
    t.match(JSON.parse(body), { status, code })
  }
  t.match(await raw(app, 'GET / HTTP/1.0\r\n\r\n'), /200 OK/, 'HTTP/1.0 has no Host')
})

test('a client that resets its connection gets nothing and harms nothing', async t => {
  const app = await build(t)
  app.get('/', async () => 'ok')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('GET / HT')
  socket.resetAndDestroy()
  t.equal((await app.inject('/')).statusCode, 200)
})

test('a client that vanishes in the middle of its body is no error of the gateway\'s', async t => {
  const { app, logged } = await gatewayApp()
  t.teardown(() => app.close())
  const arrived = () => once(app.server, 'request')
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const refusals = () => logged.filter(({ msg }) => msg === 'request refused' || msg === 'request failed')
  const paths = ['/v3/clusters/c/topics/t/records', '/topics/t/records', '/topics/t/raw', '/topics/t/events']
  const ways = ['destroy', 'end', 'resetAndDestroy'] as const
  for (const [n, [path, leave]] of paths.flatMap(path => ways.map(way => [path, way] as const)).entries()) {
    const request = arrived()
    const socket = connect({ host: '127.0.0.1', port })
    socket.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"value":`)
    socket.on('error', () => {})
    await request
    socket[leave]()
    await until(() => refusals().length > n, `${path} to have noticed ${leave}()`, 3_000)
    socket.destroy()
  }
  t.strictSame(logged.filter(({ level }) => level >= 50), [])
})

test('nor is one that vanishes before its answer, which comes as a stream, has begun', async t => {
  const { app, kafka, logged } = await gatewayApp()
  t.teardown(() => app.close())
  let acknowledge!: () => void
  const handedOver = new Promise<void>(resolve => {
    const send = kafka.send.bind(kafka)
    kafka.send = async record => {
      resolve()
      await new Promise<void>(resolve => { acknowledge = resolve })
      return send(record)
    }
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const socket = connect({ host: '127.0.0.1', port: (app.server.address() as AddressInfo).port })
  const body = '{"value":{"type":"JSON","data":1}}'
  const closed = new Promise<void>(resolve => {
    app.server.once('request', (_request, response: ServerResponse) => { response.once('close', resolve) })
  })
  socket.write(`POST /v3/clusters/c/topics/t/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  await handedOver
  socket.resetAndDestroy()
  await closed
  acknowledge()
  await until(() => logged.some(({ msg }) => msg === 'request refused' || msg === 'request failed'), 'its end to be noticed', 3_000)
  t.strictSame(logged.filter(({ level }) => level >= 50), [])
})
