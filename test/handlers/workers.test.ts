import { rmSync } from 'node:fs'
import path from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import t, { type Test } from 'tap'
import { HandlerTimeoutError } from '../../src/engine/attempt-errors.js'
import { SluiceError } from '../../src/errors.js'
import { createHandler, type HandlerConfig } from '../../src/handlers/index.js'
import { FakeProducer } from '../support/fake-producer.js'
import { record } from '../support/fake-source.js'
import { until } from '../support/gateway-app.js'
import { handlerConfig } from '../support/handler-config.js'

// Each thread compiles what it runs first.
t.setTimeout(300_000)

type Line = Record<string, unknown> & { level: string, msg: string, err?: Error }

/** A logger that keeps what it is told. */
function logger (level = 'trace') {
  const lines: Line[] = []
  const log = Object.fromEntries(['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map(level => [level,
    (fields: object, ...texts: string[]) => { lines.push({ ...fields, level, msg: texts.at(-1) ?? '' }) }]))
  return { log: { ...log, level } as unknown as FastifyBaseLogger, lines }
}

/** The handler of a module with this text, in threads. */
async function threadsOf (t: Test, text: string, { level = 'trace', ...config }: Partial<HandlerConfig> & { level?: string } = {}) {
  const directory = t.testdir({ 'handler.mjs': text })
  const { log, lines } = logger(level)
  const producer = new FakeProducer()
  const created = await createHandler(
    handlerConfig({ handler: path.join(directory, 'handler.mjs'), handlerThreads: 1, handlerGraceMs: 10, ...config }), { log, producer })
  t.teardown(() => created.close())
  const run = async (given: Parameters<typeof record>[0], { attempt = 1, signal = new AbortController().signal } = {}) =>
    created.handle(record(given), { attempt, signal })
  return { created, producer, lines, run, state: () => created.state! }
}

t.test('the module gets the record as it would in the main thread', async t => {
  const { run } = await threadsOf(t, `export default ({ key, value, headers, ...rest }, { attempt }) => ({ produce: [{ topic: 'a', value: JSON.stringify([
    Buffer.isBuffer(key), String(key), Buffer.isBuffer(value), value === null ? null : String(value),
    headers.map(({ name, value }) => [name, Buffer.isBuffer(value), String(value)]), rest, attempt
  ]) }] })`)
  const saw = async (given: Parameters<typeof record>[0], attempt: number) => {
    const answer = await run(given, { attempt }) as { produce: { value: string }[] }
    return JSON.parse(answer.produce[0].value) as unknown[]
  }
  const headers = [{ name: 'h', value: Buffer.from('1') }, { name: 'empty', value: Buffer.alloc(0) }, { name: 'h', value: Buffer.from('2') }]
  const rest = { topic: 'orders', partition: 3, offset: 2 ** 40, leaderEpoch: 5, timestamp: 17, size: 7 }
  t.same(await saw({ ...rest, key: Buffer.from('k'), value: Buffer.from('ü'), headers }, 3),
    [true, 'k', true, 'ü', [['h', true, '1'], ['empty', true, ''], ['h', true, '2']], rest, 3])
  t.same(await saw({ offset: 0, key: Buffer.alloc(0), value: Buffer.alloc(0) }, 1), [true, '', true, '', [], { topic: 't', partition: 0, offset: 0, leaderEpoch: 0, timestamp: 0, size: 0 }, 1])
})

t.test('null and empty stay apart, and the main thread keeps its record whatever the handler does to its own', async t => {
  const { created } = await threadsOf(t, `export default ({ key, value }) => {
    value?.fill(0)
    return { produce: [{ topic: 'a', key, value: null }] }
  }`)
  const attempt = { attempt: 1, signal: new AbortController().signal }
  const given = { ...record({ offset: 0, key: null, value: Buffer.from('kept') }) }
  t.same(await created.handle(given, attempt), { produce: [{ topic: 'a', key: null, value: null }] })
  t.equal(given.value!.toString(), 'kept')
  const empty = await created.handle(record({ offset: 0, key: Buffer.alloc(0) }), attempt) as { produce: { key: Buffer }[] }
  t.ok(Buffer.isBuffer(empty.produce[0].key))
  t.equal(empty.produce[0].key.length, 0)
})

