import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { GatewayEndedError, startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, noOwnKafka, sharedKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled } from '../support/ledger.js'

t.setTimeout(240_000)

/** Longer than a process takes to start on a slow machine: the first restart is to come before the session has ended. */
const SESSION_MS = 15_000
t.jobs = 2

const variants = {
  'cooperative-sticky': { env: { KAFKA_SESSION_TIMEOUT_MS: 30_000 }, properties: { 'heartbeat.interval.ms': 300 } },
  'range (eager)': {
    env: { KAFKA_SESSION_TIMEOUT_MS: 30_000, KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'range' }, properties: { 'heartbeat.interval.ms': 300 }
  },
  'the protocol of KIP-848': { env: { KAFKA_GROUP_PROTOCOL: 'consumer' } }
} satisfies Record<string, Partial<GatewayOptions>>

interface Group { readonly name: string, readonly topic: string, readonly ledger: Ledger, start (id: string, env?: GatewayOptions['env']): Promise<Gateway> }

async function group (t: Test, kafka: Kafka, variant: Partial<GatewayOptions>, partitions = 4): Promise<Group> {
  const name = uniqueName('static')
  const topic = await kafka.createTopic(name, { partitions })
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const start = async (id: string, env: GatewayOptions['env'] = {}) => {
    const gateway = await startGateway({
      kafka,
      handler: 'ledger.js',
      ...variant,
      env: {
        KAFKA_GROUP_ID: name,
        KAFKA_GROUP_INSTANCE_ID: id,
        KAFKA_TOPIC: topic,
        KAFKA_DEAD_LETTER_TOPIC: 'off',
        KAFKA_COMMIT_INTERVAL_SECONDS: 0.3,
        LEDGER_FILE: ledger.file,
        LEDGER_MAX_MS: 10,
        ...variant.env,
        ...env
      }
    })
    t.teardown(() => gateway.kill())
    return gateway
  }
  return { name, topic, ledger, start }
}

/** Produces until it is told to end; returns what was written. */
function load (t: Test, kafka: Kafka, topic: string): () => Promise<{ topic: string, partition: number, offset: number }[]> {
  const written: { topic: string, partition: number, offset: number }[] = []
  const ended = new AbortController()
  t.teardown(() => ended.abort())
  const feeding = (async () => {
    for (let n = 0; !ended.signal.aborted; n++) {
      const places = await kafka.produce(topic, Array.from({ length: 20 }, (_, i) => ({ key: `key-${(n * 7 + i) % 60}`, value: `${n}` })))
      written.push(...places.map(place => ({ topic, ...place })))
      await delay(50)
    }
  })()
  feeding.catch(() => {})
  return async () => {
    ended.abort()
    await feeding
    return written
  }
}

const handledBy = ({ ledger }: Group, { pid }: Gateway) => ledger.entries.filter(entry => entry.what === 'end' && entry.pid === pid).length

const partitionsOf = async (kafka: Kafka, { name }: Group): Promise<Record<string, number[]>> => {
  const { members } = await kafka.describeGroup(name)
  return Object.fromEntries(members.map(({ instanceId, partitions }) => [instanceId, partitions.map(({ partition }) => partition).sort()]))
}

const rebalances = (gateway: Gateway) => gateway.metric('sluice_consumer_rebalances_total')

