import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { bodyLimitBytes, listeningApp } from '../support/produce-app.js'

const head = (more: string, path = '/topics/a/records', type = 'application/json') =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n${more}\r\n`

/** Writes all of it before it reads anything, as simple clients do; then what was answered, and whether it ended well. */
async function exchange (
  port: number, parts: Iterable<string | Buffer>, { readFirst = false } = {}
): Promise<{ answer: string, error: Error | null }> {
  const socket = connect({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  let answer = ''
  let error: Error | null = null
  socket.on('error', err => { error = err })
  const closed = new Promise<void>(resolve => { socket.once('close', () => resolve()) })
  const read = () => { socket.on('data', (chunk: Buffer) => { answer += chunk.toString() }) }
  if (readFirst) read()
  for (const part of parts) {
    if (socket.destroyed) break
    if (!socket.write(part)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
  }
  if (!readFirst) read()
  await closed
  return { answer, error }
}

function * bytes (size: number, chunked: boolean): Generator<string> {
  const piece = 'x'.repeat(50_000)
  for (let sent = 0; sent < size; sent += piece.length) yield chunked ? `${piece.length.toString(16)}\r\n${piece}\r\n` : piece
}

t.test('a body that is too long: who is still sending gets the answer with the limit, and the connection ends', async t => {
  const { port, kafka } = await listeningApp(t)
  for (const size of [bodyLimitBytes + 50_000, 10_000_000]) {
    for (const chunked of [false, true]) {
      const { answer } = await exchange(port, [head(chunked ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${size}\r\n`), ...bytes(size, chunked)])
      t.match(answer, /^HTTP\/1\.1 413 /, `${size} ${chunked ? 'chunked' : 'announced'}`)
      t.match(answer, /connection: close/i)
      t.match(answer, new RegExp(`"code":"SLUICE_BODY_TOO_LARGE","limit":${bodyLimitBytes}`))
    }
  }
  t.same(kafka.sent, [])
})

t.test('an announced body that is too long is refused before any of it has come', async t => {
  const { port } = await listeningApp(t)
  const { answer } = await exchange(port, [head(`Content-Length: ${bodyLimitBytes + 1}\r\n`)], { readFirst: true })
  t.match(answer, /^HTTP\/1\.1 413 /)
})

t.test('who expects to be told to go on is told when its body is about to be read, and not where it is refused', async t => {
  const { port } = await listeningApp(t)
  const expecting = 'Expect: 100-continue\r\nConnection: close\r\n'
  const body = '{"value":1}'
  const taken = await exchange(port, [head(`${expecting}Content-Length: ${body.length}\r\n`), body], { readFirst: true })
  t.match(taken.answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  for (const [request, status] of [
    [head(`${expecting}Content-Length: ${bodyLimitBytes + 1}\r\n`), 413], [head(`${expecting}Content-Length: 11\r\n`, '/nothing'), 404],
    [head(`${expecting}Host: evil.example\r\nContent-Length: 11\r\n`).replace('Host: localhost\r\n', ''), 403]
  ] as const) {
    const { answer } = await exchange(port, [request], { readFirst: true })
    t.match(answer, new RegExp(`^HTTP/1.1 ${status} `))
  }
})

t.test('a long stream to a topic that does not exist: the answer arrives though the client is still sending', async t => {
  const { port } = await listeningApp(t)
  const { answer } = await exchange(port, [
    head('Transfer-Encoding: chunked\r\n', '/topics/nope/records', 'application/x-ndjson'), ...bytes(5_000_000, true)
  ])
  t.match(answer, /^HTTP\/1\.1 404 [^]*SLUICE_UNKNOWN_TOPIC/)
})

t.test('a short body that was not read costs nobody the connection', async t => {
  const { app, port } = await listeningApp(t)
  const socket = connect({ host: '127.0.0.1', port })
  let answers = ''
  socket.on('data', (chunk: Buffer) => { answers += chunk.toString() })
  t.teardown(() => socket.destroy())
  const request = head('Content-Length: 11\r\n', '/nothing') + '{"value":1}'
  const twice = once(app.server, 'connection')
  socket.write(request)
  await twice
  socket.write(request)
  while (answers.split('SLUICE_NOT_FOUND').length < 3) await once(socket, 'data')
  t.notMatch(answers, /connection: close/i)
})
