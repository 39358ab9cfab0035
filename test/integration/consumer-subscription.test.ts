import driver from '@confluentinc/kafka-javascript'
import t, { type Test } from 'tap'
import { startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { Ledger, countHandled } from '../support/ledger.js'

t.setTimeout(240_000)
t.jobs = 2

const protocols = {
  'cooperative-sticky': {},
  'range (eager)': { KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'range' },
  'the protocol of KIP-848': { KAFKA_GROUP_PROTOCOL: 'consumer' }
} satisfies Record<string, GatewayOptions['env']>

interface Setting { gateway: Gateway, ledger: Ledger, group: string }

// How often members look for topics.
const properties = { 'topic.metadata.refresh.interval.ms': 1000 }

async function consuming (t: Test, kafka: Kafka, topics: string, env: GatewayOptions['env'] = {}): Promise<Setting> {
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('subscription')
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    properties,
    env: {
      KAFKA_GROUP_ID: group, KAFKA_TOPIC: topics, KAFKA_COMMIT_INTERVAL_SECONDS: 0.1, LEDGER_FILE: ledger.file, LEDGER_MAX_MS: 1, ...env
    }
  })
  t.teardown(() => gateway.kill())
  return { gateway, ledger, group }
}

/** Creates topics with their dead-letter topics, without which readiness would not be reached. */
async function createTopics (kafka: Kafka, topics: string[]): Promise<void> {
  for (const topic of topics) {
    await kafka.createTopic(`${topic}.dlq`)
    await kafka.createTopic(topic)
  }
}

async function addPartitions ({ bootstrapServers }: Kafka, topic: string, total: number): Promise<void> {
  const admin = driver.AdminClient.create({ 'bootstrap.servers': bootstrapServers })
  try {
    await new Promise<void>((resolve, reject) => {
      admin.createPartitions(topic, total, 10_000, error => { error ? reject(error) : resolve() })
    })
  } finally {
    admin.disconnect()
  }
}

const assigned = async (kafka: Kafka, group: string): Promise<string[]> => {
  const { members } = await kafka.describeGroup(group)
  return members.flatMap(({ partitions }) => partitions.map(({ topic, partition }) => `${topic}/${partition}`)).sort()
}

