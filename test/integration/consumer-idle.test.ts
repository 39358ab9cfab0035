import t from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { Ledger, countHandled } from '../support/ledger.js'

t.jobs = 2

const MAX_POLL_INTERVAL_MS = 6000

async function setUp (handlerMs: number, env: Record<string, string | number> = {}) {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('idle'), { partitions: 2 })
  const ledger = new Ledger()
  const group = uniqueName('idle')
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_SESSION_TIMEOUT_MS: 6000,
      KAFKA_MAX_POLL_INTERVAL_MS: MAX_POLL_INTERVAL_MS,
      KAFKA_DRAIN_TIMEOUT_MS: 3000,
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
      LEDGER_FILE: ledger.file,
      LEDGER_MIN_MS: handlerMs,
      LEDGER_MAX_MS: handlerMs,
      ...env
    }
  })
  return { kafka, topic, ledger, group, gateway }
}

async function memberOf (kafka: Kafka, group: string): Promise<string | undefined> {
  const { members } = await kafka.describeGroup(group)
  return members.length === 1 ? members[0]!.memberId : undefined
}

/** Until the time is over; fails as soon as the group's only member is not the same any more. */
async function staysMember (kafka: Kafka, group: string, member: string, ms: number): Promise<void> {
  const until = performance.now() + ms
  await waitFor('the time to pass', async () => {
    const now = await memberOf(kafka, group)
    if (now !== member) throw new Error(`the member of the group was ${member} and is ${now}`)
    return performance.now() > until
  }, { timeoutMs: ms + 5000, everyMs: 250 })
}

t.test('idle for longer than max.poll.interval.ms, it is still a member, alive and ready, and handles what comes then', { skip: noKafka }, async t => {
  const { kafka, topic, ledger, group, gateway } = await setUp(0)
  t.teardown(() => gateway.kill())
  t.teardown(() => ledger.remove())
  await gateway.waitUntilReady(2)
  const member = await memberOf(kafka, group)
  t.type(member, 'string')
  await staysMember(kafka, group, member!, MAX_POLL_INTERVAL_MS + 3000)
  t.equal((await gateway.get('/healthz')).status, 200)
  t.equal((await gateway.readiness()).status, 200)
  const written = (await kafka.produce(topic, Array.from({ length: 100 }, (_, i) => ({ key: `${i}`, value: '' })))).map(place => ({ topic, ...place }))
  await waitFor('everything to be handled', () => ledger.handled.size === 100, { timeoutMs: 5000 })
  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  t.equal(await memberOf(kafka, group), member)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

t.test('slow and with everything paused for longer than max.poll.interval.ms, it keeps its membership', { skip: noKafka }, async t => {
  // 1. Ten records fill both windows. 2. Their handlers take longer than the client may go without a poll.
  const { kafka, topic, ledger, group, gateway } = await setUp(MAX_POLL_INTERVAL_MS + 3000, { KAFKA_WINDOW_MAX_RECORDS: 5 })
  t.teardown(() => gateway.kill())
  t.teardown(() => ledger.remove())
  await gateway.waitUntilReady(2)
  const member = await memberOf(kafka, group)
  t.type(member, 'string')
  const written = (await kafka.produce(topic, Array.from({ length: 16 }, (_, i) => ({ key: `${i}`, value: '', partition: i % 2 }))))
    .map(place => ({ topic, ...place }))
  await waitFor('both partitions to be paused', async () => await gateway.metric('sluice_consumer_paused') === 2)
  t.equal(ledger.entries.length, 10)
  await staysMember(kafka, group, member!, MAX_POLL_INTERVAL_MS + 1000)
  t.equal((await gateway.get('/healthz')).status, 200)
  await waitFor('the rest to begin', () => ledger.entries.filter(({ what }) => what === 'start').length === 16)
  await waitFor('everything to be handled', () => ledger.handled.size === 16)
  t.equal(await memberOf(kafka, group), member)
  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  t.equal(await gateway.metric('sluice_consumer_rebalances_total', 'type="assigned"'), 1)
  t.equal(await gateway.metric('sluice_consumer_rebalances_total', 'type="lost"') ?? 0, 0)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})
