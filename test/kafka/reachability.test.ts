import { test } from 'tap'
import { Reachability } from '../../src/kafka/reachability.js'

test('nothing is reachable before it has answered', async t => {
  const kafka = new Reachability()
  t.equal(kafka.reachable, false)
  t.equal(kafka.shouldAsk(0, undefined), true)
  t.equal(kafka.answered(1), true, 'news')
  t.equal(kafka.reachable, true)
  t.equal(kafka.answered(2), false, 'no news')
})

test('a single broker that does not answer is away at once, and back with its next answer', async t => {
  const kafka = new Reachability()
  kafka.answered(0)
  kafka.asked(1_000)
  t.equal(kafka.missed(3_000, 1), true)
  t.equal(kafka.reachable, false)
  kafka.asked(3_500)
  t.equal(kafka.missed(5_500, 1), false, 'no news')
  t.equal(kafka.answered(6_000), true)
})

test('of several brokers two have to be silent, one after the other', async t => {
  const kafka = new Reachability()
  kafka.answered(0)
  kafka.asked(1_000)
  t.equal(kafka.missed(3_000, 3), false)
  t.equal(kafka.reachable, true)
  t.equal(kafka.shouldAsk(3_999, undefined), false)
  t.equal(kafka.shouldAsk(4_000, undefined), true, 'the second question does not wait for the idle time')
  kafka.asked(4_000)
  t.equal(kafka.missed(6_000, 3), true)

  kafka.answered(7_000)
  kafka.asked(8_000)
  kafka.missed(9_000, 3)
  kafka.answered(9_500)
  kafka.asked(10_000)
  t.equal(kafka.missed(11_000, 3), false, 'an answer between them counts')
})

test('a record that is acknowledged while a question waits shows that Kafka is there', async t => {
  const kafka = new Reachability()
  kafka.answered(0)
  kafka.asked(1_000)
  kafka.answered(2_000)
  t.equal(kafka.missed(3_000, 1), false)
  t.equal(kafka.reachable, true)
})

test('when to ask: idle, waiting, suspicious, away', async t => {
  const kafka = new Reachability()
  kafka.answered(0)
  t.equal(kafka.shouldAsk(9_999, undefined), false)
  t.equal(kafka.shouldAsk(10_000, undefined), true, 'idle for ten seconds')
  t.equal(kafka.shouldAsk(1_499, 500), false)
  t.equal(kafka.shouldAsk(1_500, 500), true, 'a record has waited for a second')
  kafka.answered(1_400)
  t.equal(kafka.shouldAsk(1_500, 500), false, 'but others were acknowledged')

  kafka.suspect()
  t.equal(kafka.shouldAsk(1_500, undefined), true, 'a connection failed')
  kafka.asked(1_500)
  t.equal(kafka.shouldAsk(2_499, undefined), false, 'once a second')
  kafka.trust()
  kafka.answered(1_600)
  t.equal(kafka.shouldAsk(2_600, undefined), false)

  kafka.asked(3_000)
  kafka.missed(5_000, 1)
  t.equal(kafka.shouldAsk(5_499, undefined), false)
  t.equal(kafka.shouldAsk(5_500, undefined), true, 'away: twice a second')
})
