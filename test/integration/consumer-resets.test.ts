import t, { type Test } from 'tap'
import { startGateway, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'
import { Ledger } from '../support/ledger.js'

t.setTimeout(240_000)
t.jobs = 2

interface Setting { gateway: Gateway, ledger: Ledger, topic: string, group: string }

/** A topic of 20 records whose first 10 are deleted, and a group that committed `offset` there; `null`: nothing. */
async function consuming (
  t: Test, kafka: Kafka, offset: number | null, reset: 'earliest' | 'latest' | 'none', env: GatewayOptions['env'] = {}
): Promise<Setting> {
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('reset')
  const topic = await kafka.createTopic(group)
  await kafka.produce(topic, Array.from({ length: 20 }, () => ({ value: '' })))
  await kafka.deleteRecords(topic, 0, 10)
  if (offset !== null) await kafka.commitOffset(group, topic, 0, offset)
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_AUTO_OFFSET_RESET: reset,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
      LEDGER_FILE: ledger.file,
      LEDGER_MAX_MS: 1,
      LOG_LEVEL: 'debug',
      ...env
    }
  })
  t.teardown(() => gateway.kill())
  return { gateway, ledger, topic, group }
}

const handled = ({ ledger }: Setting) => ledger.entries.filter(({ what }) => what === 'end').map(({ offset }) => offset).sort((a, b) => a - b)

const resets = ({ gateway }: Setting, reason: string) => gateway.metric('sluice_consumer_offset_resets_total', `reason="${reason}"`)

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n)

const messages = {
  none: /^the group has no offset for this partition/,
  'below-start': /^records were deleted before this group read them/,
  'beyond-end': /^the log ends before the group's offset/
} as const

interface Case {
  committed: number | null
  reason: keyof typeof messages
  reset: 'earliest' | 'latest'
  /** Where it goes on. */
  from: number
  skipped: number | null
  /** 20: debug, 40: a warning, 50: an error. */
  level: number
}

const cases: Case[] = [
  { committed: null, reason: 'none', reset: 'earliest', from: 10, skipped: 0, level: 20 },
  { committed: null, reason: 'none', reset: 'latest', from: 20, skipped: 10, level: 40 },
  { committed: 4, reason: 'below-start', reset: 'earliest', from: 10, skipped: 6, level: 50 },
  { committed: 4, reason: 'below-start', reset: 'latest', from: 20, skipped: 16, level: 50 },
  { committed: 33, reason: 'beyond-end', reset: 'earliest', from: 10, skipped: null, level: 50 },
  { committed: 33, reason: 'beyond-end', reset: 'latest', from: 20, skipped: null, level: 50 }
]

for (const { committed, reason, reset, from, skipped, level } of cases) {
  t.test(`${reason}: with ${reset} it goes on at ${from}, and says so`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const setting = await consuming(t, kafka, committed, reset)
    const { gateway, topic, group } = setting
    const line = await gateway.waitForLog(messages[reason])
    t.match(line, { level, topic, partition: 0, skipped })
    t.equal(await resets(setting, reason), 1)
    // When the client has looked for the end is not told: what is written before that is skipped, too.
    await waitFor('something new to be handled', async () => {
      await kafka.produce(topic, [{ value: '' }])
      return handled(setting).some(offset => offset >= 20)
    }, { everyMs: 100 })
    const [end] = await kafka.endOffsets(topic)
    await waitFor('the end to be committed', async () => await kafka.committedOffset(group, topic) === end)
    const offsets = handled(setting)
    if (reset === 'earliest') t.equal(offsets[0], from)
    else t.ok(offsets[0]! >= from)
    t.strictSame(offsets, range(offsets[0]!, end!), 'and from there on nothing is left out or handled twice')
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
  })
}

for (const [reason, committed] of [['none', null], ['below-start', 4], ['beyond-end', 33]] as const) {
  t.test(`${reason}: with none it stands still and readiness names the partition, until the group has an offset`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const setting = await consuming(t, kafka, committed, 'none')
    const { gateway, topic, group } = setting
    const sentence = await gateway.waitForReason(/no valid offset in this group, and KAFKA_AUTO_OFFSET_RESET=none forbids to choose one \(1: /)
    t.ok(sentence.endsWith(`(1: ${topic}/0)`), sentence)
    await waitFor('the count', async () => await resets(setting, reason) === 1)
    await kafka.produce(topic, [{ value: '' }])
    t.equal((await gateway.readiness()).status, 503)
    t.strictSame(await gateway.stop(), { code: 0, signal: null })
    t.strictSame(handled(setting), [])
    t.equal(await kafka.committedOffset(group, topic), committed, 'and what the group holds is left alone')
  })
}

t.test('with none, partitions that have an offset go on, and those that have none are told for as long as they stand still', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const group = uniqueName('reset')
  const topic = await kafka.createTopic(group, { partitions: 4 })
  for (const partition of [0, 1, 2]) await kafka.commitOffset(group, topic, partition, 0)
  // Records of the others: an error of the client that comes behind them is lost.
  const produce = () => kafka.produce(topic, Array.from({ length: 4000 }, (_, n) => ({ value: '', partition: n % 4 })))
  await produce()
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_AUTO_OFFSET_RESET: 'none',
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      LEDGER_FILE: ledger.file,
      LEDGER_MAX_MS: 0
    }
  })
  t.teardown(() => gateway.kill())
  await waitFor('the others to be handled', () => ledger.handled.size === 3000)
  t.ok((await gateway.waitForReason(/no valid offset/)).endsWith(`(1: ${topic}/3)`))
  await produce()
  await waitFor('the others to go on', () => ledger.handled.size === 6000)
  t.equal((await gateway.readiness()).status, 503)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})
