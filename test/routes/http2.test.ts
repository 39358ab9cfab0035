import { once } from 'node:events'
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { CertificateAuthority, noOpenssl } from '../support/certificates.js'
import { FAKE_CLUSTER, gatewayApp, samplesOf, until } from '../support/gateway-app.js'

const skip = noOpenssl === false ? {} : { skip: noOpenssl }
const authority = noOpenssl === false ? new CertificateAuthority('servers') : null!
const own = noOpenssl === false ? authority.sign('gateway', ['DNS:localhost', 'IP:127.0.0.1']) : null!
t.teardown(() => { authority?.remove() })

const ndjson = 'application/x-ndjson'

async function gateway (t: Test, env: Readonly<Record<string, string>> = {}) {
  const { app, kafka } = await gatewayApp({
    ...FAKE_CLUSTER, TLS_CERT_FILE: own.certificateFile, TLS_KEY_FILE: own.keyFile, HTTP2: 'true', AUTH: 'off', ...env
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  await kafka.refreshTopics()
  const session = connect(`https://127.0.0.1:${(app.server.address() as AddressInfo).port}`, { ca: authority.certificate })
  session.on('error', () => {})
  t.teardown(async () => {
    session.destroy()
    await app.close()
  })
  await once(session, 'connect')
  return { app, kafka, session }
}

interface Stream { readonly sending: ClientHttp2Stream, readonly lines: Record<string, unknown>[], readonly read: () => Promise<void> }

/** A request that is not ended; its answer is not read until `read` is called, which resolves when it has ended. */
function open (session: ClientHttp2Session, path = '/topics/t/records', type = ndjson, more: Readonly<Record<string, string>> = {}): Stream {
  const sending = session.request({ ':method': 'POST', ':path': path, 'content-type': type, ...more })
  sending.on('error', () => {})
  const lines: Record<string, unknown>[] = []
  let text = ''
  const read = async () => {
    sending.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const whole = text.split('\n')
      text = whole.pop() as string
      lines.push(...whole.map(line => JSON.parse(line) as Record<string, unknown>))
    })
    if (!sending.closed) await once(sending, 'close')
  }
  return { sending, lines, read }
}

async function health (session: ClientHttp2Session): Promise<number> {
  const asked = session.request({ ':path': '/healthz' })
  const [headers] = await once(asked, 'response') as [{ ':status': number }]
  asked.resume()
  return headers[':status']
}

t.test('NDJSON: results come while the stream is sent', skip, async t => {
  const { session } = await gateway(t)
  const { sending, lines, read } = open(session)
  const ended = read()
  for (let i = 1; i <= 3; i++) {
    sending.write('{"value":1}\n')
    await until(() => lines.length === i, `result ${i}`)
  }
  sending.end('{"value":1}')
  await ended
  t.match(lines.at(-1), { done: true, succeeded: 4, failed: 0 })
  t.equal(sending.rstCode, constants.NGHTTP2_NO_ERROR)
})

t.test('NDJSON: who does not read its results is not read either; others on the same connection go on; then all of it comes', skip, async t => {
  const { kafka, session } = await gateway(t)
  const slow = open(session)
  const records = 200_000
  let written = 0
  let isHeldUp = false
  const fill = () => {
    isHeldUp = false
    while (written < records) {
      written += 1_000
      if (!slow.sending.write('{"value":1}\n'.repeat(1_000))) {
        isHeldUp = true
        slow.sending.once('drain', fill)
        return
      }
    }
    slow.sending.end()
  }
  fill()
  let before = -1
  await until(() => {
    const same = isHeldUp && kafka.sent.length === before && before > 0
    before = kafka.sent.length
    return same
  }, 'the gateway to read no more')
  t.ok(written < records, `${written} lines were taken`)

  const fast = open(session)
  const fastEnded = fast.read()
  fast.sending.end('{"value":"fast"}\n'.repeat(5_000))
  await fastEnded
  t.equal(fast.lines.length, 5_001)
  t.match(fast.lines.at(-1), { done: true, succeeded: 5_000 })
  t.equal(await health(session), 200)

  await slow.read()
  t.equal(slow.lines.length, records + 1)
  t.match(slow.lines.at(-1), { done: true, succeeded: records, failed: 0 })
  t.same(slow.lines.slice(0, -1).map(({ line }) => line), Array.from({ length: records }, (_, i) => i + 1))
})