t.test('what is to be produced comes back with real Buffers, and nothing of the memory that they were cut from', async t => {
  const { run } = await threadsOf(t, `export default ({ value }) => ({ produce: [
    { topic: 'a', key: Buffer.from('k'), value: value.subarray(2, 4), headers: [{ name: 'h', value: Buffer.from('v') }], partition: 1, timestamp: 5 }, { topic: 'b', value: 'text' }
  ], more: () => {} })`)
  const answer = await run({ offset: 0, value: Buffer.from('0123456789') }) as { produce: { key: Buffer, value: Buffer }[] }
  t.same(Object.keys(answer), ['produce'])
  t.same(answer.produce, [
    { topic: 'a', key: Buffer.from('k'), value: Buffer.from('23'), headers: [{ name: 'h', value: Buffer.from('v') }], partition: 1, timestamp: 5 },
    { topic: 'b', value: 'text' }
  ])
  for (const bytes of [answer.produce[0].key, answer.produce[0].value]) {
    t.ok(Buffer.isBuffer(bytes))
    t.equal(bytes.buffer.byteLength, bytes.length)
  }
})

t.test('any other answer is ignored, also one that cannot get to another thread', async t => {
  const { run } = await threadsOf(t, 'export default ({ offset }) => [undefined, 1, () => {}, { f () {} }, Symbol("s"), null][offset]')
  for (let offset = 0; offset < 6; offset++) t.equal(await run({ offset }), undefined)
})

t.test('what is to be produced and cannot get to another thread fails the attempt, and not the thread', async t => {
  const { run, state } = await threadsOf(t, `const round = {}; round.round = round
    export default ({ offset }) => ({ produce: [{ topic: 'a', value: [() => {}, Symbol('s'), round][offset] }] })`)
  await t.rejects(run({ offset: 0 }), { name: 'TypeError', message: 'a function cannot get from one thread to another' })
  await t.rejects(run({ offset: 1 }), { name: 'TypeError', message: 'a symbol cannot get from one thread to another' })
  await t.rejects(run({ offset: 2 }), { message: 'what is nested more than 8 deep, or in itself, cannot get from one thread to another' })
  t.same(state(), { ready: 1, busy: 0, waiting: 0, lost: { ended: 0, stuck: 0 } })
})

t.test('an error keeps its name, message, stack, code, cause and what it says about another attempt', async t => {
  const { run } = await threadsOf(t, `class Refused extends Error { name = 'Refused' }
    export default async ({ offset }) => {
      if (offset === 0) throw Object.assign(new Refused('no', { cause: new TypeError('why') }), { code: 'E_NO', retriable: false, retryAfterMs: 5, drop: true, outage: true, f () {} })
      if (offset === 1) throw new RangeError('far')
      if (offset === 2) throw 'text'
      if (offset === 3) throw { retriable: false }
      if (offset === 4) throw Object.defineProperty(new Error('x'), 'code', { get () { throw new Error('y') } })
    }`)
  await t.rejects(run({ offset: 0 }), { name: 'Refused', message: 'no', stack: /handler\.mjs/, code: 'E_NO', retriable: false, retryAfterMs: 5, drop: true, outage: true, cause: { message: 'why' } })
  await t.rejects(run({ offset: 1 }), RangeError)
  await t.rejects(run({ offset: 2 }), { message: 'the handler threw what is not an Error: text' })
  await t.rejects(run({ offset: 3 }), { message: 'the handler threw what is not an Error: [object Object]', retriable: false })
  await t.rejects(run({ offset: 4 }), { message: 'x', code: undefined })
})

t.test('the signal is aborted with the engine\'s reason, whenever the handler asks for it', async t => {
  const { run, lines } = await threadsOf(t, `export default async ({ offset }, context) => {
    context.log.info('began')
    if (offset === 0) await new Promise((resolve, reject) => context.signal.addEventListener('abort', () => reject(context.signal.reason)))
    if (offset === 1) while (!context.signal.aborted);
    context.signal.throwIfAborted()
  }`, { handlerGraceMs: 60_000 })
  for (const offset of [0, 1]) {
    const abort = new AbortController()
    const attempt = run({ offset }, { signal: abort.signal })
    await until(() => lines.some(line => line.offset === offset), 'the attempt to begin')
    abort.abort(new HandlerTimeoutError(5))
    await t.rejects(attempt, { name: 'HandlerTimeoutError', message: 'the handler did not finish within 5 ms' }, offset === 0 ? 'awaiting' : 'without ever awaiting')
  }
  await run({ offset: 2 })
  await t.rejects(run({ offset: 2 }, { signal: AbortSignal.abort(new Error('at once')) }), { message: 'at once' })
})

