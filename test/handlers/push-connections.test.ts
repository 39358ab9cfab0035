import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { PushError, type Answer } from '../../src/handlers/push-answer.js'
import { PushConnections, type Abortable } from '../../src/handlers/push-connections.js'
import { CertificateAuthority, noOpenssl } from '../support/certificates.js'

/** A target that is written by hand: `answer` is called with each request that arrived, which has no body. */
async function target (t: Test, answer: (socket: Socket, requests: number) => void) {
  const sockets: Socket[] = []
  let requests = 0
  const server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.on('data', chunk => {
      if (String(chunk).endsWith('\r\n\r\n')) answer(socket, ++requests)
    })
  })
  return { ...await listening(t, server, 'http', sockets), sockets, get requests () { return requests } }
}

async function listening (t: Test, server: Server, scheme: string, sockets: Socket[], more: object = {}) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`
  const connections = new PushConnections({ origin, connectTimeoutMs: 2000, ca: null, ...more })
  t.teardown(async () => {
    await connections.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { origin, connections }
}

const patient: Abortable = { signal: new AbortController().signal }

function send (connections: PushConnections, attempt: Abortable = patient): Promise<Answer> {
  return new Promise((resolve, reject) => {
    connections.send({ path: '/', method: 'POST', headers: [], body: null }, attempt, (answer, error) => {
      if (answer === null) reject(error)
      else resolve(answer)
    })
  })
}

// Not `once`, which an error would end.
const closing = (socket: Socket) => new Promise<void>(resolve => { socket.on('close', () => resolve()) })

const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const failed = async (promise: Promise<unknown>): Promise<PushError> => promise.then(() => { throw new Error('it was answered') }, error => error)

t.test('an answer is its status, what it says of time, and its body', async t => {
  const { connections } = await target(t, socket =>
    socket.write('HTTP/1.1 503 Away\r\nRetry-After: 7\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'))
  t.same(await send(connections), { status: 503, retryAfter: '7', date: 'Sun, 06 Nov 1994 08:49:37 GMT', body: Buffer.from('abcde') })
})

t.test('connections are used again: as many as pushes are under way at once, and no more', async t => {
  const waiting: Socket[] = []
  const service = await target(t, socket => {
    if (service.requests <= 20) socket.write(ok)
    else if (waiting.push(socket) === 5) for (const one of waiting.splice(0)) one.write(ok)
  })
  for (let n = 0; n < 20; n++) await send(service.connections)
  t.equal(service.sockets.length, 1)
  for (let n = 0; n < 4; n++) await Promise.all(Array.from({ length: 5 }, () => send(service.connections)))
  t.equal(service.sockets.length, 5)
  t.equal(service.connections.size, 5)
})

t.test('without a connection it is an outage, and the next push tries again', async t => {
  const { connections, origin } = await target(t, socket => socket.write(ok))
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  other.close()
  await once(other, 'close')
  const away = new PushConnections({ origin: `http://127.0.0.1:${port}`, connectTimeoutMs: 2000, ca: null })
  t.teardown(() => away.close())
  t.match(await failed(send(away)), { name: 'PushError', outage: true, message: /cannot be reached: .*ECONNREFUSED/ })
  t.match(await failed(send(away)), { outage: true })
  t.equal(away.size, 1)
  const nowhere = new PushConnections({ origin: 'http://sluice.invalid', connectTimeoutMs: 2000, ca: null })
  t.teardown(() => nowhere.close())
  t.match(await failed(send(nowhere)), { outage: true, message: /sluice\.invalid/ })
  t.match(origin, /^http/)
  t.equal((await send(connections)).status, 200)
})

