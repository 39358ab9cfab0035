import { Registry } from 'prom-client'
import t from 'tap'
import { createMetrics } from '../../src/metrics.js'
import { record } from '../support/fake-source.js'
import { FAKE_CLUSTER, gatewayApp, samplesOf, until } from '../support/gateway-app.js'

const P0 = { topic: 't', partition: 0 }
const P1 = { topic: 't', partition: 1 }
const of = (name: string, { topic, partition }: typeof P0) => `${name}{group="g",topic="${topic}",partition="${partition}"}`

t.test('every metric of the table is there, with its help and type, beside those of the process', async t => {
  const { app } = await gatewayApp()
  t.teardown(() => app.close())
  const res = await app.inject('/metrics')
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  const registry = new Registry()
  createMetrics(registry)
  const table = await registry.getMetricsAsJSON()
  t.ok(table.length > 35, `${table.length} metrics`)
  for (const { name, help, type } of table) {
    t.ok(res.body.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`), name)
  }
  t.match(res.body, /^process_cpu_user_seconds_total \d/m)
  t.match(res.body, /^nodejs_eventloop_lag_seconds \d/m)
})

t.test('names have units: counters end in _total, times in _seconds, sizes in _bytes', async t => {
  const registry = new Registry()
  createMetrics(registry)
  for (const { name, type } of await registry.getMetricsAsJSON()) {
    t.match(name, /^sluice_(http|tls|auth|produce|idempotency|transactions?|reads?|consumers?|push)_[a-z_]+$/)
    t.equal(name.endsWith('_total'), String(type) === 'counter', name)
    if (String(type) === 'histogram') t.match(name, /_seconds$/)
  }
})

t.test('the limits are there before anything is assigned, and nothing of any partition', async t => {
  const { app } = await gatewayApp({ ...FAKE_CLUSTER, KAFKA_MAX_PROC_COUNT: '7', KAFKA_WINDOW_MAX_RECORDS: '300', KAFKA_WINDOW_MAX_BYTES: '4000' })
  t.teardown(() => app.close())
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_consumer_in_flight_limit_records{group="g"}'), 7)
  t.equal(samples.get('sluice_consumer_window_limit_records{group="g"}'), 300)
  t.equal(samples.get('sluice_consumer_window_limit_bytes{group="g"}'), 4000)
  t.equal(samples.get('sluice_consumer_assigned_partitions{group="g"}'), 0)
  t.equal(samples.get('sluice_consumer_up{group="g"}'), 0)
  t.notOk([...samples.keys()].some(name => name.includes('partition=')))
})

t.test('per partition: in flight, window, offsets and lag, at the moment of the scrape; and gone with the partition', async t => {
  const finish: (() => void)[] = []
  const { app, source } = await gatewayApp(
    { ...FAKE_CLUSTER, KAFKA_COMMIT_INTERVAL_SECONDS: '3600', KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: '2' },
    { handler: ({ partition }) => partition === 0 ? new Promise<void>(resolve => { finish.push(resolve) }) : undefined })
  t.teardown(() => app.close())
  await app.ready()
  source.committedOffsets.set('t/0', 10)
  source.append([10, 11, 14].map(offset => record({ offset, value: Buffer.alloc(100) })), 20)
  source.endOffsets.set('t/0', 20)
  source.endOffsets.set('t/1', 5)
  source.event('assigned', [P0, P1])
  await until(() => finish.length === 3 && app.consumers[0].state.partitions.every(({ lag }) => lag !== null), 'three handlers, and the lag')
  let samples = await samplesOf(app)
  for (const [name, value] of Object.entries({
    'sluice_consumer_up{group="g"}': 1,
    'sluice_consumer_assigned_partitions{group="g"}': 2,
    'sluice_consumer_in_flight_total_records{group="g"}': 3,
    'sluice_consumer_waiting_records{group="g"}': 0,
    [of('sluice_consumer_in_flight_records', P0)]: 3,
    [of('sluice_consumer_in_flight_records', P1)]: 0,
    [of('sluice_consumer_window_records', P0)]: 3,
    [of('sluice_consumer_window_span_offsets', P0)]: 5,
    [of('sluice_consumer_window_bytes', P0)]: 300,
    [of('sluice_consumer_commit_offset', P0)]: 10,
    [of('sluice_consumer_committed_offset', P0)]: 10,
    [of('sluice_consumer_lag_records', P0)]: 10,
    [of('sluice_consumer_lag_records', P1)]: 5,
    [of('sluice_consumer_paused', P0)]: 0
  })) t.equal(samples.get(name), value, name)
  t.notOk(samples.has(of('sluice_consumer_commit_offset', P1)), 'unknown is absent, not −1')
  t.notOk(samples.has(of('sluice_consumer_committed_offset', P1)))

  finish[0]()
  finish[2]()
  await until(() => app.consumers[0].state.partitions[0].committedOffset === 11, 'the commit')
  samples = await samplesOf(app)
  for (const [name, value] of Object.entries({
    [of('sluice_consumer_in_flight_records', P0)]: 1,
    [of('sluice_consumer_window_records', P0)]: 2,
    [of('sluice_consumer_window_span_offsets', P0)]: 4,
    [of('sluice_consumer_window_bytes', P0)]: 100,
    [of('sluice_consumer_commit_offset', P0)]: 11,
    [of('sluice_consumer_committed_offset', P0)]: 11,
    [of('sluice_consumer_lag_records', P0)]: 9,
    'sluice_consumer_records_completed_total{group="g",topic="t",outcome="handled"}': 2,
    'sluice_consumer_attempts_total{group="g",topic="t",outcome="ok"}': 2,
    // The first says that somebody has begun there.
    'sluice_consumer_commits_total{group="g",result="acknowledged"}': 2,
    'sluice_consumer_handler_duration_seconds_count{group="g",topic="t"}': 2,
    'sluice_consumer_commit_duration_seconds_count{group="g"}': 2
  })) t.equal(samples.get(name), value, name)

  finish[1]()
  source.event('revoked', [P0])
  await until(() => app.consumers[0].state.partitions.length === 1, 'the revoke')
  samples = await samplesOf(app)
  t.notOk([...samples.keys()].some(name => name.includes('partition="0"')), 'a partition given up does not go on showing its last values')
  t.equal(samples.get('sluice_consumer_assigned_partitions{group="g"}'), 1)
  t.equal(samples.get(of('sluice_consumer_lag_records', P1)), 5)
})

t.test('requests are measured by their route as declared, never by a path that a caller chose', async t => {
  const { app } = await gatewayApp()
  t.teardown(() => app.close())
  const headers = { 'content-type': 'application/json' }
  await app.inject({ method: 'POST', url: '/topics/t/records', headers, payload: '{"value":1}' })
  await app.inject({ method: 'POST', url: '/topics/unknown-1/records', headers, payload: '{"value":1}' })
  await app.inject('/no/such/path')
  const samples = await samplesOf(app)
  const count = (route: string, status: number, method = 'POST') =>
    samples.get(`sluice_http_request_duration_seconds_count{method="${method}",route="${route}",status="${status}"}`)
  t.equal(count('/topics/:topic/records', 200), 1)
  t.equal(count('/topics/:topic/records', 404), 1)
  t.equal(count('none', 404, 'GET'), 1)
  t.notOk([...samples.keys()].some(name => /unknown-1|such/.test(name)))
})

t.test('a process that only produces has its metrics, and no consumer\'s values', async t => {
  const { app, kafka } = await gatewayApp({ KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092' })
  t.teardown(() => app.close())
  kafka.state = { ...kafka.state, pendingRecords: 3, pendingBytes: 400 }
  let samples = await samplesOf(app)
  t.equal(samples.get('sluice_produce_pending_records'), 3)
  t.equal(samples.get('sluice_produce_pending_bytes'), 400)
  t.equal(samples.get('sluice_produce_broker_reachable'), 1)
  t.notOk([...samples.keys()].some(name => name.startsWith('sluice_consumer_')))
  kafka.state = { ...kafka.state, reachable: false }
  samples = await samplesOf(app)
  t.equal(samples.get('sluice_produce_broker_reachable'), 0)
})
