import t from 'tap'
import { noKafka, uniqueName, waitFor } from '../support/kafka.js'
import { headersOf, historyOf, obedient, order } from '../support/obedient.js'

t.setTimeout(180_000)
t.jobs = 2

t.test('what throws is tried again with growing waits; what never succeeds is dead-lettered with its story', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, { KAFKA_RETRY_MAX_ATTEMPTS: 4, KAFKA_RETRY_BACKOFF_MS: 300 },
    { partitions: 4, deadLetterPartitions: 3 })
  await gateway.waitUntilReady(4)
  const before = Date.now()
  const binary = Buffer.from([0, 255, 0xc3, 0x28])
  const places = await kafka.produce(topic, [
    { ...order('poison', 'fail'), headers: [['trace', '1'], ['trace', '2'], ['bytes', binary]], timestamp: 1_700_000_000_123 },
    order('poison', 'succeed', { second: true }),
    order('flaky', 'fail-at-first', { times: 2 }),
    order('hopeless', 'fail-for-good'),
    order(null, 'throw-no-error'),
    ...Array.from({ length: 50 }, (_, i) => order(`fine-${i}`, 'succeed'))
  ])
  const total = places.length
  await waitFor('all to be completed', async () => {
    const committed = await kafka.committedOffsets(group)
    return committed.reduce((sum, { offset }) => sum + offset, 0) === total
  })

  t.strictSame(historyOf(ledger, 'flaky'), ['start 1', 'fail 1', 'start 2', 'fail 2', 'start 3', 'end 3'])
  t.strictSame(historyOf(ledger, 'hopeless'), ['start 1', 'fail 1'], 'retriable: false is not tried again')
  t.strictSame(historyOf(ledger, 'poison'), [1, 2, 3, 4].flatMap(n => [`start ${n}`, `fail ${n}`]).concat('start 1', 'end 1'),
    'the next of its key only goes once it is out of the way')
  // 3 of each of two that never succeed, and 2 of the one that does in the end.
  const retriesSaid = () => gateway.lines.filter(({ msg }) => msg === 'record failed; retrying')
  await waitFor('the lines of all retries', () => retriesSaid().length >= 8)
  const retries = retriesSaid()
  t.ok(retries.every(({ attempt, delayMs }) => (delayMs as number) <= 300 * 2 ** ((attempt as number) - 1)), 'waits within bounds that double')
  const poison = ledger.entries.filter(({ key, offset }) => key === 'poison' && offset === places[0]!.offset)
  const waited = [0, 1, 2].map(n => poison[2 * n + 2]!.at - poison[2 * n + 1]!.at)
  const announced = retries.filter(line => line['partition'] === places[0]!.partition && line['offset'] === places[0]!.offset)
    .map(line => line['delayMs'] as number)
  t.ok(waited.every((ms, n) => ms >= announced[n]! - 5), `it waited ${waited} ms, having said ${announced}`)

  const letters = await kafka.readAll(`${topic}.dlq`)
  t.equal(letters.length, 3)
  const letter = letters.find(({ key }) => String(key) === 'poison')
  t.equal(String(letter?.value), String(order('poison', 'fail').value))
  t.strictSame(letter?.headers.slice(0, 3), [['trace', Buffer.from('1')], ['trace', Buffer.from('2')], ['bytes', binary]], 'its own headers first, byte for byte')
  const { 'sluice-dead-lettered-at': time, trace, bytes, ...told } = headersOf(letter)
  t.strictSame(told, {
    'sluice-original-topic': topic,
    'sluice-original-partition': String(places[0]!.partition),
    'sluice-original-offset': String(places[0]!.offset),
    'sluice-original-timestamp': '1700000000123',
    'sluice-group': group,
    'sluice-attempts': '4',
    'sluice-error-class': 'TooMuchError',
    'sluice-error-message': 'it is too much'
  })
  t.ok(Number(time) >= before && Number(time) <= Date.now())
  t.ok(letter!.timestamp >= before, 'its own timestamp is new: retention must not take it at once')
  t.match(headersOf(letters.find(({ key }) => String(key) === 'hopeless')), { 'sluice-attempts': '1', 'sluice-error-message': 'no use' })
  const keyless = letters.find(({ key }) => key === null)
  t.match(headersOf(keyless), { 'sluice-error-message': /just text/, 'sluice-attempts': '4' })

  // The partition follows from the key: Java's own partitioner puts the same keys in the same places.
  const twin = await kafka.createTopic(uniqueName('twin'), { partitions: 3 })
  const [poisonAt, hopelessAt] = await kafka.produce(twin, [{ key: 'poison' }, { key: 'hopeless' }])
  t.equal(letter?.partition, poisonAt?.partition)
  t.equal(letters.find(({ key }) => String(key) === 'hopeless')?.partition, hopelessAt?.partition)

  t.equal(await gateway.metric('sluice_consumer_records_completed_total', 'outcome="dead-lettered"'), 3)
  t.equal(await gateway.metric('sluice_consumer_records_completed_total', 'outcome="handled"'), total - 3)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})

