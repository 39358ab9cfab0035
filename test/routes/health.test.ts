import t, { type Test } from 'tap'
import { CommitError, PollError } from '../../src/engine/types.js'
import { record } from '../support/fake-source.js'
import { FAKE_CLUSTER, gatewayApp, until, type LocalSource } from '../support/gateway-app.js'

const P0 = { topic: 't', partition: 0 }
const P1 = { topic: 't', partition: 1 }
const PRODUCER_ONLY = { KAFKA_BOOTSTRAP_SERVERS: FAKE_CLUSTER.KAFKA_BOOTSTRAP_SERVERS }

interface Readiness { status: string, reasons: string[], assignedPartitions: number | null }

async function setUp (t: Test, env: Readonly<Record<string, string>> = FAKE_CLUSTER, overrides: Parameters<typeof gatewayApp>[1] = {}) {
  const made = await gatewayApp(env, overrides)
  t.teardown(() => made.app.close())
  await made.app.ready()
  const readiness = async () => {
    const response = await made.app.inject('/readyz')
    return { code: response.statusCode, ...response.json<Readiness>() }
  }
  /** Waits for this answer: the engine and the list of topics go their own pace. */
  const isReady = async (code: number, ...reasons: (string | RegExp)[]) => {
    let now = await readiness()
    const fits = (text: string, reason: string | RegExp) => typeof reason === 'string' ? text === reason : reason.test(text)
    await until(async () => {
      now = await readiness()
      return now.code === code && now.reasons.length === reasons.length && now.reasons.every((text, n) => fits(text, reasons[n]))
    }, `${code} ${reasons.join(', ')}`).catch(() => {})
    t.match(now, { code, status: code === 200 ? 'ready' : 'not ready', reasons })
    return now
  }
  return { ...made, readiness, isReady }
}

function assign (source: LocalSource): void {
  source.event('assigned', [P0, P1])
}

t.test('readyz: 200 once the brokers answer and the consumer is a member of its group', async t => {
  const { source, isReady } = await setUp(t)
  await isReady(503, 'the consumer is joining')
  assign(source)
  t.match(await isReady(200), { reasons: [], assignedPartitions: 2 })
})

t.test('readyz: a member that owns no partition is ready', async t => {
  const { source, isReady } = await setUp(t)
  source.event('assigned', [])
  t.match(await isReady(200), { assignedPartitions: 0 })
})

t.test('readyz: the brokers are away, with the reason where it is known; and back again', async t => {
  const { kafka, source, isReady } = await setUp(t)
  assign(source)
  await isReady(200)
  kafka.state = { ...kafka.state, reachable: false, lastError: null }
  await isReady(503, 'the brokers cannot be reached: connecting')
  kafka.state = { ...kafka.state, lastError: 'connection refused' }
  await isReady(503, 'the brokers cannot be reached: connection refused')
  kafka.state = { ...kafka.state, reachable: true, lastError: null }
  await isReady(200)
})

t.test('readyz: the consumer is connecting, and cannot connect', async t => {
  let fail = (_error: Error) => {}
  const { isReady } = await setUp(t, FAKE_CLUSTER, { connect: () => new Promise((resolve, reject) => { fail = reject }) })
  t.match(await isReady(503, 'the consumer is connecting'), { assignedPartitions: 0 })
  fail(new Error('no broker'))
  await isReady(503, 'the consumer cannot connect: no broker')
  // What the close waits for: the next attempt, should it have begun.
  t.teardown(() => fail(new Error('over')))
})

t.test('readyz: problems of the consumer are told until they are over', async t => {
  const { source, isReady } = await setUp(t, { ...FAKE_CLUSTER, KAFKA_COMMIT_INTERVAL_SECONDS: '0.01' }, { handler: () => {} })
  source.onCommit = () => { throw new CommitError('retriable', 'the coordinator is away') }
  assign(source)
  source.append([record({ offset: 0 })])
  await isReady(503, 'offsets cannot be committed: the coordinator is away')
  source.onCommit = () => {}
  await isReady(200)
})

t.test('readyz: several reasons are told together', async t => {
  const { kafka, source, isReady } = await setUp(t)
  const { poll } = source
  let failing = true
  source.poll = (max, timeoutMs) => failing ? Promise.reject(new PollError('passing', 'all brokers are down')) : poll.call(source, max, timeoutMs)
  kafka.state = { ...kafka.state, reachable: false, lastError: 'connection refused' }
  await isReady(503, 'the brokers cannot be reached: connection refused', 'all brokers are down')
  failing = false
})

t.test('readyz: a dead-letter topic that does not exist, until it does', async t => {
  const { kafka, source, isReady } = await setUp(t)
  kafka.partitions.delete('t.dlq')
  assign(source)
  await isReady(503, 'the dead-letter topic t.dlq does not exist: create it, or set KAFKA_DEAD_LETTER_TOPIC')
  kafka.partitions.set('t.dlq', 1)
  await isReady(200)
})

t.test('readyz: with dead letters off no topic is missed; with one topic for all, that one is', async t => {
  const off = await setUp(t, { ...FAKE_CLUSTER, KAFKA_DEAD_LETTER_TOPIC: 'off' })
  off.kafka.partitions.delete('t.dlq')
  assign(off.source)
  await off.isReady(200)
  const one = await setUp(t, { ...FAKE_CLUSTER, KAFKA_TOPIC: 't,u', KAFKA_DEAD_LETTER_TOPIC: 'failed' })
  assign(one.source)
  await one.isReady(503, /^the dead-letter topic failed does not exist/)
})

