import { randomInt } from 'node:crypto'
import t from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName, waitFor } from '../support/kafka.js'
import { Ledger, countHandled, orderViolations, peakInFlight } from '../support/ledger.js'
import { writeKeyed } from '../support/load.js'

const RECORDS = 10_000
const KEYS = 100

t.test('10,000 records of 100 keys are handled once each, side by side, and in order within their key', { skip: noKafka }, async t => {
  const seed = randomInt(1e9)
  t.comment(`seed ${seed}`)
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('order'), { partitions: 4 })
  const written = await writeKeyed(kafka, topic, RECORDS, KEYS)
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('order')
  const gateway = await startGateway({
    kafka,
    handler: 'ledger.js',
    env: {
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_MAX_PROC_COUNT: 40,
      KAFKA_DEAD_LETTER_TOPIC: 'off',
      LEDGER_FILE: ledger.file,
      LEDGER_SEED: seed,
      LEDGER_MAX_MS: 5,
      LEDGER_SLOW_SHARE: 0.01,
      LEDGER_SLOW_MS: 50,
      LEDGER_FAIL_SHARE: 0.005,
      KAFKA_RETRY_BACKOFF_MS: 20
    }
  })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(4)
  await waitFor('everything to be handled', () => ledger.handled.size >= RECORDS, { timeoutMs: 40_000 })
  t.strictSame(await gateway.stop(), { code: 0, signal: null })

  t.strictSame(countHandled(ledger, written), { missing: [], repeated: [], unknown: 0 })
  t.strictSame(orderViolations(ledger.entries), [])
  const peak = peakInFlight(ledger.entries)
  t.ok(peak > 10 && peak <= 40, `at most ${peak} handlers at once, of 40 that may be`)
  t.ok(ledger.entries.some(({ what }) => what === 'fail'), 'with some that failed at first')

  const ends = await kafka.endOffsets(topic)
  const committed = await Promise.all(ends.map((_, partition) => kafka.committedOffset(group, topic, partition)))
  t.strictSame(committed, ends, 'and the broker holds the end of each partition as committed')
})