t.test('an abort that overtakes its attempt is not lost', async t => {
  const { run } = await threadsOf(t, `export default async (record, { signal }) => {
    if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve))
    throw signal.reason
  }`, { handlerGraceMs: 60_000 })
  for (let offset = 0; offset < 50; offset++) {
    const abort = new AbortController()
    const attempt = run({ offset }, { signal: abort.signal })
    abort.abort(new Error('given up'))
    await t.rejects(attempt, { message: 'given up' })
  }
})

t.test('what it logs is logged by the main thread, with the record, in its level', async t => {
  const { run, lines } = await threadsOf(t, `export default async (record, { log }) => {
    log.trace('too fine')
    log.info({ orderId: 7, big: 1n, nested: { error: new Error('inner') } }, 'paid %s', 'twice')
    log.child({ step: 2 }).warn('100%')
    log.error(new TypeError('bad'))
    const round = {}; round.round = round
    log.error({ err: Object.assign(new Error('worse'), { code: 'E' }), round }, 'odd')
    log.fatal({ text: 'x'.repeat(70_000) }, 'long')
  }`, { level: 'debug' })
  await run({ topic: 'orders', partition: 2, offset: 7 }, { attempt: 3 })
  await until(() => lines.length === 5, 'the lines')
  const place = { topic: 'orders', partition: 2, offset: 7, attempt: 3 }
  t.match(lines[0], { ...place, level: 'info', orderId: 7, big: '1', nested: { error: { type: 'Error', message: 'inner' } }, msg: 'paid twice' })
  t.match(lines[1], { ...place, level: 'warn', step: 2, msg: '100%' })
  t.match(lines[2], { ...place, level: 'error', msg: 'bad' })
  t.type(lines[2].err, TypeError)
  t.match(lines[3], { level: 'error', msg: 'odd', err: { message: 'worse', code: 'E' }, unloggable: /circular/ })
  t.match(lines[4], { ...place, level: 'fatal', msg: 'long', text: undefined })
  t.ok(lines[4].cutCharacters as number > 70_000)
})

t.test('a thread that logs without end fills nothing: what is too much is dropped, and counted', async t => {
  const { run, lines } = await threadsOf(t, `const text = 'x'.repeat(50_000)
    export default ({ offset }, { log }) => { for (let n = 0; n < (offset === 0 ? 100 : 1); n++) log.info({ n, text }, 'again') }`)
  // Nothing is written while the main thread does not get to it: the outcome comes first, in the same turn.
  await run({ offset: 0 })
  await until(() => lines.length >= 20, 'the first lines')
  await run({ offset: 1 })
  await until(() => lines.at(-1)!.offset === 1, 'the last line')
  const dropped = lines.filter(({ msg }) => msg === 'a thread logged more than could be written; lines were dropped')
  t.equal(dropped.reduce((sum, line) => sum + (line.dropped as number), 0) + lines.length - dropped.length, 101)
})

t.test('what it sends is sent by the main thread: the receipt comes back, or the error with its code', async t => {
  const { run, producer } = await threadsOf(t, `export default async ({ value, offset }, { producer }) => {
    if (offset === 2) return producer.send({ topic: 'a', value: () => {} })
    const receipt = await producer.send({ topic: 'a', key: Buffer.from('k'), value: value.subarray(1), headers: [{ name: 'h', value: 'v' }] })
    return { produce: [{ topic: 'b', value: JSON.stringify(receipt) }] }
  }`)
  const answer = await run({ offset: 0, value: Buffer.from('0123') }) as { produce: { value: string }[] }
  t.match(JSON.parse(answer.produce[0].value), { topic: 'a', partition: 0, offset: 0 })
  t.same(producer.sent, [{ topic: 'a', key: Buffer.from('k'), value: Buffer.from('123'), headers: [{ name: 'h', value: 'v' }] }])
  t.ok(Buffer.isBuffer(producer.sent[0].value))
  producer.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  await t.rejects(run({ offset: 1 }), { name: 'SluiceError', message: 'full', code: 'SLUICE_QUEUE_FULL', statusCode: 503 })
  await t.rejects(run({ offset: 2 }), { message: 'a function cannot get from one thread to another' })
})

