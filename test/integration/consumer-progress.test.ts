import t from 'tap'
import { decodeProgress } from '../../src/engine/progress.js'
import { kcat, noKafka, noKcat, waitFor } from '../support/kafka.js'
import { obedient, order } from '../support/obedient.js'

const BEHIND = 20_000
const LIMIT = 16

t.setTimeout(180_000)

t.test('one record hangs, 20,000 are completed behind it, SIGKILL: only what was not yet acknowledged runs again', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group, again } = await obedient(t, {
    KAFKA_MAX_PROC_COUNT: LIMIT,
    KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: 500,
    KAFKA_WINDOW_MAX_RECORDS: 50_000,
    KAFKA_HANDLER_TIMEOUT_MS: 600_000,
    KAFKA_SESSION_TIMEOUT_MS: 6000
  })
  await kafka.produce(topic, [order('before', 'succeed'), order('stuck', 'hang-until-aborted')])
  for (let from = 0; from < BEHIND; from += 5000) {
    await kafka.produce(topic, Array.from({ length: 5000 }, (_, i) => order(`key-${from + i}`, 'succeed')))
  }
  await waitFor('all of them to be handled but the one', () => ledger.handled.size === BEHIND + 1, { timeoutMs: 60_000 })
  // More of them, and the kill somewhere in the middle.
  await kafka.produce(topic, Array.from({ length: 5000 }, (_, i) => order(`later-${i}`, 'wait', { ms: 5 })))
  const saidIn = (metadata: string) => decodeProgress(metadata, 1)!.done.reduce((sum, [from, to]) => sum + to - from, 0)
  await waitFor('some of these, and to have them acknowledged', async () =>
    ledger.handled.size > BEHIND + 500 && saidIn((await kafka.committedOffsets(group))[0]!.metadata) > BEHIND)
  await gateway.kill()
  const [committed] = await kafka.committedOffsets(group)
  t.equal(committed?.offset, 1, 'the commit offset is held by the one that hangs')
  t.ok(committed!.metadata.length < 4096, `${committed!.metadata.length} characters of metadata`)
  const said = saidIn(committed!.metadata)
  const handledBefore = ledger.handled.size - 1
  t.ok(said > BEHIND && said <= handledBefore, `${said} of ${handledBefore} are said to be completed`)

  // Kafka's own client reads the group as any other: it sees the offset, and knows nothing of the rest.
  t.match(await kafka.describeGroup(group), { type: 'Classic' })
  const next = await again()
  await waitFor('the rest', () => ledger.handled.size === BEHIND + 5001, { timeoutMs: 60_000 })
  // One that runs again for nothing would have done so by now: they come before the rest.
  const repeated = [...ledger.handled.values()].filter(times => times > 1).length
  t.comment(`${repeated} handled again of ${handledBefore}; ${handledBefore - said} were not said to be completed`)
  t.ok(repeated <= handledBefore - said, `${repeated} ran again, ${handledBefore - said} were not acknowledged`)
  t.ok(handledBefore - said <= 500 + 500 + LIMIT, 'and that is what two commits may lag behind')
  t.ok((await next.metric('sluice_consumer_records_completed_before_total') ?? 0) >= BEHIND)
  t.strictSame(await next.stop(), { code: 0, signal: null })
  t.equal(await kafka.committedOffset(group, topic), 1)
})

t.test('another client takes over the group from our offsets, and we take over from its', { skip: noKafka || noKcat }, async t => {
  const { kafka, gateway, ledger, topic, group, again } = await obedient(t, { KAFKA_SESSION_TIMEOUT_MS: 6000, KAFKA_PARTITION_ASSIGNMENT_STRATEGY: 'range' })
  await kafka.produce(topic, [order('a', 'succeed'), order('b', 'hang-until-aborted'), order('c', 'succeed'), order('d', 'succeed')])
  await waitFor('the others', () => ledger.handled.size === 3)
  await waitFor('the commit before the one that hangs', async () => await kafka.committedOffset(group, topic) === 1)
  await gateway.kill()
  // From the commit offset on, whatever the metadata says: it is ours alone.
  const read = await kcat(['-b', kafka.bootstrapServers, '-G', group, '-X', 'auto.offset.reset=earliest', '-c', '3', '-q', '-f', '%o\n', topic])
  t.strictSame(read.trim().split('\n'), ['1', '2', '3'])
  await waitFor('its commit', async () => await kafka.committedOffset(group, topic) === 4)
  await kafka.produce(topic, [order('e', 'succeed')])
  await again()
  await waitFor('the new one', () => ledger.handled.has(`${topic}/0/4`), { timeoutMs: 30_000 })
  t.equal(ledger.handled.size, 4, 'what the other client has done is not done again')
})
