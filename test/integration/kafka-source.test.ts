import driver from '@confluentinc/kafka-javascript'
import t, { type Test } from 'tap'
import type { CommittedOffset, PartitionEnd, RebalanceEvent, TopicPartition } from '../../src/engine/types.js'
import type { ConnectedSource } from '../../src/group-member.js'
import { connectSource, type ConsumerSettings } from '../../src/kafka/consumer.js'
import { startEmbeddedBroker } from '../../src/kafka/embedded-broker.js'
import type { KafkaRecord } from '../../src/record.js'
import { memberSettings } from '../support/embedded-reader.js'
import { noKafka, sharedKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'

t.setTimeout(240_000)

const protocols = ['classic', 'consumer'] as const

/** A source that is driven by hand: it answers what the group decides, and keeps what it was given. */
class Member {
  readonly source: ConnectedSource
  readonly groupId: string
  readonly records: KafkaRecord[] = []
  readonly ends: PartitionEnd[] = []
  readonly events: RebalanceEvent[] = []
  /** Where to begin, in place of the group's offset. */
  startAt: (partition: TopicPartition) => number = () => -1

  answersForItself = false

  constructor (source: ConnectedSource, groupId: string) {
    this.source = source
    this.groupId = groupId
  }

  /** One poll; what it brought was added to `records`. */
  async poll (max = 100, timeoutMs = 50): Promise<readonly KafkaRecord[]> {
    const { records, ends } = await this.source.poll(max, timeoutMs)
    this.records.push(...records)
    this.ends.push(...ends)
    return records
  }

  async answer (): Promise<void> {
    for (let event = this.source.takeEvent(); event !== undefined; event = this.source.takeEvent()) {
      this.events.push(event)
      if (event.type !== 'assigned') this.source.unassign(event.partitions)
      else this.source.assign(event.partitions.map((one): CommittedOffset => ({ ...one, offset: this.startAt(one), metadata: '' })))
    }
  }

  /** Polls until it holds; whatever the group decides meanwhile is answered. */
  async pollUntil (what: string, holds: () => boolean, max = 100): Promise<void> {
    await waitFor(what, async () => {
      await this.answer()
      if (holds()) return true
      await this.poll(max)
      await this.answer()
      return holds()
    }, { everyMs: 0 })
  }

  assigned (partitions: number): Promise<void> {
    return this.pollUntil(`${partitions} partitions`, () =>
      this.events.reduce((sum, { type, partitions }) => sum + (type === 'assigned' ? 1 : -1) * partitions.length, 0) === partitions, 1)
  }

  async leave (): Promise<void> {
    // The client waits for an answer to what the group decided, also when it is closed.
    await this.pollUntil('an assignment', () => this.events.length > 0, 1)
    this.source.leave()
    await this.pollUntil('the group to take everything back', () => this.source.left, 1)
  }
}

async function join (
  t: Test, { bootstrapServers }: { bootstrapServers: string }, topic: string, settings: Partial<ConsumerSettings> = {}
): Promise<Member> {
  const groupId = uniqueName('source')
  const source = await connectSource({
    ...memberSettings, client: { 'bootstrap.servers': bootstrapServers }, groupId, topics: [topic], ...settings
  })
  const member = new Member(source, groupId)
  t.teardown(async () => {
    // A test that answers for itself leaves for itself.
    if (!member.answersForItself && !source.left) await member.leave()
    await source.close()
  })
  return member
}

const numbered = (count: number, partition = 0, timestamp?: (n: number) => number) => Array.from({ length: count }, (_, n) => ({
  value: String(n), partition, ...(timestamp && { timestamp: timestamp(n) })
}))

const offsetsOf = (records: readonly KafkaRecord[], partition: number) =>
  records.filter(record => record.partition === partition).map(({ offset }) => offset)

/** Begins a transaction, writes into it and leaves it open. */
async function openTransaction (t: Test, { bootstrapServers }: Kafka, topic: string): Promise<{ end (): Promise<void> }> {
  const producer = new driver.Producer({ 'bootstrap.servers': bootstrapServers, 'transactional.id': uniqueName('open') })
  t.teardown(() => new Promise(resolve => { producer.disconnect(resolve) }))
  await new Promise<void>((resolve, reject) => { producer.connect({}, error => { error ? reject(error) : resolve() }) })
  await new Promise<void>((resolve, reject) => { producer.initTransactions(10_000, error => { error ? reject(error) : resolve() }) })
  await new Promise<void>((resolve, reject) => { producer.beginTransaction(error => { error ? reject(error) : resolve() }) })
  producer.produce(topic, 0, Buffer.from('open'))
  await new Promise<void>((resolve, reject) => { producer.flush(10_000, error => { error ? reject(error) : resolve() }) })
  return {
    end: () => new Promise((resolve, reject) => { producer.commitTransaction(10_000, error => { error ? reject(error) : resolve() }) })
  }
}

t.test('ids of topics are the broker\'s; a topic that is made anew has another, one that is gone has none', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topics = [await kafka.createTopic(), await kafka.createTopic()]
  const { source } = await join(t, kafka, topics[0]!)
  const idsOfBroker = async () =>
    Object.fromEntries(await Promise.all(topics.map(async topic => [topic, (await kafka.describeTopic(topic)).topicId])))
  const before = await idsOfBroker()
  t.same(Object.fromEntries(await source.topicIds([...topics, uniqueName('no-such-topic'), 'no topic at all'])), before)
  await kafka.deleteTopic(topics[1]!)
  t.strictSame([...(await source.topicIds(topics)).keys()], [topics[0]])
  await kafka.createTopic(topics[1])
  const after = Object.fromEntries(await source.topicIds(topics))
  t.same(after, await idsOfBroker())
  t.not(after[topics[1]!], before[topics[1]!])
  t.equal((await source.topicIds([])).size, 0)
})

