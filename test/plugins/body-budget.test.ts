import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { until } from '../support/gateway-app.js'
import { bodiesMaxBytes, listeningApp } from '../support/produce-app.js'

async function listening (t: Test) {
  const { app, kafka, port } = await listeningApp(t)
  const held = async () => Number(/^sluice_http_body_bytes (\d+)$/m.exec(await app.metrics.scrape())![1])
  return { kafka, port, held }
}

/** A client that has sent a part of a body and goes on when it is told to. */
async function sender (t: Test, port: number, head: string, sent: string) {
  const socket = connect({ host: '127.0.0.1', port })
  t.teardown(() => socket.destroy())
  let answer = ''
  socket.on('data', (chunk: Buffer) => { answer += chunk.toString() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(`POST /topics/a/raw HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n${head}\r\n${sent}`)
  return {
    write: (more: string) => socket.write(more),
    leave: () => socket.destroy(),
    answered: async () => {
      while (!answer.includes('\r\n\r\n')) await once(socket, 'data')
      return answer
    }
  }
}

const announced = (length: number) => `Content-Length: ${length}\r\n`
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`

t.test('bodies that do not come to their end hold so much together, and who wants more is refused; who came before goes on', async t => {
  const { port, held, kafka } = await listening(t)
  const quarter = bodiesMaxBytes / 4
  const first = await sender(t, port, announced(quarter + 1), 'x'.repeat(quarter))
  const second = await sender(t, port, 'Transfer-Encoding: chunked\r\n', chunk('y'.repeat(quarter)))
  for (let others = 0; others < 2; others++) await sender(t, port, announced(quarter + 1), 'x'.repeat(quarter))
  await until(async () => await held() === bodiesMaxBytes, 'so many bytes to be held')

  const late = await sender(t, port, announced(20_000), 'z')
  t.match(await late.answered(), /^HTTP\/1\.1 503 [^]*retry-after: 5[^]*SLUICE_BODIES_FULL/)
  const chunked = await sender(t, port, 'Transfer-Encoding: chunked\r\n', chunk('z'))
  t.match(await chunked.answered(), /^HTTP\/1\.1 503 /, 'of which nobody knows how long it will be')
  const short = await sender(t, port, announced(16_384), 's'.repeat(16_384))
  t.match(await short.answered(), /^HTTP\/1\.1 200 /, 'a short one')

  second.leave()
  await until(async () => await held() === 3 * quarter, 'so many bytes to be held')
  first.write('x')
  t.match(await first.answered(), /^HTTP\/1\.1 200 /)
  await until(async () => await held() === 2 * quarter, 'so many bytes to be held')
  t.same(kafka.sent.map(({ value }) => value!.length), [16_384, quarter + 1])
})

t.test('a header alone takes nothing from others', async t => {
  const { port, held } = await listening(t)
  for (let n = 0; n < 10; n++) await sender(t, port, announced(1_000_000), 'x')
  await until(async () => await held() === 10, 'so many bytes to be held')
  const other = await sender(t, port, announced(900_000), 'x'.repeat(900_000))
  t.match(await other.answered(), /^HTTP\/1\.1 200 /)
  await until(async () => await held() === 10, 'so many bytes to be held')
})

t.test('a stream of lines does not count', async t => {
  const { port, held } = await listening(t)
  const line = '{"value":1}\n'
  const body = new Blob([line.repeat(400_000)])
  const response = await fetch(`http://127.0.0.1:${port}/topics/a/records?results=errors`, { method: 'POST', headers: { 'content-type': 'application/x-ndjson' }, body })
  t.match(await response.text(), /"done":true,"succeeded":400000/)
  t.equal(await held(), 0)
})
