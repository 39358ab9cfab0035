import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { noKafka, waitFor } from '../support/kafka.js'
import { headersOf, historyOf, obedient, order } from '../support/obedient.js'

t.setTimeout(180_000)
t.jobs = 2

t.test('an outage of what the handler needs flushes nothing into the dead letters: it pauses, probes, goes on', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, {
    KAFKA_RETRY_MAX_ATTEMPTS: 3,
    KAFKA_RETRY_BACKOFF_MS: 200,
    KAFKA_BREAKER_RECORDS: 10,
    KAFKA_BREAKER_PROBE_MS: 100,
    KAFKA_MAX_PROC_COUNT: 10
  }, { partitions: 2 })
  const file = path.join(t.testdir(), 'is-back')
  await kafka.produce(topic, Array.from({ length: 300 }, (_, i) => order(`key-${i}`, 'need', { file })))
  t.match(await gateway.waitForReason(/of the last 10 records failed/), /what it needs is away/)
  t.equal(await gateway.metric('sluice_consumer_breaker_open'), 1)
  await waitFor('some probes', () => gateway.lines.filter(({ msg }) => msg === 'trying one record').length >= 3)
  const attempts = ledger.entries.filter(({ what }) => what === 'fail').length
  t.ok(attempts < 60, `${attempts} attempts were made, not 900`)
  writeFileSync(file, '')
  await waitFor('all to be handled', () => ledger.handled.size === 300, { timeoutMs: 60_000 })
  await gateway.waitUntilReady()
  t.equal(await gateway.metric('sluice_consumer_breaker_open'), 0)
  t.strictSame(await kafka.readAll(`${topic}.dlq`), [], 'no dead letters')
  await waitFor('the commit', async () => (await kafka.committedOffsets(group)).reduce((sum, { offset }) => sum + offset, 0) === 300)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

t.test('one stuck record does not stop its partition: it makes way once the window behind it is nearly full and done', { skip: noKafka }, async t => {
  const { kafka, gateway, topic, group } = await obedient(t, {
    KAFKA_ORDER: 'unordered', KAFKA_WINDOW_MAX_RECORDS: 200, KAFKA_HANDLER_TIMEOUT_MS: 600_000, KAFKA_DIVERSION_MAX_PER_MINUTE: 1
  })
  const fine = (count: number) => Array.from({ length: count }, () => order(null, 'succeed'))
  await kafka.produce(topic, [...fine(10), order('stuck', 'hang-until-aborted'), ...fine(500)])
  await waitFor('everything to be committed', async () => await kafka.committedOffset(group, topic) === 511, { timeoutMs: 40_000 })
  const letters = await kafka.readAll(`${topic}.dlq`)
  t.strictSame(letters.map(({ key }) => String(key)), ['stuck'])
  t.match(headersOf(letters[0]), { 'sluice-error-class': 'DivertedError', 'sluice-attempts': '1' })
  t.equal(await gateway.metric('sluice_consumer_diverted_records_total'), 1)

  await kafka.produce(topic, [order('stuck again', 'hang-until-aborted'), ...fine(500)])
  await gateway.waitForReason(/holds up its partition, and 1 records were diverted in the last minute already/)
  t.equal((await kafka.readAll(`${topic}.dlq`)).length, 1, 'the budget is used up')
})

t.test('a long wait goes through the retry topic: its partition goes on, and the handler sees the record that it was', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t,
    { KAFKA_RETRY_ORDER: 'loose', KAFKA_RETRY_TOPIC_AFTER_MS: 1000, KAFKA_RETRY_MAX_ATTEMPTS: 3 }, { retryPartitions: 2 })
  await gateway.waitUntilReady(3)
  const [place] = await kafka.produce(topic, [
    { ...order('a', 'retry-after', { ms: 3000, times: 1 }), headers: [['mine', '1']], timestamp: 1_700_000_000_123 },
    order('a', 'succeed', { second: true }),
    order('b', 'retry-after', { ms: 1000, times: 99 }),
    order('c', 'drop')
  ])
  await waitFor('the commit past it', async () => await kafka.committedOffset(group, topic) === 4)
  t.strictSame(historyOf(ledger, 'a'), ['start 1', 'fail 1', 'start 1', 'end 1'], 'the next of its key has passed it, as loose order allows')
  const deferred = (await kafka.readAll(`${topic}.retry`)).find(({ key }) => String(key) === 'a')
  t.match(headersOf(deferred), { mine: '1', 'sluice-original-topic': topic, 'sluice-attempts': '1', 'sluice-retry-due-at': /^\d{13}$/ })
  await waitFor('the second attempt', () => historyOf(ledger, 'a').includes('end 2'), { timeoutMs: 30_000 })
  const [failed, ended] = ['fail', 'end'].map((what, n) => ledger.entries.find(entry => entry.key === 'a' && entry.what === what && entry.attempt === n + 1)!)
  t.ok(ended!.at - failed!.at >= 3000 - 5, `it waited ${ended!.at - failed!.at} ms`)
  t.match(ended, { topic, partition: 0, offset: place!.offset })

  await waitFor('the dead letter of what never succeeds', async () => (await kafka.readAll(`${topic}.dlq`)).length === 1, { timeoutMs: 30_000 })
  const [letter] = await kafka.readAll(`${topic}.dlq`)
  t.match(headersOf(letter), { 'sluice-original-topic': topic, 'sluice-original-offset': '2', 'sluice-attempts': '3', 'sluice-group': group })
  t.notOk('sluice-retry-due-at' in headersOf(letter))
  t.strictSame(historyOf(ledger, 'b'), [1, 2, 3].flatMap(n => [`start ${n}`, `fail ${n}`]))
  t.strictSame(historyOf(ledger, 'c'), ['start 1', 'fail 1'], 'what is dropped is neither tried again nor dead-lettered')
  t.equal(await gateway.metric('sluice_consumer_records_completed_total', 'outcome="skipped"'), 1)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})
