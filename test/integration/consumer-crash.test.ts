import { randomInt } from 'node:crypto'
import t from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { CommitWatch, Ledger, countHandled, orderViolations } from '../support/ledger.js'
import { writeKeyed } from '../support/load.js'

const RECORDS = 4000
const KILLS = 3

t.setTimeout(180_000)

t.test('killed again and again, nothing is skipped, and no commit ever passes a record that was not handled', { skip: noKafka }, async t => {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('crash'), { partitions: 4 })
  const written = await writeKeyed(kafka, topic, RECORDS, 200)
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('crash')
  const start = () => startGateway({
    kafka,
    handler: 'ledger.js',
    // A short session, so that the group soon gives up the one that was killed.
    properties: { 'heartbeat.interval.ms': 500 },
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_SESSION_TIMEOUT_MS: 3000,
      KAFKA_MAX_PROC_COUNT: 16,
      KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: 20,
      KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      KAFKA_RETRY_BACKOFF_MS: 50,
      LEDGER_FILE: ledger.file,
      LEDGER_SEED: seed,
      LEDGER_MAX_MS: 20,
      LEDGER_SLOW_SHARE: 0.01,
      LEDGER_SLOW_MS: 300,
      LEDGER_FAIL_SHARE: 0.01
    }
  })
  const watch = new CommitWatch(kafka, group, ledger)
  t.teardown(() => watch.abandon())
  const gone = new Set<number>()
  for (let life = 1; life <= KILLS; life++) {
    const gateway = await start()
    t.teardown(() => gateway.kill())
    const goal = Math.floor(RECORDS * (life - 0.5 + Math.random() * 0.3) / (KILLS + 1))
    await waitFor(`${goal} records to be handled`, () => ledger.handled.size >= goal, { timeoutMs: 30_000, everyMs: 5 })
    await gateway.kill()
    gone.add(gateway.pid)
  }
  const last = await start()
  t.teardown(() => last.kill())
  await waitFor('everything to be handled', () => ledger.handled.size >= RECORDS || watch.violations.length > 0, { timeoutMs: 40_000 })
  t.strictSame(watch.violations.slice(0, 5), [], 'no commit has passed a record that was not handled')
  t.strictSame(await last.stop(), { code: 0, signal: null })
  await watch.stop()

  t.strictSame(watch.violations, [])
  t.ok(watch.seen > 40, `${watch.seen} commits were compared with what was handled`)
  const { missing, repeated, unknown } = countHandled(ledger, written)
  t.strictSame({ missing, unknown }, { missing: [], unknown: 0 })
  t.ok(repeated.length > 0 && repeated.length < RECORDS / 4, `${repeated.length} records were handled again, as at-least-once allows`)
  t.strictSame(orderViolations(ledger.entries, gone), [])
  const ends = await kafka.endOffsets(topic)
  t.strictSame(await Promise.all(ends.map((_, partition) => kafka.committedOffset(group, topic, partition))), ends)
})
