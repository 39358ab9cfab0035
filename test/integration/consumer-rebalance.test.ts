import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { startGateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled, orderViolations } from '../support/ledger.js'
import { load, restless } from '../support/load.js'

t.setTimeout(180_000)
// They mostly wait, each for its own group.
t.jobs = 2

interface Variant { name: string, env: GatewayOptions['env'], order: 'key' | 'partition', type: string }

const classic = { KAFKA_SESSION_TIMEOUT_MS: 10_000 }
const variants: Variant[] = [
  { name: 'cooperative-sticky', env: { ...classic, KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'cooperative-sticky' }, order: 'partition', type: 'Classic' },
  { name: 'cooperative-sticky', env: { ...classic, KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'cooperative-sticky' }, order: 'key', type: 'Classic' },
  { name: 'range (eager)', env: { ...classic, KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'range' }, order: 'partition', type: 'Classic' },
  { name: 'the consumer protocol of KIP-848', env: { KAFKA_GROUP_PROTOCOL: 'consumer' }, order: 'partition', type: 'Consumer' }
]

for (const { name, env, order, type } of variants) {
  t.test(`members come and go under load, and nothing is lost or out of order: ${name}, order by ${order}`, { skip: noKafka }, async t => {
    await comeAndGo(t, { name, env, order, type })
  })
}

async function comeAndGo (t: Test, { env, order, type, name }: Variant): Promise<void> {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('rebalance'), { partitions: 6 })
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('rebalance')
  const start = async () => {
    const gateway = await startGateway({
      kafka,
      handler: 'ledger.js',
      // So that a member soon hears of a rebalance. Under KIP-848 the broker decides that.
      ...(type === 'Classic' && { properties: { 'heartbeat.interval.ms': 300 } }),
      env: {
        KAFKA_GROUP_ID: group,
        KAFKA_TOPIC: topic,
        KAFKA_ORDER: order,
        KAFKA_MAX_PROC_COUNT: 12,
        KAFKA_DEAD_LETTER_TOPIC: 'off',
        KAFKA_COMMIT_INTERVAL_SECONDS: 0.3,
        ...restless(ledger, seed),
        ...env
      }
    })
    t.teardown(() => gateway.kill())
    return gateway
  }

  const handledBy = (pid: number) => ledger.entries.filter(entry => entry.what === 'end' && entry.pid === pid).length
  const watch = new CommitWatch(kafka, group, ledger)
  t.teardown(() => watch.abandon())
  const { written, stop } = load(t, kafka, topic, { everyMs: 50 })
  const first = await start()
  await waitFor('the first to work', () => handledBy(first.pid) > 100)
  const second = await start()
  await waitFor('the second to work', () => handledBy(second.pid) > 100, { timeoutMs: 30_000 })
  const description = await kafka.describeGroup(group)
  t.equal(description.type, type)
  t.equal(description.members.length, 2)
  t.strictSame(await first.stop(), { code: 0, signal: null }, 'the first leaves, the second takes over')
  const before = handledBy(second.pid)
  const third = await start()
  await waitFor('the third to work beside the second', () => handledBy(third.pid) > 100 && handledBy(second.pid) > before + 100, { timeoutMs: 30_000 })
  t.strictSame(await third.stop(), { code: 0, signal: null }, 'the third leaves again')
  await stop()
  await waitFor('everything to be handled', () => ledger.handled.size >= written.length, { timeoutMs: 40_000 })
  t.strictSame(await second.stop(), { code: 0, signal: null })
  await watch.stop()

  const { missing, repeated, unknown } = countHandled(ledger, written)
  t.comment(`${name}: ${written.length} records, ${repeated.length} handled again`)
  t.strictSame({ missing, unknown }, { missing: [], unknown: 0 }, 'nothing is lost')
  t.strictSame(repeated, [], 'who leaves in good order leaves nothing to be done twice')
  t.strictSame(orderViolations(ledger.entries), [], 'in order, over all processes')
  t.strictSame(watch.violations, [])
  t.ok(watch.seen > 20, `${watch.seen} commits were compared with what was handled`)
  const ends = await kafka.endOffsets(topic)
  t.strictSame(await Promise.all(ends.map((_, partition) => kafka.committedOffset(group, topic, partition))), ends)
}