const broken: [string, (socket: Socket) => unknown][] = [
  ['it closes without an answer', socket => socket.end()],
  ['it resets', socket => socket.resetAndDestroy()],
  ['it closes within the headers', socket => socket.end('HTTP/1.1 200 OK\r\ncontent-le')],
  ['it closes within a body that may have been a verdict', socket => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"status":')],
  ['it closes within chunks', socket => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc')],
  ['it is no HTTP', socket => socket.end('SSH-2.0-OpenSSH_9.9\r\n')],
  ['its headers are endless', socket => socket.end(`HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`)],
  ['it switches protocols that nobody asked for', socket => socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n')],
  ['two lengths contradict each other', socket => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok')]
]

t.test('no whole answer is a failure worth a retry, and no outage: the record may have been handled', async t => {
  for (const [name, answer] of broken) {
    const service = await target(t, socket => { if (service.requests === 1) answer(socket); else socket.write(ok) })
    const error = await failed(send(service.connections))
    t.ok(error instanceof PushError, name)
    t.match(error.message, /^the push target gave no whole answer: [^\r\n]+$/, name)
    t.same([error.outage, error.retriable, error.drop], [undefined, undefined, undefined], name)
    t.equal((await send(service.connections)).status, 200, `${name}; the next push is answered`)
  }
})

t.test('a status that decides, decides, though the rest of its answer never comes', async t => {
  const { connections } = await target(t, socket => socket.end('HTTP/1.1 400 Bad\r\ncontent-length: 100\r\n\r\nbecause'))
  t.match(await send(connections), { status: 400 })
})

t.test('what comes before the answer proper is passed over', async t => {
  const { connections } = await target(t, socket => socket.write(`HTTP/1.1 103 Early Hints\r\nretry-after: 99\r\n\r\n${ok}`))
  t.match(await send(connections), { status: 200, retryAfter: undefined })
})

t.test('a body up to the most that is a verdict is kept; beyond that it is read for nothing, and cut off where it is endless', async t => {
  const length = (n: number) => `HTTP/1.1 200 OK\r\ncontent-length: ${n}\r\n\r\n${'x'.repeat(n)}`
  const service = await target(t, (socket, n) => {
    if (n <= 3) socket.write(length([16_384, 16_385, 1_048_576][n - 1]!))
    else if (n === 4) socket.write('HTTP/1.1 200 OK\r\n\r\n' + 'x'.repeat(1_048_577))
    else socket.write(ok)
  })
  t.equal((await send(service.connections)).body?.length, 16_384)
  t.equal((await send(service.connections)).body, null)
  t.equal((await send(service.connections)).body, null)
  t.equal(service.sockets.length, 1)
  const closed = closing(service.sockets[0]!)
  t.match(await send(service.connections), { status: 200, body: null })
  await closed
  t.equal((await send(service.connections)).status, 200)
  t.equal(service.sockets.length, 2)
})

t.test('an attempt that is aborted ends its push with the reason, closes its connection, and the next one has another', async t => {
  const reason = new Error('time is up')
  for (const begun of ['', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{']) {
    for (const kind of ['signal', 'listener']) {
      let abort = (_: Error) => {}
      const controller = new AbortController()
      const attempt: Abortable = kind === 'signal'
        ? controller
        : { get signal (): AbortSignal { throw new Error('nobody asked for it') }, onAbort: listener => { abort = listener } }
      const service = await target(t, (socket, n) => { socket.write(n === 1 ? begun : ok) })
      const pushed = failed(send(service.connections, attempt))
      while (service.requests === 0) await new Promise(resolve => setImmediate(resolve))
      const closed = closing(service.sockets[0]!)
      if (kind === 'signal') controller.abort(reason)
      else abort(reason)
      t.equal(await pushed, reason, `${kind} ${begun}`)
      await closed
      t.equal((await send(service.connections)).status, 200)
      t.equal(service.connections.size, 1, 'what was closed is forgotten')
    }
  }
})

t.test('aborted before it begins, nothing is sent', async t => {
  const service = await target(t, socket => socket.write(ok))
  const reason = new Error('given up')
  t.equal(await failed(send(service.connections, { signal: AbortSignal.abort(reason) })), reason)
  t.equal(await failed(send(service.connections, { signal: new AbortController().signal, onAbort: listener => listener(reason) })), reason)
  t.equal(service.requests, 0)
  t.equal((await send(service.connections)).status, 200)
})

t.test('a target that accepts and never shakes hands: the time for connecting ends it, or the attempt does', async t => {
  const sockets: Socket[] = []
  const server = createServer(socket => { sockets.push(socket.on('error', () => {})) })
  const { connections, origin } = await listening(t, server, 'https', sockets, { connectTimeoutMs: 50 })
  t.match(await failed(send(connections)), { outage: true, message: /cannot be reached: Connect Timeout/ })
  const patientOnes = new PushConnections({ origin, connectTimeoutMs: 60_000, ca: null })
  t.teardown(() => patientOnes.close())
  const controller = new AbortController()
  const before = sockets.length
  const pushed = failed(send(patientOnes, controller))
  while (sockets.length === before) await new Promise(resolve => setImmediate(resolve))
  const closed = closing(sockets.at(-1)!)
  sockets.at(-1)!.resume()
  controller.abort(new Error('time is up'))
  t.match(await pushed, { message: 'time is up' })
  await closed
})

t.test('a target that closes each connection after its answer, without saying so: every push ends, and none twice', async t => {
  const service = await target(t, socket => socket.end(ok))
  let [answered, cut] = [0, 0]
  for (let n = 0; n < 100; n++) {
    await send(service.connections).then(() => { answered++ }, error => {
      t.equal(error.outage, undefined)
      cut++
    })
  }
  t.equal(answered + cut, 100)
  t.ok(answered >= 50, `${cut} were cut`)
})

t.test('an answer that nobody asked for is not taken for the next one', async t => {
  const service = await target(t, (socket, n) => socket.write(n === 1 ? `${ok}HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n` : ok))
  t.equal((await send(service.connections)).status, 200)
  const next = await send(service.connections).catch((error: PushError) => error)
  t.ok(next instanceof PushError ? next.retriable === undefined : next.status === 200, 'answered on its own, or tried again')
})

t.test('closing ends what is in flight', async t => {
  const service = await target(t, () => {})
  const pushed = failed(send(service.connections))
  while (service.requests === 0) await new Promise(resolve => setImmediate(resolve))
  await service.connections.close()
  t.ok(await pushed instanceof PushError)
})

t.test('for any bytes that a target answers, each push ends once, as an answer or with one error', async t => {
  const head = fc.constantFrom(
    'HTTP/1.1 200 OK\r\n', 'HTTP/1.1 429 x\r\n', 'HTTP/1.0 500\r\n', 'HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 304 x\r\n\r\n', 'http/9 1\r\n', '')
  const middle = fc.constantFrom('content-length: 3\r\n\r\n', 'transfer-encoding: chunked\r\n\r\n', 'connection: close\r\n\r\n', 'keep-alive: timeout=0\r\n\r\n',
    'trailer: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n', 'upgrade: h2c\r\nconnection: upgrade\r\n\r\n', '\r\n', '')
  const tail = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)), fc.constantFrom('abc', '3\r\nabc\r\n0\r\n\r\n', ok).map(text => Buffer.from(text)))
  let bytes = Buffer.alloc(0)
  let closes = true
  const { connections } = await target(t, socket => {
    socket.write(bytes)
    if (closes) socket.end()
  })
  await fc.assert(fc.asyncProperty(head, middle, tail, fc.boolean(), async (first, second, last, complete) => {
    bytes = Buffer.concat([Buffer.from(first + second), last])
    closes = !complete || bytes.length % 2 === 0
    // What is neither complete nor closed ends by the attempt.
    const controller = new AbortController()
    let times = 0
    await new Promise<void>(resolve => {
      connections.send({ path: '/', method: 'POST', headers: [], body: null }, controller, (answer, error) => {
        times++
        if ((answer === null) === (error === null)) throw new Error('neither, or both')
        resolve()
      })
      if (!closes) setImmediate(() => setImmediate(() => controller.abort(new Error('enough'))))
    })
    await new Promise(resolve => setImmediate(resolve))
    return times === 1
  }), { numRuns: 200 })
})

t.test('TLS: the certificate must come from the authorities that were named, and be for the host', { skip: noOpenssl }, async t => {
  const authority = new CertificateAuthority('push')
  const stranger = new CertificateAuthority('stranger')
  t.teardown(() => { authority.remove(); stranger.remove() })
  const tlsTarget = async (names: string[], ca: string | null) => {
    const { certificate, key } = authority.sign(`target-${names.length}-${ca?.length}`, names)
    const sockets: Socket[] = []
    const server = createTlsServer({ cert: certificate, key }, socket => {
      sockets.push(socket.on('error', () => {}))
      socket.on('data', () => socket.write(ok))
    })
    server.on('tlsClientError', () => {})
    return (await listening(t, server, 'https', sockets, { ca })).connections
  }
  t.equal((await send(await tlsTarget(['IP:127.0.0.1'], authority.certificate))).status, 200)
  t.match(await failed(send(await tlsTarget(['IP:127.0.0.1'], stranger.certificate))), { outage: true, message: /certificate/ })
  t.match(await failed(send(await tlsTarget(['IP:127.0.0.1'], null))), { outage: true, message: /certificate/ })
  t.match(await failed(send(await tlsTarget(['DNS:other.example'], authority.certificate))), { outage: true, message: /altnames/ })
})
