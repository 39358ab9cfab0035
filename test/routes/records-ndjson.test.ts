import { once } from 'node:events'
import { request, type ClientRequest, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { SluiceError } from '../../src/errors.js'
import { until } from '../support/gateway-app.js'
import { bodyLimitBytes, produceApp } from '../support/produce-app.js'

const ndjson = { 'content-type': 'application/x-ndjson' }

type Line = Readonly<Record<string, unknown>>

/** The app on a port of its own. */
async function listening (t: Test, options: Parameters<typeof produceApp>[0] = {}) {
  const made = await produceApp(options)
  t.teardown(() => {
    made.app.server.closeAllConnections()
    return made.app.close()
  })
  await made.app.listen({ host: '127.0.0.1', port: 0 })
  return { ...made, port: (made.app.server.address() as AddressInfo).port }
}

const post = (app: FastifyInstance, payload: string | Buffer, { query = '', headers = {} }: { query?: string, headers?: Record<string, string> } = {}) =>
  app.inject({ method: 'POST', url: `/topics/a/records${query}`, payload, headers: { ...ndjson, ...headers } })

const linesOf = (body: string): Line[] => body.split('\n').slice(0, -1).map(line => JSON.parse(line) as Line)

/** A request that is open in both directions, with the lines that have come. */
async function open (port: number): Promise<{ sending: ClientRequest, response: IncomingMessage, lines: Line[], ended: Promise<unknown> }> {
  const sending = request({ host: '127.0.0.1', port, path: '/topics/a/records', method: 'POST', headers: ndjson })
  sending.on('error', () => {})
  sending.flushHeaders()
  const [response] = await once(sending, 'response') as [IncomingMessage]
  response.on('error', () => {})
  const lines: Line[] = []
  let rest = ''
  response.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n')
    rest = parts.pop()!
    for (const part of parts) lines.push(JSON.parse(part) as Line)
  })
  return { sending, response, lines, ended: new Promise(resolve => { response.once('close', resolve) }) }
}

/** What comes back for bytes that are written as they are. */
async function raw (port: number, write: (socket: Socket) => void): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  await once(socket, 'connect')
  let answer = ''
  socket.on('data', (chunk: Buffer) => { answer += chunk.toString() })
  socket.on('error', () => {})
  const ended = once(socket, 'end')
  write(socket)
  await ended
  socket.destroy()
  return answer
}

t.test('a line for each record, then done; every digit is kept; blank lines are passed over and counted', async t => {
  const { app, kafka } = await produceApp()
  const res = await post(app, '{"value":12345678901234567890}\r\n\n  \t\r\n{"key":"k","value":"é𝄞","partition":3}\n{"value":null}')
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'application/x-ndjson')
  t.same(linesOf(res.body), [
    { line: 1, topic: 'a', partition: 0, offset: 0, timestamp: 1767225600000 },
    { line: 4, topic: 'a', partition: 3, offset: 1, timestamp: 1767225600000 },
    { line: 5, topic: 'a', partition: 0, offset: 2, timestamp: 1767225600000 },
    { done: true, succeeded: 3, failed: 0 }
  ])
  t.same(kafka.sent.map(({ key, value }) => [key, value]), [[null, '12345678901234567890'], ['k', 'é𝄞'], [null, null]])
})

t.test('a stream without a record is done at once', async t => {
  const { app } = await produceApp()
  for (const body of ['', '\n', '\r\n \n']) t.same(linesOf((await post(app, body)).body), [{ done: true, succeeded: 0, failed: 0 }])
})

t.test('a bad line gives its problem, and reading goes on', async t => {
  const { app, kafka } = await produceApp()
  kafka.messageMaxBytes = 10
  kafka.outcomes.push(undefined, new SluiceError('SLUICE_RECORD_REJECTED', 'refused'), undefined)
  const long = JSON.stringify({ value: 'x'.repeat(bodyLimitBytes) })
  const res = await post(app, Buffer.concat([
    Buffer.from(`{"value":1}\n{"valu":1}\n{\n[]\n"x"\n{"records":[{"value":1}]}\n${long}\n{"value":"x","partition":4}\n`),
    Buffer.from([0x22, 0xff, 0x22, 0x0a]), Buffer.from('{"value":"01234567890"}\n{"value":2}\n{"value":3,"headers":1}\n{"value":4}\n')
  ]))
  const lines = linesOf(res.body)
  t.same(lines.at(-1), { done: true, succeeded: 2, failed: 11 })
  const byLine = new Map(lines.map(line => [line.line, line]))
  for (const [number, code, detail, pointer] of [
    [2, 'SLUICE_INVALID_REQUEST', /^The line has no value/, '#'], [3, 'SLUICE_MALFORMED_JSON', /^The line is not JSON/],
    [4, 'SLUICE_INVALID_REQUEST', /^The line must be an object/, '#'], [5, 'SLUICE_INVALID_REQUEST', /object/, '#'],
    [6, 'SLUICE_INVALID_REQUEST', /no value/, '#'], [7, 'SLUICE_BODY_TOO_LARGE', /2000000 bytes/], [8, 'SLUICE_UNKNOWN_PARTITION', /partition 4/],
    [9, 'SLUICE_MALFORMED_JSON', /UTF-8/], [10, 'SLUICE_RECORD_TOO_LARGE', /10 bytes/], [11, 'SLUICE_RECORD_REJECTED', /refused/],
    [12, 'SLUICE_INVALID_REQUEST', /headers/, '#/headers']
  ] as const) t.match(byLine.get(number), { code, detail, ...(pointer !== undefined && { pointer }) }, `line ${number}`)
  t.same(kafka.sent.map(({ value }) => value), ['1', '4'])
})

