import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import t from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'

t.setTimeout(180_000)

t.test('a long stream is in Kafka as its receipts say, while others produce; its memory is bounded', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('stream'), { partitions: 4 })
  const gateway = await startGateway({ kafka })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(0)
  const count = 20_000
  function * lines () {
    let part = ''
    for (let i = 0; i < count; i++) {
      part += `{"key":"${i % 1000}","value":{"n":${i},"big":1234567890123456789012,"pad":"${'x'.repeat(200)}"}}\n`
      if (part.length > 50_000) { yield part; part = '' }
    }
    yield part
  }
  const start = performance.now()
  const sending = request(`${gateway.url}/topics/${topic}/records`, { method: 'POST', headers: { 'content-type': 'application/x-ndjson' } })
  const sent = pipeline(Readable.from(lines()), sending)
  const [response] = await once(sending, 'response') as [IncomingMessage]
  t.equal(response.statusCode, 200)
  let receipts = 0
  let last = ''
  let rssMax = 0
  const places = new Map<string, number>()
  for await (const line of createInterface({ input: response })) {
    last = line
    const result = JSON.parse(line) as { line?: number, partition?: number, offset?: number, done?: boolean }
    if (result.offset === undefined) continue
    receipts++
    places.set(`${result.partition}/${result.offset}`, result.line! - 1)
    if (receipts % 5_000 === 0) {
      // Somebody else's record gets through while the stream is under way.
      const other = await fetch(`${gateway.url}/topics/${topic}/records`, {
        method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"value":"other"}'
      })
      t.equal(other.status, 200)
      rssMax = Math.max(rssMax, await gateway.metric('process_resident_memory_bytes') ?? 0)
    }
  }
  await sent
  const seconds = (performance.now() - start) / 1000
  t.same(JSON.parse(last), { done: true, succeeded: count, failed: 0 })
  t.equal(receipts, count)
  t.comment(`${Math.round(count / seconds)} records/s, ${(count * 265 / 1e6 / seconds).toFixed(1)} MB/s, resident memory at most ${Math.round(rssMax / 1e6)} MB`)
  const stored = await kafka.readAll(topic)
  const mine = stored.filter(({ value }) => String(value) !== 'other')
  t.equal(mine.length, count)
  const wrong = mine.filter(({ partition, offset, value }) => !String(value).startsWith(`{"n":${places.get(`${partition}/${offset}`)},"big":1234567890123456789012,`))
  t.equal(wrong.length, 0, 'each record is where its line\'s receipt says, every digit kept')
})

t.test('SIGTERM in the midst of a stream: what has a receipt is written, nothing else is, and the process ends', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('stream-close'), { partitions: 1 })
  const gateway = await startGateway({ kafka })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(0)
  const sending = request(`${gateway.url}/topics/${topic}/records`, { method: 'POST', headers: { 'content-type': 'application/x-ndjson' } })
  sending.on('error', () => {})
  sending.flushHeaders()
  const [response] = await once(sending, 'response') as [IncomingMessage]
  response.on('error', () => {})
  const results: { line?: number, offset?: number, code?: string }[] = []
  createInterface({ input: response }).on('line', line => results.push(JSON.parse(line) as object)).on('error', () => {})
  const closed = new Promise(resolve => { response.once('close', resolve) })
  let line = 0
  const writing = setInterval(() => {
    for (let i = 0; i < 200; i++) sending.write(`{"value":"${line++}"}\n`)
  }, 5)
  await waitFor('results', () => results.length > 5_000)
  const exit = gateway.stop()
  await closed
  clearInterval(writing)
  t.same(await exit, { code: 0, signal: null })
  const last = results.pop()!
  t.equal(last.code, 'SLUICE_CLOSING', JSON.stringify(last))
  const stored = await kafka.readAll(topic)
  t.equal(stored.length, results.length, 'as many as there are receipts')
  t.same(stored.map(({ value }) => Number(String(value))), results.map(({ line }) => line! - 1))
})