t.test('positions become offsets: the ends, a time, and an offset as it is', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(undefined, { partitions: 2 })
  await kafka.produce(topic, numbered(10, 0, n => 1_000_000 + n * 1000))
  await kafka.deleteRecords(topic, 0, 3)
  const { source } = await join(t, kafka, topic)
  const partitions = [{ topic, partition: 0 }, { topic, partition: 1 }]
  const at = async (position: Parameters<typeof source.offsetsAt>[0]) => {
    const found = await source.offsetsAt(position, partitions)
    return partitions.map(({ partition }) => found.find(one => one.partition === partition)?.offset)
  }
  t.strictSame(await at('beginning'), [3, 0])
  t.strictSame(await at('end'), [10, 0])
  t.strictSame(await at({ timestamp: 0 }), [3, 0], 'a time before everything is the first record that is left')
  t.strictSame(await at({ timestamp: 1_005_000 }), [5, 0], 'a time that a record has')
  t.strictSame(await at({ timestamp: 1_005_001 }), [6, 0], 'a time between two')
  t.strictSame(await at({ timestamp: Date.now() }), [10, 0], 'a time beyond the last record is the end')
  t.strictSame(await at(7), [7, 7])
  t.strictSame(await source.offsetsAt('end', []), [])
  await t.rejects(source.offsetsAt('end', [...partitions, { topic: uniqueName('no-such-topic'), partition: 0 }]), /offsets of some partitions cannot be read/)
  await t.rejects(source.offsetsAt('end', [{ topic: uniqueName('no-such-topic'), partition: 0 }]), /offsets .*cannot be read/)
  await t.rejects(source.offsetsAt('beginning', [{ topic, partition: 2 }]), /offsets .*cannot be read/)
})

t.test('the end is what the isolation level can read: before an open transaction', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic()
  await kafka.produce(topic, numbered(4))
  const committed = await join(t, kafka, topic)
  const uncommitted = await join(t, kafka, topic, { isolationLevel: 'read_uncommitted' })
  const transaction = await openTransaction(t, kafka, topic)
  const partitions = [{ topic, partition: 0 }]
  const ends = async (position: Parameters<ConnectedSource['offsetsAt']>[0]) =>
    Promise.all([committed, uncommitted].map(async member => (await member.source.offsetsAt(position, partitions))[0]?.offset))
  t.strictSame(await ends('end'), [4, 5])
  t.strictSame(await ends({ timestamp: Date.now() + 60_000 }), [4, 5], 'also where a time is beyond the last record')
  await transaction.end()
  // The marker, which takes an offset, is written after the answer to the producer.
  await waitFor('the transaction to be over', async () => (await kafka.endOffsets(topic, 'read_committed'))[0] === 6)
  t.strictSame(await ends('end'), [6, 6])
})