t.test('the limit of a line from both sides', async t => {
  const { app } = await produceApp()
  const res = await post(app, `${'{"value":1}'.padEnd(bodyLimitBytes)}\n${'{"value":2}'.padEnd(bodyLimitBytes + 1)}\n{"value":3}`)
  t.match(linesOf(res.body).sort((a, b) => Number(a.line ?? 9) - Number(b.line ?? 9)),
    [{ line: 1, offset: 0 }, { line: 2, code: 'SLUICE_BODY_TOO_LARGE', limit: bodyLimitBytes }, { line: 3, offset: 1 }, { done: true }])
})

t.test('results come in the order of acknowledgement', async t => {
  const { app, kafka } = await produceApp()
  const held: (() => void)[] = []
  kafka.hold = settle => {
    held.push(settle)
    if (held.length === 3) for (const i of [2, 0, 1]) held[i]!()
  }
  t.same(linesOf((await post(app, '{"value":1}\n{"value":2}\n{"value":3}\n')).body).map(({ line }) => line), [3, 1, 2, undefined])
})

t.test('?results=errors leaves the receipts out; another value or parameter is refused', async t => {
  const { app } = await produceApp()
  t.match(linesOf((await post(app, '{"value":1}\n{}\n', { query: '?results=errors' })).body), [{ line: 2, status: 400 }, { done: true, succeeded: 1, failed: 1 }])
  t.equal(linesOf((await post(app, '{"value":1}\n', { query: '?results=all' })).body).length, 2)
  for (const query of ['?results=none', '?results', '?result=all', '?results=all&results=all']) {
    t.match((await post(app, '{"value":1}\n', { query })).json(), { status: 400, code: 'SLUICE_INVALID_REQUEST' }, query)
  }
})

t.test('what is wrong with the request is said before anything is read: topic, key, encoding', async t => {
  const { app, kafka } = await produceApp()
  const nope = await app.inject({ method: 'POST', url: '/topics/nope/records', payload: '{"value":1}', headers: ndjson })
  t.match(nope.json(), { status: 404, code: 'SLUICE_UNKNOWN_TOPIC' })
  t.match((await post(app, '{"value":1}', { headers: { 'idempotency-key': 'k' } })).json(), { status: 400, detail: /Idempotency-Key/ })
  t.match((await post(app, '{"value":1}', { headers: { 'content-encoding': 'gzip' } })).json(), { status: 415 })
  t.same(kafka.sent, [])
})

t.test('full duplex: the head of the answer comes before the first line, and each result as soon as it is there', async t => {
  const { port } = await listening(t)
  const { sending, response, lines, ended } = await open(port)
  t.equal(response.statusCode, 200)
  for (let i = 1; i <= 3; i++) {
    sending.write('{"value":1}\n')
    await until(() => lines.length === i, `result ${i}`)
  }
  sending.end()
  await ended
  t.match(lines, [{ line: 1 }, { line: 2 }, { line: 3 }, { done: true, succeeded: 3 }])
})

t.test('one byte at a time, in the midst of characters too', async t => {
  const { port, kafka } = await listening(t)
  const { sending, lines, ended } = await open(port)
  for (const byte of Buffer.from('{"value":"é𝄞"}\r\n\r\n{"value":2}')) {
    sending.write(Buffer.from([byte]))
    await new Promise(resolve => { setImmediate(resolve) })
  }
  sending.end()
  await ended
  t.match(lines, [{ line: 1 }, { line: 3 }, { done: true }])
  t.same(kafka.sent.map(({ value }) => value), ['é𝄞', '2'])
})

