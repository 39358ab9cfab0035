import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { startGateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { headersOf } from '../support/obedient.js'

t.setTimeout(240_000)

interface Pushed {
  readonly at: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly offset: number
  /** How often it came, this time included. */
  readonly nth: number
}
interface Answered { readonly status: number, readonly headers?: Record<string, string>, readonly body?: string }

const secret = Buffer.alloc(32, 'sluice')

/** What a receiver does that was written by the specification alone, with no code of the gateway's. */
function isSigned ({ headers, body }: Pushed): boolean {
  const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
  const expected = `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`
  return headers['webhook-signature'] === expected && Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000) < 300
}

/** A service that is pushed to, a gateway that pushes to it, and a topic of their own. */
async function setting (t: Test, answer: (pushed: Pushed) => Answered | Promise<Answered>, env: GatewayOptions['env'] = {}, port = 0) {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('push'), { partitions: 1 })
  await kafka.createTopic(`${topic}.dlq`, { partitions: 1 })
  const pushed: Pushed[] = []
  const times = new Map<string, number>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', async () => {
      const id = String(request.headers['ce-id'])
      const nth = (times.get(id) ?? 0) + 1
      times.set(id, nth)
      const one = { at: Date.now(), headers: request.headers, body: String(Buffer.concat(chunks)), offset: Number(id.split(':').at(-1)), nth }
      pushed.push(one)
      const { status, headers, body } = await answer(one)
      response.writeHead(status, headers).end(body)
    })
  })
  if (port === 0) await listen(server, 0)
  const group = uniqueName('push')
  const again = () => startGateway({
    kafka,
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_HANDLER: `http://127.0.0.1:${port === 0 ? (server.address() as AddressInfo).port : port}/events?code=hunter2`,
      KAFKA_PUSH_SECRET: `whsec_${secret.toString('base64')}`,
      KAFKA_PUSH_AUTHORIZATION: 'Bearer hunter2',
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
      KAFKA_RETRY_BACKOFF_MS: 50,
      ...env
    }
  })
  const gateway = await again()
  t.teardown(async () => {
    await gateway.kill()
    server.closeAllConnections()
    server.close()
  })
  return { kafka, topic, group, gateway, again, server, pushed }
}

async function listen (server: Server, port: number): Promise<void> {
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
}

