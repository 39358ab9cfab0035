import { rmSync } from 'node:fs'
import path from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { HandlerTimeoutError } from '../../src/engine/attempt-errors.js'
import type { BatchedHandler, Handler } from '../../src/engine/types.js'
import { SluiceError } from '../../src/errors.js'
import { createHandler, type HandlerConfig } from '../../src/handlers/index.js'
import type { KafkaRecord } from '../../src/record.js'
import { FakeProducer } from '../support/fake-producer.js'
import { record } from '../support/fake-source.js'
import { until } from '../support/gateway-app.js'
import { handlerConfig } from '../support/handler-config.js'

// Each thread compiles what it runs first.
t.setTimeout(300_000)

type Line = Record<string, unknown> & { level: string, msg: string, err?: Error }

/** A logger that keeps what it is told. */
const lines: Line[] = []
const log = {
  level: 'debug',
  ...Object.fromEntries(['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map(level => [level,
    (fields: object, ...texts: string[]) => { lines.push({ ...fields, level, msg: texts.at(-1) ?? '' }) }]))
} as unknown as FastifyBaseLogger
const producer = new FakeProducer()

const threads = (handler: string, config: Partial<HandlerConfig> = {}) =>
  createHandler(handlerConfig({ handler, handlerThreads: 1, handlerGraceMs: 10, ...config }), { log, producer })

// One thread for most of the tests. What it does is the body of a function, in the record's last header.
const doing = `export default ({ headers, ...record }, context) =>
  new Function('record', 'context', String(headers.at(-1).value))({ ...record, headers: headers.slice(0, -1) }, context)`
const modules = t.testdir({ 'doing.mjs': doing })
const shared = await threads(path.join(modules, 'doing.mjs'), { handlerThreadHeapMb: 256 })
t.teardown(() => shared.close())
const IDLE = { ready: 1, busy: 0, waiting: 0 }

t.beforeEach(() => {
  lines.length = producer.sent.length = 0
  producer.refusal = null
})

/** An attempt at a record, by a handler with this body. */
async function run (
  body: string, given: Partial<KafkaRecord> = {}, { attempt = 1, signal = new AbortController().signal, of = shared } = {}
): Promise<unknown> {
  const headers = [...given.headers ?? [], { name: 'body', value: Buffer.from(body) }]
  return (of.handle as Handler)({ ...record({ offset: 0, ...given }), headers }, { attempt, signal })
}

/** What such a handler tells of what it saw. */
async function seen (expression: string, given: Partial<KafkaRecord> = {}, attempt = 1): Promise<unknown> {
  const answer = await run(`return { produce: [{ topic: 'a', value: JSON.stringify(${expression}) }] }`, given, { attempt })
  return JSON.parse((answer as { produce: { value: string }[] }).produce[0].value)
}

t.test('the module gets the record as it would in the main thread', async t => {
  const headers = [{ name: 'h', value: Buffer.from('1') }, { name: 'empty', value: Buffer.alloc(0) }, { name: 'h', value: Buffer.from('2') }]
  const rest = { topic: 'orders', partition: 3, offset: 2 ** 40, leaderEpoch: 5, timestamp: 17, size: 7 }
  const text = `(({ key, value, headers, ...rest }) => [
    Buffer.isBuffer(key), String(key), Buffer.isBuffer(value), String(value),
    headers.map(({ name, value }) => [name, Buffer.isBuffer(value), String(value)]), rest
  ])(record)`
  t.same(await seen(text, { ...rest, key: Buffer.from('k'), value: Buffer.from('ü'), headers }),
    [true, 'k', true, 'ü', [['h', true, '1'], ['empty', true, ''], ['h', true, '2']], rest])
  t.equal(await seen('context.attempt', {}, 3), 3)
})

t.test('null and empty stay apart', async t => {
  const lengths = '[record.key, record.value].map(bytes => bytes === null ? null : bytes.length)'
  t.same(await seen(lengths, { key: null, value: Buffer.alloc(0) }), [null, 0])
  t.same(await seen(lengths, { key: Buffer.alloc(0), value: Buffer.from('v') }), [0, 1])
  const body = 'return { produce: [{ topic: "a", key: record.key, value: null }] }'
  t.same(await run(body, { key: null }), { produce: [{ topic: 'a', value: null }] })
  const { produce: [{ key }] } = await run(body, { key: Buffer.alloc(0) }) as { produce: { key: Buffer }[] }
  t.ok(Buffer.isBuffer(key))
  t.equal(key.length, 0)
})