for (const [name, env] of Object.entries(protocols)) {
  t.test(`a pattern finds topics, new ones too, but no dead-letter topics and none of Kafka's own: ${name}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const prefix = uniqueName('pattern')
    const topics = [`${prefix}.a`, `${prefix}.b`]
    await createTopics(kafka, topics)
    // Records of a group's offsets: the topic __consumer_offsets certainly has some.
    await kafka.commitOffset(uniqueName('any'), topics[0]!, 0, 0)
    const { gateway, ledger, group } = await consuming(t, kafka, `^${prefix},^.*consumer_offsets|${prefix}`, env)
    await waitFor('both to be assigned', async () => (await assigned(kafka, group)).length === 2)
    for (const topic of [...topics, `${prefix}.a.dlq`]) await kafka.produce(topic, [{ value: '' }])
    await waitFor('both to be handled', () => ledger.handled.size === 2)

    await createTopics(kafka, [`${prefix}.new`])
    await kafka.produce(`${prefix}.new`, [{ value: '' }])
    await waitFor('the new topic to be found', () => ledger.handled.size === 3)
    t.strictSame([...new Set(ledger.entries.map(({ topic }) => topic))].sort(), [...topics, `${prefix}.new`])
    t.strictSame(await assigned(kafka, group), [...topics, `${prefix}.new`].map(topic => `${topic}/0`), 'the group says the same')
    await gateway.waitUntilReady(3)

    await kafka.deleteTopic(topics[0]!)
    await waitFor('a topic that is gone to be given up', async () => (await gateway.readiness()).assignedPartitions === 2)
    await kafka.produce(topics[1]!, [{ value: '' }])
    await waitFor('the others to go on', () => ledger.handled.size === 4)
    await gateway.waitUntilReady(2)
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
  })

  t.test(`a new topic that a pattern finds takes nothing away from a member, and two share it: ${name}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const prefix = uniqueName('pattern')
    await kafka.createTopic(`${prefix}.a`, { partitions: 4 })
    const setting = await consuming(t, kafka, `^${prefix}`, { ...env, KAFKA_DEAD_LETTER_TOPIC: 'off' })
    const { gateway, ledger, group } = setting
    await gateway.waitUntilReady(4)
    const revoked = () => gateway.metric('sluice_consumer_rebalances_total', 'revoked')
    const before = await revoked()
    const written: { topic: string, partition: number, offset: number }[] = []
    const produce = async (topic: string) => {
      const places = await kafka.produce(topic, Array.from({ length: 40 }, (_, n) => ({ key: `${n}`, value: '' })))
      written.push(...places.map(place => ({ topic, ...place })))
    }
    await produce(`${prefix}.a`)
    await kafka.createTopic(`${prefix}.b`, { partitions: 4 })
    await waitFor('the new topic to be found', async () => {
      await produce(`${prefix}.a`)
      return (await gateway.readiness()).assignedPartitions === 8
    })
    if (name !== 'range (eager)') t.equal(await revoked(), before)
    await produce(`${prefix}.b`)
    await waitFor('everything to be handled', () => ledger.handled.size === written.length)
    t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })

    const second = await startGateway({
      kafka,
      handler: 'ledger.js',
      properties,
      env: { KAFKA_GROUP_ID: group, KAFKA_TOPIC: `^${prefix}`, KAFKA_DEAD_LETTER_TOPIC: 'off', LEDGER_FILE: ledger.file, ...env }
    })
    t.teardown(() => second.kill())
    await second.waitUntilReady(4)
    await kafka.createTopic(`${prefix}.c`, { partitions: 4 })
    await waitFor('all 12 partitions to be owned', async () => (await assigned(kafka, group)).length === 12)
    for (const topic of ['a', 'b', 'c']) await produce(`${prefix}.${topic}`)
    await waitFor('everything to be handled', () => ledger.handled.size === written.length, { timeoutMs: 20_000 })
    for (const one of [gateway, second]) t.strictSame(await one.stop(), { code: 0, signal: null })
    t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  })

  t.test(`of a partition that is added nothing is lost: ${name}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(uniqueName('growing'), { partitions: 1 })
    const { gateway, ledger, group } = await consuming(t, kafka, topic, { ...env, KAFKA_DEAD_LETTER_TOPIC: 'off' })
    await gateway.waitUntilReady(1)
    await addPartitions(kafka, topic, 4)
    const written: { topic: string, partition: number, offset: number }[] = []
    const produce = async () => {
      const places = await kafka.produce(topic, Array.from({ length: 40 }, (_, n) => ({ value: '', partition: n % 4 })))
      written.push(...places.map(place => ({ topic, ...place })))
    }
    // Before it is noticed, while it is, and afterwards.
    await waitFor('its leaders', () => kafka.endOffsets(topic).then(ends => ends.length === 4, () => false))
    await waitFor('the new partitions to be assigned', async () => {
      await produce()
      return (await assigned(kafka, group)).length === 4
    })
    await gateway.waitUntilReady(4)
    await produce()
    await waitFor('everything to be handled', () => ledger.handled.size === written.length)
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
    t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
    const committed = await Promise.all([0, 1, 2, 3].map(partition => kafka.committedOffset(group, topic, partition)))
    t.strictSame(committed, await kafka.endOffsets(topic))
  })

  t.test(`a pattern that finds nothing yet is told by readiness, and goes to work when there is something: ${name}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const prefix = uniqueName('pattern')
    await kafka.createTopic(`${prefix}.a.dlq`)
    const { gateway, ledger } = await consuming(t, kafka, `^${prefix}`, env)
    t.equal(await gateway.waitForReason(/no topic matches/), `no topic matches the pattern '^${prefix}' of KAFKA_TOPIC yet`)
    await kafka.createTopic(`${prefix}.a`)
    await kafka.produce(`${prefix}.a`, [{ value: '' }])
    await gateway.waitUntilReady(1)
    await waitFor('it to be handled', () => ledger.handled.size === 1)
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
  })
}

t.test('a pattern does not find the one dead-letter topic that is configured', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const prefix = uniqueName('pattern')
  for (const topic of [`${prefix}.a`, `${prefix}.failed`, `${prefix}-failed`]) await kafka.createTopic(topic)
  const { gateway, group } = await consuming(t, kafka, `^${prefix}`, { KAFKA_DEAD_LETTER_TOPIC: `${prefix}.failed` })
  await gateway.waitUntilReady(2)
  t.strictSame(await assigned(kafka, group), [`${prefix}-failed/0`, `${prefix}.a/0`])
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

t.test('a topic that is named is consumed, whatever patterns beside it leave out', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const prefix = uniqueName('pattern')
  for (const topic of [`${prefix}.a`, `${prefix}.b.dlq`, `${prefix}.c.dlq`, `${prefix}.a.dlq`, `${prefix}.b.dlq.dlq`]) await kafka.createTopic(topic)
  const { gateway, group } = await consuming(t, kafka, `^${prefix},${prefix}.b.dlq`)
  await gateway.waitUntilReady(2)
  t.strictSame(await assigned(kafka, group), [`${prefix}.a/0`, `${prefix}.b.dlq/0`])
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

t.test('a new topic is found within the 10 s that are the default', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const prefix = uniqueName('pattern')
  await kafka.createTopic(`${prefix}.a`)
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    env: { KAFKA_GROUP_ID: prefix, KAFKA_TOPIC: `^${prefix}`, KAFKA_DEAD_LETTER_TOPIC: 'off', LEDGER_FILE: ledger.file }
  })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(1)
  await kafka.createTopic(`${prefix}.b`)
  await kafka.produce(`${prefix}.b`, [{ value: '' }])
  await waitFor('it to be handled', () => ledger.handled.size === 1, { timeoutMs: 20_000 })
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})
