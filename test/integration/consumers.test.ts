import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { stringify } from 'yaml'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { Ledger, countHandled, orderViolations, peakInFlight } from '../support/ledger.js'

t.setTimeout(180_000)

const TOTAL = 5
const handler = (name: string) => fileURLToPath(new URL(`../support/handlers/${name}`, import.meta.url))

t.test('two consumers in one process: one that is stuck does not stop the other, a signal drains both, none is lost', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const [slow, quick, careful, eager] = ['slow', 'quick', 'careful', 'eager'].map(uniqueName)
  await kafka.createTopic(slow)
  await kafka.createTopic(quick, { partitions: 3 })
  const keyed = (count: number) => Array.from({ length: count }, (_, n) => ({ key: `key-${n}`, value: `${n}` }))
  const writtenSlow = (await kafka.produce(slow, keyed(30))).map(place => ({ topic: slow, ...place }))
  const writtenQuick = (await kafka.produce(quick, keyed(300))).map(place => ({ topic: quick, ...place }))

  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const dir = t.testdir({})
  const file = path.join(dir, 'consumers.yaml')
  const gate = path.join(dir, 'gate')
  writeFileSync(file, stringify({
    maxProcCount: TOTAL,
    consumers: [
      { name: 'careful', groupId: careful, topic: slow, order: 'key', handler: handler('gate.js'), maxProcCount: 20 },
      { name: 'eager', groupId: eager, topic: [`^${quick}$`], order: 'partition', handler: handler('ledger.js') }
    ]
  }))
  const start = () => startGateway({
    kafka,
    env: {
      KAFKA_CONSUMERS_FILE: file, KAFKA_DEAD_LETTER_TOPIC: 'off', KAFKA_COMMIT_INTERVAL_SECONDS: 0.2, LEDGER_FILE: ledger.file, GATE_FILE: gate
    }
  })
  const first = await start()
  t.teardown(() => first.kill())
  const handled = (topic: string) => [...ledger.handled.keys()].filter(id => id.startsWith(`${topic}/`)).length
  await waitFor('the other one to handle everything', () => handled(quick) === 300, { timeoutMs: 60_000 })
  const started = () => ledger.entries.filter(({ topic, what }) => topic === slow && what === 'start').length
  await waitFor('the stuck one to have all slots but one', () => started() === TOTAL - 1, { timeoutMs: 30_000 })
  t.equal(handled(slow), 0)

  // What the gateway says of both, and what the broker says of its groups.
  const committed = () => Promise.all([0, 1, 2].map(partition => kafka.committedOffset(eager, quick, partition)))
  await waitFor('all of it to be committed', async () => (await committed()).join() === (await kafka.endOffsets(quick)).join())
  const { limit, consumers } = await (await first.get('/consumers')).json() as { limit: number, consumers: object[] }
  t.equal(limit, TOTAL)
  t.match(consumers, [{ name: 'careful', groupId: careful, inFlight: TOTAL - 1, phase: 'running' }, { name: 'eager', groupId: eager, inFlight: 0 }])
  t.equal((await first.get('/consumer')).status, 409)
  t.equal(await first.metric('sluice_consumer_in_flight_total_records', `group="${careful}"`), TOTAL - 1)
  t.equal(await first.metric('sluice_consumer_records_completed_total', `group="${eager}"`), 300)
  t.equal(await first.metric('sluice_consumer_assigned_partitions', `group="${eager}"`), 3)
  await waitFor('the lags', async () => await first.metric('sluice_consumer_lag_records', `group="${eager}"`) === 0 &&
    await first.metric('sluice_consumer_lag_records', `group="${careful}"`) === 30)
  for (const group of [careful, eager]) t.match(await kafka.describeGroup(group), { state: 'Stable' })

  const ended = first.stop()
  for (const group of [careful, eager]) await first.waitForLog('draining the consumer', { group })
  writeFileSync(gate, '')
  t.strictSame(await ended, { code: 0, signal: null })
  t.ok(first.lines.filter(({ msg }) => msg === 'the consumer has left its group').length === 2)
  // A record or two may have begun before the loop heard of the signal.
  t.strictSame(ledger.entries.filter(({ what }) => what === 'start').length, ledger.handled.size, 'whatever was started was finished')
  for (const group of [careful, eager]) t.match(await kafka.describeGroup(group), { state: 'Empty', members: [] })
  let firstUnhandled = 0
  while (ledger.handled.has(`${slow}/0/${firstUnhandled}`)) firstUnhandled++
  t.ok(firstUnhandled >= TOTAL - 1)
  t.equal(await kafka.committedOffset(careful, slow, 0), firstUnhandled, 'the last commit says all that a commit offset can say')

  const second = await start()
  t.teardown(() => second.kill())
  await waitFor('everything to be handled', () => handled(slow) === 30, { timeoutMs: 60_000 })
  t.strictSame(await second.stop(), { code: 0, signal: null })
  const { missing, repeated, unknown } = countHandled(ledger, [...writtenSlow, ...writtenQuick])
  t.strictSame({ missing, repeated, unknown }, { missing: [], repeated: [], unknown: 0 })
  t.strictSame(orderViolations(ledger.entries), [])
  t.ok(peakInFlight(ledger.entries) <= TOTAL, `at most ${peakInFlight(ledger.entries)} at once`)
  t.equal(await kafka.committedOffset(careful, slow, 0), 30)
})

t.test('a file that is wrong stops the start with one line and 1', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const file = path.join(t.testdir({ 'consumers.yaml': 'consumers:\n  - name: a\n    groupId: g\n    topic: t\n    maxProcCount: many\n' }), 'consumers.yaml')
  const ended = await startGateway({ kafka, env: { KAFKA_CONSUMERS_FILE: file } }).catch((error: unknown) => error)
  t.match(ended, {
    exit: { code: 1 }, output: `${file}:5: consumers[0].maxProcCount must be a whole number, between 1 and 10000, got 'many'`
  })
})
