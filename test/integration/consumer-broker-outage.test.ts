import { randomInt } from 'node:crypto'
import t from 'tap'
import { startGateway, type GatewayOptions } from '../support/gateway.js'
import { noOwnKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled, orderViolations } from '../support/ledger.js'

t.setTimeout(120_000)
t.jobs = 2

function start (kafka: Kafka, group: string, topic: string, ledger: Ledger, env: GatewayOptions['env'] = {}) {
  return startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.2,
      LEDGER_FILE: ledger.file,
      ...env
    }
  })
}

t.test('a broker that falls silent for 15 s under load and goes on: nothing is lost, readiness says so, commits resume', { skip: noOwnKafka }, async t => {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const topic = await kafka.createTopic(uniqueName('outage'), { partitions: 3 })
  const group = uniqueName('outage')
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await start(kafka, group, topic, ledger, { LEDGER_SEED: seed, LEDGER_MAX_MS: 20, KAFKA_MAX_PROC_COUNT: 10 })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(3)

  const written: { topic: string, partition: number, offset: number }[] = []
  const produce = async (count: number) => {
    const places = await kafka.produce(topic, Array.from({ length: count }, (_, i) => ({ key: `key-${i % 40}`, value: '' })))
    written.push(...places.map(place => ({ topic, ...place })))
  }
  await produce(4000)
  const watch = new CommitWatch(kafka, group, ledger)
  t.teardown(() => watch.abandon())
  await waitFor('handlers at work', () => ledger.handled.size > 500)
  await kafka.broker(1).pause()
  const pausedAt = performance.now()
  const reason = await gateway.waitForReason(/brokers cannot be reached/, 15_000)
  t.comment(`said after ${Math.round(performance.now() - pausedAt)} ms: ${reason}`)
  t.equal((await gateway.get('/healthz')).status, 200, 'it is alive all the same: a restart would not help')
  await waitFor('15 s of silence', () => performance.now() - pausedAt > 15_000)
  await kafka.broker(1).resume()
  await gateway.waitUntilReady(3, 30_000)
  await produce(1000)
  await waitFor('everything to be handled', () => ledger.handled.size >= written.length, { timeoutMs: 60_000 })
  const committed = async () => Promise.all([0, 1, 2].map(partition => kafka.committedOffset(group, topic, partition)))
  const ends = await kafka.endOffsets(topic)
  await waitFor('commits to resume by themselves', async () => (await committed()).every((offset, partition) => offset === ends[partition]))
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await watch.stop()
  const { missing, unknown, repeated } = countHandled(ledger, written)
  t.strictSame({ missing, unknown }, { missing: [], unknown: 0 })
  t.comment(`${repeated.length} of ${written.length} were handled again`)
  t.strictSame(orderViolations(ledger.entries), [])
  t.strictSame(watch.violations, [])
})

t.test('started while the broker is down, it keeps trying and says so; then it works', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const topic = await kafka.createTopic(uniqueName('down'))
  await kafka.produce(topic, [{ value: '' }])
  await kafka.broker(1).stop()
  const group = uniqueName('down')
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await start(kafka, group, topic, ledger)
  t.teardown(() => gateway.kill())
  await gateway.waitForReason(/brokers cannot be reached/)
  await gateway.waitForReason(/the consumer is connecting|the consumer cannot connect/)
  t.match(await gateway.waitForReason(/the consumer cannot connect/), /refused|transport|timed out/i, 'with the reason')
  t.equal((await gateway.get('/healthz')).status, 200)
  await kafka.broker(1).start()
  await gateway.waitUntilReady(1, 40_000)
  await waitFor('the record to be handled', () => ledger.handled.size === 1)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  t.equal(await kafka.committedOffset(group, topic), 1)
})

t.test('stopped while the broker is away, it ends in time all the same', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const topic = await kafka.createTopic(uniqueName('away'))
  const group = uniqueName('away')
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  // Nothing is committed before the stop: its last commit is the one that nobody answers.
  const gateway = await start(kafka, group, topic, ledger, { KAFKA_COMMIT_INTERVAL_SECONDS: 60 })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(1)
  await kafka.produce(topic, [{ value: '' }])
  await waitFor('the record to be handled', () => ledger.handled.size === 1)
  await kafka.broker(1).pause()
  const startedAt = performance.now()
  const exit = await gateway.stop()
  t.comment(`it took ${Math.round(performance.now() - startedAt)} ms`)
  t.strictSame(exit, { code: 0, signal: null })
  t.ok(performance.now() - startedAt < 30_000, 'within SHUTDOWN_TIMEOUT_MS')
})

t.test('a topic that does not exist yet is told by readiness, and consumed soon after it is created', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const topic = uniqueName('later')
  const group = uniqueName('later')
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await start(kafka, group, topic, ledger)
  t.teardown(() => gateway.kill())
  await gateway.waitForReason(/the topic .* of KAFKA_TOPIC does not exist yet/)
  t.equal((await gateway.readiness()).status, 503, 'it goes on saying so')
  t.notOk((await kafka.describeTopic(topic).catch(() => null)), 'and does not make the topic by asking for it')
  await kafka.createTopic(topic, { partitions: 2 })
  await kafka.produce(topic, [{ value: '' }])
  const startedAt = performance.now()
  await waitFor('the record to be handled', () => ledger.handled.size === 1, { timeoutMs: 15_000 })
  t.comment(`after ${Math.round(performance.now() - startedAt)} ms`)
  await gateway.waitUntilReady(2)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  t.equal((await kafka.committedOffsets(group)).reduce((sum, { offset }) => sum + offset, 0), 1)
})
