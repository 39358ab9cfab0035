import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noOwnKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled, orderViolations } from '../support/ledger.js'
import { load, restless } from '../support/load.js'

t.setTimeout(240_000)
t.jobs = 2

const PROCESSES = 3
const PARTITIONS = 6

interface Variant { env: GatewayOptions['env'], properties?: Record<string, number>, instances: boolean }

const classic = { env: { KAFKA_SESSION_TIMEOUT_MS: 30_000 }, properties: { 'heartbeat.interval.ms': 300 } }
const kip848 = { env: { KAFKA_GROUP_PROTOCOL: 'consumer' } }
const variants: Record<string, Variant> = {
  'cooperative-sticky': { ...classic, instances: false },
  'the protocol of KIP-848': { ...kip848, instances: false },
  'cooperative-sticky, static members': { ...classic, instances: true },
  'the protocol of KIP-848, static members': { ...kip848, instances: true }
}

let own: Promise<Kafka> | undefined

/** One broker for all, whose members under KIP-848 hear of a rebalance soon. */
function kafkaOfThisFile (): Promise<Kafka> {
  own ??= startKafka({ properties: { 'group.consumer.min.heartbeat.interval.ms': 300, 'group.consumer.heartbeat.interval.ms': 500 } })
  return own
}
t.teardown(async () => (await own)?.stop())

for (const [name, variant] of Object.entries(variants)) {
  t.test(`a rolling restart under load handles nothing twice and loses nothing: ${name}`, { skip: noOwnKafka }, t => roll(t, name, variant))
}

async function roll (t: Test, name: string, { env, properties, instances }: Variant): Promise<void> {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await kafkaOfThisFile()
  const group = uniqueName('rolling')
  const topic = await kafka.createTopic(group, { partitions: PARTITIONS })
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const start = async (n: number) => {
    const gateway = await startGateway({
      kafka,
      handler: 'ledger.js',
      ...(properties && { properties }),
      env: {
        KAFKA_GROUP_ID: group,
        KAFKA_TOPIC: topic,
        ...(instances && { KAFKA_GROUP_INSTANCE_ID: `gateway-${n}` }),
        KAFKA_DEAD_LETTER_TOPIC: 'off',
        KAFKA_COMMIT_INTERVAL_SECONDS: 0.3,
        ...restless(ledger, seed),
        ...env
      }
    })
    t.teardown(() => gateway.kill())
    return gateway
  }

  const shared = async () => {
    const { state, members } = await kafka.describeGroup(group)
    return state === 'Stable' && members.length === PROCESSES && members.every(({ partitions }) => partitions.length === PARTITIONS / PROCESSES)
  }
  const handledBy = (gateway: Gateway) => ledger.entries.filter(({ what, pid }) => what === 'end' && pid === gateway.pid).length
  const allWork = async (gateways: readonly Gateway[]) => {
    await waitFor('the partitions to be shared out', shared, { timeoutMs: 30_000 })
    const before = gateways.map(handledBy)
    await waitFor('all to work', () => gateways.every((gateway, n) => handledBy(gateway) > before[n]! + 30), { timeoutMs: 30_000 })
  }

  const watch = new CommitWatch(kafka, group, ledger)
  t.teardown(() => watch.abandon())
  const gateways = await Promise.all(Array.from({ length: PROCESSES }, (_, n) => start(n)))
  const { written, stop } = load(t, kafka, topic, { everyMs: 40, more: i => ({ partition: i % PARTITIONS }) })
  await allWork(gateways)
  const rolls: { from: number, to: number, gone: number }[] = []
  for (const [n, gateway] of gateways.entries()) {
    const from = Date.now()
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
    gateways[n] = await start(n)
    await allWork(gateways)
    rolls.push({ from, to: Date.now(), gone: gateway.pid })
  }
  await stop()
  await waitFor('everything to be handled', () => ledger.handled.size >= written.length, { timeoutMs: 30_000 })
  for (const gateway of gateways) t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await watch.stop()

  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 }, 'nothing is lost, and nothing is handled twice')
  t.strictSame(orderViolations(ledger.entries), [], 'in order, over all processes')
  t.strictSame(watch.violations, [])
  t.ok(watch.seen > 20, `${watch.seen} commits were compared with what was handled`)
  const took = rolls.map(({ from, to }) => `${to - from} ms`).join(', ')
  const unmoved = longestPause(ledger, rolls, true)
  const moved = longestPause(ledger, rolls, false)
  t.comment(`${name}: ${written.length} records; the rolls took ${took}; longest pause of a partition that stayed where it was: ${unmoved} ms, of others ${moved} ms`)
}

/** The longest time, in milliseconds, in which nothing of a partition was handled while a process was exchanged. */
function longestPause ({ entries }: Ledger, rolls: readonly { from: number, to: number }[], stayed: boolean): number {
  let longest = 0
  for (const { from, to } of rolls) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const ends = entries.filter(entry => entry.what === 'end' && entry.partition === partition && entry.at >= from && entry.at <= to)
      if ((new Set(ends.map(({ pid }) => pid)).size === 1) !== stayed) continue
      for (let n = 1; n < ends.length; n++) longest = Math.max(longest, ends[n]!.at - ends[n - 1]!.at)
    }
  }
  return longest
}