for (const groupProtocol of protocols) {
  t.test(`after a seek no poll hands out what was fetched before: ${groupProtocol}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(undefined, { partitions: 3 })
    for (const partition of [0, 1, 2]) await kafka.produce(topic, numbered(5000, partition))
    const member = await join(t, kafka, topic, { groupProtocol })
    await member.assigned(3)
    const { source, records } = member
    // Until thousands more have been fetched ahead.
    const untilEach = (from: number, count: number) => member.pollUntil('records of every partition', () =>
      [0, 1, 2].every(partition => offsetsOf(records.slice(from), partition).length >= count), 50)
    await untilEach(0, 100)
    const targets = [[4000, 2000, 0], [10, 2500, 4999], [3000, 0, 20], [0, 0, 0]] as const
    for (const target of targets) {
      const from = records.length
      await source.seek(target.map((offset, partition) => ({ topic, partition, offset })))
      await member.pollUntil('records of every partition', () => [0, 1, 2].every(partition => offsetsOf(records.slice(from), partition).length > 0), 50)
      for (const partition of [0, 1, 2]) {
        const offsets = offsetsOf(records.slice(from), partition)
        t.strictSame(offsets, offsets.map((_, n) => target[partition]! + n), `partition ${partition} goes on at ${target[partition]}, and without gaps`)
      }
    }

    const from = records.length
    const others = [0, 2].map(partition => offsetsOf(records, partition).at(-1)!)
    // They may have been read to their end.
    for (const partition of [0, 2]) await kafka.produce(topic, numbered(10, partition))
    await source.seek([{ topic, partition: 1, offset: 1234 }])
    await untilEach(from, 10)
    const next = [0, 1, 2].map(partition => offsetsOf(records.slice(from), partition)[0])
    t.strictSame(next, [others[0]! + 1, 1234, others[1]! + 1], 'where nobody sought it goes on as before')
  })

  t.test(`a partition that is paused can be sought: ${groupProtocol}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(undefined, { partitions: 2 })
    for (const partition of [0, 1]) await kafka.produce(topic, numbered(3000, partition))
    const member = await join(t, kafka, topic, { groupProtocol })
    await member.assigned(2)
    const { source, records } = member
    const p0 = { topic, partition: 0 }
    await member.pollUntil('records of both', () => offsetsOf(records, 0).length > 100 && offsetsOf(records, 1).length > 100)
    for (const offset of [2000, 5]) {
      source.pause([p0])
      const from = records.length
      await source.seek([{ ...p0, offset }])
      await kafka.produce(topic, numbered(200, 1))
      await member.pollUntil('records of the other', () => offsetsOf(records.slice(from), 1).length > 100)
      t.strictSame(offsetsOf(records.slice(from), 0), [], 'it stays paused')
      await source.seek([{ ...p0, offset: offset + 1 }])
      source.resume([p0])
      await member.pollUntil('its records', () => offsetsOf(records.slice(from), 0).length > 100)
      const offsets = offsetsOf(records.slice(from), 0)
      t.strictSame(offsets, offsets.map((_, n) => offset + 1 + n), 'and goes on where the last seek went')
    }
    source.pause([p0])
    await source.seek([{ ...p0, offset: 3000 }])
    source.resume([p0])
    member.ends.length = 0
    await member.pollUntil('the end of the partition', () => member.ends.some(end => end.partition === 0))
    t.strictSame(member.ends.find(end => end.partition === 0), { ...p0, offset: 3000 }, 'the end is told anew')
  })

  t.test(`a seek right after the assignment counts, whatever the client still looks up: ${groupProtocol}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(undefined, { partitions: 2 })
    for (const partition of [0, 1]) await kafka.produce(topic, numbered(100, partition))
    // -1: the client asks the group, and then the partition's beginning, before it fetches.
    for (const startAt of [-1, 7]) {
      const member = await join(t, kafka, topic, { groupProtocol })
      member.startAt = () => startAt
      await member.assigned(2)
      await member.source.seek([{ topic, partition: 0, offset: 42 }, { topic, partition: 1, offset: 99 }])
      const { records } = member
      const before = records.length
      await member.pollUntil('records of both', () => offsetsOf(records.slice(before), 0).length > 0 && offsetsOf(records.slice(before), 1).length > 0)
      t.strictSame([offsetsOf(records.slice(before), 0)[0], offsetsOf(records.slice(before), 1)[0]], [42, 99])
    }
  })

  t.test(`who answers an assignment with nothing can leave: ${groupProtocol}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(undefined, { partitions: 3 })
    const member = await join(t, kafka, topic, { groupProtocol })
    member.answersForItself = true
    const { source } = member
    let event: RebalanceEvent | undefined
    await waitFor('the assignment', async () => {
      await source.poll(1, 50)
      event = source.takeEvent()
      return event !== undefined && event.partitions.length === 3
    }, { everyMs: 0 })
    // As while the process stops. The group takes all of them back.
    source.assign([])
    source.leave()
    await waitFor('the group to take them back', async () => {
      await source.poll(1, 50)
      event = source.takeEvent()
      if (event === undefined) return false
      source.unassign(event.partitions)
      return true
    }, { everyMs: 0 })
    t.strictSame([event!.type, event!.partitions.length], ['revoked', 3])
    t.notOk(source.left, 'the group may want more of what it decided before')
    await member.pollUntil('it to have left', () => source.left, 1)
    t.ok(source.left)
    await source.close()
    await waitFor('the group to be empty', async () => (await kafka.describeGroup(member.groupId)).members.length === 0)
  })

  t.test(`what the group decided and nobody answered does not hold up a close: ${groupProtocol}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic(undefined, { partitions: 3 })
    for (const taken of [true, false]) {
      const member = await join(t, kafka, topic, { groupProtocol })
      member.answersForItself = true
      const { source } = member
      let assigned = false
      await waitFor('the assignment', async () => {
        await source.poll(1, 50)
        assigned ||= source.hasEvent
        return assigned
      }, { everyMs: 0 })
      if (taken) source.takeEvent()
      const start = performance.now()
      await source.close()
      t.ok(performance.now() - start < 8_000, 'it would give up waiting after 10 s')
      await waitFor('the group to be empty', async () => (await kafka.describeGroup(member.groupId)).members.length === 0)
    }
  })

  t.test(`a seek where it cannot be is an error at once: ${groupProtocol}`, { skip: noKafka }, async t => {
    const kafka = await sharedKafka()
    const topic = await kafka.createTopic()
    const member = await join(t, kafka, topic, { groupProtocol })
    await t.rejects(member.source.seek([{ topic, partition: 0, offset: 0 }]), /is not assigned/, 'before the assignment')
    await member.assigned(1)
    await t.rejects(member.source.seek([{ topic, partition: 1, offset: 0 }]), /is not assigned/)
    await t.rejects(member.source.seek([{ topic, partition: 0, offset: -1 }]), /not an offset/)
    await t.resolves(member.source.seek([]))
    await member.leave()
    await t.rejects(member.source.seek([{ topic, partition: 0, offset: 0 }]), /is not assigned/, 'after it')
  })
}

t.test('in an eager group an assignment is the whole of it: what a later one does not name is not held any more', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(undefined, { partitions: 2 })
  const first = async (assignmentStrategy: string) => {
    const member = await join(t, kafka, topic, { assignmentStrategy })
    await member.assigned(2)
    return member
  }
  const adding = await first('cooperative-sticky')
  t.equal(adding.events.at(-1)!.whole, undefined)
  const eager = await first('range')
  t.equal(eager.events.at(-1)!.whole, true)
  // As the answer to the next one, which takes back nothing: the client does so after a freeze.
  eager.source.assign([{ topic, partition: 1, offset: 0, metadata: '' }])
  await t.rejects(eager.source.seek([{ topic, partition: 0, offset: 0 }]), /is not assigned/)
  await eager.leave()
  t.ok(eager.source.left, 'nothing else is waited for')
})

t.test('beyond the end, a seek is a reset', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic()
  await kafka.produce(topic, numbered(10))
  const member = await join(t, kafka, topic)
  await member.assigned(1)
  await member.pollUntil('all', () => member.records.length === 10)
  await member.source.seek([{ topic, partition: 0, offset: 50 }])
  await member.pollUntil('the first again', () => member.records.length > 10)
  t.equal(member.records[10]!.offset, 0)
})

t.test('the embedded broker tells no ids of topics, at once; the rest works there', async t => {
  const broker = await startEmbeddedBroker({ topics: ['t'] })
  t.teardown(() => broker.close())
  const member = await join(t, broker, 't', { isolationLevel: 'read_uncommitted' })
  const start = performance.now()
  t.equal((await member.source.topicIds(['t'])).size, 0)
  t.ok(performance.now() - start < 3_000, 'the client itself would wait 5 s for a controller')
  const partitions = [0, 1, 2, 3].map(partition => ({ topic: 't', partition }))
  for (const position of ['beginning', 'end', { timestamp: Date.now() }] as const) {
    t.strictSame((await member.source.offsetsAt(position, partitions)).map(({ offset }) => offset), [0, 0, 0, 0])
  }
  await member.assigned(4)
  await member.source.seek([{ topic: 't', partition: 0, offset: 0 }])
})

t.test('a close waits for what was asked before it: the client would end the process otherwise', { skip: noKafka }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic()
  const member = await join(t, kafka, topic)
  member.answersForItself = true
  const { source } = member
  let answers = 0
  const questions = Array.from({ length: 20 }, () => [source.ends([{ topic, partition: 0 }]), source.topicIds([topic])]).flat()
  for (const question of questions) question.then(() => { answers++ }, () => {})
  await source.close()
  t.equal(answers, 40)
  await t.rejects(source.ends([{ topic, partition: 0 }]), /is being closed/)
})