t.test('the main thread keeps its record, whatever the handler does to its own', async t => {
  const value = Buffer.from('kept')
  await run('record.value.fill(0)', { value })
  t.equal(value.toString(), 'kept')
})

t.test('what is to be produced comes back with real Buffers, and nothing of the memory that they were cut from', async t => {
  const answer = await run(`return { more () {}, produce: [
    { topic: 'a', key: Buffer.from('k'), value: record.value.subarray(2, 4), headers: [{ name: 'h', value: Buffer.from('v') }], partition: 1, timestamp: 5 },
    { topic: 'b', value: 'text' }
  ] }`, { value: Buffer.from('0123456789') }) as { produce: { key: Buffer, value: Buffer }[] }
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

t.test('a handler of batches gets all of them, and answers for each', async t => {
  const batches = { maxRecords: 10, by: 'partition', waitMs: 0 } as const
  const directory = t.testdir({
    'handler.mjs': `export default (records, { attempts, log, signal }) => {
      log.info({ attempts, offsets: records.map(({ offset }) => offset), aborted: signal.aborted }, 'a batch')
      return new Function('records', String(records[0].value))(records)
    }`
  })
  const of = await threads(path.join(directory, 'handler.mjs'), { batches })
  t.teardown(() => of.close())
  const { handle, batches: policy } = of.handle as BatchedHandler
  t.same(policy, batches)
  const answered = async (body: string, count = 2) => handle(
    Array.from({ length: count }, (_, n) => record({ offset: 7 + n, value: Buffer.from(body) })),
    { attempts: Array.from({ length: count }, (_, n) => n + 1), signal: new AbortController().signal })

  t.equal(await answered('', 3), undefined)
  await until(() => lines.length > 0, 'the line')
  t.match(lines[0], { topic: 't', partition: 0, firstOffset: 7, records: 3, attempts: [1, 2, 3], offsets: [7, 8, 9], aborted: false })
  const [done, failed, thrown, produced, wrong] = await answered(`return [
    undefined, Object.assign(new Error('no'), { retriable: false }), { status: 'rejected', reason: () => {} },
    { produce: [{ topic: 'a', value: Buffer.from('v') }] }, { produce: [{ topic: 'a', value: () => {} }] }
  ]`, 5) as { status: string, reason: unknown, value: unknown }[]
  t.match(done, { status: 'fulfilled' })
  t.match(failed, { status: 'rejected', reason: { message: 'no', retriable: false } })
  t.match(thrown, { status: 'rejected', reason: { message: /^the handler threw what is not an Error: / } })
  t.same(produced.value, { produce: [{ topic: 'a', value: Buffer.from('v') }] })
  t.match(wrong, { status: 'rejected', reason: { name: 'ProducedError', message: /must be a string, bytes or null, got a function$/ } })
  await t.rejects(answered('return "done"'), { name: 'BatchAnswerError', message: /got a string/ })
  await t.rejects(answered('throw new TypeError("all")'), TypeError)
})

t.test('any other answer is ignored, also one that cannot get to another thread', async t => {
  for (const answer of ['undefined', '1', '() => {}', '({ f () {} })', 'Symbol("s")', 'null', '[1]']) t.equal(await run(`return ${answer}`), undefined, answer)
})

t.test('what cannot be produced is refused as in the main thread, also where it could not get there', async t => {
  const wrong = { '() => {}': 'a function', 'Symbol("s")': 'a symbol', round: 'an object' }
  for (const [value, got] of Object.entries(wrong)) {
    await t.rejects(run(`const round = {}; round.round = round; return { produce: [{ topic: 'a', value: ${value} }] }`), {
      name: 'ProducedError', message: `the handler's answer cannot be produced: record 0: 'value' must be a string, bytes or null, got ${got}`, retriable: false
    })
  }
  t.match(shared.state, { ...IDLE, lost: { ended: 0, stuck: 0 } })
})

t.test('an error keeps its name, message, stack, code, cause and what it says about another attempt', async t => {
  await t.rejects(run(`class Refused extends Error { name = 'Refused' }
    throw Object.assign(new Refused('no', { cause: new TypeError('why') }), { code: 'E_NO', retriable: false, retryAfterMs: 5, drop: true, outage: true, f () {} })`),
  { name: 'Refused', message: 'no', stack: /doing\.mjs/, code: 'E_NO', retriable: false, retryAfterMs: 5, drop: true, outage: true, cause: { message: 'why' } })
  await t.rejects(run('throw new RangeError("far")'), RangeError)
  await t.rejects(run('return Promise.reject(new Error("later"))'), { name: 'Error', message: 'later' })
  await t.rejects(run('throw "text"'), { message: 'the handler threw what is not an Error: text' })
  await t.rejects(run('throw { retriable: false }'), { message: 'the handler threw what is not an Error: [object Object]', retriable: false })
  await t.rejects(run('throw Object.defineProperty(new Error("x"), "code", { get () { throw new Error("y") } })'), { message: 'x', code: undefined })
})

t.test('the signal is aborted with the engine\'s reason, whenever the handler asks for it', async t => {
  const of = await threads(path.join(modules, 'doing.mjs'), { handlerGraceMs: 60_000 })
  t.teardown(() => of.close())
  const aborted = async (body: string) => {
    const abort = new AbortController()
    lines.length = 0
    const attempt = run(`context.log.info("began"); ${body}`, {}, { signal: abort.signal, of })
    await until(() => lines.length > 0, 'the attempt to begin')
    abort.abort(new HandlerTimeoutError(5))
    await t.rejects(attempt, { name: 'HandlerTimeoutError', message: 'the handler did not finish within 5 ms' })
  }
  await aborted('return new Promise((resolve, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason)))')
  // A long computation has to let it in.
  await aborted('return (async () => { while (!context.signal.aborted) await new Promise(setImmediate); throw context.signal.reason })()')
  t.equal(await run('context.signal.throwIfAborted()', {}, { of }), undefined, 'the next attempt has a signal of its own')
  await t.rejects(run('', {}, { signal: AbortSignal.abort(new Error('before it began')), of }), { message: 'before it began' })
  // An abort goes another way than its attempt, and may be there first.
  for (let n = 0; n < 50; n++) {
    const abort = new AbortController()
    const attempt = run(`if (!context.signal.aborted) return new Promise((resolve, reject) => context.signal.addEventListener('abort', () => reject(context.signal.reason)))
      throw context.signal.reason`, {}, { signal: abort.signal, of })
    abort.abort(new Error('given up'))
    await t.rejects(attempt, { message: 'given up' })
  }
})

t.test('what it logs is logged by the main thread, with the record, from its level on', async t => {
  await run(`const { log } = context
    const round = {}; round.round = round
    log.trace('too fine')
    log.info({ orderId: 7, big: 1n, nested: { error: new Error('inner') } }, 'paid %s', 'twice')
    log.child({ step: 2 }).warn('100%')
    log.error(new TypeError('bad'))
    log.error({ err: Object.assign(new Error('worse'), { code: 'E' }), round }, 'odd')
    log.fatal({ text: 'x'.repeat(70_000) }, 'long')`, { topic: 'orders', partition: 2, offset: 7 }, { attempt: 3 })
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
  const text = 'const text = "x".repeat(50_000)'
  await run(`${text}; for (let n = 0; n < 1000; n++) context.log.info({ text }, 'again')`)
  await run(`${text}; context.log.info({ text }, 'last')`)
  await until(() => lines.at(-1)?.msg === 'last', 'the last line')
  const notices = lines.filter(({ msg }) => msg === 'a thread logged more than could be written; lines were dropped')
  const dropped = notices.reduce((sum, line) => sum + (line.dropped as number), 0)
  t.ok(dropped > 0)
  t.equal(dropped + lines.length - notices.length, 1001)
})

t.test('what it sends is sent by the main thread: the receipt comes back, or the error with its code', async t => {
  const body = `return context.producer.send({ topic: 'a', key: Buffer.from('k'), value: record.value.subarray(1), headers: [{ name: 'h', value: 'v' }] })
    .then(receipt => ({ produce: [{ topic: 'b', value: JSON.stringify(receipt) }] }))`
  const answer = await run(body, { value: Buffer.from('0123') }) as { produce: { value: string }[] }
  t.match(JSON.parse(answer.produce[0].value), { topic: 'a', partition: 0, offset: 0 })
  t.same(producer.sent, [{ topic: 'a', key: Buffer.from('k'), value: Buffer.from('123'), headers: [{ name: 'h', value: 'v' }] }])
  t.ok(Buffer.isBuffer(producer.sent[0].value))
  producer.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  await t.rejects(run(body), { name: 'SluiceError', message: 'full', code: 'SLUICE_QUEUE_FULL', statusCode: 503 })
  const sendOf = (value: string) => run(`const round = {}; round.round = round; return context.producer.send({ topic: 'a', value: ${value} })`)
  await t.rejects(sendOf('() => {}'), { name: 'TypeError', message: 'a function cannot get from one thread to another' })
  await t.rejects(sendOf('Symbol("s")'), { message: 'a symbol cannot get from one thread to another' })
  await t.rejects(sendOf('round'), { message: 'what is nested more than 8 deep, or in itself, cannot get from one thread to another' })
  t.match(shared.state, { lost: { ended: 0, stuck: 0 } })
})

t.test('a thread may wait for so many acknowledgements, and no more', async t => {
  const answer = await run(`return Promise.allSettled(Array.from({ length: 10_001 }, (_, n) => context.producer.send({ topic: 'a', value: String(n) })))
    .then(sent => sent.filter(({ status }) => status === 'rejected').map(({ reason }) => [reason.code, reason.message]))
    .then(refused => ({ produce: [{ topic: 'a', value: JSON.stringify(refused) }] }))`) as { produce: { value: string }[] }
  t.same(JSON.parse(answer.produce[0].value), [['SLUICE_QUEUE_FULL', 'this thread waits for as many acknowledgements as it may']])
  t.equal(producer.sent.length, 10_000)
})

t.test('a promise that nobody handles is logged, and ends nothing', async t => {
  await run('Promise.reject(new Error("forgotten"))')
  await until(() => lines.length > 0, 'the line')
  t.match(lines, [{ level: 'error', err: { message: 'forgotten' }, msg: /^a promise was rejected/ }])
  t.match(shared.state, { lost: { ended: 0, stuck: 0 } })
})

t.test('one attempt at a time in each thread: the others wait, and one whose time is over while it waits is not to blame', async t => {
  const aborts = Array.from({ length: 3 }, () => new AbortController())
  const attempts = aborts.map(({ signal }) => run(`globalThis.running = (globalThis.running ?? 0) + 1
    if (globalThis.running > 1) throw new Error('two at once')
    return new Promise(resolve => context.signal.aborted ? resolve() : context.signal.addEventListener('abort', resolve)).then(() => { globalThis.running-- })`, {}, { signal }))
  t.match(shared.state, { ready: 1, busy: 1, waiting: 2 })
  aborts[1].abort(new HandlerTimeoutError(5))
  await t.rejects(attempts[1], { name: 'ThreadEndedError', message: 'no worker thread was free in time: the handler did not finish within 5 ms', outage: true })
  aborts[0].abort()
  await attempts[0]
  await until(() => shared.state!.waiting === 0, 'the last one to be given to the thread')
  aborts[2].abort()
  await attempts[2]
  t.match(shared.state, { ...IDLE, lost: { ended: 0, stuck: 0 } })
})

t.test('the native client of Kafka stays out of the threads: it would end the process', async t => {
  const loaded = await seen('Object.keys(process.getBuiltinModule("node:module")._cache)') as string[]
  t.ok(loaded.some(file => /piscina/.test(file)), 'what is loaded is seen')
  t.notOk(loaded.find(file => /kafka-javascript|fastify/.test(file)))
})

t.test('a thread that ends fails its attempt, is replaced, counted and logged', async t => {
  const forEver = 'return new Promise(() => {})'
  for (const [n, [body, why]] of ([
    ['process.exit(7)', /^7$/],
    // What it threw says nothing of the record.
    [`setImmediate(() => { throw Object.assign(new Error('nobody catches it'), { drop: true }) }); ${forEver}`, /nobody catches it/],
    ['const kept = []; for (;;) kept.push(new Array(100_000).fill(1.5))', /memory limit/]
  ] as const).entries()) {
    await t.rejects(run(body), { name: 'ThreadEndedError', message: /^the worker thread ended while it handled the record: /, drop: undefined })
    t.equal(await run(''), undefined, 'another takes its place')
    t.match(shared.state, { ...IDLE, lost: { ended: n + 1, stuck: 0 } })
    const line = lines.filter(({ msg }) => msg === 'a worker thread ended; another takes its place').at(-1)!
    t.match(line, { level: 'error', thread: Number })
    t.match(line.err?.message ?? String(line.exitCode), why)
  }
})

t.test('a handler that never returns: its thread is ended after the grace, and another takes its place', async t => {
  const { ended } = shared.state!.lost
  const abort = new AbortController()
  const attempt = run('for (;;);', {}, { signal: abort.signal })
  t.match(shared.state, { busy: 1 })
  abort.abort(new HandlerTimeoutError(5))
  await t.rejects(attempt, {
    name: 'ThreadEndedError',
    message: 'the handler did not stop within 10 ms of being told to, and its worker thread was ended: the handler did not finish within 5 ms'
  })
  t.equal(await run(''), undefined)
  await until(() => lines.length > 0, 'the line')
  t.match(lines, [{ level: 'error', msg: 'a worker thread was ended, since its handler did not stop when it was told to; another takes its place' }])
  t.match(shared.state, { ...IDLE, lost: { ended, stuck: 1 } })
})

t.test('a module that cannot be used stops the start, with the same sentence as in the main thread', async t => {
  const directory = t.testdir({
    'syntax.mjs': 'export default (',
    'rejects.mjs': 'await Promise.reject(new Error("no database"))',
    'object.mjs': 'export default {}',
    'exits.mjs': 'process.exit(3)'
  })
  for (const name of ['syntax.mjs', 'rejects.mjs', 'object.mjs']) {
    const handler = path.join(directory, name)
    const { message } = await threads(handler, { handlerThreads: 0 }).then(() => new Error('it was taken'), error => error as Error)
    await t.rejects(threads(handler), { message })
  }
  await t.rejects(threads(path.join(directory, 'exits.mjs'), { handlerThreads: 2 }),
    { message: /^KAFKA_HANDLER: the module .*exits\.mjs could not be loaded: its worker thread ended with exit code 3$/ })
})

t.test('where a new thread cannot load the module, what waits fails as an outage, and the next attempt makes it try again', async t => {
  const directory = t.testdir({
    'handler.mjs': `import { existsSync, writeFileSync } from 'node:fs'
      const flag = new URL('./flag', import.meta.url)
      if (existsSync(flag)) throw new Error('no database')
      export default ({ offset }) => {
        if (offset === 0) { writeFileSync(flag, ''); process.exit(1) }
      }`
  })
  const of = await threads(path.join(directory, 'handler.mjs'))
  t.teardown(() => of.close())
  await t.rejects(run('', { offset: 0 }, { of }), { name: 'ThreadEndedError' })
  for (let n = 0; n < 2; n++) {
    await t.rejects(run('', { offset: 1 }, { of }), { message: /^no worker thread could be started: KAFKA_HANDLER: .* no database$/, outage: true })
  }
  t.ok(lines.some(({ msg, err }) => msg === 'a worker thread ended before its module was loaded' && /no database/.test(err!.message)))
  rmSync(path.join(directory, 'flag'))
  t.equal(await run('', { offset: 1 }, { of }), undefined)
  t.match(of.state, { ready: 1 })
})

t.test('close ends the threads whatever they do, and nothing is counted as lost', async t => {
  const of = await threads(path.join(modules, 'doing.mjs'), { handlerThreads: 2 })
  const settled = Promise.allSettled([1, 2, 3].map(() => run('for (;;);', {}, { of })))
  await of.close()
  for (const one of await settled) t.match(one, { status: 'rejected', reason: { name: 'ThreadEndedError', message: 'the worker threads are closed' } })
  t.same(lines, [])
  t.match(of.state, { lost: { ended: 0, stuck: 0 } })
})