t.test('a handler that hangs meets its time limit; one deaf to its signal is dead-lettered, and the others go on', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, {
    KAFKA_HANDLER_TIMEOUT_MS: 500,
    KAFKA_HANDLER_GRACE_MS: 500,
    KAFKA_RETRY_MAX_ATTEMPTS: 2,
    KAFKA_MAX_PROC_COUNT: 2,
    KAFKA_DRAIN_TIMEOUT_MS: 1000
  })
  await kafka.produce(topic, [
    order('deaf', 'hang-deaf'),
    order('listens', 'hang-until-aborted'),
    order('deaf', 'succeed', { held: true }),
    ...Array.from({ length: 20 }, (_, i) => order(`fine-${i}`, 'succeed'))
  ])
  await waitFor('all to be completed but the one whose key the deaf handler holds', async () =>
    await gateway.metric('sluice_consumer_records_completed_total') === 22)
  const letters = await kafka.readAll(`${topic}.dlq`)
  t.strictSame(letters.map(({ key }) => String(key)).sort(), ['deaf', 'listens'])
  const deaf = headersOf(letters.find(({ key }) => String(key) === 'deaf'))
  t.match(deaf, { 'sluice-attempts': '1', 'sluice-error-class': 'HandlerNeverSettledError' }, 'never tried again beside itself')
  t.match(headersOf(letters.find(({ key }) => String(key) === 'listens')),
    { 'sluice-attempts': '2', 'sluice-error-class': 'HandlerTimeoutError', 'sluice-error-message': /within 500 ms/ })
  t.strictSame(historyOf(ledger, 'deaf'), ['start 1'], 'the key of a handler that still runs stays held')
  await waitFor('the commit up to the record that is held', async () => await kafka.committedOffset(group, topic) === 2)
  t.equal(await gateway.metric('sluice_consumer_abandoned_handlers'), 1)
  t.strictSame(await gateway.stop(), { code: 0, signal: null }, 'it does not keep the process from ending')
  t.equal(await kafka.committedOffset(group, topic), 2)
})

t.test('a missing dead-letter topic is told by readiness; the record holds its key until the topic is there', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, { KAFKA_RETRY_MAX_ATTEMPTS: 1 }, { deadLetterPartitions: 0 })
  t.equal(await gateway.waitForReason(/dead-letter topic/),
    `the dead-letter topic ${topic}.dlq does not exist: create it, or set KAFKA_DEAD_LETTER_TOPIC`, 'before anything has failed')
  await kafka.produce(topic, [order('a', 'fail'), order('a', 'succeed'), order('b', 'succeed')])
  await waitFor('the other key to be handled', () => ledger.handled.size === 1)
  await gateway.waitForReason(/dead letters cannot be sent/)
  t.strictSame(historyOf(ledger, 'a'), ['start 1', 'fail 1'])
  t.notOk(await kafka.committedOffset(group, topic), 'nothing is committed beyond it')

  await kafka.createTopic(`${topic}.dlq`)
  await waitFor('the commit of everything', async () => await kafka.committedOffset(group, topic) === 3, { timeoutMs: 40_000 })
  t.strictSame(historyOf(ledger, 'a'), ['start 1', 'fail 1', 'start 1', 'end 1'])
  t.equal((await kafka.readAll(`${topic}.dlq`)).length, 1)
  await gateway.waitUntilReady()
})

t.test('with dead letters off, a failed record blocks its key and readiness says so', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, { KAFKA_RETRY_MAX_ATTEMPTS: 2, KAFKA_DEAD_LETTER_TOPIC: 'off' })
  await kafka.produce(topic, [order('b', 'succeed'), order('a', 'fail'), order('a', 'succeed'), order('b', 'succeed')])
  await gateway.waitForReason(/1 failed records hold their keys, because dead letters are off/)
  await waitFor('the other key to be handled', () => ledger.handled.size === 2)
  await waitFor('the commit before it', async () => await kafka.committedOffset(group, topic) === 1)
  t.strictSame(historyOf(ledger, 'a'), ['start 1', 'fail 1', 'start 2', 'fail 2'])
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  t.equal(await kafka.committedOffset(group, topic), 1, 'it is not lost: the next life tries again')
})

t.test('with dead letters off and skip, a failed record is passed over, and the log says so', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t,
    { KAFKA_RETRY_MAX_ATTEMPTS: 2, KAFKA_DEAD_LETTER_TOPIC: 'off', KAFKA_DEAD_LETTER_OFF_ACTION: 'skip' })
  await kafka.produce(topic, [order('a', 'fail'), order('a', 'succeed')])
  await waitFor('both to be committed', async () => await kafka.committedOffset(group, topic) === 2)
  t.strictSame(historyOf(ledger, 'a'), ['start 1', 'fail 1', 'start 2', 'fail 2', 'start 1', 'end 1'])
  await gateway.waitForLog('record failed for good; skipped', { topic, partition: 0, offset: 0 })
  t.equal(await gateway.metric('sluice_consumer_records_completed_total', 'outcome="skipped"'), 1)
  await gateway.waitUntilReady()
})

t.test('neither a promise that a handler forgot nor what it throws from a timer ends the process', { skip: noKafka }, async t => {
  const { kafka, gateway, topic, group } = await obedient(t, {})
  await kafka.produce(topic, [order('a', 'forget-a-promise'), order('a', 'throw-later')])
  await gateway.waitForLog(/a promise was rejected and nobody handled it/)
  await gateway.waitForLog(/an exception was thrown where nobody could catch it/)
  await kafka.produce(topic, [order('a', 'succeed')])
  await waitFor('what comes after it to be handled', async () => await kafka.committedOffset(group, topic) === 3)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})
