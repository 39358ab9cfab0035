import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { check, committed, course, isPoison, start, write, type Course } from '../support/exactly-once-course.js'
import type { Gateway } from '../support/gateway.js'
import { noOwnKafka, startKafka, uniqueName, waitFor } from '../support/kafka.js'

t.setTimeout(180_000)
t.jobs = 5

const TOTAL = 500

/** One broker for all, in which a member of either protocol that was killed, and what it left open, is soon missed. */
const broker = noOwnKafka !== false
  ? null
  : await startKafka({
    properties: {
      'group.consumer.min.session.timeout.ms': 3000,
      'group.consumer.session.timeout.ms': 3000,
      'group.consumer.min.heartbeat.interval.ms': 500,
      'group.consumer.heartbeat.interval.ms': 500,
      'group.min.session.timeout.ms': 3000,
      'transaction.abort.timed.out.transaction.cleanup.interval.ms': 500
    }
  })
t.teardown(() => broker?.stop())

const soon = { KAFKA_SESSION_TIMEOUT_MS: 3000, KAFKA_TRANSACTION_TIMEOUT_MS: 5000 }
const kip848 = { KAFKA_GROUP_PROTOCOL: 'consumer' }
const kinds: Record<string, () => Record<string, string | number>> = {
  'in batches of a partition': () => ({ KAFKA_HANDLER_BATCH_SIZE: 5, KAFKA_HANDLER_BATCH_WAIT_MS: 5, KAFKA_MAX_PROC_COUNT: 2 }),
  'in batches of a key, with an adaptive limit, under KIP-848': () => ({
    ...kip848, KAFKA_HANDLER_BATCH_SIZE: 5, KAFKA_HANDLER_BATCH_BY: 'key', KAFKA_CONCURRENCY: 'adaptive', KAFKA_MIN_PROC_COUNT: 4
  }),
  'in worker threads, with a static member': () => ({ KAFKA_HANDLER_THREADS: 3, KAFKA_GROUP_INSTANCE_ID: uniqueName('one') }),
  'batches in worker threads, under KIP-848': () => ({ ...kip848, KAFKA_HANDLER_THREADS: 2, KAFKA_HANDLER_BATCH_SIZE: 10 })
}

/** Has all records handled by two gateways, of which the first is killed in the middle of it. Returns the second, which has ended. */
async function handleAll (t: Test, one: Course, settings: Record<string, string | number>): Promise<Gateway> {
  await write(one, TOTAL)
  const killed = await start(t, one, settings)
  await waitFor('a part', async () => await committed(one) >= TOTAL / 8, { timeoutMs: 60_000, everyMs: 20 })
  await killed.kill()
  t.ok(await committed(one) < TOTAL, 'killed with work to do')
  const gateway = await start(t, one, settings)
  await waitFor('everything to be committed', async () => await committed(one) === TOTAL, { timeoutMs: 90_000 })
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  return gateway
}

for (const [kind, env] of Object.entries(kinds)) {
  t.test(`${kind}, and killed: each result once`, { skip: noOwnKafka }, async t => {
    const one = await course(t, {}, broker)
    const settings = { ...soon, TRANSFORM_MAX_MS: 30, ...env() }
    await handleAll(t, one, settings)
    await check(t, one)
  })
}

t.test('pushes answer nothing: each dead letter is there once, each record is pushed at least once', { skip: noOwnKafka }, async t => {
  const pushed = new Set<string>()
  const target = createServer((req, res) => {
    const id = String(req.headers['ce-id'])
    pushed.add(id)
    req.resume().on('end', () => { setTimeout(() => { res.writeHead(isPoison(Number(id.split(':')[2])) ? 422 : 200).end() }, 5) })
  })
  await new Promise<void>(resolve => { target.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { target.close(); target.closeAllConnections() })
  const one = await course(t, {}, broker)
  const settings = {
    ...soon, KAFKA_MAX_PROC_COUNT: 8, KAFKA_HANDLER: `http://127.0.0.1:${(target.address() as AddressInfo).port}/`
  }
  const gateway = await handleAll(t, one, settings)
  t.equal(pushed.size, TOTAL)
  t.ok(gateway.lines.some(({ msg }) => /pushed at least once/.test(msg)), 'a warning says so')
  await check(t, one, undefined, false)
})