for (const [name, variant] of Object.entries(variants)) {
  t.test(`a static member that restarts gets its partitions back, and the others notice nothing: ${name}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const members = await group(t, kafka, variant)
    const watch = new CommitWatch(kafka, members.name, members.ledger)
    t.teardown(() => watch.abandon())
    const endLoad = load(t, kafka, members.topic)
    const stays = await members.start('one')
    let restarted = await members.start('two')
    await waitFor('both to have half of the partitions', async () =>
      Object.values(await partitionsOf(kafka, members)).map(({ length }) => length).join() === '2,2', { timeoutMs: 30_000 })
    await waitFor('both to work', () => handledBy(members, stays) > 50 && handledBy(members, restarted) > 50, { timeoutMs: 20_000 })
    const before = await partitionsOf(kafka, members)
    const rebalancesBefore = await rebalances(stays)
    for (let n = 0; n < 2; n++) {
      t.strictSame(await restarted.stop(), { code: 0, signal: null })
      t.strictSame(await partitionsOf(kafka, members), before, 'while it is away, they are kept for it')
      restarted = await members.start('two')
      await waitFor('it to work', () => handledBy(members, restarted) > 50, { timeoutMs: 20_000 })
    }
    t.strictSame(await partitionsOf(kafka, members), before)
    t.equal(await rebalances(stays), rebalancesBefore, 'no rebalance for the other')
    const written = await endLoad()
    await waitFor('everything to be handled', () => members.ledger.handled.size >= written.length, { timeoutMs: 20_000 })
    for (const gateway of [stays, restarted]) t.strictSame(await gateway.stop(), { code: 0, signal: null })
    await watch.stop()
    t.strictSame(countHandled(members.ledger, written), { missing: [], repeated: [], unknown: 0 }, 'and nothing is handled twice')
    t.strictSame(watch.violations, [])
  })
}

t.test('a second process with the same id takes over: the first says so, commits nothing more and ends with exit code 1', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const members = await group(t, kafka, variants['cooperative-sticky'])
  const watch = new CommitWatch(kafka, members.name, members.ledger)
  t.teardown(() => watch.abandon())
  const endLoad = load(t, kafka, members.topic)
  const first = await members.start('one', { LOG_LEVEL: 'debug', LEDGER_MIN_MS: 5 })
  await waitFor('it to work', () => handledBy(members, first) > 100)
  const second = await members.start('one')
  t.strictSame(await first.exited, { code: 1, signal: null })
  const at = first.lines.findIndex(({ msg }) => msg === 'another member has this KAFKA_GROUP_INSTANCE_ID; nothing is consumed any more')
  t.match(first.lines[at], { level: 60, groupInstanceId: 'one', err: { message: /^KAFKA_GROUP_INSTANCE_ID 'one' belongs to another member/ } })
  t.notOk(first.lines.slice(at).some(({ msg }) => msg === 'offsets committed'), 'nothing is committed after that')
  t.ok(first.lines.slice(at).some(({ msg }) => msg === 'closed'), 'and it closes in good order')
  await waitFor('the second to work', () => handledBy(members, second) > 100)
  const written = await endLoad()
  await waitFor('everything to be handled', () => members.ledger.handled.size >= written.length, { timeoutMs: 20_000 })
  t.strictSame(await second.stop(), { code: 0, signal: null })
  await watch.stop()
  t.strictSame(countHandled(members.ledger, written).missing, [])
  t.strictSame(watch.violations, [])
})

t.test('under KIP-848 the second process with the same id is the one that says so and ends with exit code 1', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const members = await group(t, kafka, variants['the protocol of KIP-848'])
  const first = await members.start('one')
  await first.waitUntilReady(4)
  const second = await members.start('one').catch((error: unknown) => error) as Gateway | GatewayEndedError
  // It may end before it is ready for requests, or right after that.
  if (second instanceof GatewayEndedError) {
    t.equal(second.exit.code, 1)
    t.match(second.output, /KAFKA_GROUP_INSTANCE_ID 'one' belongs to another member/)
  } else {
    t.strictSame(await second.exited, { code: 1, signal: null })
    t.match(second.lines.find(({ level }) => level === 60), {
      groupInstanceId: 'one', err: { message: /^KAFKA_GROUP_INSTANCE_ID 'one' belongs to another member/ }
    })
  }
  await kafka.produce(members.topic, Array.from({ length: 20 }, () => ({ value: '' })))
  await waitFor('the first to go on', () => handledBy(members, first) === 20)
  t.equal((await first.readiness()).status, 200)
  t.strictSame(await first.stop(), { code: 0, signal: null })
})

t.test('under KIP-848, after SIGKILL, whoever restarts it until the session has ended gets it going', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka({
    properties: {
      'group.consumer.min.session.timeout.ms': 5000,
      'group.consumer.session.timeout.ms': SESSION_MS,
      'group.consumer.min.heartbeat.interval.ms': 500,
      'group.consumer.heartbeat.interval.ms': 1000
    }
  })
  t.teardown(() => kafka.stop())
  const members = await group(t, kafka, variants['the protocol of KIP-848'])
  const first = await members.start('one')
  await first.waitUntilReady(4)
  await first.kill()
  await kafka.produce(members.topic, Array.from({ length: 20 }, () => ({ value: '' })))
  const codes: (number | null)[] = []
  let last: Gateway | undefined
  // What a supervisor does: whenever it ends, start it again.
  const supervising = (async () => {
    while (members.ledger.handled.size < 20) {
      const gateway = await members.start('one').catch((error: unknown) => {
        codes.push((error as GatewayEndedError).exit.code)
        return undefined
      })
      if (gateway === undefined) continue
      last = gateway
      const done = await Promise.race([
        gateway.exited.then(({ code }) => codes.push(code)), waitFor('it to work', () => members.ledger.handled.size === 20, { timeoutMs: 60_000 }).then(() => 'works')
      ])
      if (done === 'works') break
    }
  })()
  await supervising
  t.ok(codes.length > 0, `it ended ${codes.length} times before`)
  t.ok(codes.every(code => code === 1))
  t.strictSame(await last!.stop(), { code: 0, signal: null })
})
