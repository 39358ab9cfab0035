import type { Test } from 'tap'
import { startGateway, type Gateway } from './gateway.js'
import { startKafka, uniqueName, waitFor, type Kafka } from './kafka.js'

export const PARTITIONS = 4
const POISON = 50

export interface Course { readonly kafka: Kafka, readonly topic: string, readonly out: string, readonly group: string }

/** As test/support/handlers/transform.js answers. */
const expectedOf = (partition: number, offset: number): string[] =>
  Array.from({ length: offset % 10 === 9 ? 2 : offset % 10 === 8 ? 0 : 1 }, (_, n) => `${partition}/${offset}/${n}`)
export const isPoison = (offset: number) => offset % POISON === 5
export const isLarge = (offset: number) => offset % 100 === 6

/** Topics in a broker of the course's own, unless it is given one. */
export async function course (t: Test, config: Record<string, string> = {}, given: Kafka | null = null): Promise<Course> {
  const kafka = given ?? await startKafka()
  if (given === null) t.teardown(() => kafka.stop())
  const topic = await kafka.createTopic(uniqueName('in'), { partitions: PARTITIONS })
  const out = await kafka.createTopic(uniqueName('out'), { partitions: 3, config })
  await kafka.createTopic(`${topic}.dlq`)
  return { kafka, topic, out, group: uniqueName('exactly-once') }
}

export async function start (t: Test, { kafka, topic, out, group }: Course, env: Record<string, string | number> = {}): Promise<Gateway> {
  const gateway = await startGateway({
    kafka,
    ...(env.KAFKA_HANDLER === undefined && { handler: 'transform.js' }),
    // Under KIP-848 the broker decides that.
    ...(env.KAFKA_GROUP_PROTOCOL === undefined && { properties: { 'heartbeat.interval.ms': 500 } }),
    env: {
      KAFKA_DELIVERY: 'exactly-once',
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      KAFKA_SESSION_TIMEOUT_MS: 6000,
      KAFKA_MAX_PROC_COUNT: 32,
      KAFKA_TRANSACTION_TIMEOUT_MS: 10_000,
      TRANSFORM_TOPIC: out,
      TRANSFORM_POISON: POISON,
      LOG_LEVEL: 'info',
      ...env
    }
  })
  t.teardown(() => gateway.kill())
  return gateway
}

export const write = ({ kafka, topic }: Course, count: number) =>
  kafka.produce(topic, Array.from({ length: count }, (_, i) => ({ key: `key-${i % 97}`, value: `${i}` })))

export const committed = async ({ kafka, group }: Course) =>
  (await kafka.committedOffsets(group)).reduce((sum, { offset }) => sum + offset, 0)

/**
 * What a reader with read_committed sees is what each record's handler answered, once, in the order of its key.
 *
 * @param isRefused records that become dead letters beside the poisonous ones
 * @param answers false for a handler that answers nothing
 */
export async function check (
  t: Test, { kafka, topic, out }: Course, isRefused = (_offset: number) => false, answers = true
): Promise<void> {
  // Who was killed may have left a transaction open, and readers wait behind it: until it is continued, or its time is over.
  for (const written of [out, `${topic}.dlq`]) {
    await waitFor(`no open transaction in ${written}`, async () =>
      String(await kafka.endOffsets(written, 'read_committed')) === String(await kafka.endOffsets(written)), { timeoutMs: 60_000 })
  }
  const ends = await kafka.endOffsets(topic)
  const wanted = new Set<string>()
  const letters = new Set<string>()
  for (const [partition, end] of ends.entries()) {
    for (let offset = 0; offset < end; offset++) {
      if (isPoison(offset) || isRefused(offset)) letters.add(`${partition}/${offset}`)
      else if (answers) expectedOf(partition, offset).forEach(one => wanted.add(one))
    }
  }
  const seen = (await kafka.readAll(out)).map(({ key, value }) => ({ key: String(key), value: String(value) }))
  const counts = new Map<string, number>()
  for (const { value } of seen) counts.set(value, (counts.get(value) ?? 0) + 1)
  t.strictSame([...wanted].filter(one => !counts.has(one)).slice(0, 10), [], 'nothing is missing')
  t.strictSame([...counts].filter(([, count]) => count > 1).slice(0, 10), [], 'nothing is there twice')
  t.strictSame([...counts.keys()].filter(one => !wanted.has(one)), [], 'and nothing else')
  const last = new Map<string, number>()
  const disordered: string[] = []
  for (const { key, value } of seen) {
    const offset = Number(value.split('/')[1])
    if (offset < (last.get(key) ?? -1)) disordered.push(`${key}: ${value} after ${last.get(key)}`)
    last.set(key, offset)
  }
  t.strictSame(disordered.slice(0, 10), [], 'in the order of each key')

  const dead = (await kafka.readAll(`${topic}.dlq`)).map(({ headers }) => {
    const header = (name: string) => String(headers.find(([one]) => one === name)?.[1])
    return `${header('sluice-original-partition')}/${header('sluice-original-offset')}`
  })
  t.strictSame(dead.toSorted(), [...letters].toSorted(), 'each dead letter once')
}