t.test('answers decide: done, again, after a while, dropped, or dead-lettered; keys keep their order', { skip: noKafka }, async t => {
  const { kafka, topic, group, gateway, pushed } = await setting(t, ({ body, nth }) => {
    switch (JSON.parse(body).do) {
      case '429': return nth === 1 ? { status: 429, headers: { 'retry-after': '1' } } : { status: 200 }
      case '500': return { status: nth < 3 ? 500 : 204 }
      case 'RETRY': return { status: 200, body: nth === 1 ? '{"status":"RETRY"}' : '{"status":"SUCCESS"}' }
      case 'DROP': return { status: 200, body: '{"status":"DROP"}' }
      case '400': return { status: 400, body: 'hunter2' }
      default: return { status: 202, body: 'thanks' }
    }
  })
  const does = ['ok', '429', '500', 'RETRY', 'DROP', '400']
  const records = does.flatMap(what => [{ key: what, value: JSON.stringify({ do: what }) }, { key: what, value: '{"do":"ok"}' }])
  const more = Array.from({ length: 60 }, (_, n) => ({ key: `key-${n % 3}`, value: '{"do":"ok"}' }))
  await kafka.produce(topic, [...records, ...more])
  await waitFor('everything to be committed', async () => await kafka.committedOffset(group, topic) === 72, { timeoutMs: 60_000 })

  t.ok(pushed.every(isSigned), 'each body is signed')
  t.ok(pushed.every(({ headers }) => headers.authorization === 'Bearer hunter2'))
  const timesOf = (what: string) => pushed.filter(({ body }) => JSON.parse(body).do === what)
  t.same(does.slice(1).map(what => timesOf(what).length), [2, 3, 2, 1, 1])
  const [first, second] = timesOf('429')
  t.ok(second!.at - first!.at >= 1000 - 5, `it waited ${second!.at - first!.at} ms`)
  for (const { offset } of timesOf('500')) {
    t.equal(new Set(pushed.filter(one => one.offset === offset).map(({ headers }) => headers['webhook-id'])).size, 1, 'one id in every attempt')
  }
  for (const key of [...does, 'key-0', 'key-1', 'key-2']) {
    const offsets = pushed.filter(({ headers }) => headers['ce-subject'] === key).map(({ offset }) => offset)
    t.same(offsets, [...offsets].sort((a, b) => a - b), `${key} is in order, attempts included`)
  }
  const letters = await kafka.readAll(`${topic}.dlq`)
  t.same(letters.map(({ key }) => String(key)), ['400'])
  t.match(headersOf(letters[0]), { 'sluice-error-class': 'PushError', 'sluice-error-message': 'the push target answered 400', 'sluice-attempts': '1' })
  t.equal(await gateway.metric('sluice_push_duration_seconds_count', 'status="5xx"'), 2)
  t.notMatch(JSON.stringify(gateway.lines), 'hunter2', 'neither the Authorization, nor the query, nor an answer is logged')
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

t.test('a target that is wrong pauses everything, and flushes nothing into the dead letters', { skip: noKafka }, async t => {
  let status = 404
  const { kafka, topic, group, gateway, pushed } = await setting(t, () => ({ status }), {
    KAFKA_RETRY_MAX_ATTEMPTS: 1, KAFKA_BREAKER_RECORDS: 5, KAFKA_BREAKER_PROBE_MS: 100, KAFKA_MAX_PROC_COUNT: 4
  })
  await kafka.produce(topic, Array.from({ length: 40 }, (_, n) => ({ key: `key-${n}`, value: '{}' })))
  t.match(await gateway.waitForReason(/of the last 5 records failed/), /the push target answered 404: there is nothing at the path/)
  t.equal(await gateway.metric('sluice_consumer_breaker_open'), 1)
  await waitFor('some probes', () => gateway.lines.filter(({ msg }) => msg === 'trying one record').length >= 3)
  t.ok(pushed.length < 40, `${pushed.length} were pushed`)
  status = 200
  await waitFor('everything to be committed', async () => await kafka.committedOffset(group, topic) === 40, { timeoutMs: 60_000 })
  await gateway.waitUntilReady()
  t.equal(await gateway.metric('sluice_consumer_breaker_open'), 0)
  t.same(await kafka.readAll(`${topic}.dlq`), [], 'though there is one attempt a record')
})

t.test('a target that is away costs a single record none of its attempts', { skip: noKafka }, async t => {
  const free = createServer()
  await listen(free, 0)
  const { port } = free.address() as AddressInfo
  free.close()
  await once(free, 'close')
  const { kafka, topic, group, gateway, server, pushed } = await setting(t, () => ({ status: 200 }), { KAFKA_RETRY_MAX_ATTEMPTS: 2 }, port)
  await kafka.produce(topic, [{ key: 'a', value: '{}' }])
  await waitFor('five attempts', () => gateway.lines.filter(({ msg }) => msg === 'record failed; retrying').length >= 5)
  t.match(await gateway.waitForLog('record failed; retrying'), { err: { type: 'PushError', message: /cannot be reached: .*ECONNREFUSED/ } })
  await listen(server, port)
  await waitFor('the commit', async () => await kafka.committedOffset(group, topic) === 1, { timeoutMs: 60_000 })
  t.equal(pushed.length, 1)
  t.same(await kafka.readAll(`${topic}.dlq`), [])
})

t.test('SIGTERM: what is under way is answered and committed, and over the restart nothing is lost or pushed twice', { skip: noKafka }, async t => {
  let release = () => {}
  const released = new Promise<void>(resolve => { release = resolve })
  const { kafka, topic, group, gateway, again, pushed } = await setting(t, async () => {
    await released
    return { status: 200 }
  }, { KAFKA_MAX_PROC_COUNT: 10 })
  await kafka.produce(topic, Array.from({ length: 30 }, (_, n) => ({ key: `key-${n}`, value: '{}' })))
  await waitFor('ten to be under way', () => pushed.length === 10)
  gateway.signal('SIGTERM')
  await gateway.waitForLog('draining the consumer')
  t.equal(pushed.length, 10)
  release()
  t.strictSame(await gateway.exited, { code: 0, signal: null })
  const next = await again()
  t.teardown(() => next.kill())
  await waitFor('the rest to be committed', async () => await kafka.committedOffset(group, topic) === 30, { timeoutMs: 60_000 })
  t.same(pushed.map(({ offset }) => offset).sort((a, b) => a - b), Array.from({ length: 30 }, (_, n) => n))
})

t.test('batches are arrays of events; one that is refused takes no other along', { skip: noKafka }, async t => {
  const seen: number[][] = []
  const { kafka, topic, group, pushed } = await setting(t, ({ body }) => {
    const events = JSON.parse(body) as { id: string, data: { bad?: true } }[]
    seen.push(events.map(({ id }) => Number(id.split(':').at(-1))))
    return { status: events.some(({ data }) => data.bad) ? 422 : 200 }
  }, { KAFKA_PUSH_MODE: 'batched', KAFKA_HANDLER_BATCH_SIZE: 10, KAFKA_HANDLER_BATCH_WAIT_MS: 500 })
  await kafka.produce(topic, Array.from({ length: 20 }, (_, n) => ({ key: `key-${n % 2}`, value: n === 3 ? '{"bad":true}' : '{}' })))
  await waitFor('everything to be committed', async () => await kafka.committedOffset(group, topic) === 20, { timeoutMs: 60_000 })
  t.ok(pushed.every(isSigned))
  t.ok(seen.some(({ length }) => length > 1), JSON.stringify(seen))
  const letters = await kafka.readAll(`${topic}.dlq`)
  t.match(letters.map(headersOf), [{ 'sluice-original-offset': '3', 'sluice-error-message': 'the push target answered 422' }])
  t.equal(letters.length, 1)
})
