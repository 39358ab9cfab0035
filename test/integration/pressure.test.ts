import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { hostile, Ledger, post, rawConnection, residentSize, sendStream, startLoad, watchHealth } from '../../bench/lib/pressure.mjs'
import { startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, noOwnKafka, sharedKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'

t.setTimeout(240_000)

const MIB = 1024 * 1024
/** What the process has before anything is asked of it, and what the garbage collector may leave for later. */
const basis = 300 * MIB

async function gatewayOf (t: Test, kafka: Kafka, options: Omit<GatewayOptions, 'kafka'> = {}): Promise<Gateway> {
  const gateway = await startGateway({ kafka, ...options })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(0, 60_000)
  return gateway
}

const recordsOf = (gateway: Gateway, topic: string): string => `${gateway.url}/topics/${topic}/records`

/** Nothing accepted is lost, nothing refused is stored, nothing is stored twice, and no answer was one of the gateway's own faults. */
async function isTrue (t: Test, kafka: Kafka, topic: string, ledger: Ledger): Promise<void> {
  const stored = await kafka.readAll(topic, { timeoutMs: 60_000 })
  t.same(ledger.compare(stored.map(({ value }) => String(value))), { lost: [], extra: [], doubled: [] })
  t.notOk('500' in ledger.statuses, JSON.stringify(ledger.statuses))
  t.comment(`${JSON.stringify(ledger.statuses)}, ${stored.length} stored`)
}

/** Below the bound, where the system tells. */
function isBounded (t: Test, gateway: Gateway, bytes: number): void {
  const size = residentSize(gateway.pid)
  if (size !== null) t.ok(size.highest < bytes, `resident size at most ${Math.round(size.highest / MIB)} MiB, to be below ${Math.round(bytes / MIB)} MiB`)
}

async function isWell (t: Test, seen: ReturnType<typeof watchHealth>): Promise<void> {
  const { answered, unhealthy, unanswered, slowestMs } = await seen()
  t.same({ unhealthy, unanswered }, { unhealthy: 0, unanswered: 0 })
  t.comment(`/healthz answered ${answered} times, the slowest after ${Math.round(slowestMs)} ms`)
}

t.test('300 connections, and a broker that says nothing for 8 s: what was accepted is stored, what was refused is not', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const topic = await kafka.createTopic(uniqueName('pressure'), { partitions: 4 })
  const queueMaxBytes = 100_000
  const gateway = await gatewayOf(t, kafka, {
    env: { KAFKA_QUEUE_MAX_RECORDS: 150, KAFKA_QUEUE_MAX_BYTES: queueMaxBytes, KAFKA_MESSAGE_MAX_BYTES: 10_000, REQUEST_TIMEOUT_MS: 3_000 }
  })
  const health = watchHealth(gateway.url)
  const ledger = new Ledger()
  const load = startLoad(recordsOf(gateway, topic), { connections: 300, ledger })
  await waitFor('records', () => load.succeeded > 1_000, { timeoutMs: 30_000 })
  await kafka.broker(1).pause()
  await waitFor('callers who do not know', () => (ledger.statuses[504] ?? 0) > 0 && (ledger.statuses[503] ?? 0) > 0, { timeoutMs: 30_000 })
  await new Promise(resolve => { setTimeout(resolve, 8_000) })
  await kafka.broker(1).resume()
  const then = load.succeeded
  await waitFor('records again', () => load.succeeded > then + 1_000, { timeoutMs: 90_000 })
  await load.stop()
  await isWell(t, health)
  isBounded(t, gateway, basis + queueMaxBytes)
  t.ok(ledger.statuses[503]! > 0 && ledger.statuses[504]! > 0)
  // Those whose caller was told 504 may still be under way.
  await waitFor('the queue to be empty', async () => await gateway.metric('sluice_produce_pending_records') === 0, { timeoutMs: 30_000 })
  await isTrue(t, kafka, topic, ledger)
  t.same(await gateway.stop(), { code: 0, signal: null })
})

t.test('clients that are slow, silent or gone take nothing from the others', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('hostile'), { partitions: 2 })
  const unread = await kafka.createTopic(uniqueName('unread'), { partitions: 1, config: { 'retention.bytes': 50_000_000 } })
  const gateway = await gatewayOf(t, kafka, {
    env: {
      STREAM_MAX_COUNT: 20, STREAM_MAX_RECORDS: 1_000, STREAM_IDLE_TIMEOUT_MS: 3_000, REQUEST_TIMEOUT_MS: 2_000, SHUTDOWN_TIMEOUT_MS: 15_000
    }
  })
  const health = watchHealth(gateway.url)
  const ledger = new Ledger()
  const v3 = { path: `/v3/clusters/any/topics/${unread}/records`, type: 'application/json', line: '{"value":{"type":"STRING","data":"unread"}}\n' }
  const ends = Array.from({ length: 30 }, () => [
    hostile.halfHeaders(gateway.url, topic), hostile.halfBody(gateway.url, topic, 100_000), hostile.trickle(gateway.url, topic),
    hostile.vanishing(gateway.url, topic)
  ]).flat()
  for (let i = 0; i < 5; i++) ends.push(hostile.unreadStream(gateway.url, unread), hostile.unreadStream(gateway.url, unread, v3))
  const load = startLoad(recordsOf(gateway, topic), { connections: 20, ledger })
  await waitFor('records', () => load.succeeded > 500, { timeoutMs: 60_000 })
  const stalled = () => gateway.metric('sluice_produce_streams_total', 'STALLED')
  await waitFor('the streams that nobody reads to be given up', async () => await stalled() === 10, { timeoutMs: 60_000 })
    .catch(async (err: Error) => { t.fail(`${err.message}: ${await stalled()}`) })
  t.equal(await gateway.metric('sluice_produce_streams'), 0)

  await isWell(t, health)
  // In the midst of it all.
  t.same(await gateway.stop(), { code: 0, signal: null })
  await load.stop()
  for (const end of ends) end()
  await isTrue(t, kafka, topic, ledger)
})

