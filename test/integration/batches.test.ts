import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { startGateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled, idOf, orderViolations, type LedgerEntry } from '../support/ledger.js'
import { load, writeKeyed, type Load } from '../support/load.js'
import { headersOf, obedient, order as told } from '../support/obedient.js'

// The handler of test/support/handlers/either-way.js takes batches: it answers record by record.

t.setTimeout(180_000)
t.jobs = 2

/** What was begun together, by the batch. */
function batchesOf (ledger: Ledger): LedgerEntry[][] {
  const batches = new Map<string, LedgerEntry[]>()
  for (const entry of ledger.entries) {
    if (entry.what === 'start' && entry.batch !== undefined) batches.set(entry.batch, [...batches.get(entry.batch) ?? [], entry])
  }
  return [...batches.values()]
}

for (const by of ['partition', 'key'] as const) {
  t.test(`by ${by}: what fails in a batch goes to the dead letters alone, and the others are handled once`, { skip: noKafka }, async t => {
    const { kafka, gateway, ledger, topic, group } = await obedient(t, {
      KAFKA_HANDLER_BATCH_SIZE: 20, KAFKA_HANDLER_BATCH_WAIT_MS: 300, KAFKA_HANDLER_BATCH_BY: by, KAFKA_RETRY_MAX_ATTEMPTS: 3
    }, { partitions: 2 })
    await gateway.waitUntilReady(2)
    const places = await kafka.produce(topic, Array.from({ length: 200 }, (_, n) => {
      const does = n === 30 ? 'fail' : n === 61 ? 'fail-for-good' : n === 90 ? 'fail-at-first' : n === 120 ? 'drop' : 'succeed'
      return told(`key-${n % 8}`, does, { times: 1, n })
    }))
    await waitFor('all to be completed', async () => {
      const committed = await kafka.committedOffsets(group)
      return committed.reduce((sum, { offset }) => sum + offset, 0) === places.length
    }, { timeoutMs: 30_000 })

    const letters = await kafka.readAll(`${topic}.dlq`)
    const story = letters.map(letter => [JSON.parse(String(letter.value)).n, headersOf(letter)['sluice-attempts'], headersOf(letter)['sluice-error-message']])
    t.strictSame(story.sort(), [[30, '3', 'it is too much'], [61, '1', 'no use']])
    const failing = new Set([30, 61, 120].map(n => idOf({ topic, ...places[n]! })))
    const { missing, repeated } = countHandled(ledger, places.map(place => ({ topic, ...place })))
    t.strictSame([new Set(missing), repeated], [failing, []], 'all but these, and none twice')
    t.strictSame(orderViolations(ledger.entries), [])

    const batches = batchesOf(ledger)
    t.ok(batches.some(({ length }) => length > 1), `the largest of ${batches.length} batches: ${Math.max(...batches.map(({ length }) => length))}`)
    for (const batch of batches) {
      t.equal(new Set(batch.map(({ partition }) => partition)).size, 1)
      if (by === 'key') t.equal(new Set(batch.map(({ key }) => key)).size, 1)
      if (batch.length > 1) t.ok(batch.every(({ attempt }) => attempt === 1), 'what is tried again goes alone')
    }
    t.equal(await gateway.metric('sluice_consumer_records_completed_total', 'outcome="dead-lettered"'), 2)
    t.equal(await gateway.metric('sluice_consumer_records_completed_total', 'outcome="skipped"'), 1)
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
  })
}

