import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startGateway, type Gateway } from '../support/gateway.js'
import { noOwnKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'

t.setTimeout(300_000)

const PARTITIONS = 4
const POISON = 50

interface Course { readonly kafka: Kafka, readonly topic: string, readonly out: string, readonly group: string }

/** As test/support/handlers/transform.js answers. */
const expectedOf = (partition: number, offset: number): string[] =>
  Array.from({ length: offset % 10 === 9 ? 2 : offset % 10 === 8 ? 0 : 1 }, (_, n) => `${partition}/${offset}/${n}`)
const isPoison = (offset: number) => offset % POISON === 5
const isLarge = (offset: number) => offset % 100 === 6

async function course (t: Test, config: Record<string, string> = {}): Promise<Course> {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const topic = await kafka.createTopic(uniqueName('in'), { partitions: PARTITIONS })
  const out = await kafka.createTopic(uniqueName('out'), { partitions: 3, config })
  await kafka.createTopic(`${topic}.dlq`)
  return { kafka, topic, out, group: uniqueName('exactly-once') }
}

async function start (t: Test, { kafka, topic, out, group }: Course, env: Record<string, string | number> = {}): Promise<Gateway> {
  const gateway = await startGateway({
    kafka,
    handler: 'transform.js',
    properties: { 'heartbeat.interval.ms': 500 },
    env: {
      KAFKA_DELIVERY: 'exactly-once',
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_SESSION_TIMEOUT_MS: 6000,
      KAFKA_MAX_PROC_COUNT: 32,
      KAFKA_TRANSACTION_TIMEOUT_MS: 10_000,
      TRANSFORM_TOPIC: out,
      TRANSFORM_POISON: POISON,
      LOG_LEVEL: 'info',
      ...env
    }
  })
  t.teardown(() => gateway.kill())
  return gateway
}

const write = ({ kafka, topic }: Course, count: number) =>
  kafka.produce(topic, Array.from({ length: count }, (_, i) => ({ key: `key-${i % 97}`, value: `${i}` })))

const committed = async ({ kafka, group }: Course) => (await kafka.committedOffsets(group)).reduce((sum, { offset }) => sum + offset, 0)

/** What a reader with read_committed sees is what each record's handler answered, once, in the order of its key. */
async function check (t: Test, { kafka, topic, out }: Course, isRefused = (_offset: number) => false): Promise<void> {
  const ends = await kafka.endOffsets(topic)
  const wanted = new Set<string>()
  const letters = new Set<string>()
  for (const [partition, end] of ends.entries()) {
    for (let offset = 0; offset < end; offset++) {
      if (isPoison(offset) || isRefused(offset)) letters.add(`${partition}/${offset}`)
      else for (const one of expectedOf(partition, offset)) wanted.add(one)
    }
  }
  const seen = (await kafka.readAll(out)).map(({ key, value }) => ({ key: String(key), value: String(value) }))
  const counts = new Map<string, number>()
  for (const { value } of seen) counts.set(value, (counts.get(value) ?? 0) + 1)
  t.strictSame([...wanted].filter(one => !counts.has(one)).slice(0, 10), [], 'nothing is missing')
  t.strictSame([...counts].filter(([, count]) => count > 1).slice(0, 10), [], 'nothing is there twice')
  t.strictSame([...counts.keys()].filter(one => !wanted.has(one)), [], 'and nothing else')
  const last = new Map<string, number>()
  const disordered: string[] = []
  for (const { key, value } of seen) {
    const offset = Number(value.split('/')[1])
    if (offset < (last.get(key) ?? -1)) disordered.push(`${key}: ${value} after ${last.get(key)}`)
    last.set(key, offset)
  }
  t.strictSame(disordered.slice(0, 10), [], 'in the order of each key')

  const dead = (await kafka.readAll(`${topic}.dlq`)).map(({ headers }) => {
    const header = (name: string) => String(headers.find(([one]) => one === name)?.[1])
    return `${header('sluice-original-partition')}/${header('sluice-original-offset')}`
  })
  t.strictSame(dead.toSorted(), [...letters].toSorted(), 'each dead letter once')
}

t.test('an ordinary life: each result once, in order, and the end of it all is committed', { skip: noOwnKafka }, async t => {
  const one = await course(t)
  const gateway = await start(t, one)
  await write(one, 3000)
  await waitFor('everything to be committed', async () => await committed(one) === 3000, { timeoutMs: 60_000 })
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await check(t, one)
})

t.test('gateways killed, ended, joined; brokers stopped and killed: each result once', { skip: noOwnKafka }, async t => {
  const one = await course(t)
  const { kafka } = one
  const total = 6000
  let written = 0
  // There is always more than is waited for: whoever joins finds something to do, and whoever is killed is in the middle of it.
  const goals = async (share: number) => {
    const wanted = Math.min(total, Math.round((share + 0.15) * total))
    if (wanted > written) await write(one, wanted - written)
    written = wanted
    await waitFor(`${share} of all`, async () => await committed(one) >= share * total, { timeoutMs: 90_000, everyMs: 20 })
  }

  let gateway = await start(t, one)
  await goals(0.1)
  await gateway.kill()
  gateway = await start(t, one)
  await goals(0.2)
  const other = await start(t, one)
  await other.waitUntilReady(1)
  await goals(0.35)
  await gateway.kill()
  await goals(0.45)
  gateway = await start(t, one)
  await goals(0.5)
  t.strictSame(await other.stop(), { code: 0, signal: null })
  await goals(0.6)
  await kafka.broker(1).pause()
  await delay(5_000)
  await kafka.broker(1).resume()
  await goals(0.75)
  await kafka.broker(1).kill()
  await delay(500)
  await kafka.broker(1).start()
  await goals(0.85)
  await gateway.kill()
  gateway = await start(t, one)
  await goals(1)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await check(t, one)
})

t.test('two with one transactional id, and records that the topic refuses: each result or its dead letter once', { skip: noOwnKafka }, async t => {
  const one = await course(t, { 'max.message.bytes': '3000' })
  const total = 800
  const env = { KAFKA_TRANSACTIONAL_ID_PREFIX: uniqueName('same'), TRANSFORM_LARGE: 100, TRANSFORM_MAX_MS: 5 }
  const gateways = [await start(t, one, env)]
  await gateways[0]!.waitUntilReady(PARTITIONS)
  await write(one, total / 2)
  await waitFor('some', async () => await committed(one) >= 50, { timeoutMs: 60_000 })
  gateways.push(await start(t, one, env))
  await write(one, total / 2)
  let written = total
  // Who has nothing to commit does not hear of the other one.
  await waitFor('one to hear of the other', async () => {
    await write(one, 10)
    written += 10
    return gateways.some(({ lines }) => lines.some(({ msg }) => msg.startsWith('another process uses the same transactional id')))
  }, { timeoutMs: 60_000, everyMs: 100 })
  await waitFor('everything to be committed', async () => await committed(one) === written, { timeoutMs: 90_000 })
  for (const gateway of gateways) t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await check(t, one, isLarge)
})
