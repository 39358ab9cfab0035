import t, { type Test } from 'tap'
import { startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, noOwnKafka, sharedKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { Ledger, countHandled } from '../support/ledger.js'

t.setTimeout(180_000)
t.jobs = 2

interface Setting { gateway: Gateway, ledger: Ledger }

async function consuming (t: Test, kafka: Kafka, group: string, topic: string, env: GatewayOptions['env'] = {}): Promise<Setting> {
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
      LEDGER_FILE: ledger.file,
      LEDGER_MAX_MS: 1,
      ...env
    }
  })
  t.teardown(() => gateway.kill())
  return { gateway, ledger }
}

interface ConsumerState { partitions: { topic: string, partition: number, commitOffset: number }[] }

const stateOf = async (gateway: Gateway) => await (await gateway.get('/consumer')).json() as ConsumerState

/** Until all partitions are assigned, and their positions known: then `latest` has found where it begins. */
async function waitForPositions (gateway: Gateway, partitions: number): Promise<void> {
  await waitFor('the positions', async () => {
    const state = await stateOf(gateway)
    return state.partitions.length === partitions && state.partitions.every(({ commitOffset }) => commitOffset >= 0)
  })
}

async function reachesTheEnd (t: Test, kafka: Kafka, { gateway, ledger }: Setting, group: string, topic: string): Promise<void> {
  const ends = await kafka.endOffsets(topic, 'read_committed')
  const committed = () => Promise.all(ends.map((_, partition) => kafka.committedOffset(group, topic, partition)))
  await waitFor('the end to be committed', async () => (await committed()).every((offset, partition) => offset === ends[partition]))
  await waitFor('a lag of 0 on /metrics', async () => await gateway.metric('sluice_consumer_lag_records', `topic="${topic}"`) === 0)
  t.strictSame(await committed(), ends, 'the committed offsets are where the partitions end')
  const readable = (await kafka.readAll(topic)).map(({ partition, offset }) => ({ topic, partition, offset }))
  t.strictSame(countHandled(ledger, readable), { missing: [], repeated: [], unknown: 0 }, 'and what can be read was handled, once')
}

t.test('committed and aborted transactions leave no lag, and nothing aborted is handled', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('transactions'), { partitions: 2 })
  for (let n = 0; n < 8; n++) {
    const records = Array.from({ length: 1 + n * 3 }, (_, i) => ({ key: `key-${i}`, value: `${n}`, partition: i % 2 }))
    await kafka.produceInTransaction(topic, records, { commit: n % 3 !== 1 })
  }
  // What stands at the end of a partition is markers and aborted records only.
  await kafka.produceInTransaction(topic, [{ value: 'aborted', partition: 0 }, { value: 'aborted', partition: 1 }], { commit: false })
  const group = uniqueName('transactions')
  const setting = await consuming(t, kafka, group, topic)
  await reachesTheEnd(t, kafka, setting, group, topic)

  await kafka.produceInTransaction(topic, [{ value: 'aborted', partition: 0 }], { commit: false })
  await reachesTheEnd(t, kafka, setting, group, topic)
  await kafka.produceInTransaction(topic, [{ value: 'more', partition: 1 }])
  await waitFor('the newest to be handled', async () => setting.ledger.handled.size === (await kafka.readAll(topic)).length)
  await reachesTheEnd(t, kafka, setting, group, topic)
  t.strictSame(await setting.gateway.stop(), { code: 0, signal: null })
})

t.test('gaps that compaction left hold nothing back', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka({ properties: { 'log.cleaner.backoff.ms': 200 } })
  t.teardown(() => kafka.stop())
  const config = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': 0.01, 'segment.ms': 100, 'max.compaction.lag.ms': 100 }
  const topic = await kafka.createTopic(uniqueName('compacted'), { config })
  await kafka.produce(topic, Array.from({ length: 300 }, (_, i) => ({ key: `key-${(i * i) % 37}`, value: `${i}` })))
  await waitFor('the log to be compacted', async () => {
    // The segment that is written to is never compacted; each of these begins another one.
    await kafka.produce(topic, [{ key: 'last', value: '' }])
    return (await kafka.readAll(topic)).length < 100
  }, { timeoutMs: 30_000, everyMs: 200 })
  const group = uniqueName('compacted')
  const setting = await consuming(t, kafka, group, topic)
  await waitFor('the last to be handled', () => setting.ledger.handled.size > 0)
  await waitFor('the end to be committed', async () => await kafka.committedOffset(group, topic) === (await kafka.endOffsets(topic))[0])
  const offsets = setting.ledger.entries.filter(({ what }) => what === 'end').map(({ offset }) => offset).sort((a, b) => a - b)
  t.ok(offsets.length < offsets.at(-1)! - 100, `${offsets.length} records up to offset ${offsets.at(-1)}`)
  await waitFor('a lag of 0 on /metrics', async () => await setting.gateway.metric('sluice_consumer_lag_records') === 0)
  const { missing, repeated } = countHandled(setting.ledger, (await kafka.readAll(topic)).map(place => ({ topic, ...place })))
  t.strictSame({ missing, repeated }, { missing: [], repeated: [] })
  t.strictSame(await setting.gateway.stop(), { code: 0, signal: null })
})

t.test('a group without offsets begins where KAFKA_AUTO_OFFSET_RESET says: earliest, latest', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  for (const [reset, expected] of [['earliest', 15], ['latest', 5]] as const) {
    const topic = await kafka.createTopic(uniqueName(reset), { partitions: 1 })
    await kafka.produce(topic, Array.from({ length: 10 }, () => ({ value: 'before' })))
    const group = uniqueName(reset)
    const { gateway, ledger } = await consuming(t, kafka, group, topic, { KAFKA_AUTO_OFFSET_RESET: reset })
    await waitForPositions(gateway, 1)
    await kafka.produce(topic, Array.from({ length: 5 }, () => ({ value: 'after' })))
    await waitFor('the end to be committed', async () => await kafka.committedOffset(group, topic) === 15)
    t.equal(ledger.handled.size, expected, reset)
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
  }
})

t.test('with none, a group without offsets handles nothing and readiness says why; offsets that are there are honoured', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('none'))
  await kafka.produce(topic, Array.from({ length: 10 }, () => ({ value: '' })))
  const group = uniqueName('none')
  const { gateway, ledger } = await consuming(t, kafka, group, topic, { KAFKA_AUTO_OFFSET_RESET: 'none' })
  await gateway.waitForReason(/no valid offset in this group, and KAFKA_AUTO_OFFSET_RESET=none/)
  await kafka.produce(topic, [{ value: '' }])
  t.equal((await gateway.readiness()).status, 503, 'it does not pass by itself')
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  t.equal(ledger.handled.size, 0)
  t.equal(await kafka.committedOffset(group, topic), null, 'and it commits nothing')

  await kafka.commitOffset(group, topic, 0, 4)
  const again = await consuming(t, kafka, group, topic, { KAFKA_AUTO_OFFSET_RESET: 'none' })
  await again.gateway.waitUntilReady()
  await waitFor('the rest to be handled', () => again.ledger.handled.size === 7)
  t.strictSame(again.ledger.entries.filter(({ what }) => what === 'end').map(({ offset }) => offset).sort((a, b) => a - b), [4, 5, 6, 7, 8, 9, 10])
  t.strictSame(await again.gateway.stop(), { code: 0, signal: null })
  t.equal(await kafka.committedOffset(group, topic), 11)
})