t.test('Expect: 100-continue', async t => {
  const { port } = await listening(t)
  const answer = await raw(port, socket => {
    socket.write('POST /topics/a/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 12\r\n\r\n')
    socket.once('data', () => socket.write('{"value":1}\n'))
  })
  t.match(answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  t.match(answer, /"done":true,"succeeded":1/)
})

t.test('a client that closes its half of the connection gets everything', async t => {
  const { port, kafka } = await listening(t)
  const held: (() => void)[] = []
  kafka.hold = settle => { held.push(settle) }
  const answer = raw(port, socket => {
    socket.end('POST /topics/a/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 12\r\n\r\n{"value":1}\n')
  })
  await until(() => held.length === 1, 'the record')
  // What has come by now includes the end of the client's half.
  await new Promise(resolve => { setTimeout(resolve, 20) })
  held[0]!()
  t.match(await answer, /"line":1,"topic":"a".*\r?\n[^]*"done":true,"succeeded":1/)
})

t.test('a body that breaks off, or is no chunk, ends in a problem, and what was read before is produced', async t => {
  const { port, kafka } = await listening(t)
  const head = 'POST /topics/a/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n'
  for (const [i, rest] of ['zz\r\n', null].entries()) {
    const answer = await raw(port, socket => {
      socket.write(`${head}c\r\n{"value":1}\n\r\n`)
      const written = until(() => kafka.sent.length === i + 1, 'the record')
      written.then(() => { rest === null ? socket.end() : socket.write(rest) }, () => socket.destroy())
    })
    t.equal(answer.match(/HTTP\/1\.1 \d/g)?.length, 1, 'one answer')
    t.match(answer, /"line":1,"topic":"a"/)
    t.match(answer, /"status":400.*"code":"SLUICE_MALFORMED_HTTP"/)
    t.notMatch(answer, /"done"/)
  }
})

t.test('a client that goes away: what was read is produced, and the place is free again', async t => {
  const { port, kafka, app } = await listening(t, { streams: { maxStreams: 1 } })
  const { sending, lines } = await open(port)
  sending.write('{"value":1}\n{"value":')
  await until(() => lines.length === 1, 'the result')
  const second = await post(app, '{"value":2}\n')
  t.match(second.json(), { status: 503, code: 'SLUICE_TOO_MANY_STREAMS', limit: 1 })
  t.ok(second.headers['retry-after'])
  sending.destroy()
  await until(async () => (await post(app, '{"value":2}\n')).statusCode === 200, 'the place')
  t.same(kafka.sent.map(({ value }) => value), ['1', '2'])
  t.match(await app.metrics.scrape(), /sluice_produce_streams_total\{end="SLUICE_MALFORMED_HTTP"\} 1/)
})

t.test('a queue that is full, or a broker that is away, is waited for', async t => {
  const { app, kafka } = await produceApp()
  for (const code of ['SLUICE_QUEUE_FULL', 'SLUICE_BROKER_UNAVAILABLE'] as const) {
    kafka.refusal = new SluiceError(code, 'not now')
    let done = false
    const answer = post(app, '{"value":1}\n').finally(() => { done = true })
    await new Promise(resolve => { setTimeout(resolve, 120) })
    t.notOk(done)
    kafka.refusal = null
    t.match(linesOf((await answer).body), [{ line: 1 }, { done: true, succeeded: 1, failed: 0 }])
  }
})

t.test('where it lasts too long, that is the last line; a topic that is deleted ends the stream', async t => {
  const { app, kafka } = await produceApp({ streams: { idleTimeoutMs: 150 } })
  kafka.refusal = new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'away')
  t.match(linesOf((await post(app, '{"value":1}\n')).body), [{ status: 503, code: 'SLUICE_BROKER_UNAVAILABLE' }])
  kafka.refusal = new SluiceError('SLUICE_UNKNOWN_TOPIC', 'gone')
  t.match(linesOf((await post(app, '{}\n{"value":1}\n')).body), [{ line: 1 }, { status: 404, code: 'SLUICE_UNKNOWN_TOPIC' }])
})

t.test('no progress for too long ends the stream; blank lines are progress', async t => {
  const { port, kafka } = await listening(t, { streams: { idleTimeoutMs: 300 } })
  const { sending, lines, ended } = await open(port)
  for (let i = 0; i < 8; i++) {
    sending.write('\n')
    await new Promise(resolve => { setTimeout(resolve, 60) })
  }
  t.same(lines, [])
  kafka.hold = () => {}
  sending.write('{"value":1}\n{"val')
  await ended
  t.match(lines, [{ status: 408, code: 'SLUICE_STREAM_STALLED', detail: /Of 1 records .* unknown/ }])
})

