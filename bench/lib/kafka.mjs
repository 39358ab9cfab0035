import kafka from '@confluentinc/kafka-javascript'

/** Makes a topic and fills it: `recordOf(n)` gives key, value and partition of each. */
export async function filledTopic (bootstrapServers, topic, { partitions = 4, records = 0, recordOf = () => ({}) }) {
  const producer = new kafka.Producer({
    'bootstrap.servers': bootstrapServers, dr_cb: true, 'queue.buffering.max.messages': 200_000, 'linger.ms': 5, acks: -1
  })
  await new Promise((resolve, reject) => producer.connect({}, error => error ? reject(error) : resolve()))
  const admin = kafka.AdminClient.createFrom(producer)
  await new Promise((resolve, reject) => {
    admin.createTopic({ topic, num_partitions: partitions, replication_factor: 1 }, 10_000, error => error ? reject(error) : resolve())
  })
  producer.setPollInBackground(true)
  const reports = { count: 0, failed: null }
  producer.on('delivery-report', error => {
    reports.count++
    if (error) reports.failed = error
  })
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
  for (let n = 0; n < records; n++) {
    const { key = null, value = null, partition = null } = recordOf(n)
    producer.produce(topic, partition, value, key)
    while (n - reports.count > 50_000) await pause(5)
  }
  while (reports.count < records) await pause(10)
  if (reports.failed) throw reports.failed
  admin.disconnect()
  await new Promise(resolve => producer.disconnect(resolve))
  return topic
}

let names = 0
export const uniqueName = prefix => `${prefix}-${process.pid}-${++names}`
