import t, { type Test } from 'tap'
import { buildApp } from '../../src/app.js'
import { loadConfig } from '../../src/config.js'
import type { Handler } from '../../src/engine/types.js'
import { noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'

t.setTimeout(180_000)
t.jobs = 2

interface Handled { readonly partition: number, readonly offset: number, readonly value: string }

/** The whole gateway in this process, since controls have no routes yet. */
async function setUp (t: Test, kafka: Kafka, { partitions = 2, env = {}, handler }: {
  partitions?: number, env?: Record<string, string>, handler?: Handler
} = {}) {
  const topic = await kafka.createTopic(uniqueName('controls'), { partitions })
  await kafka.createTopic(`${topic}.dlq`)
  const group = uniqueName('controls')
  const handled: Handled[] = []
  const start = async () => {
    const { config } = loadConfig({
      KAFKA_BOOTSTRAP_SERVERS: kafka.bootstrapServers,
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_COMMIT_INTERVAL_SECONDS: '0.1',
      ...env
    })
    const app = await buildApp(config, {
      logger: false,
      handler: async (record, attempt) => {
        await handler?.(record, attempt)
        handled.push({ partition: record.partition, offset: record.offset, value: String(record.value) })
      }
    })
    t.teardown(() => app.close())
    await app.ready()
    await waitFor('the assignment', () => app.consumers[0].state.partitions.length > 0, { timeoutMs: 30_000 })
    return app
  }
  const committed = async () => (await kafka.committedOffsets(group)).reduce((sum, { offset }) => sum + offset, 0)
  const offsetsOf = (partition: number, from: number) => {
    return handled.slice(from).filter(one => one.partition === partition).map(({ offset }) => offset)
  }
  return { topic, group, handled, start, committed, offsetsOf }
}

const some = (count: number, partition: number, timestamp?: number) =>
  Array.from({ length: count }, (_, i) => ({ value: `${i}`, partition, ...(timestamp !== undefined && { timestamp: timestamp + i }) }))
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

t.test('seek by offset, time, beginning and end, in the middle of traffic; the new place is what the group holds', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const { topic, group, handled, start, committed, offsetsOf } = await setUp(t, kafka)
  const at = Date.now() - 3_600_000
  await kafka.produce(topic, [...some(100, 0, at), ...some(100, 1, at)])
  const app = await start()
  const { controls } = app.consumers[0]
  await waitFor('all to be committed', async () => await committed() === 200)

  let before = handled.length
  t.same(await controls.seek({ topic, partition: 0 }, 40), [{ topic, partition: 0, offset: 40 }])
  await waitFor('the replay', () => handled.length === before + 60)
  t.same(offsetsOf(0, before).sort((a, b) => a - b), range(40, 100), 'from there on, each once')
  t.same(offsetsOf(1, before), [], 'the other partition goes on where it was')

  before = handled.length
  t.same((await controls.seek({ topic }, { timestamp: at + 90 })).map(({ offset }) => offset), [90, 90])
  await waitFor('the last ten of both', () => handled.length === before + 20)

  before = handled.length
  await controls.seek({}, 'beginning')
  await waitFor('everything again', () => handled.length === before + 200)
  await waitFor('the commit', async () => await committed() === 200)

  // Backwards, and the commit tells so at once: whoever comes next begins there.
  await controls.pause({})
  await controls.seek({ topic, partition: 1 }, 10)
  await waitFor('the commit to go back', async () => await kafka.committedOffset(group, topic, 1) === 10)
  before = handled.length
  await kafka.produce(topic, some(50, 1))
  t.same(await controls.seek({ topic, partition: 1 }, 'end'), [{ topic, partition: 1, offset: 150 }])
  await controls.resume({})
  await kafka.produce(topic, some(1, 1))
  await waitFor('what came after the end', () => handled.length > before)
  t.same(offsetsOf(1, before), [150], 'and nothing before it')

  for (const [position, wrong] of [[152, /outside of what .* holds: 0 to 151/], [-1, /a position is an offset/], [1.5, /a position is/]] as const) {
    await t.rejects(controls.seek({ topic, partition: 1 }, position), { kind: 'invalid', message: wrong })
  }
  await t.rejects(controls.seek({ topic: 'another' }, 'end'), { name: 'ControlError', message: 'no partition of this selection is assigned to this process' })
  await t.rejects(controls.seek({ partition: 1 }, 'end'), { message: 'a partition can only be selected together with its topic' })
  await waitFor('the commit', async () => await kafka.committedOffset(group, topic, 1) === 151)
})