t.test('in flight is what the limits say, in records and bytes, and the sender is not read meanwhile', async t => {
  // The bytes are passed by the record that fills them.
  for (const [streams, value, expected] of [[{ maxRecords: 10 }, 1, 10], [{ maxBytes: 1_000 }, 'x'.repeat(87), 11], [{ totalRecords: 7 }, 1, 7]] as const) {
    const { port, kafka } = await listening(t, { streams })
    const held: (() => void)[] = []
    kafka.hold = settle => { held.push(settle) }
    const { sending, lines, ended } = await open(port)
    const count = 1_000
    sending.end((JSON.stringify({ value }) + '\n').repeat(count))
    let settled = 0
    let most = 0
    while (settled < count) {
      await until(() => held.length > 0, 'records')
      await new Promise(resolve => { setImmediate(resolve) })
      most = Math.max(most, held.length)
      settled += held.length
      for (const settle of held.splice(0)) settle()
    }
    await ended
    t.ok(most <= expected, `${most} of ${expected} in flight`)
    t.same(lines.at(-1), { done: true, succeeded: count, failed: 0 })
  }
})

t.test('who does not read its results is not read', async t => {
  const { port, kafka } = await listening(t)
  const sending = request({ host: '127.0.0.1', port, path: '/topics/a/records', method: 'POST', headers: ndjson })
  sending.flushHeaders()
  const [response] = await once(sending, 'response') as [IncomingMessage]
  const line = '{"value":1}\n'.repeat(5_000)
  let written = 0
  // Until the gateway takes no more, and the buffers between are full.
  for (let waits = 0; waits < 10;) {
    if (sending.writableLength < 1_000_000) { sending.write(line); written += 5_000; waits = 0 } else waits++
    const before = kafka.sent.length
    await new Promise(resolve => { setTimeout(resolve, 20) })
    if (kafka.sent.length > before) waits = 0
    if (written > 10_000_000) throw new Error('it is read for ever')
  }
  t.ok(kafka.sent.length < written, `${kafka.sent.length} of ${written}`)
  sending.end()
  let lines = 0
  let last = ''
  for await (const one of createInterface({ input: response })) { lines++; last = one }
  t.equal(lines, written + 1)
  t.same(JSON.parse(last), { done: true, succeeded: written, failed: 0 })
})

t.test('a close ends the stream with a problem once what was handed over is settled', async t => {
  const { app, port, kafka } = await listening(t)
  const held: (() => void)[] = []
  kafka.hold = settle => { held.push(settle) }
  const { sending, lines, ended } = await open(port)
  sending.write('{"value":1}\n{"value":2}\n{"val')
  await until(() => held.length === 2, 'the records')
  const closed = app.close()
  await until(() => !app.server.listening, 'the close')
  for (const settle of held) settle()
  await Promise.all([ended, closed])
  t.match(lines, [{ line: 1 }, { line: 2 }, { status: 503, code: 'SLUICE_CLOSING' }])
})

t.test('the server\'s limit for whole requests does not end a stream; it ends another request', async t => {
  const server = { requestTimeout: 200, http: { connectionsCheckingInterval: 50, headersTimeout: 100 } }
  const { app, port } = await listening(t, { server })
  const timedOut: unknown[] = []
  app.server.on('clientError', (_err, socket) => { timedOut.push(socket) })
  const { sending, lines, ended } = await open(port)
  sending.write('{"value":1}\n')
  await until(() => lines.length === 1 && timedOut.length === 1, 'the limit')
  const other = await raw(port, socket => {
    socket.write('POST /topics/a/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' +
      'Content-Length: 12\r\n\r\n{')
  })
  t.match(other, /^HTTP\/1\.1 408 /)
  sending.end('{"value":2}\n')
  await ended
  t.match(lines, [{ line: 1 }, { line: 2 }, { done: true }])
})

t.test('while streams have all that they may have, others get in', async t => {
  const { app, port, kafka } = await listening(t, { streams: { totalRecords: 20 } })
  const held: (() => void)[] = []
  kafka.hold = settle => { held.push(settle) }
  const streams = await Promise.all([open(port), open(port)])
  for (const { sending } of streams) sending.end('{"value":1}\n'.repeat(100))
  await until(() => held.length === 20, 'both to have their shares')
  await new Promise(resolve => { setTimeout(resolve, 50) })
  t.equal(held.length, 20)
  const json = { 'content-type': 'application/json' }
  const other = await app.inject({ method: 'POST', url: '/topics/a/records', payload: '{"value":1}', headers: json })
  t.equal(other.statusCode, 200)
  kafka.hold = null
  for (const settle of held) settle()
  await Promise.all(streams.map(({ ended }) => ended))
  for (const { lines } of streams) t.same(lines.at(-1), { done: true, succeeded: 100, failed: 0 })
})
