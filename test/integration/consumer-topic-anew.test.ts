import t from 'tap'
import { noKafka, waitFor } from '../support/kafka.js'
import { obedient, order } from '../support/obedient.js'

t.setTimeout(180_000)
t.jobs = 2

const some = (count: number, what: string) => Array.from({ length: count }, (_, i) => order(`${what}-${i}`, 'succeed', { what }))

t.test('a topic is deleted and made again while nobody reads it: the next owner begins at its beginning', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group, again } = await obedient(t, {})
  await kafka.produce(topic, some(100, 'old'))
  await waitFor('the old ones', async () => await kafka.committedOffset(group, topic) === 100)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await kafka.deleteTopic(topic)
  await kafka.createTopic(topic)
  // More than there were: the old offset lies within the new log, where nothing but its id tells that it means nothing.
  await kafka.produce(topic, some(150, 'new'))
  // Deleting a topic takes its offsets along where the broker hears of it in time; here they are as a broker left them that did not.
  if (await kafka.committedOffset(group, topic) === null) {
    t.comment('the broker has removed the offsets with the topic')
  }
  const next = await again()
  await waitFor('the new ones', async () => await kafka.committedOffset(group, topic) === 150, { timeoutMs: 40_000 })
  const handled = ledger.entries.filter(({ what, key }) => what === 'end' && key!.startsWith('new-')).map(({ offset }) => offset)
  t.strictSame(handled.sort((a, b) => a - b), Array.from({ length: 150 }, (_, i) => i), 'each of the new topic, once')
  t.strictSame(await next.stop(), { code: 0, signal: null })
})

t.test('offsets of a topic that is another one by now are recognized by its id, and not used', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group, again } = await obedient(t, {})
  await kafka.produce(topic, some(100, 'old'))
  await waitFor('the old ones', async () => await kafka.committedOffset(group, topic) === 100)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  const [left] = await kafka.committedOffsets(group)
  await kafka.deleteTopic(topic)
  await kafka.createTopic(topic)
  await kafka.produce(topic, some(150, 'new'))
  // As on a broker that kept them.
  await kafka.commitOffset(group, topic, 0, left!.offset, left!.metadata)
  const next = await again()
  await waitFor('the new ones', async () => await kafka.committedOffset(group, topic) === 150, { timeoutMs: 40_000 })
  const handled = ledger.entries.filter(({ what, key }) => what === 'end' && key!.startsWith('new-')).map(({ offset }) => offset)
  t.strictSame(handled.sort((a, b) => a - b), Array.from({ length: 150 }, (_, i) => i), 'each of the new topic, once')
  t.equal(await next.metric('sluice_consumer_topics_made_anew_total'), 1)
  t.strictSame(await next.stop(), { code: 0, signal: null })
})

t.test('a topic is deleted and made again while it is read: nothing of the new one is skipped', { skip: noKafka }, async t => {
  const { kafka, gateway, ledger, topic, group } = await obedient(t, {})
  await kafka.produce(topic, some(100, 'old'))
  await waitFor('the old ones', async () => await kafka.committedOffset(group, topic) === 100)
  await kafka.deleteTopic(topic)
  await kafka.createTopic(topic)
  await kafka.produce(topic, some(150, 'new'))
  // The client may go on at its old place in the new topic at first; then the id is found to be another.
  const handled = () => new Set(ledger.entries.filter(({ what, key }) => what === 'end' && key!.startsWith('new-')).map(({ offset }) => offset))
  await waitFor('each of the new topic to be handled', () => handled().size === 150, { timeoutMs: 60_000 })
  await waitFor('their commit', async () => await kafka.committedOffset(group, topic) === 150)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
})