t.test('readyz: with a pattern, the dead-letter topics of what it found are looked for', async t => {
  const { kafka, source, isReady } = await setUp(t, { ...FAKE_CLUSTER, KAFKA_TOPIC: '^orders' })
  source.event('assigned', [])
  await isReady(200)
  source.event('assigned', [{ topic: 'orders-eu', partition: 0 }])
  await isReady(503, /^the dead-letter topic orders-eu\.dlq does not exist/)
  kafka.partitions.set('orders-eu.dlq', 1)
  await isReady(200)
})

t.test('readyz: while the brokers cannot be asked, nothing is said of the dead-letter topic', async t => {
  const { kafka, source, isReady } = await setUp(t)
  kafka.partitions.delete('t.dlq')
  kafka.onRefresh = async () => { throw new Error('away') }
  assign(source)
  await isReady(200)
})

t.test('readyz: while it drains it says so, and is asked all the same', async t => {
  let finish = () => {}
  const { app, source, isReady } = await setUp(t, FAKE_CLUSTER, { handler: () => new Promise<void>(resolve => { finish = resolve }) })
  const states: unknown[] = []
  assign(source)
  source.append([record({ offset: 0 })])
  await until(() => app.consumers[0].state.inFlight === 1, 'the handler')
  await isReady(200)
  const closing = app.close()
  await until(() => app.consumers[0].state.phase === 'draining', 'the drain')
  states.push(await app.consumers[0].problems())
  finish()
  await closing
  states.push(await app.consumers[0].problems())
  t.same(states, [['the consumer is draining'], ['the consumer is stopped']])
})

t.test('readyz: a process that only produces has no partitions, and needs none', async t => {
  const { kafka, isReady } = await setUp(t, PRODUCER_ONLY)
  t.equal((await isReady(200)).assignedPartitions, null)
  kafka.state = { ...kafka.state, reachable: false }
  await isReady(503, /brokers/)
})

t.test('healthz: 200 as long as the consumer\'s loop turns, 503 when it has not for longer than it may', async t => {
  const { app, source } = await setUp(t, { ...FAKE_CLUSTER, KAFKA_STALL_TIMEOUT_MS: '1000' })
  assign(source)
  await until(() => app.consumers[0].state.phase === 'running', 'the assignment')
  let goOn: (() => void) | undefined
  const { poll } = source
  source.poll = async (max, timeoutMs) => {
    await new Promise<void>(resolve => { goOn = resolve })
    return await poll.call(source, max, timeoutMs)
  }
  await until(() => goOn !== undefined, 'a poll that hangs')
  t.match(await app.inject('/healthz'), { statusCode: 200, body: '{"status":"ok","reasons":[]}' })
  await until(async () => (await app.inject('/healthz')).statusCode === 503, 'the stall to be noticed')
  t.match((await app.inject('/healthz')).json(), { status: 'stalled', reasons: [/^the consumer's loop has not turned for \d+ s$/] })
  t.match((await app.inject('/metrics')).body, /^sluice_consumer_stalled\{group="g",reason="loop"\} 1$/m)
  source.poll = poll
  goOn!()
  await until(async () => (await app.inject('/healthz')).statusCode === 200, 'the loop to turn')
})

t.test('healthz: brokers that are away, a consumer that cannot connect and one that is not there are no reason to restart', async t => {
  const connecting = await setUp(t, FAKE_CLUSTER, { connect: async () => { throw new Error('no broker') } })
  connecting.kafka.state = { ...connecting.kafka.state, reachable: false }
  t.equal((await connecting.app.inject('/healthz')).statusCode, 200)
  const { app } = await setUp(t, PRODUCER_ONLY)
  t.equal((await app.inject('/healthz')).statusCode, 200)
})

t.test('both are open to hosts and pages that are refused elsewhere', async t => {
  const { app, source, isReady } = await setUp(t)
  assign(source)
  await isReady(200)
  for (const headers of [{ host: 'evil.example' }, { origin: 'https://evil.example' }]) {
    t.equal((await app.inject({ url: '/healthz', headers })).statusCode, 200)
    t.equal((await app.inject({ url: '/readyz', headers })).statusCode, 200)
    t.equal((await app.inject({ url: '/metrics', headers })).statusCode, 403)
    t.equal((await app.inject({ url: '/consumer', headers })).statusCode, 403)
  }
})

t.test('healthz: a consumer whose lag grows while nothing arrives has stalled, and says what was seen', async t => {
  const { app, source } = await setUp(t, { ...FAKE_CLUSTER, KAFKA_STALL_TIMEOUT_MS: '1000' })
  const health = async () => (await app.inject('/healthz')).json<{ status: string, reasons: string[] }>()
  source.event('assigned', [P0])
  await until(() => app.consumers[0].state.partitions.length === 1, 'the assignment')
  t.same(await health(), { status: 'ok', reasons: [] })
  // The source hands nothing out, and its end moves on all the same.
  let end = 10
  await until(async () => {
    source.endOffsets.set('t/0', end++)
    return (await health()).status === 'stalled'
  }, 'the stall', 30_000)
  const response = await app.inject('/healthz')
  t.equal(response.statusCode, 503)
  t.match(response.json(), { reasons: [/^nothing of t\/0 arrives: its lag grew from \d+ to \d+ in \d+ s$/] })
  t.match((await app.inject('/metrics')).body, /^sluice_consumer_stalled\{group="g",reason="silent"\} 1$/m)
})