t.test('NDJSON: a stream that stalls is ended, and nothing else on its connection', skip, async t => {
  const { app, session } = await gateway(t, { STREAM_IDLE_TIMEOUT_MS: '100' })
  const stalled = open(session)
  for (let i = 0; i < 20; i++) stalled.sending.write('{"value":1}\n'.repeat(1_000))
  // The client gives up its end too, unread as it is, once the gateway has cut the stream.
  await until(async () => (await samplesOf(app)).get('sluice_produce_streams_total{end="SLUICE_STREAM_STALLED"}') === 1, 'the stall')
  const ended = stalled.read()
  const other = open(session)
  const otherEnded = other.read()
  other.sending.end('{"value":1}\n')
  await otherEnded
  t.match(other.lines.at(-1), { done: true, succeeded: 1 })
  await ended
  t.match(stalled.lines.at(-1), { code: 'SLUICE_STREAM_STALLED' })
  t.notOk(session.destroyed)
})

t.test('what its sender cancels is not produced, on any route, and is no end of a stream', skip, async t => {
  const { app, kafka, session } = await gateway(t)
  const unclosed = new Set<ServerHttp2Stream>()
  app.server.on('stream', (stream: ServerHttp2Stream) => {
    unclosed.add(stream)
    stream.once('close', () => { unclosed.delete(stream) })
  })
  const event = { 'ce-id': '1', 'ce-type': 't', 'ce-source': '/s', 'ce-specversion': '1.0' }
  const json = 'application/json'
  const half: [path: string, type: string, body: string, more?: Readonly<Record<string, string>>][] = [
    ['/topics/t/raw', 'text/plain', 'half'],
    ['/topics/t/raw', 'text/plain', 'x'.repeat(100_000)],
    ['/topics/t/events', 'text/plain', 'half', event],
    // Whole, but nobody has said so.
    ['/topics/t/records', json, '{"value":1}'],
    ['/topics/t', 'application/vnd.kafka.json.v2+json', '{"records":[{"value":1}]}'],
    ['/v3/clusters/c/topics/t/records:batch', json, '{"entries":[{"id":"1"}]}'],
    ['/v3/clusters/c/topics/t/records', json, '{}', { 'idempotency-key': 'k' }],
    ['/topics/t/raw', 'text/plain', 'half', { 'content-length': '20' }],
    ['/topics/t/raw', 'text/plain', 'half', { 'content-length': '100000' }],
    ['/topics/t/raw', 'text/plain', 'half', { 'content-length': '20', 'idempotency-key': 'k' }],
    ['/topics/t/records', ndjson, '{"value":1}']
  ]
  for (const [path, type, body, more] of half) {
    const { sending } = open(session, path, type, more)
    await new Promise<void>(resolve => { sending.write(body, () => { resolve() }) })
    // It has arrived where what was sent after it has.
    t.equal(await health(session), 200)
    // Closing it would say first that all has been sent.
    sending.destroy()
    await once(sending, 'close')
    t.equal(await health(session), 200)
  }
  await until(() => unclosed.size === 0, 'all that was cancelled to be let go')
  t.equal((await samplesOf(app)).get('sluice_produce_streams'), 0)
  t.same(kafka.sent, [])
  t.notOk((await samplesOf(app)).get('sluice_produce_streams_total{end="done"}'))
  const whole = open(session, '/topics/t/raw', 'text/plain')
  const ended = whole.read()
  whole.sending.end('whole')
  await ended
  t.equal(kafka.sent.length, 1)
})

t.test('records of a v3 stream that were whole are produced though the rest is cancelled', skip, async t => {
  const { kafka, session } = await gateway(t)
  const { sending, lines, read } = open(session, '/v3/clusters/c/topics/t/records', 'application/json')
  const ended = read()
  sending.write('{}{}{"value":')
  await until(() => lines.length === 2, 'the answers')
  sending.destroy()
  await ended
  t.equal(kafka.sent.length, 2)
  t.equal(await health(session), 200)
})

t.test('a process that closes ends its streams with what they have, and then the connection', skip, async t => {
  const { app, session } = await gateway(t)
  const { sending, lines, read } = open(session)
  const ended = read()
  sending.write('{"value":1}\n')
  await until(() => lines.length === 1, 'the result')
  const sessionClosed = once(session, 'close')
  const closed = app.close()
  await ended
  t.match(lines.at(-1), { code: 'SLUICE_CLOSING' })
  await closed
  await sessionClosed
})
