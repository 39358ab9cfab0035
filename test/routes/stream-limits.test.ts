import { request, type ClientRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import path from 'node:path'
import { test, type Test } from 'tap'
import { newKey } from '../support/access-app.js'
import { FAKE_CLUSTER, gatewayApp, until } from '../support/gateway-app.js'

const shop = newKey()
const other = newKey()
const as = ({ key }: { key: string }, type = 'application/json') => ({ authorization: `Bearer ${key}`, 'content-type': type })
const ofTopic = { rules: [{ rights: ['produce'], topics: ['*'] }] }

/** The gateway with a caller that has these limits, and another that has none. */
async function limited (t: Test, limits: object, env: Readonly<Record<string, string>> = {}) {
  const rules = { principals: [{ name: 'shop', keys: [shop.digest], ...ofTopic, limits }, { name: 'other', keys: [other.digest], ...ofTopic }] }
  const file = path.join(t.testdir({ 'rules.json': JSON.stringify(rules) }), 'rules.json')
  const { app, kafka } = await gatewayApp({ ...FAKE_CLUSTER, ...env, AUTH_FILE: file })
  t.teardown(() => {
    app.server.closeAllConnections()
    return app.close()
  })
  const sockets: Socket[] = []
  app.server.on('connection', (socket: Socket) => { sockets.push(socket) })
  await app.listen({ host: '127.0.0.1', port: 0 })
  await kafka.refreshTopics()
  return { app, kafka, sockets, port: (app.server.address() as AddressInfo).port }
}

/** The two kinds of streams: where they go, a record of theirs, and what is said of those that were written. */
const kinds = {
  NDJSON: { url: '/topics/t/records', type: 'application/x-ndjson', record: '{"value":1}\n', isWritten: (line: Line) => 'offset' in line },
  'Confluent v3': {
    url: '/v3/clusters/c/topics/t/records',
    type: 'application/json',
    record: '{"value":{"type":"JSON","data":1}}\n',
    isWritten: (line: Line) => line['error_code'] === 200
  }
} as const
type Line = Record<string, unknown>
type Kind = typeof kinds[keyof typeof kinds]

interface Stream { readonly sending: ClientRequest, readonly lines: Line[], readonly ended: Promise<void> }

function open (t: Test, port: number, { url, type }: Kind): Stream {
  const sending = request({ host: '127.0.0.1', port, method: 'POST', path: url, headers: as(shop, type) })
  t.teardown(() => { sending.destroy() })
  const lines: Line[] = []
  const ended = new Promise<void>(resolve => {
    sending.on('error', () => { resolve() })
    sending.on('response', (res: IncomingMessage) => {
      let text = ''
      res.setEncoding('utf8').on('data', (more: string) => {
        text += more
        const whole = text.split('\n')
        text = whole.pop() as string
        lines.push(...whole.map(line => JSON.parse(line) as Line))
      }).on('error', () => {}).on('close', resolve)
    })
  })
  return { sending, lines, ended }
}

for (const [name, kind] of Object.entries(kinds)) {
  test(`${name}: records beyond what may come at once are waited for, nothing more is read meanwhile, and other callers go on`, async t => {
    const { app, kafka, sockets, port } = await limited(t, { recordsPerSecond: 0.001, recordsBurst: 3 })
    const { sending, lines } = open(t, port, kind)
    sending.write(kind.record.repeat(5))
    await until(() => lines.filter(kind.isWritten).length === 3, 'what may come at once')
    // More than all buffers on the way hold.
    const chunk = kind.record.repeat(10_000)
    let bytes = 0
    while (bytes < 64 * 1024 * 1024) {
      bytes += chunk.length
      if (!sending.write(chunk) && bytes > 32 * 1024 * 1024) break
    }
    let before = -1
    await until(() => {
      const { bytesRead } = sockets[0]!
      const same = bytesRead === before
      before = bytesRead
      return same
    }, 'no more to be read')
    t.ok(before < 8 * 1024 * 1024, `${before} bytes were read`)
    t.equal(kafka.sent.length, 3)
    t.equal(lines.length, 3)
    const single = (headers: object) => app.inject({ method: 'POST', url: '/topics/t/records', headers: { ...headers }, payload: '{"value":1}' })
    const refused = await single(as(shop))
    t.match(refused.json(), { status: 429, code: 'SLUICE_RATE_LIMITED', detail: /0.001 records a second, 3 at once/ })
    t.ok(Number(refused.headers['retry-after']) > 1_000)
    t.equal((await single(as(other))).statusCode, 200)
  })

  test(`${name}: a stream that keeps within its limits, or has none, is never slowed down`, async t => {
    const { kafka, port } = await limited(t, { recordsPerSecond: 0.001, recordsBurst: 5, bytesPerSecond: 0.001, bytesBurst: 10_000 })
    const { sending, lines, ended } = open(t, port, kind)
    sending.end(kind.record.repeat(5))
    await ended
    t.equal(lines.filter(kind.isWritten).length, 5)
    t.equal(kafka.sent.length, 5)
  })

  test(`${name}: that a stream is slowed down is no stall`, async t => {
    const { port } = await limited(t, { recordsPerSecond: 4, recordsBurst: 1 }, { STREAM_IDLE_TIMEOUT_MS: '100' })
    const { sending, lines, ended } = open(t, port, kind)
    sending.end(kind.record.repeat(4))
    await ended
    t.equal(lines.filter(kind.isWritten).length, 4, JSON.stringify(lines.at(-1)))
  })

  test(`${name}: slowed down by its bytes, though what it sent before is acknowledged meanwhile, it is no stall either`, async t => {
    const { kafka, port } = await limited(t, { bytesPerSecond: 2_000, bytesBurst: 20 }, { STREAM_IDLE_TIMEOUT_MS: '100' })
    const settle: (() => void)[] = []
    if (name === 'NDJSON') kafka.hold = one => { settle.push(one) }
    const { sending, lines, ended } = open(t, port, kind)
    sending.write(kind.record)
    if (name === 'NDJSON') await until(() => settle.length === 1, 'the first')
    sending.end(kind.record + ' '.repeat(1_000) + kind.record)
    for (const one of settle.splice(0)) one()
    kafka.hold = null
    await ended
    t.equal(lines.filter(kind.isWritten).length, 3, JSON.stringify(lines.at(-1)))
  })

  test(`${name}: what a day has room for is written, then the stream is refused and says for how long`, async t => {
    const { app, kafka, port } = await limited(t, { recordsPerDay: 3 })
    const { sending, lines, ended } = open(t, port, kind)
    sending.write(kind.record.repeat(2))
    await until(() => lines.filter(kind.isWritten).length === 2, 'the first')
    sending.end(kind.record.repeat(5))
    await ended
    t.equal(lines.filter(kind.isWritten).length, 3)
    t.equal(kafka.sent.length, 3)
    t.equal(lines.length, 4)
    const last = lines.at(-1)!
    if (name === 'NDJSON') {
      t.match(last, { status: 429, code: 'SLUICE_RATE_LIMITED', detail: /3 records a day/ })
      t.ok(Number(last['retryAfter']) > 0)
      t.notOk('line' in last)
    } else {
      t.match(last, { error_code: 429, message: /3 records a day/ })
    }
    const next = await app.inject({ method: 'POST', url: kind.url, headers: as(shop, kind.type), payload: kind.record })
    t.equal(next.statusCode, 429)
    t.ok(Number(next.headers['retry-after']) > 0)
  })

  test(`${name}: a process that closes does not wait for those who have to wait`, async t => {
    const { app, port } = await limited(t, { recordsPerSecond: 0.001, recordsBurst: 1 })
    const { sending, lines, ended } = open(t, port, kind)
    sending.write(kind.record.repeat(3))
    await until(() => lines.some(kind.isWritten), 'the first')
    const closed = app.close()
    await ended
    t.equal(lines.filter(kind.isWritten).length, 1)
    await closed
  })
}

test('a batch counts all of its records, on every route', async t => {
  const event = (id: string) => ({ specversion: '1.0', id, source: '/s', type: 't' })
  const batches: [url: string, body: unknown, type?: string][] = [
    ['/topics/t/records', { records: [1, 2, 3].map(value => ({ value })) }],
    ['/topics/t/events', ['1', '2', '3'].map(event), 'application/cloudevents-batch+json'],
    ['/topics/t', { records: [1, 2, 3].map(value => ({ value })) }, 'application/vnd.kafka.json.v2+json'],
    ['/v3/clusters/c/topics/t/records:batch', { entries: ['1', '2', '3'].map(id => ({ id })) }],
    ['/v3/clusters/c/topics/t/records', '{}{}{}']
  ]
  for (const [url, body, type] of batches) {
    const { app, kafka } = await limited(t, { recordsPerSecond: 0.01, recordsBurst: 3 })
    const post = (payload: string) => app.inject({ method: 'POST', url, headers: as(shop, type), payload })
    const res = await post(typeof body === 'string' ? body : JSON.stringify(body))
    t.ok(res.statusCode < 300, res.body)
    t.equal(res.headers['ratelimit-policy'], '"records";q=3;qu="records";w=300')
    t.equal(kafka.sent.length, 3)
    t.equal((await post('{}')).statusCode, 429, url)
  }
})
