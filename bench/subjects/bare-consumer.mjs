// The least that a consumer can be: the driver's consume(1000) in a loop, with Sluice's client settings, counting.

import kafka from '@confluentinc/kafka-javascript'
import { answer, input, stopwatch } from '../lib/subject.mjs'

const { bootstrapServers, topic, groupId, total } = await input()
const consumer = new kafka.KafkaConsumer({
  'bootstrap.servers': bootstrapServers,
  'group.id': groupId,
  'queued.min.messages': 2000,
  'queued.max.messages.kbytes': 16384,
  'fetch.queue.backoff.ms': 10,
  'auto.offset.reset': 'earliest',
  'isolation.level': 'read_committed',
  'partition.assignment.strategy': 'cooperative-sticky',
  'enable.auto.commit': false,
  'enable.auto.offset.store': false,
  'enable.partition.eof': true
})
await new Promise((resolve, reject) => consumer.connect({}, error => error ? reject(error) : resolve()))
consumer.setDefaultConsumeTimeout(100)
consumer.setDefaultIsTimeoutOnlyForFirstMessage(true)
consumer.subscribe([topic])
const watch = stopwatch(total)
const loop = () => consumer.consume(1000, (error, messages) => {
  if (error) throw error
  if (messages.length > 0) watch.count(messages.length)
  if (watch.counted < total) loop()
})
loop()
const result = await watch.done
answer({ ...result, rss: [process.memoryUsage().rss] })
