import t from 'tap'
import { record } from '../support/fake-source.js'
import { FAKE_CLUSTER, gatewayApp, until } from '../support/gateway-app.js'

const P0 = { topic: 't', partition: 0 }

t.test('while it connects it says so, with a state that is whole', async t => {
  let connected = (_source: never) => {}
  const { app, source } = await gatewayApp(FAKE_CLUSTER, { connect: () => new Promise(resolve => { connected = resolve }) })
  t.teardown(() => app.close())
  await app.ready()
  const res = await app.inject('/consumer')
  t.equal(res.statusCode, 200)
  t.same(res.json(), {
    phase: 'connecting',
    inFlight: 0,
    waiting: 0,
    retrying: 0,
    deadLettering: 0,
    abandoned: 0,
    blocked: 0,
    limit: 0,
    breaker: 'closed',
    problems: ['the consumer is connecting'],
    partitions: []
  })
  connected(source as never)
})

t.test('running: what is in flight, and each partition with its window and lag', async t => {
  let finish = () => {}
  const { app, source } = await gatewayApp({ ...FAKE_CLUSTER, KAFKA_COMMIT_INTERVAL_SECONDS: '0.01' },
    { handler: ({ offset }) => offset === 0 ? undefined : new Promise<void>(resolve => { finish = resolve }) })
  t.teardown(() => app.close())
  await app.ready()
  source.append([0, 1, 2].map(offset => record({ offset, key: Buffer.from('k'), value: Buffer.alloc(50) })))
  source.endOffsets.set('t/0', 3)
  source.event('assigned', [P0])
  await until(() => app.consumers[0].state.inFlight === 1 && app.consumers[0].state.partitions[0].committedOffset === 1, 'the second record, and a commit')
  const res = await app.inject('/consumer')
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
  t.same(res.json(), {
    phase: 'running',
    inFlight: 1,
    waiting: 1,
    retrying: 0,
    deadLettering: 0,
    abandoned: 0,
    blocked: 0,
    limit: 50,
    breaker: 'closed',
    problems: [],
    partitions: [{
      ...P0,
      inFlight: 1,
      windowRecords: 2,
      windowSpan: 2,
      windowBytes: 102,
      commitOffset: 1,
      committedOffset: 1,
      lastAdmitted: 2,
      paused: false,
      suspended: false,
      lag: 2
    }]
  })
  finish()
  await until(() => app.consumers[0].state.partitions[0].commitOffset === 2, 'the second')
  finish()
})

t.test('problems are told, and a lag that is not known is null', async t => {
  const { app, source } = await gatewayApp({ ...FAKE_CLUSTER, KAFKA_DEAD_LETTER_TOPIC: 'off', KAFKA_RETRY_MAX_ATTEMPTS: '1' },
    { handler: () => { throw new Error('poison') } })
  t.teardown(() => app.close())
  await app.ready()
  source.event('assigned', [P0])
  await until(() => app.consumers[0].state.partitions.length === 1, 'the assignment')
  t.match((await app.inject('/consumer')).json(), { partitions: [{ lag: null, commitOffset: -1 }] })
  source.append([record({ offset: 0 })])
  await until(() => app.consumers[0].state.blocked === 1, 'the failure')
  t.match((await app.inject('/consumer')).json(), {
    blocked: 1, problems: ['1 failed records hold their keys, because dead letters are off'], partitions: [{ lag: 1 }]
  })
})

t.test('a process that only produces: 404, and what to set', async t => {
  const { app } = await gatewayApp({ KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092' })
  t.teardown(() => app.close())
  const res = await app.inject('/consumer')
  t.equal(res.statusCode, 404)
  t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.match(res.json(), { code: 'SLUICE_NO_CONSUMER', status: 404, detail: /KAFKA_GROUP_ID and KAFKA_TOPIC/ })
})