t.test('a thread may wait for so many acknowledgements, and no more', async t => {
  const { run, producer } = await threadsOf(t, `export default async (record, { producer }) => {
    const sent = await Promise.allSettled(Array.from({ length: 10_001 }, (_, n) => producer.send({ topic: 'a', value: String(n) })))
    return { produce: [{ topic: 'a', value: JSON.stringify(sent.filter(({ status }) => status === 'rejected').map(({ reason }) => [reason.code, reason.message])) }] }
  }`)
  const answer = await run({ offset: 0 }) as { produce: { value: string }[] }
  t.same(JSON.parse(answer.produce[0].value), [['SLUICE_QUEUE_FULL', 'this thread waits for as many acknowledgements as it may']])
  t.equal(producer.sent.length, 10_000)
})

t.test('a module that cannot be used stops the start, with the same sentence as in the main thread', async t => {
  const { log } = logger()
  const directory = t.testdir({
    'syntax.mjs': 'export default (',
    'rejects.mjs': 'await Promise.reject(new Error("no database"))',
    'object.mjs': 'export default {}',
    'exits.mjs': 'process.exit(3)'
  })
  const ports = { log, producer: new FakeProducer() }
  for (const name of ['syntax.mjs', 'rejects.mjs', 'object.mjs', 'missing.mjs']) {
    const handler = path.join(directory, name)
    const { message } = await createHandler(handlerConfig({ handler }), ports).then(() => new Error('it was taken'), error => error as Error)
    // Without a file it is the importer that the language names.
    const same = name === 'missing.mjs' ? /^KAFKA_HANDLER: the module .*missing\.mjs could not be loaded: / : message
    await t.rejects(createHandler(handlerConfig({ handler, handlerThreads: 1 }), ports), { message: same })
  }
  await t.rejects(createHandler(handlerConfig({ handler: path.join(directory, 'exits.mjs'), handlerThreads: 1 }), ports),
    { message: /^KAFKA_HANDLER: the module .*exits\.mjs could not be loaded: its worker thread ended with exit code 3$/ })
})

t.test('a thread that ends fails its attempt, is replaced, counted and logged', async t => {
  const { run, state, lines } = await threadsOf(t, `const kept = []
    export default async ({ offset }) => {
      if (offset === 0) process.exit(7)
      if (offset === 1) setImmediate(() => { throw Object.assign(new Error('nobody catches it'), { drop: true }) })
      if (offset === 2) for (;;) kept.push(new Array(100_000).fill(1.5))
      if (offset < 3) await new Promise(() => {})
    }`, { handlerThreadHeapMb: 256 })
  for (const [offset, why] of [[0, /exited with code: 7/], [1, /nobody catches it/], [2, /memory limit/]] as const) {
    await t.rejects(run({ offset }), { name: 'ThreadEndedError', message: /^the worker thread ended while it handled the record: /, drop: undefined })
    await run({ offset: 3 })
    t.same(state(), { ready: 1, busy: 0, waiting: 0, lost: { ended: offset + 1, stuck: 0 } })
    const line = lines.filter(({ msg }) => msg === 'a worker thread ended; another takes its place').at(-1)!
    t.match(line, { level: 'error', thread: Number })
    t.match(line.err?.message ?? `exited with code: ${line.exitCode as number}`, why)
  }
})

t.test('a promise that nobody handles is logged, and ends nothing', async t => {
  const { run, lines, state } = await threadsOf(t, 'export default () => { Promise.reject(new Error("forgotten")) }')
  await run({ offset: 0 })
  await until(() => lines.length > 0, 'the line')
  t.match(lines, [{ level: 'error', err: { message: 'forgotten' }, msg: /^a promise was rejected/ }])
  t.same(state().lost, { ended: 0, stuck: 0 })
})

