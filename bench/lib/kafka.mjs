import kafka from '@confluentinc/kafka-javascript'

const ADMIN_TIMEOUT_MS = 60_000

const called = body => new Promise((resolve, reject) => body(error => error ? reject(error) : resolve()))
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

async function connected (bootstrapServers, more = {}) {
  const producer = new kafka.Producer({
    'bootstrap.servers': bootstrapServers, dr_cb: true, 'queue.buffering.max.messages': 200_000, 'linger.ms': 5, acks: -1, ...more
  })
  await called(done => producer.connect({}, done))
  producer.setPollInBackground(true)
  return producer
}

async function administer (producer, body) {
  const admin = kafka.AdminClient.createFrom(producer)
  await called(done => body(admin, done))
  admin.disconnect()
}

function create (producer, topic, partitions) {
  return administer(producer, (admin, done) =>
    admin.createTopic({ topic, num_partitions: partitions, replication_factor: 1 }, ADMIN_TIMEOUT_MS, done))
}

/** Hands all records over and waits until the broker has acknowledged each. */
async function fill (producer, topic, records, recordOf) {
  const reports = { count: 0, failed: null }
  producer.on('delivery-report', error => {
    reports.count++
    if (error) reports.failed = error
  })
  for (let n = 0; n < records; n++) {
    const { key = null, value = null, partition = null } = recordOf(n)
    producer.produce(topic, partition, value, key)
    while (n - reports.count > 50_000) await pause(5)
  }
  while (reports.count < records) await pause(10)
  if (reports.failed) throw reports.failed
}

const disconnected = producer => new Promise(resolve => producer.disconnect(resolve))

/** Makes a topic and fills it: `recordOf(n)` gives key, value and partition of each. */
export async function filledTopic (bootstrapServers, topic, { partitions = 4, records = 0, recordOf = () => ({}) }) {
  const producer = await connected(bootstrapServers)
  await create(producer, topic, partitions)
  await fill(producer, topic, records, recordOf)
  await disconnected(producer)
  return topic
}

/**
 * Makes a topic and fills it in a transaction that stays open, so that no consumer sees anything yet. What it returns
 * shows all records at once: nobody has to produce while it is measured how they are read.
 */
export async function hiddenTopic (bootstrapServers, topic, { partitions, records, recordOf }) {
  const producer = await connected(bootstrapServers, { 'transactional.id': topic, 'transaction.timeout.ms': 120_000 })
  await create(producer, topic, partitions)
  await called(done => producer.initTransactions(ADMIN_TIMEOUT_MS, done))
  await called(done => producer.beginTransaction(done))
  await fill(producer, topic, records, recordOf)
  return async () => {
    await called(done => producer.commitTransaction(ADMIN_TIMEOUT_MS, done))
    await disconnected(producer)
  }
}

/** Deletes a topic whose mere being there would cost the measurements that follow something. */
export async function deleteTopic (bootstrapServers, topic) {
  const producer = await connected(bootstrapServers)
  await administer(producer, (admin, done) => admin.deleteTopic(topic, ADMIN_TIMEOUT_MS, done))
  await disconnected(producer)
}

let names = 0
export const uniqueName = prefix => `${prefix}-${process.pid}-${++names}`
