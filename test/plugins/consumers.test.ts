import t from 'tap'
import { PollError } from '../../src/engine/types.js'
import { record } from '../support/fake-source.js'
import { samplesOf, until } from '../support/gateway-app.js'
import { severalApp, TWO } from '../support/several-app.js'

const T0 = { topic: 't', partition: 0 }
const U0 = { topic: 'u', partition: 0 }
const records = (topic: string, count: number) =>
  Array.from({ length: count }, (_, offset) => record({ topic, offset, key: Buffer.from(String(offset)) }))

t.test('each consumer is a member of its own group, with settings of its own', async t => {
  const [one, two] = TWO.consumers
  const { app, source } = await severalApp(t, { consumers: [{ ...one, maxProcCount: 7 }, two] }, { handler: () => {} })
  await app.ready()
  t.match(app.consumers, [
    { name: 'one', groupId: 'g1', topics: ['t'], controls: { limit: 7 } }, { name: 'two', groupId: 'g2', topics: ['u'], controls: { limit: 50 } }
  ])
  source('one').event('assigned', [T0])
  source('two').event('assigned', [U0])
  source('one').append(records('t', 3))
  source('two').append(records('u', 5))
  const committed = (index: number) => app.consumers[index].state.partitions[0]?.committedOffset
  await until(() => committed(0) === 3 && committed(1) === 5, 'both to commit')
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_consumer_records_completed_total{group="g1",topic="t",outcome="handled"}'), 3)
  t.equal(samples.get('sluice_consumer_records_completed_total{group="g2",topic="u",outcome="handled"}'), 5)
  t.equal(samples.get('sluice_consumer_in_flight_limit_records{group="g1"}'), 7)
  t.equal(samples.get('sluice_consumer_in_flight_limit_records{group="g2"}'), 50)
  t.equal(samples.get('sluice_consumer_commit_offset{group="g1",topic="t",partition="0"}'), 3)
  t.equal(samples.get('sluice_consumer_commit_offset{group="g2",topic="u",partition="0"}'), 5)
  t.equal(samples.get('sluice_consumer_handler_duration_seconds_count{group="g2",topic="u"}'), 5)
  t.equal(samples.get('sluice_consumers_in_flight_limit_records'), 0)

  source('one').event('revoked', [T0])
  await until(() => app.consumers[0].state.partitions.length === 0, 'the revoke')
  const later = await samplesOf(app)
  t.notOk(later.has('sluice_consumer_commit_offset{group="g1",topic="t",partition="0"}'), 'what was given up is not shown')
  t.equal(later.get('sluice_consumer_commit_offset{group="g2",topic="u",partition="0"}'), 5, 'what others own is')
})

t.test('a shared total is never exceeded; one whose handlers are stuck does not stop the other', async t => {
  let inFlight = 0
  let most = 0
  const ends: (() => void)[] = []
  const handled: string[] = []
  const { app, source } = await severalApp(t, { maxProcCount: 4, ...TWO }, {
    handler: async ({ topic, offset }) => {
      most = Math.max(most, ++inFlight)
      await new Promise<void>(resolve => {
        if (topic === 't') ends.push(resolve)
        else setImmediate(resolve)
      })
      inFlight--
      handled.push(`${topic}/${offset}`)
    }
  })
  await app.ready()
  source('one').event('assigned', [T0])
  source('one').append(records('t', 10))
  await until(() => ends.length === 3, 'all slots but the one that is kept')
  source('two').event('assigned', [U0])
  source('two').append(records('u', 50))
  await until(() => app.consumers[1].state.partitions[0]?.committedOffset === 50, 'the other one to go on')
  t.equal(most, 4)
  t.equal(ends.length, 3)
  t.equal((await samplesOf(app)).get('sluice_consumers_in_flight_limit_records'), 4)
  t.match((await app.inject('/consumers')).json(), { limit: 4 })
  await until(() => {
    for (const end of ends.splice(0)) end()
    return app.consumers[0].state.partitions[0].committedOffset === 10
  }, 'the rest')
  t.equal(most, 4)
})

t.test('a close drains all of them at the same time', async t => {
  const ends: (() => void)[] = []
  const { app, source, logged } = await severalApp(t, TWO, { handler: () => new Promise<void>(resolve => { ends.push(resolve) }) })
  await app.ready()
  source('one').event('assigned', [T0])
  source('two').event('assigned', [U0])
  source('one').append(records('t', 1))
  source('two').append(records('u', 1))
  await until(() => ends.length === 2, 'both handlers')
  const [one, two] = ['one', 'two'].map(source)
  const closed = app.close()
  await until(() => app.consumers.every(({ state }) => state.phase === 'draining'), 'both drains')
  for (const end of ends) end()
  await closed
  for (const of of [one, two]) t.ok(of.left && of.closed)
  t.match([one.committedOffsets.get('t/0'), two.committedOffsets.get('u/0')], [1, 1])
  t.same(logged.filter(({ msg }) => msg === 'the consumer has left its group').map(({ group }) => group).sort(), ['g1', 'g2'])
})

t.test('health and readiness are those of all, and say whose', async t => {
  const { app, source } = await severalApp(t, TWO, { handler: () => {} }, { KAFKA_STALL_TIMEOUT_MS: '1000' })
  await app.ready()
  const readiness = async () => (await app.inject('/readyz')).json<{ status: string, reasons: string[], assignedPartitions: number }>()
  source('one').event('assigned', [T0, { topic: 't', partition: 1 }])
  await until(async () => (await readiness()).reasons.length === 1, 'one of them')
  t.match(await readiness(), { status: 'not ready', reasons: ['two: the consumer is joining'] })
  source('two').event('assigned', [U0])
  await until(async () => (await readiness()).status === 'ready', 'both')
  t.match(await readiness(), { reasons: [], assignedPartitions: 3 })
  t.same((await app.inject('/healthz')).json(), { status: 'ok', reasons: [] })

  source('two').endOffsets.set('u/0', 5)
  let end = 5
  await until(async () => {
    source('two').endOffsets.set('u/0', ++end)
    return (await app.inject('/healthz')).statusCode === 503
  }, 'a stall', 30_000)
  t.match((await app.inject('/healthz')).json(), { status: 'stalled', reasons: [/^two: nothing of u\/0 arrives/] })
})

t.test('one that another process has taken the place of is told of; the others go on', async t => {
  const fenced: Error[] = []
  const { app, source } = await severalApp(t, TWO, { handler: () => {}, onFenced: error => { fenced.push(error) } })
  await app.ready()
  source('two').event('assigned', [U0])
  source('one').onPoll = () => { throw new PollError('fatal', 'another has this id', { fenced: true }) }
  await until(() => fenced.length === 1, 'the news')
  t.equal(app.consumers[0].state.phase, 'stopped')
  source('two').append(records('u', 2))
  await until(() => app.consumers[1].state.partitions[0]?.committedOffset === 2, 'the other one')
})

t.test('one whose handler cannot be loaded stops the start', async t => {
  // No handler is what JSON without an import attribute is, either.
  const file = { consumers: [TWO.consumers[0], { ...TWO.consumers[1], handler: 'package.json' }] }
  await t.rejects(severalApp(t, file), { message: /^two: KAFKA_HANDLER: the module .*package\.json could not be loaded/ })
})
