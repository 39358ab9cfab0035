import t from 'tap'
import { record } from '../support/fake-source.js'
import { FAKE_CLUSTER, gatewayApp, until } from '../support/gateway-app.js'
import { severalApp } from '../support/several-app.js'

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

t.test('consumers: the only one has the name default; a process that only produces has none', async t => {
  const { app, source } = await gatewayApp(FAKE_CLUSTER, { handler: () => {} })
  t.teardown(() => app.close())
  await app.ready()
  source.event('assigned', [P0])
  await until(() => app.consumers[0].state.partitions.length === 1, 'the assignment')
  const { limit, consumers } = (await app.inject('/consumers')).json()
  t.equal(limit, null)
  t.same(consumers, [{ name: 'default', groupId: 'g', topics: ['t'], ...(await app.inject('/consumer')).json() }])
  t.same((await app.inject('/consumers/default')).json(), consumers[0])

  const { app: without } = await gatewayApp({ KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092' })
  t.teardown(() => without.close())
  t.same((await without.inject('/consumers')).json(), { limit: null, consumers: [] })
  t.match((await without.inject('/consumers/default')).json(), { status: 404, code: 'SLUICE_UNKNOWN_CONSUMER', detail: 'This process only produces.' })
})

t.test('several consumers: all of them, each by its name, and no one of them for the whole', async t => {
  const { app, source } = await severalApp(t)
  await app.ready()
  source('one').event('assigned', [P0])
  await until(() => app.consumers[0].state.partitions.length === 1, 'the assignment')
  const { consumers } = (await app.inject('/consumers')).json()
  t.match(consumers, [
    { name: 'one', groupId: 'g1', topics: ['t'], phase: 'running', partitions: [P0] },
    { name: 'two', groupId: 'g2', topics: ['u'], phase: 'joining', partitions: [] }
  ])
  for (const consumer of consumers) {
    t.same((await app.inject(`/consumers/${consumer.name}`)).json(), consumer)
  }
  const res = await app.inject('/consumer')
  t.equal(res.statusCode, 409)
  t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.match(res.json(), { code: 'SLUICE_SEVERAL_CONSUMERS', status: 409, detail: /: one, two\./ })
  for (const name of ['three', 'ONE', '', 'one%2f']) {
    t.match((await app.inject(`/consumers/${name}`)).json(), { status: 404, code: 'SLUICE_UNKNOWN_CONSUMER', detail: /It has: one, two\.$/ }, name)
  }
  t.equal((await app.inject({ method: 'POST', url: '/consumers/one' })).statusCode, 405)
})
