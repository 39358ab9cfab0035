import { test } from 'tap'
import { SluiceError } from '../../src/errors.js'
import { TopicDirectory, type TopicList, type TopicSource } from '../../src/kafka/topics.js'

/** A broker with topics, and a clock that a test moves. */
class Broker implements TopicSource {
  now = 0
  readonly topics = new Map([['a', 4]])
  topicList: TopicList | null = null
  reads = 0
  readonly asked: string[] = []
  away = false

  async refreshTopics (): Promise<void> {
    this.reads++
    if (this.away) throw new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'away')
    this.topicList = { partitions: new Map(this.topics), at: this.now }
  }

  async requestTopic (topic: string): Promise<void> {
    this.asked.push(topic)
    if (topic !== 'forbidden') this.topics.set(topic, 2)
  }
}

function directory (createsTopics = false) {
  const broker = new Broker()
  return { broker, topics: new TopicDirectory(broker, { createsTopics, now: () => broker.now }) }
}

test('the first question reads the list; later ones do not', async t => {
  const { broker, topics } = directory()
  t.equal(topics.peek('a'), undefined)
  t.equal(await topics.partitions('a'), 4)
  t.equal(topics.peek('a'), 4)
  t.equal(await topics.partitions('a'), 4)
  t.equal(broker.reads, 1)
})

test('an unknown topic is refused; the list is read for it once a second at most', async t => {
  const { broker, topics } = directory()
  await topics.partitions('a')
  for (let i = 0; i < 100; i++) await t.rejects(topics.partitions('b'), { code: 'SLUICE_UNKNOWN_TOPIC' })
  t.equal(broker.reads, 1)
  broker.now = 999
  await t.rejects(topics.partitions('b'), { code: 'SLUICE_UNKNOWN_TOPIC' })
  t.equal(broker.reads, 1)
  broker.now = 1_000
  broker.topics.set('b', 1)
  t.equal(await topics.partitions('b'), 1, 'a new topic is found within a second')
  t.equal(broker.reads, 2)
  t.same(broker.asked, [], 'nothing was asked for by name')
})

test('a topic that was made just now is found at once, however new the list is', async t => {
  const { broker, topics } = directory()
  await broker.refreshTopics()
  broker.topics.set('b', 1)
  t.equal(await topics.partitions('b'), 1)
})

test('without a list that can be believed every question reads', async t => {
  const { broker, topics } = directory()
  broker.away = true
  for (let i = 0; i < 2; i++) await t.rejects(topics.partitions('a'), { code: 'SLUICE_BROKER_UNAVAILABLE' })
  broker.away = false
  t.equal(await topics.partitions('a'), 4, 'in the same second')
})

test('those who come while the list is being read wait for it', async t => {
  const { topics } = directory()
  t.same(await Promise.all([topics.partitions('a'), topics.partitions('a')]), [4, 4])
})

test('a used list is renewed in passing after five seconds', async t => {
  const { broker, topics } = directory()
  await topics.partitions('a')
  broker.now = 5_000
  topics.peek('a')
  t.equal(broker.reads, 1)
  broker.now = 5_001
  broker.topics.delete('a')
  t.equal(topics.peek('a'), 4, 'the caller does not wait')
  t.equal(broker.reads, 2)
  await new Promise(resolve => { setImmediate(resolve) })
  t.equal(topics.peek('a'), undefined, 'a deleted topic is gone')
})

test('a list older than thirty seconds is not believed', async t => {
  const { broker, topics } = directory()
  await topics.partitions('a')
  broker.away = true
  broker.now = 30_000
  t.equal(topics.peek('a'), 4)
  broker.now = 30_001
  t.equal(topics.peek('a'), undefined)
  await t.rejects(topics.partitions('a'), { code: 'SLUICE_BROKER_UNAVAILABLE' })
})

test('partitions that were added are found; those that are not there cost a read a second', async t => {
  const { broker, topics } = directory()
  t.equal(await topics.partitions('a', 5), 4)
  broker.now = 1_000
  broker.topics.set('a', 8)
  t.equal(await topics.partitions('a', 4), 4, 'enough: nothing is read')
  t.equal(broker.reads, 1)
  t.equal(await topics.partitions('a', 5), 8)
  t.equal(await topics.partitions('a', 9), 8)
  t.equal(broker.reads, 2)
})

test('where topics are made, a missing one is asked for by its name, once however many want it', async t => {
  const { broker, topics } = directory(true)
  t.same(await Promise.all([topics.partitions('new'), topics.partitions('new'), topics.partitions('new')]), [2, 2, 2])
  t.same(broker.asked, ['new'])
  t.equal(await topics.partitions('new'), 2)
  t.same(broker.asked, ['new'])
})
