// What one writes in ten minutes: a Fastify route that awaits one send() of the driver's KafkaJS-style API a request.

import kafka from '@confluentinc/kafka-javascript'
import Fastify from 'fastify'
import { input, serve } from '../lib/subject.mjs'

/** `lingerMs`: absent, as the library sets it up. */
const { bootstrapServers, topic, lingerMs } = await input()
const { Kafka, logLevel } = kafka.KafkaJS
const producer = new Kafka({ kafkaJS: { brokers: bootstrapServers.split(','), logLevel: logLevel.ERROR } })
  .producer(lingerMs === undefined ? {} : { 'linger.ms': lingerMs })
await producer.connect()
const app = Fastify()
app.post('/topics/:topic/records', async ({ params, body }) => {
  const [{ partition, baseOffset }] = await producer.send({
    topic: params.topic, messages: [{ key: body.key, value: JSON.stringify(body.value) }]
  })
  return { topic, partition, offset: Number(baseOffset) }
})
serve(await app.listen({ port: 0, host: '127.0.0.1' }), async () => {
  await app.close()
  await producer.disconnect()
})