t.test('what waits in the retry topic comes back alone, as the record that it was', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, {
    KAFKA_HANDLER_BATCH_SIZE: 20, KAFKA_HANDLER_BATCH_WAIT_MS: 200, KAFKA_RETRY_ORDER: 'loose', KAFKA_RETRY_TOPIC_AFTER_MS: 500
  }, { retryPartitions: 1 })
  await gateway.waitUntilReady(2)
  const places = await kafka.produce(topic, Array.from({ length: 20 }, (_, n) => {
    return told(`key-${n % 4}`, n % 5 === 0 ? 'retry-after' : 'succeed', { times: 1, ms: 1000 })
  }))
  const written = places.map(place => ({ topic, ...place }))
  await waitFor('all to be handled', () => ledger.handled.size === written.length, { timeoutMs: 30_000 })
  await waitFor('all to be committed', async () => {
    const committed = await kafka.committedOffsets(group)
    return committed.reduce((sum, { offset }) => sum + offset, 0) >= places.length + 4
  }, { timeoutMs: 30_000 })
  t.match(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  const again = ledger.entries.filter(({ what, attempt }) => what === 'start' && attempt === 2)
  t.equal(again.length, 4)
  t.ok(again.every(({ batch, topic: name }) => name === topic && batch!.endsWith(' of 1')))
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

const RECORDS = 2000

interface Setting {
  readonly start: () => ReturnType<typeof startGateway>
  readonly ledger: Ledger
  readonly watch: CommitWatch
  readonly written: Load['written']
  /** Writes more, until it is stopped; `written` has it then. */
  readonly feed: () => { stop: () => Promise<void> }
  /** Everything was handled, the group's offsets are the ends, and no commit was ever ahead. */
  readonly check: (gone?: ReadonlySet<number>) => Promise<string[]>
}

async function setting (t: Test, env: GatewayOptions['env']): Promise<Setting> {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('batches'), { partitions: 4 })
  const written = await writeKeyed(kafka, topic, RECORDS, 100)
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('batches')
  const start = async () => {
    const gateway = await startGateway({
      kafka,
      handler: 'ledger.js',
      properties: { 'heartbeat.interval.ms': 300 },
      env: {
        KAFKA_GROUP_ID: group,
        KAFKA_TOPIC: topic,
        KAFKA_SESSION_TIMEOUT_MS: 6000,
        KAFKA_HANDLER_BATCH_SIZE: 25,
        KAFKA_HANDLER_BATCH_WAIT_MS: 20,
        KAFKA_MAX_PROC_COUNT: 4,
        KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: 20,
        KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
        KAFKA_DEAD_LETTER_TOPIC: 'off',
        KAFKA_RETRY_BACKOFF_MS: 50,
        LEDGER_FILE: ledger.file,
        LEDGER_SEED: seed,
        LEDGER_MAX_MS: 30,
        LEDGER_SLOW_SHARE: 0.01,
        LEDGER_SLOW_MS: 300,
        LEDGER_FAIL_SHARE: 0.02,
        ...env
      }
    })
    t.teardown(() => gateway.kill())
    return gateway
  }
  const feed = () => {
    const more = load(t, kafka, topic, { everyMs: 50 })
    return {
      stop: async () => {
        await more.stop()
        written.push(...more.written)
      }
    }
  }
  const watch = new CommitWatch(kafka, group, ledger)
  t.teardown(() => watch.abandon())
  const check = async (gone?: ReadonlySet<number>) => {
    await watch.stop()
    t.strictSame(watch.violations, [], 'no commit has passed a record that was not handled')
    const { missing, repeated, unknown } = countHandled(ledger, written)
    t.strictSame({ missing, unknown }, { missing: [], unknown: 0 })
    t.strictSame(orderViolations(ledger.entries, gone), [])
    const ends = await kafka.endOffsets(topic)
    t.strictSame(await Promise.all(ends.map((_, partition) => kafka.committedOffset(group, topic, partition))), ends)
    t.ok(batchesOf(ledger).some(({ length }) => length > 5))
    return repeated
  }
  return { start, ledger, watch, written, feed, check }
}

for (const [order, by] of [['key', 'partition'], ['partition', 'partition'], ['key', 'key']] as const) {
  t.test(`killed in the middle of batches, nothing is skipped: order by ${order}, batches by ${by}`, { skip: noKafka }, async t => {
    const { start, ledger, watch, check } = await setting(t, { KAFKA_ORDER: order, KAFKA_HANDLER_BATCH_BY: by })
    const gone = new Set<number>()
    for (const goal of [300, 900]) {
      const gateway = await start()
      await waitFor(`${goal} records to be handled`, () => ledger.handled.size >= goal, { timeoutMs: 30_000, everyMs: 5 })
      await gateway.kill()
      gone.add(gateway.pid)
    }
    const last = await start()
    await waitFor('everything to be handled', () => ledger.handled.size >= RECORDS || watch.violations.length > 0, { timeoutMs: 60_000 })
    t.strictSame(await last.stop(), { code: 0, signal: null })
    const repeated = await check(gone)
    t.ok(repeated.length > 0 && repeated.length < RECORDS / 2, `${repeated.length} records were handled again, as at-least-once allows`)
  })
}

t.test('stopped and joined in the middle of batches, nothing is handled twice', { skip: noKafka }, async t => {
  const { start, ledger, written, feed, check } = await setting(t, { KAFKA_ORDER: 'key' })
  const handledBy = (pid: number) => ledger.entries.filter(entry => entry.what === 'end' && entry.pid === pid).length
  const first = await start()
  await waitFor('the first to work', () => ledger.handled.size >= 200, { timeoutMs: 30_000, everyMs: 5 })
  t.strictSame(await first.stop(), { code: 0, signal: null })
  t.strictSame(ledger.entries.filter(({ what }) => what === 'start').length,
    ledger.entries.filter(({ what }) => what !== 'start').length, 'whatever was started was finished')
  const second = await start()
  await waitFor('the second to work', () => handledBy(second.pid) >= 200, { timeoutMs: 30_000, everyMs: 5 })
  // A process takes seconds to start and to join: without more to come, the second would have done everything alone.
  const feeding = feed()
  const third = await start()
  await waitFor('the third to work beside it', () => handledBy(third.pid) >= 100, { timeoutMs: 30_000, everyMs: 5 })
  await feeding.stop()
  await waitFor('everything to be handled', () => ledger.handled.size >= written.length, { timeoutMs: 60_000 })
  t.strictSame(await second.stop(), { code: 0, signal: null })
  t.strictSame(await third.stop(), { code: 0, signal: null })
  t.strictSame(await check(), [], 'none twice')
})