t.test('a seek under load: nothing that was fetched before it is handled, and no key runs twice at once', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  let running = 0
  const { topic, handled, start, committed } = await setUp(t, kafka, {
    partitions: 1,
    env: { KAFKA_ORDER: 'partition' },
    handler: async () => {
      t.equal(++running, 1)
      await new Promise(resolve => { setTimeout(resolve, 1) })
      running--
    }
  })
  await kafka.produce(topic, some(1000, 0))
  const app = await start()
  for (const target of [500, 20, 700, 0]) {
    const from = handled.length
    await waitFor('some to be handled', () => handled.length >= from + 30)
    await app.consumers[0].controls.seek({ topic }, target)
    const before = handled.length
    await waitFor('some more', () => handled.length >= before + 30)
    // One that was in flight may still end; then it goes on from the new place.
    const offsets = handled.slice(before).map(({ offset }) => offset)
    const first = offsets.indexOf(target)
    t.ok(first === 0 || first === 1, `${offsets.slice(0, 4)} after a seek to ${target}`)
    t.same(offsets.slice(first), range(target, target + offsets.length - first))
  }
  await waitFor('the end', async () => await committed() === 1000, { timeoutMs: 30_000 })
})

t.test('a pause holds over a rebalance, for partitions that come later as well; a new limit applies at once', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  let running = 0
  let peak = 0
  const { topic, handled, start } = await setUp(t, kafka, {
    env: { KAFKA_MAX_PROC_COUNT: '2', KAFKA_ORDER: 'unordered' },
    handler: async () => {
      peak = Math.max(peak, ++running)
      await new Promise(resolve => { setTimeout(resolve, 5) })
      running--
    }
  })
  const first = await start()
  t.same((await first.consumers[0].controls.pause({ topic, partition: 0 })).length, 1)
  await first.consumers[0].controls.pause({ topic, partition: 1 })
  await first.consumers[0].controls.resume({ topic, partition: 1 })
  await kafka.produce(topic, [...some(100, 0), ...some(100, 1)])
  await waitFor('the partition that is not paused', () => handled.length === 100)
  t.ok(handled.every(({ partition }) => partition === 1))
  t.equal(peak, 2)
  // Where partitions end is asked every five seconds.
  await waitFor('the lag of the other one', () => first.consumers[0].state.partitions.find(({ partition }) => partition === 0)!.lag === 100)
  t.match(first.consumers[0].state.partitions.find(({ partition }) => partition === 0), { suspended: true })

  // Another member takes one of them, and leaves it again.
  const second = await start()
  const partitionsOf = (app: typeof first) => app.consumers[0].state.partitions.length
  await waitFor('both to have one', () => partitionsOf(first) === 1 && partitionsOf(second) === 1, { timeoutMs: 30_000 })
  await second.close()
  await waitFor('the first to have both again', () => partitionsOf(first) === 2, { timeoutMs: 30_000 })
  t.equal(first.consumers[0].state.partitions.find(({ partition }) => partition === 0)!.suspended, true)

  const before = handled.length
  peak = 0
  first.consumers[0].controls.limit = 20
  await first.consumers[0].controls.resume({ topic, partition: 0 })
  await kafka.produce(topic, some(100, 1))
  await waitFor('everything', () => handled.length === before + 200, { timeoutMs: 30_000 })
  t.ok(peak > 2 && peak <= 20, `${peak} at once`)
})
