import path from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { createHandler } from '../../src/handlers/index.js'
import type { BatchedHandler, Handler } from '../../src/engine/types.js'
import type { HandlerContext } from '../../src/handlers/handler.js'
import { FakeProducer } from '../support/fake-producer.js'
import { record } from '../support/fake-source.js'
import { handlerConfig } from '../support/handler-config.js'

/** A logger that counts its children and keeps what they log. */
function logger () {
  const lines: object[] = []
  const children: object[] = []
  const log = {
    child (bound: object) {
      children.push(bound)
      return { info (fields: object, msg: string) { lines.push({ ...bound, ...fields, msg }) } }
    }
  }
  return { log: log as unknown as FastifyBaseLogger, lines, children }
}

async function handlerOf (directory: string, text: string) {
  const { log, lines, children } = logger()
  const producer = new FakeProducer()
  const { handle } = await createHandler(handlerConfig({ handler: path.join(directory, text) }), { log, producer })
  return { handle: handle as Handler, producer, lines, children }
}

t.test('`log` is the built-in handler', async t => {
  const { log, lines } = logger()
  const { handle } = await createHandler(handlerConfig({ handler: 'log' }), { log, producer: new FakeProducer() })
  await (handle as Handler)(record({ topic: 'orders', partition: 2, offset: 7, value: Buffer.from('x') }), { attempt: 1, signal: new AbortController().signal })
  t.same(lines, [{ topic: 'orders', partition: 2, offset: 7, attempt: 1, key: null, value: 'x', headers: 0, msg: 'record received' }])
})

t.test('a module gets the record, the attempt, the signal, the logger and the producer', async t => {
  const directory = t.testdir({
    'handler.mjs': `export default async (record, { attempt, signal, log, producer }) => {
      log.info({ aborted: signal.aborted }, 'seen')
      return { attempt, receipt: await producer.send({ topic: 'a', key: record.key, value: 'next' }) }
    }`
  })
  const { handle, producer, lines } = await handlerOf(directory, 'handler.mjs')
  const given = record({ offset: 7, key: Buffer.from('k') })
  t.match(await handle(given, { attempt: 3, signal: new AbortController().signal }), { attempt: 3, receipt: { topic: 'a', offset: 0 } })
  t.same(producer.sent, [{ topic: 'a', key: given.key, value: 'next' }])
  t.same(lines, [{ topic: 't', partition: 0, offset: 7, attempt: 3, aborted: false, msg: 'seen' }])
})

t.test('what a handler does not use is not made: no logger, no signal', async t => {
  const directory = t.testdir({ 'handler.mjs': 'export default (record, context) => context.attempt' })
  const { handle, children } = await handlerOf(directory, 'handler.mjs')
  const attempt = { attempt: 2, get signal (): AbortSignal { throw new Error('nobody asked for it') } }
  t.equal(handle(record({ offset: 0 }), attempt), 2)
  t.same(children, [])
})

t.test('what a handler throws or returns comes through as it is', async t => {
  const directory = t.testdir({ 'handler.mjs': 'export default ({ offset }) => { if (offset === 0) throw Object.assign(new Error("bad"), { retriable: false }) }' })
  const { handle } = await handlerOf(directory, 'handler.mjs')
  const attempt = { attempt: 1, signal: new AbortController().signal }
  t.throws(() => handle(record({ offset: 0 }), attempt), { message: 'bad', retriable: false })
  t.equal(handle(record({ offset: 1 }), attempt), undefined, 'and no promise where the module returned none')
})

t.test('the context of one attempt is its own', async t => {
  const directory = t.testdir({ 'handler.mjs': 'export default (record, context) => context' })
  const { handle } = await handlerOf(directory, 'handler.mjs')
  const signals = [new AbortController().signal, new AbortController().signal]
  const contexts = signals.map((signal, n) => handle(record({ offset: n }), { attempt: n + 1, signal }) as HandlerContext)
  t.same(contexts.map(({ attempt }) => attempt), [1, 2])
  t.equal(contexts[0].signal, signals[0])
  t.equal(contexts[1].signal, signals[1])
})

t.test('a module that cannot be used is refused when the handler is made', async t => {
  const { log } = logger()
  await t.rejects(createHandler(handlerConfig({ handler: path.join(t.testdir(), 'missing.mjs') }), { log, producer: new FakeProducer() }), /KAFKA_HANDLER: /)
})

const batches = { maxRecords: 10, by: 'partition', waitMs: 0 } as const

t.test('with batches a module gets the records, their attempts, the signal, the logger and the producer; its answer comes through', async t => {
  const directory = t.testdir({
    'handler.mjs': `export default async (records, { attempts, signal, log, producer }) => {
      log.info({ aborted: signal.aborted }, 'seen')
      await producer.send({ topic: 'a', value: String(records.length) })
      return attempts.map((attempt, n) => attempt > 1 ? new Error(String(records[n].offset)) : undefined)
    }`
  })
  const { log, lines } = logger()
  const producer = new FakeProducer()
  const { handle } = await createHandler(handlerConfig({ handler: path.join(directory, 'handler.mjs'), batches }), { log, producer })
  t.equal((handle as BatchedHandler).batches, batches)
  const records = [record({ offset: 7 }), record({ offset: 9 })]
  const answer = await (handle as BatchedHandler).handle(records, { attempts: [1, 2], signal: new AbortController().signal })
  t.match(answer, [undefined, { message: '9' }])
  t.match(producer.sent, [{ topic: 'a', value: '2' }])
  t.same(lines, [{ topic: 't', partition: 0, firstOffset: 7, records: 2, aborted: false, msg: 'seen' }])
})

t.test('with batches, too, what a handler does not use is not made', async t => {
  const directory = t.testdir({ 'handler.mjs': 'export default () => {}' })
  const { log, children } = logger()
  const { handle } = await createHandler(
    handlerConfig({ handler: path.join(directory, 'handler.mjs'), batches }), { log, producer: new FakeProducer() })
  const attempt = { attempts: [1], get signal (): AbortSignal { throw new Error('nobody asked for it') } }
  t.equal((handle as BatchedHandler).handle([record({ offset: 0 })], attempt), undefined)
  t.same(children, [])
})

t.test('`log` shows each record of a batch, with its own offset and attempt', async t => {
  const lines: object[] = []
  const child = (bound: object): object => ({
    child: (more: object) => child({ ...bound, ...more }), info: (fields: object, msg: string) => lines.push({ ...bound, ...fields, msg })
  })
  const { handle } = await createHandler(handlerConfig({ batches }), { log: child({}) as FastifyBaseLogger, producer: new FakeProducer() })
  const records = [record({ offset: 3, value: Buffer.from('a') }), record({ offset: 5, value: Buffer.from('b') })]
  await (handle as BatchedHandler).handle(records, { attempts: [1, 4], signal: new AbortController().signal })
  const common = { topic: 't', partition: 0, firstOffset: 3, records: 2, key: null, headers: 0, msg: 'record received' }
  t.same(lines, [{ ...common, offset: 3, attempt: 1, value: 'a' }, { ...common, offset: 5, attempt: 4, value: 'b' }])
})
