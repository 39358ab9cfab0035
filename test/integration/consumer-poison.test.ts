import t from 'tap'
import { noKafka, waitFor } from '../support/kafka.js'
import { headersOf, historyOf, obedient, order } from '../support/obedient.js'

t.setTimeout(180_000)

t.test('a record that ends its process every time ends up as a dead letter, and nothing else does', { skip: noKafka }, async t => {
  const { kafka, ledger, topic, group, again, gateway: first } = await obedient(t, {
    KAFKA_RETRY_MAX_ATTEMPTS: 2, KAFKA_SESSION_TIMEOUT_MS: 3000, KAFKA_MAX_POLL_INTERVAL_MS: 10_000, KAFKA_DRAIN_TIMEOUT_MS: 3000
  })
  await first.waitUntilReady(1)
  await kafka.produce(topic, [
    ...Array.from({ length: 5 }, (_, i) => order(`before-${i}`, 'wait', { ms: 20 })),
    order('poison', 'kill-process'),
    ...Array.from({ length: 20 }, (_, i) => order(`after-${i}`, 'wait', { ms: 20 }))
  ])
  let lives = 1
  for (let gateway = first; await kafka.committedOffset(group, topic) !== 26; lives++) {
    t.ok(lives <= 10, `life ${lives}`)
    if (lives > 10) return
    const ended = gateway.exited.then(() => true)
    const done = waitFor('everything to be committed', async () => await kafka.committedOffset(group, topic) === 26, { timeoutMs: 60_000 }).then(() => false)
    done.catch(() => {})
    if (!await Promise.race([ended, done])) break
    gateway = await again()
  }
  t.comment(`${lives} lives`)
  const letters = await kafka.readAll(`${topic}.dlq`)
  t.strictSame(letters.map(({ key }) => String(key)), ['poison'])
  t.match(headersOf(letters[0]), { 'sluice-error-class': 'AttemptsUsedUpError', 'sluice-attempts': '2' })
  t.equal(ledger.handled.size, 25, 'all the others are handled')
})

t.test('attempts outlive the process, killed or stopped: a record never gets more of them than it may', { skip: noKafka }, async t => {
  const { kafka, ledger, topic, gateway: first, again } = await obedient(t, {
    KAFKA_RETRY_MAX_ATTEMPTS: 4, KAFKA_RETRY_BACKOFF_MS: 0, KAFKA_SESSION_TIMEOUT_MS: 3000
  })
  await kafka.produce(topic, [order('a', 'retry-after', { ms: 400, times: 99 })])
  await waitFor('the first attempt', () => historyOf(ledger, 'a').includes('fail 1'))
  await waitFor('the second attempt', () => historyOf(ledger, 'a').includes('fail 2'))
  await first.kill()
  const second = await again()
  await waitFor('the third attempt', () => historyOf(ledger, 'a').includes('fail 3'), { timeoutMs: 30_000 })
  t.strictSame(await second.stop(), { code: 0, signal: null })
  await again()
  await waitFor('the dead letter', async () => (await kafka.readAll(`${topic}.dlq`)).length === 1, { timeoutMs: 30_000 })
  const attempts = historyOf(ledger, 'a')
  t.comment(attempts.join(', '))
  t.strictSame([...new Set(attempts)], [1, 2, 3, 4].flatMap(n => [`start ${n}`, `fail ${n}`]))
  // The kill came right after a failure: what was not written down by then is made again, and no more than that.
  t.ok(attempts.length <= 10, `${attempts.length / 2} attempts`)
})
