import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { countHandled, Ledger, orderViolations, peakInFlight } from '../support/ledger.js'
import { writeKeyed } from '../support/load.js'

const THREADS = 2

/** A gateway whose handler keeps two threads busy with so many records, and what was written down of it. */
async function busy (t: Test, records: number, keys: number, env: Readonly<Record<string, string | number>> = {}) {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('busy'), { partitions: 4 })
  const written = await writeKeyed(kafka, topic, records, keys)
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('busy')
  const gateway = await startGateway({
    kafka,
    handler: 'busy.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_HANDLER_THREADS: THREADS,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_RETRY_BACKOFF_MS: 20,
      LEDGER_FILE: ledger.file,
      LEDGER_SEED: seed,
      ...env
    }
  })
  t.teardown(() => gateway.kill())
  const committed = async () => {
    const ends = await kafka.endOffsets(topic)
    return { ends, committed: await Promise.all(ends.map((_, partition) => kafka.committedOffset(group, topic, partition))) }
  }
  return { gateway, ledger, written, committed }
}

t.test('threads that are never idle: /metrics answers, the membership is kept, each record once and in key order', { skip: noKafka }, async t => {
  const { gateway, ledger, written, committed } = await busy(t, 600, 60,
    { KAFKA_SESSION_TIMEOUT_MS: 6000, KAFKA_MAX_POLL_INTERVAL_MS: 6000, KAFKA_DRAIN_TIMEOUT_MS: 3000 })
  await gateway.waitUntilReady(4)
  let answers = 0
  let busiest = 0
  await waitFor('everything to be handled', async () => {
    const samples = await gateway.metrics()
    answers++
    busiest = Math.max(busiest, [...samples].find(([name]) => name.startsWith('sluice_consumer_threads_busy{'))?.[1] ?? 0)
    return ledger.handled.size >= written.length
  }, { timeoutMs: 60_000 })
  t.ok(answers > 1, `${answers} answers while the threads were busy`)
  t.equal(busiest, THREADS)
  t.equal(await gateway.metric('sluice_consumer_threads'), THREADS)
  t.equal(await gateway.metric('sluice_consumer_rebalances_total', 'type="assigned"'), 1, 'one assignment')
  t.notOk(await gateway.metric('sluice_consumer_rebalances_total', 'type="lost"'), 'nothing was lost')
  t.notOk(await gateway.metric('sluice_consumer_threads_lost_total'), 'no thread was replaced')
  t.strictSame(await gateway.stop(), { code: 0, signal: null })

  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  t.strictSame(orderViolations(ledger.entries), [])
  t.equal(peakInFlight(ledger.entries), THREADS)
  const offsets = await committed()
  t.strictSame(offsets.committed, offsets.ends, 'and the broker holds the end of each partition as committed')
})

t.test('threads that end in the middle of a record are replaced, and nothing is lost', { skip: noKafka }, async t => {
  const { gateway, ledger, written, committed } = await busy(t, 300, 300,
    { BUSY_MS: 4, BUSY_EXIT_SHARE: 0.05, KAFKA_BREAKER_FAILURE_SHARE: 0 })
  await waitFor('everything to be handled', () => ledger.handled.size >= written.length, { timeoutMs: 60_000 })
  const ended = ledger.entries.filter(({ what }) => what === 'fail').length
  t.ok(ended > 0, `${ended} threads ended`)
  // The last of them may not be known as gone yet.
  await waitFor('them to be counted', async () => await gateway.metric('sluice_consumer_threads_lost_total', 'reason="ended"') === ended)
  await waitFor('all threads to be there again', async () => await gateway.metric('sluice_consumer_threads') === THREADS)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  t.equal(gateway.lines.filter(({ msg }) => msg === 'a worker thread ended; another takes its place').length, ended)

  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  t.strictSame(orderViolations(ledger.entries), [])
  const offsets = await committed()
  t.strictSame(offsets.committed, offsets.ends)
})

t.test('a handler that never returns: its record is a dead letter, its thread is ended, and its key goes on', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('endless'), { partitions: 1 })
  await kafka.createTopic(`${topic}.dlq`, { partitions: 1 })
  await kafka.produce(topic, [{ key: 'a', value: 'endless' }, { key: 'a', value: 'after' }, { key: 'b', value: 'beside' }])
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('endless')
  const gateway = await startGateway({
    kafka,
    handler: 'busy.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_HANDLER_THREADS: 1,
      KAFKA_HANDLER_TIMEOUT_MS: 300,
      KAFKA_HANDLER_GRACE_MS: 200,
      KAFKA_MAX_ABANDONED: 1,
      LEDGER_FILE: ledger.file
    }
  })
  t.teardown(() => gateway.kill())
  await waitFor('the others to be handled', () => ledger.handled.size === 2, { timeoutMs: 60_000 })
  t.equal(ledger.entries.filter(({ what, offset }) => what === 'start' && offset === 0).length, 1, 'one attempt')
  t.equal(await gateway.metric('sluice_consumer_threads_lost_total', 'reason="stuck"'), 1)
  await waitFor('nothing to be abandoned any more', async () => await gateway.metric('sluice_consumer_abandoned_handlers') === 0)
  await gateway.waitUntilReady(1)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  const letters = await kafka.readAll(`${topic}.dlq`)
  t.strictSame(letters.map(({ value }) => value?.toString()), ['endless'])
  t.equal(letters[0].headers.find(([name]) => name === 'sluice-error-class')?.[1]?.toString(), 'HandlerNeverSettledError')
  t.equal(await kafka.committedOffset(group, topic, 0), 3)
})
