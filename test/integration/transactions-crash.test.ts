import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startGateway, type Gateway } from '../support/gateway.js'
import { noOwnKafka, startKafka, uniqueName, waitFor, type Kafka } from '../support/kafka.js'

t.setTimeout(300_000)

type Told = 'written' | 'not' | 'unknown'

const TOPICS = ['left', 'right']
const PER_TOPIC = 3

/** Posts transactions one after another, and notes what it was told of each. */
async function post (gateway: Gateway, told: Map<string, Told>, lane: string, isOver: () => boolean): Promise<void> {
  for (let n = 0; !isOver(); n++) {
    const id = `${lane}.${n}`
    const records = Array.from({ length: TOPICS.length * PER_TOPIC }, (_, i) => ({ topic: TOPICS[i % TOPICS.length], value: `${id}/${i}` }))
    told.set(id, 'unknown')
    try {
      const res = await fetch(`${gateway.url}/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'request-timeout': '3' },
        body: JSON.stringify({ records }),
        signal: AbortSignal.timeout(15_000)
      })
      const { code = '' } = await res.json() as { code?: string }
      if (res.status === 200) told.set(id, 'written')
      else if (res.status === 503) told.set(id, 'not')
      else if (res.status !== 504) throw new Error(`${res.status} ${code}`)
      if (res.status !== 200) await delay(20)
    } catch (err) {
      // The gateway was killed: whoever had no answer knows nothing.
      if (!(err instanceof TypeError) && (err as Error).name !== 'TimeoutError') throw err
      if (isOver()) return
      await delay(50)
    }
  }
}

/** For each transaction, how many of its records a reader with `read_committed` sees, and whether any twice. */
async function seen (kafka: Kafka): Promise<Map<string, Set<string>>> {
  const found = new Map<string, Set<string>>()
  for (const topic of TOPICS) {
    for (const { value } of await kafka.readAll(topic)) {
      const [id, i] = String(value).split('/') as [string, string]
      const records = found.get(id) ?? new Set()
      if (records.has(i)) throw new Error(`${id}/${i} is there twice`)
      found.set(id, records.add(i))
    }
  }
  return found
}

t.test('gateways and brokers killed and stopped in the middle: all of a transaction or none, and every answer is true', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  for (const topic of TOPICS) await kafka.createTopic(topic, { partitions: 2 })
  const env = { KAFKA_TRANSACTIONAL_ID_PREFIX: uniqueName('prefix'), KAFKA_TRANSACTION_PRODUCERS: 2, KAFKA_TRANSACTION_TIMEOUT_MS: 60_000, LOG_LEVEL: 'info' }
  const told = new Map<string, Told>()
  const written = () => [...told.values()].filter(one => one === 'written').length

  const faults = ['kill gateway', 'stop broker', 'kill gateway', 'kill broker', 'kill gateway', 'kill gateway'] as const
  for (const [round, fault] of faults.entries()) {
    const gateway = await startGateway({ kafka, env })
    let isOver = false
    const before = written()
    const lanes = [0, 1, 2, 3].map(lane => post(gateway, told, `${round}-${lane}`, () => isOver))
    await waitFor('some transactions', () => written() >= before + 8, { timeoutMs: 40_000 })
    if (fault === 'kill gateway') {
      isOver = true
      await gateway.kill()
      await Promise.all(lanes)
      continue
    }
    const broker = kafka.broker(1)
    if (fault === 'stop broker') {
      await broker.pause()
      await delay(4_000)
      await broker.resume()
    } else {
      await broker.kill()
      await delay(500)
      await broker.start()
    }
    const during = written()
    await waitFor(`transactions after: ${fault}`, () => written() >= during + 5, { timeoutMs: 60_000 })
    isOver = true
    await Promise.all(lanes)
    t.strictSame(await gateway.stop(), { code: 0, signal: null }, 'it ends by itself')
  }

  // What the last one left open is aborted by the next one, long before its time, which is a minute.
  const last = await startGateway({ kafka, env })
  await waitFor('readers to go on', async () => {
    const ends = await Promise.all(TOPICS.map(async topic => [await kafka.endOffsets(topic, 'read_committed'), await kafka.endOffsets(topic)]))
    return ends.every(([committed, all]) => String(committed) === String(all))
  }, { timeoutMs: 20_000 })
  const found = await seen(kafka)
  const whole = TOPICS.length * PER_TOPIC
  const tally = { written: 0, not: 0, unknown: 0, 'unknown, written': 0 }
  for (const [id, answer] of told) {
    const records = found.get(id)?.size ?? 0
    tally[answer]++
    if (answer === 'unknown' && records > 0) tally['unknown, written']++
    if (answer === 'written') t.equal(records, whole, `${id} was acknowledged`)
    else if (answer === 'not') t.equal(records, 0, `${id} was refused`)
    else t.ok(records === 0 || records === whole, `${id} is unknown: ${records} of ${whole}`)
  }
  t.comment(JSON.stringify(tally))
  t.ok(tally.written >= 50)
  t.strictSame(await last.stop(), { code: 0, signal: null })
})