t.test('a body just within the limit is taken, one just above it refused, however its length is said', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('limit'), { partitions: 1 })
  const limit = 100_000
  const gateway = await gatewayOf(t, kafka, { env: { BODY_LIMIT_BYTES: limit } })
  const ledger = new Ledger()
  const url = recordsOf(gateway, topic)
  for (const bytes of [limit - 1, limit, limit + 1, 10 * limit]) {
    for (const chunked of [false, true]) {
      const id = ledger.newId()
      const body = `{"value":"${id}"}`.padEnd(bytes)
      const status = chunked ? await postChunked(gateway.url, topic, body) : await post(url, body)
      t.equal(status, bytes <= limit ? 200 : 413, `${bytes} bytes${chunked ? ' in chunks' : ''}`)
      ledger.tell(id, status)
    }
  }
  await isTrue(t, kafka, topic, ledger)
})

async function postChunked (url: string, topic: string, body: string): Promise<number> {
  const connection = rawConnection(url)
  connection.socket.write(`POST /topics/${topic}/records HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
    'Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n')
  for (let at = 0; at < body.length; at += 7_000) {
    const part = body.slice(at, at + 7_000)
    connection.socket.write(`${part.length.toString(16)}\r\n${part}\r\n`)
  }
  connection.socket.write('0\r\n\r\n')
  await connection.closed
  return Number(/^HTTP\/1\.1 (\d+)/.exec(connection.text)?.[1] ?? 0)
}

t.test('streams of 30 MB, both kinds at once: every line has its answer, and memory does not follow their length', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('long'), { partitions: 2 })
  const gateway = await gatewayOf(t, kafka)
  const health = watchHealth(gateway.url)
  const pad = 'x'.repeat(1_000)
  const records = 30_000
  const [ndjson, v3] = await Promise.all([
    sendStream(recordsOf(gateway, topic), { records, line: n => `{"value":"a${n} ${pad}"}\n` }),
    sendStream(`${gateway.url}/v3/clusters/any/topics/${topic}/records`, {
      records, type: 'application/json', line: n => `{"value":{"type":"STRING","data":"b${n} ${pad}"}}\n`
    })
  ])
  t.match(ndjson, { status: 200, answers: records + 1, last: JSON.stringify({ done: true, succeeded: records, failed: 0 }) })
  t.match(v3, { status: 200, answers: records, last: /"error_code":200/ })
  await isWell(t, health)
  isBounded(t, gateway, basis + 2 * 8 * MIB)
  t.equal((await kafka.endOffsets(topic)).reduce((sum, end) => sum + end, 0), 2 * records)
})

t.test('many callers and many idempotency keys: what is kept of them is bounded', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('callers'), { partitions: 2 })
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-pressure-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const keys = Array.from({ length: 500 }, (_, i) => `key-of-caller-${i}-`.padEnd(64, 'x'))
  const file = path.join(folder, 'rules.json')
  writeFileSync(file, JSON.stringify({
    principals: keys.map((key, i) => ({
      name: `caller-${i}`,
      keys: [createHash('sha256').update(key).digest('hex')],
      rules: [{ rights: i === 0 ? ['produce', 'operate'] : ['produce'], topics: i % 10 === 9 ? ['other'] : ['*'] }],
      ...(i % 2 === 1 && { limits: { requestsPerSecond: 2, requestsBurst: 2 } })
    }))
  }))
  const maxKeys = 1_000
  const gateway = await gatewayOf(t, kafka, { env: { AUTH_FILE: file, AUTH_PUBLIC: 'metrics', IDEMPOTENCY_MAX_KEYS: maxKeys } })
  const health = watchHealth(gateway.url)
  const ledger = new Ledger()
  let n = 0
  const load = startLoad(recordsOf(gateway, topic), {
    connections: 100,
    ledger,
    pauseMs: 1,
    more (id) {
      // Callers that were seen before are not locked out by somebody's wrong keys behind the same address.
      const key = ++n > 2 * keys.length && n % 50 === 0 ? `wrong-${n}` : keys[n % keys.length]
      return { authorization: `Bearer ${key}`, ...(n % 3 === 0 && { 'idempotency-key': id }) }
    }
  })
  await waitFor('every kind of answer', () => [200, 401, 403, 429, 503].every(status => (ledger.statuses[status] ?? 0) > 0), { timeoutMs: 60_000 })
    .catch((err: Error) => { t.fail(`${err.message}: ${JSON.stringify(ledger.statuses)}`) })
  await load.stop()
  await isWell(t, health)
  const remembered = await gateway.metric('sluice_idempotency_keys')
  t.ok(remembered! <= maxKeys, `${remembered} keys`)
  isBounded(t, gateway, basis)
  await isTrue(t, kafka, topic, ledger)
})