t.test('a handler that never returns: its thread is ended after the grace, and another takes its place', async t => {
  const { run, state, lines } = await threadsOf(t, 'export default ({ offset }) => { for (; offset === 0;); }', { handlerThreads: 2 })
  const abort = new AbortController()
  const attempt = run({ offset: 0 }, { signal: abort.signal })
  await run({ offset: 1 })
  await until(() => state().busy === 1, 'the thread to be busy')
  abort.abort(new HandlerTimeoutError(5))
  await t.rejects(attempt, { name: 'ThreadEndedError', message: 'the handler did not stop within 10 ms of being told to, and its worker thread was ended: the handler did not finish within 5 ms' })
  await Promise.all([run({ offset: 2 }), run({ offset: 3 })])
  await until(() => state().ready === 2 && lines.length === 1, 'the other thread')
  t.match(lines, [{ level: 'error', msg: 'a worker thread was ended, since its handler did not stop when it was told to; another takes its place' }])
  t.same(state(), { ready: 2, busy: 0, waiting: 0, lost: { ended: 0, stuck: 1 } })
})

t.test('one attempt at a time in each thread: the others wait, and one that is aborted while it waits is no failure of its own', async t => {
  const { run, state } = await threadsOf(t, `let running = 0
    export default async (record, { signal }) => {
      if (++running > 1) throw new Error('two at once')
      if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve))
      running--
    }`, { handlerGraceMs: 60_000 })
  const aborts = Array.from({ length: 3 }, () => new AbortController())
  const attempts = aborts.map(({ signal }, offset) => run({ offset }, { signal }))
  t.same(state(), { ready: 1, busy: 1, waiting: 2, lost: { ended: 0, stuck: 0 } })
  aborts[1].abort(new HandlerTimeoutError(5))
  await t.rejects(attempts[1], { name: 'ThreadEndedError', message: 'no worker thread was free in time: the handler did not finish within 5 ms', outage: true })
  aborts[0].abort()
  await attempts[0]
  await until(() => state().waiting === 0, 'the last one to be given to the thread')
  aborts[2].abort()
  await attempts[2]
  t.same(state(), { ready: 1, busy: 0, waiting: 0, lost: { ended: 0, stuck: 0 } })
})

t.test('where a new thread cannot load the module, what waits fails as an outage, and the next attempt makes it try again', async t => {
  const directory = t.testdir({ broken: '' })
  const flag = JSON.stringify(path.join(directory, 'flag'))
  const { run, state, lines } = await threadsOf(t, `import { existsSync, rmSync, writeFileSync } from 'node:fs'
    if (existsSync(${flag})) throw new Error('no database')
    export default ({ offset }) => {
      if (offset === 0) { writeFileSync(${flag}, ''); process.exit(1) }
    }`)
  await t.rejects(run({ offset: 0 }), { name: 'ThreadEndedError' })
  for (let n = 0; n < 3; n++) {
    await t.rejects(run({ offset: 1 }), { name: 'ThreadEndedError', message: /^no worker thread could be started: KAFKA_HANDLER: .* no database$/, outage: true })
  }
  t.ok(lines.some(({ msg, err }) => msg === 'a worker thread ended before its module was loaded' && /no database/.test(err!.message)))
  rmSync(path.join(directory, 'flag'))
  await run({ offset: 1 })
  t.equal(state().ready, 1)
})

t.test('close ends the threads whatever they do, and nothing is counted as lost', async t => {
  const { created, run, state, lines } = await threadsOf(t, 'export default () => { for (;;); }', { handlerThreads: 2 })
  const attempts = [run({ offset: 0 }), run({ offset: 1 }), run({ offset: 2 })]
  const settled = Promise.allSettled(attempts)
  await created.close()
  for (const one of await settled) t.match(one, { status: 'rejected', reason: { name: 'ThreadEndedError', message: 'the worker threads are closed' } })
  t.same(lines, [])
  t.same(state().lost, { ended: 0, stuck: 0 })
})

t.test('the native client of Kafka stays out of the threads: it would end the process', async t => {
  const { run } = await threadsOf(t, `import { createRequire } from 'node:module'
    const { cache } = createRequire(import.meta.url)
    export default () => ({ produce: [{ topic: 'a', value: JSON.stringify(Object.keys(cache)) }] })`)
  const answer = await run({ offset: 0 }) as { produce: { value: string }[] }
  const loaded = JSON.parse(answer.produce[0].value) as string[]
  t.ok(loaded.some(file => /piscina/.test(file)), 'what is loaded is seen')
  t.notOk(loaded.find(file => /kafka-javascript|fastify/.test(file)))
})
