import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import t from 'tap'
import { FAKE_CLUSTER, gatewayApp, samplesOf, until } from '../support/gateway-app.js'

const CLIENTS = 3

async function ask (socket: Socket): Promise<string> {
  socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const [answer] = await once(socket, 'data') as [Buffer]
  return answer.toString().slice(0, 15)
}

t.test('so many clients are connected at once, and one more is closed; when one leaves there is room again', async t => {
  const { app, logged } = await gatewayApp({ ...FAKE_CLUSTER, MAX_CONNECTIONS: String(CLIENTS) })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const client = async () => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    return socket
  }
  const sockets: Socket[] = []
  for (let n = 0; n < CLIENTS; n++) {
    sockets.push(await client())
    t.equal(await ask(sockets[n]!), 'HTTP/1.1 200 OK')
  }
  const refused = await client()
  await once(refused.resume(), 'close')
  t.equal(await ask(sockets[0]!), 'HTTP/1.1 200 OK', 'those that are there are not touched')
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_http_connections'), CLIENTS)
  t.equal(samples.get('sluice_http_connections_refused_total'), 1)
  t.match(logged.find(({ msg }) => msg.startsWith('a connection was refused')), { max: CLIENTS, level: 40 })

  sockets[1]!.end()
  await until(async () => (await samplesOf(app)).get('sluice_http_connections') === CLIENTS - 1, 'one to have left')
  t.equal(await ask(await client()), 'HTTP/1.1 200 OK')
})
