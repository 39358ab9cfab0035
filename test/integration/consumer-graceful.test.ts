import { randomInt } from 'node:crypto'
import t from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled, orderViolations } from '../support/ledger.js'
import { writeKeyed } from '../support/load.js'

t.setTimeout(180_000)
t.jobs = 2

for (const { order, records } of [{ order: 'partition', records: 600 }, { order: 'key', records: 3000 }] as const) {
  t.test(`stopped in the middle and started again, every record is handled over both lives (order: ${order})`, { skip: noKafka }, async t => {
    const seed = randomInt(1e9)
    t.comment(`seed ${seed}`)
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(uniqueName('graceful'), { partitions: 3 })
    const written = await writeKeyed(kafka, topic, records, 50)
    const ledger = new Ledger()
    t.teardown(() => ledger.remove())
    const group = uniqueName('graceful')
    const start = () => startGateway({
      kafka,
      handler: 'ledger.js',
      env: {
        KAFKA_GROUP_ID: group,
        KAFKA_TOPIC: topic,
        KAFKA_ORDER: order,
        KAFKA_MAX_PROC_COUNT: 25,
        KAFKA_DEAD_LETTER_TOPIC: 'off',
        LEDGER_FILE: ledger.file,
        LEDGER_SEED: seed,
        LEDGER_MAX_MS: 15,
        LEDGER_SLOW_SHARE: 0.01,
        LEDGER_SLOW_MS: 400
      }
    })
    const committedOffsets = async (partitions: number) =>
      Promise.all(Array.from({ length: partitions }, (_, partition) => kafka.committedOffset(group, topic, partition)))
    const watch = new CommitWatch(kafka, group, ledger)
    t.teardown(() => watch.abandon())
    const first = await start()
    t.teardown(() => first.kill())
    await waitFor('a third to be handled', () => ledger.handled.size >= records / 3, { timeoutMs: 30_000, everyMs: 5 })
    const startedAt = performance.now()
    t.strictSame(await first.stop(), { code: 0, signal: null })
    t.ok(performance.now() - startedAt < 5000, 'it ends by itself soon after the handlers in flight')
    t.ok(ledger.handled.size < records, `${ledger.handled.size} of ${records} in the first life`)
    t.strictSame(ledger.entries.filter(({ what }) => what === 'start').length, ledger.handled.size, 'whatever was started was finished')
    t.match(await kafka.describeGroup(group), { state: 'Empty', members: [] }, 'it has left its group')
    const firstUnhandled = [0, 1, 2].map(partition => {
      let offset = 0
      while (ledger.handled.has(`${topic}/${partition}/${offset}`)) offset++
      return offset
    })
    t.strictSame(await committedOffsets(3), firstUnhandled, 'its last commit says all that a commit offset can say')

    const second = await start()
    t.teardown(() => second.kill())
    await waitFor('everything to be handled', () => ledger.handled.size >= records, { timeoutMs: 30_000 })
    t.strictSame(await second.stop(), { code: 0, signal: null })
    await watch.stop()

    const { missing, repeated, unknown } = countHandled(ledger, written)
    t.strictSame({ missing, unknown }, { missing: [], unknown: 0 })
    t.strictSame(repeated, [], 'none twice')
    t.strictSame(orderViolations(ledger.entries), [])
    t.strictSame(watch.violations, [])
    t.strictSame(await committedOffsets(3), await kafka.endOffsets(topic))
  })
}

for (const { first, second, code } of [
  { first: 'SIGTERM', second: 'SIGTERM', code: 143 },
  { first: 'SIGTERM', second: 'SIGINT', code: 130 }
] as const) {
  t.test(`a second signal (${first}, ${second}) ends it at once with ${code}, and what was in flight is not committed`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(uniqueName('signal'))
    await kafka.produce(topic, [{ key: 'a', value: '' }])
    const ledger = new Ledger()
    t.teardown(() => ledger.remove())
    const group = uniqueName('signal')
    const gateway = await startGateway({
      kafka,
      handler: 'ledger.js',
      env: { KAFKA_GROUP_ID: group, KAFKA_TOPIC: topic, KAFKA_DEAD_LETTER_TOPIC: 'off', LEDGER_FILE: ledger.file, LEDGER_MIN_MS: 15_000, LEDGER_MAX_MS: 15_000 }
    })
    t.teardown(() => gateway.kill())
    await waitFor('the handler to be in flight', () => ledger.entries.length > 0)
    gateway.signal(first)
    await gateway.waitForLog('draining the consumer')
    const startedAt = performance.now()
    gateway.signal(second)
    t.strictSame(await gateway.exited, { code, signal: null })
    t.ok(performance.now() - startedAt < 2000)
    t.equal(ledger.handled.size, 0)
    t.equal(await kafka.committedOffset(group, topic), 0, 'where it began')
  })
}

t.test('handlers that outlast the drain are aborted; their records are delivered again', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('outlast'))
  const written = (await kafka.produce(topic, [{ key: 'a', value: '' }, { key: 'b', value: '' }])).map(place => ({ topic, ...place }))
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('outlast')
  const start = (ms: number) => startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_DRAIN_TIMEOUT_MS: 500,
      LEDGER_FILE: ledger.file,
      LEDGER_MIN_MS: ms,
      LEDGER_MAX_MS: ms
    }
  })
  const first = await start(60_000)
  t.teardown(() => first.kill())
  await waitFor('both to be in flight', () => ledger.entries.length === 2)
  const startedAt = performance.now()
  t.strictSame(await first.stop(), { code: 0, signal: null })
  t.ok(performance.now() - startedAt < 6000)
  t.equal(await kafka.committedOffset(group, topic), 0, 'neither is committed')
  const second = await start(0)
  t.teardown(() => second.kill())
  await waitFor('both to be handled', () => ledger.handled.size === 2)
  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  t.strictSame(await second.stop(), { code: 0, signal: null })
  t.equal(await kafka.committedOffset(group, topic), 2)
})
