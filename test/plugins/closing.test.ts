import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import closing from '../../plugins/closing.js'
import { until } from '../support/gateway-app.js'

/** An app that listens, with a route that answers when the test says so. */
async function setUp (t: Test, requestsTimeoutMs = 60_000) {
  const messages: string[] = []
  const app = Fastify({
    forceCloseConnections: 'idle',
    logger: { level: 'warn', stream: { write (line: string) { messages.push((JSON.parse(line) as { msg: string }).msg) } } }
  })
  t.teardown(() => {
    app.server.closeAllConnections()
    return app.close()
  })
  await app.register(closing, { requestsTimeoutMs })
  const waiting: (() => void)[] = []
  app.get('/slow', async () => {
    await new Promise<void>(resolve => { waiting.push(resolve) })
    return 'done'
  })
  app.post('/body', async () => 'done')
  const received: string[] = []
  app.addHook('onRequest', (request, _reply, done) => {
    received.push(request.url)
    done()
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const get = (): Promise<IncomingMessage> => new Promise((resolve, reject) => {
    request({ ...addressOf(app), path: '/slow', agent }, response => {
      response.resume()
      response.on('end', () => resolve(response))
    }).on('error', reject).end()
  })
  return { app, waiting, get, messages, received }
}

function addressOf (app: FastifyInstance): { host: string, port: number } {
  return { host: '127.0.0.1', port: (app.server.address() as AddressInfo).port }
}

t.test('a request that is under way is answered with Connection: close, and the close does not wait for the client', async t => {
  const { app, waiting, get, messages } = await setUp(t)
  const response = get()
  await until(() => waiting.length === 1, 'the request')
  const from = performance.now()
  const closed = app.close()
  await until(() => !app.server.listening, 'the close')
  waiting[0]()
  t.equal((await response).headers.connection, 'close')
  await closed
  t.ok(performance.now() - from < 4_000, 'keepAliveTimeout is 72 s')
  t.same(messages, [])
})

t.test('a connection whose response was on its way when the close began ends as well', async t => {
  const { app, waiting, get } = await setUp(t)
  const response = get()
  await until(() => waiting.length === 1, 'the request')
  waiting[0]()
  const closed = app.close()
  await response
  const from = performance.now()
  await closed
  t.ok(performance.now() - from < 4_000)
})

t.test('as long as nothing closes, connections are kept', async t => {
  const { waiting, get } = await setUp(t)
  const response = get()
  await until(() => waiting.length === 1, 'the request')
  waiting[0]()
  t.equal((await response).headers.connection, 'keep-alive')
})

t.test('a request that does not end in time is cut off, and the log says so', async t => {
  const { app, messages, received } = await setUp(t, 100)
  const { host, port } = addressOf(app)
  const socket = connect(port, host)
  await once(socket, 'connect')
  const ended = once(socket, 'close')
  socket.on('error', () => {}).resume()
  socket.write('POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{')
  await until(() => received.length === 1, 'the head of the request')
  const from = performance.now()
  await app.close()
  await ended
  t.ok(performance.now() - from < 4_000)
  t.same(messages, ['requests are still under way: their connections are cut'])
})

t.test('an app that does not listen closes', async t => {
  const app = Fastify()
  await app.register(closing, { requestsTimeoutMs: 1 })
  await app.ready()
  await t.resolves(app.close())
})
