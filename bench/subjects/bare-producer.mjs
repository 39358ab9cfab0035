// What the native client does at most, set up as Sluice sets it up: records handed over in a loop, and each report awaited.

import kafka from '@confluentinc/kafka-javascript'
import { loadConfig } from '../../dist/src/config.js'
import { producerProperties } from '../../dist/src/kafka/producer-properties.js'
import { answer, input, stopwatch } from '../lib/subject.mjs'

const { bootstrapServers, topic, total, key, value } = await input()
const { config } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: bootstrapServers })
const producer = new kafka.Producer({ ...producerProperties(config.kafka.client, config.producer), dr_cb: true })
await new Promise((resolve, reject) => producer.connect({}, error => error ? reject(error) : resolve()))
producer.setPollInBackground(true)
const IN_FLIGHT = 10_000
const watch = stopwatch(total)
let sent = 0
const keyBytes = Buffer.from(key)
const more = () => {
  for (; sent < total && sent - watch.counted < IN_FLIGHT; sent++) producer.produce(topic, null, Buffer.from(value), keyBytes)
}
producer.on('delivery-report', error => {
  if (error) throw error
  watch.count()
  if (sent - watch.counted < IN_FLIGHT / 2) more()
})
more()
answer(await watch.done)
