import type { KafkaRecord } from '../../src/record.js'
import { connectSource, type ConsumerSettings } from '../../src/kafka/consumer.js'

/** A member like any other, but for whom it belongs to and what it reads. */
export const memberSettings: Omit<ConsumerSettings, 'client' | 'groupId' | 'topics'> = {
  groupInstanceId: null,
  excludedTopics: { names: [], suffixes: [] },
  groupProtocol: 'classic',
  assignmentStrategy: 'cooperative-sticky',
  autoOffsetReset: 'earliest',
  isolationLevel: 'read_committed',
  sessionTimeoutMs: 6_000,
  maxPollIntervalMs: 60_000
}

/** Reads at least `count` records of a topic, from its beginning, in a group of its own. */
export async function readTopic (bootstrapServers: string, topic: string, count: number, limitMs = 15_000): Promise<KafkaRecord[]> {
  const source = await connectSource({
    ...memberSettings, client: { 'bootstrap.servers': bootstrapServers }, groupId: `reader-of-${topic}`, topics: [topic]
  })
  const read: KafkaRecord[] = []
  const poll = async () => {
    read.push(...(await source.poll(100, 50)).records)
    for (let event = source.takeEvent(); event !== undefined; event = source.takeEvent()) {
      if (event.type === 'assigned') source.assign(event.partitions.map(one => ({ ...one, offset: 0, metadata: '' })))
      else source.unassign(event.partitions)
    }
  }
  try {
    for (const end = performance.now() + limitMs; read.length < count && performance.now() < end;) await poll()
    source.leave()
    for (const end = performance.now() + limitMs; !source.left && performance.now() < end;) await poll()
  } finally {
    await source.close()
  }
  return read
}
