import t from 'tap'
import { SluiceError } from '../../src/errors.js'
import { readAnswer } from '../../src/engine/batch-answer.js'
import type { BatchedHandler, Handler } from '../../src/engine/types.js'
import { producing as delivering } from '../../src/handlers/producing.js'
import { sendingWith } from '../../src/handlers/sending.js'
import { FakeProducer } from '../support/fake-producer.js'
import { record } from '../support/fake-source.js'

const ONE = record({ offset: 0 })
const RECORDS = [{ topic: 'a', value: '1' }, { topic: 'b', value: '2' }]

const producing = (handler: Handler, producer: FakeProducer) => delivering(handler, sendingWith(producer))

function setUp (answer: unknown, producer = new FakeProducer()) {
  const controller = new AbortController()
  const handle = producing(typeof answer === 'function' ? answer as Handler : () => answer, producer)
  return { producer, controller, run: () => handle(ONE, { attempt: 1, signal: controller.signal }) }
}

async function failureOf (answer: unknown, producer?: FakeProducer) {
  try {
    await setUp(answer, producer).run()
  } catch (error) {
    return error as Error & { retriable?: boolean, outage?: boolean }
  }
  return null
}

t.test('records are acknowledged before the record is handled, in their order', async t => {
  for (const answer of [{ produce: RECORDS }, Promise.resolve({ produce: RECORDS })]) {
    const { producer, run } = setUp(answer)
    t.equal(await run(), undefined)
    t.same(producer.sent, RECORDS)
  }
})

t.test('what is not asked for stays as it was: synchronous, and without a signal', async t => {
  const producer = new FakeProducer()
  const attempt = { attempt: 1, get signal (): AbortSignal { throw new Error('nobody asked for it') } }
  t.equal(producing(() => ({ done: true }), producer)(ONE, attempt), undefined)
  t.equal(await producing(async () => 7, producer)(ONE, attempt), undefined)
  t.throws(() => producing(() => { throw new Error('mine') }, producer)(ONE, attempt), { message: 'mine' })
  t.same(producer.sent, [])
})

t.test('what only looks like a promise is waited for, whatever its `then` answers', async t => {
  const { producer, run } = setUp({ then (resolve: (value: unknown) => void) { setImmediate(() => resolve({ produce: RECORDS })) } })
  await run()
  t.same(producer.sent, RECORDS)
})

t.test('an answer that is no list of records is a failed attempt, and nothing of it is produced', async t => {
  const { producer, run } = setUp({ produce: [{ topic: 'a', value: 'v' }, { topic: 'a' }] })
  t.throws(run, { retriable: false, message: /record 1/ })
  t.same(producer.sent, [])
})

t.test('one that Kafka refuses for good is worth no other attempt; what may pass is', async t => {
  for (const [code, retriable, outage] of [
    ['SLUICE_RECORD_TOO_LARGE', false, false], ['SLUICE_RECORD_REJECTED', false, false], ['SLUICE_UNKNOWN_PARTITION', false, false],
    ['SLUICE_UNKNOWN_TOPIC', true, false], ['SLUICE_NOT_AUTHORIZED', true, false],
    ['SLUICE_NOT_PRODUCED', true, true], ['SLUICE_DELIVERY_UNKNOWN', true, true]
  ] as const) {
    const producer = new FakeProducer()
    producer.outcomes.push(undefined, new SluiceError(code, 'so it is'))
    t.match(await failureOf({ produce: RECORDS }, producer), { retriable, outage, message: /\(record 1, topic b\): so it is/ })
  }
  const producer = new FakeProducer()
  producer.outcomes.push(new SluiceError('SLUICE_NOT_PRODUCED', 'x'), new SluiceError('SLUICE_RECORD_TOO_LARGE', 'y'))
  t.match(await failureOf({ produce: RECORDS }, producer), { retriable: false }, 'of both, the one that stays')
})

t.test('a producer that takes nothing is an outage', async t => {
  const producer = new FakeProducer()
  producer.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  t.match(await failureOf({ produce: RECORDS }, producer), { retriable: true, outage: true })
  producer.refusal = new Error('a bug')
  t.match(await failureOf({ produce: RECORDS }, producer), { retriable: true, outage: false })
})

t.test('an attempt whose time is over does not wait for Kafka any longer', async t => {
  const producer = new FakeProducer()
  producer.sendBatch = () => new Promise(() => {})
  const { controller, run } = setUp({ produce: RECORDS }, producer)
  const failed = t.rejects(run() as Promise<unknown>, { outage: true, message: /in time .*: too late/ })
  controller.abort(new Error('too late'))
  await failed
  await t.rejects(run() as Promise<unknown>, { message: /too late/ }, 'nor does one that was over before')
})

const BATCHES = { maxRecords: 3, by: 'partition', waitMs: 0 } as const

async function batchOf (answer: unknown, producer = new FakeProducer(), count = 3) {
  const handler: BatchedHandler = { batches: BATCHES, handle: () => answer }
  const { handle, batches } = delivering(handler, sendingWith(producer))
  t.equal(batches, BATCHES)
  const records = Array.from({ length: count }, (_, offset) => record({ offset }))
  const told = await handle(records, { attempts: records.map(() => 1), signal: new AbortController().signal })
  return { producer, results: readAnswer(told, count) }
}

t.test('of a batch each record has its own, and ends by itself', async t => {
  const failure = new Error('mine')
  const first = await batchOf([{ produce: [{ topic: 'a', value: '0' }, { topic: 'a', value: '1' }] }, failure, { status: 'fulfilled', value: { produce: [{ topic: 'a', value: '2' }] } }])
  t.same(first.producer.sent.map(({ value }) => value), ['0', '1', '2'])
  t.same(first.results, [{ failed: false, value: undefined }, { failed: true, error: failure }, { failed: false, value: undefined }])

  const producer = new FakeProducer()
  producer.outcomes.push(undefined, new SluiceError('SLUICE_RECORD_TOO_LARGE', 'too large'))
  const second = await batchOf([{ produce: [{ topic: 'a', value: '0' }] }, { produce: [{ topic: 'a', value: '1' }] }, { produce: [{ topic: 'a' }] }], producer)
  t.match(second.results, [{ failed: false }, { failed: true, error: { message: /record 0, topic a\): too large/, retriable: false } }, { failed: true, error: { name: 'ProducedError' } }])

  producer.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  const third = await batchOf([{ produce: [{ topic: 'a', value: '0' }] }, null, { produce: [{ topic: 'a', value: '1' }] }], producer)
  t.match(third.results, [{ failed: true, error: { outage: true } }, { failed: false }, { failed: true, error: { outage: true } }])
})

t.test('a batch whose answer is nothing, or not understood, stays what it is', async t => {
  t.equal((await batchOf(undefined)).results, null)
  await t.rejects(batchOf(['what']), /got 1 entries for 3 records/)
})
