import t from 'tap'
import { decodeProgress } from '../../src/engine/progress.js'
import { CommitError, PollError } from '../../src/engine/types.js'
import { harness, stop, type TestHandler } from '../support/engine-harness.js'
import { record } from '../support/fake-source.js'

const P0 = { topic: 't', partition: 0 }
const P1 = { topic: 't', partition: 1 }

const records = (count: number, fields: object = {}, from = 0) =>
  Array.from({ length: count }, (_, n) => record({ offset: from + n, ...fields }))
const key = (text: string) => ({ key: Buffer.from(text) })
const never = () => new Promise<void>(() => {})

/** A handler that ends when the test says so. */
function gate () {
  const waiting = new Map<number, { pass: () => void, fail: (error: Error) => void }>()
  const handler: TestHandler = ({ offset }) => new Promise<void>((resolve, reject) => waiting.set(offset, { pass: resolve, fail: reject }))
  const end = (offset: number, what: 'pass' | 'fail') => {
    const one = waiting.get(offset)
    if (one === undefined) throw new Error(`${offset} is not running`)
    waiting.delete(offset)
    if (what === 'pass') one.pass()
    else one.fail(new Error('failed'))
  }
  return { handler, pass: (offset: number) => end(offset, 'pass'), fail: (offset: number) => end(offset, 'fail'), running: () => [...waiting.keys()] }
}

t.test('records are handled and their offsets committed by count', async t => {
  const h = harness(() => {}, { maxRecordsBeforeCommit: 10, commitIntervalMs: 1e9 })
  h.source.append(records(25))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 25, 'all to be handled')
  await h.clock.advance(1000)
  t.ok((h.source.committedOffsets.get('t/0') ?? 0) >= 20, 'at least every tenth')
  await stop(h)
  t.equal(h.source.committedOffsets.get('t/0'), 25, 'and the rest when it stops')
})

t.test('one record is committed after the interval', async t => {
  const h = harness(() => {}, { maxRecordsBeforeCommit: 100, commitIntervalMs: 30_000 })
  h.source.committedOffsets.set('t/0', 0)
  h.source.event('assigned', [P0])
  h.source.append(records(1))
  await h.clock.advance(1_000)
  h.source.append([record({ offset: 1 })])
  await h.clock.advance(28_000)
  t.equal(h.source.commits.length, 1, 'whoever begins says so, and then waits')
  await h.clock.advance(2_000)
  t.equal(h.source.committedOffsets.get('t/0'), 2)
  await stop(h)
})

t.test('nothing is committed when nothing was completed, but for the word that somebody has begun', async t => {
  const h = harness(() => {}, { commitIntervalMs: 100 })
  h.source.committedOffsets.set('t/0', 0)
  h.source.event('assigned', [P0])
  await h.clock.advance(5_000)
  t.equal(h.source.commits.length, 1)
  await stop(h)
  t.same(h.source.commits.map(([{ offset }]) => offset), [0, 0], 'and that it was left in good order')
})

t.test('handlers in flight reach the limit and never exceed it', async t => {
  const h = harness((record, attempt, clock) => clock.sleep(50), { maxInFlight: 7, order: 'unordered' })
  h.source.append(records(100))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 100, 'all to be handled')
  t.equal(h.peak, 7)
  await stop(h)
})

t.test('a slow record holds the commit offset but not other keys', async t => {
  const g = gate()
  const h = harness((record, attempt, clock) => record.offset === 0 ? g.handler(record, attempt, clock) : undefined,
    { commitIntervalMs: 100 })
  h.source.append(records(50).map((one, n) => record({ ...one, ...key(`k${n}`) })))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 49, 'the others to be handled')
  await h.clock.advance(1000)
  t.equal(h.source.committedOffsets.get('t/0'), 0, 'scenario 1: no commit above a record that is not completed')
  t.equal(h.engine.state.partitions[0].windowRecords, 50)
  g.pass(0)
  await h.clock.advance(1000)
  t.equal(h.source.committedOffsets.get('t/0'), 50)
  await stop(h)
})

t.test('a record that fails is retried after a wait that grows, and holds its key meanwhile', async t => {
  const at: number[] = []
  const h = harness((record, { attempt }, clock) => {
    if (record.offset !== 0) return
    at.push(clock.now())
    if (attempt < 3) throw new Error('not yet')
  }, { retry: { maxAttempts: 5, backoffMs: 1000, backoffMaxMs: 10_000 } })
  h.source.append([record({ offset: 0, ...key('a') }), record({ offset: 1, ...key('a') }), record({ offset: 2, ...key('b') })])
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 3, 'all to be handled')
  t.same(h.completed, ['t/0/2', 't/0/0', 't/0/1'])
  t.same([at[1] - at[0], at[2] - at[1]], [500, 1000], 'half of 1,000 and of 2,000: the jitter here is 0.5')
  await stop(h)
})

t.test('an error says that it is not worth retrying, or how long to wait', async t => {
  let tries = 0
  const h = harness((record, { attempt }) => {
    tries++
    if (record.offset === 0) throw Object.assign(new Error('no use'), { retriable: false })
    if (attempt === 1) throw Object.assign(new Error('busy'), { retryAfterMs: 7_000 })
  })
  h.source.append(records(2))
  h.source.event('assigned', [P0])
  await h.clock.advance(6_900)
  t.same(h.letters.map(letter => letter.attempts), [1])
  t.equal(tries, 2)
  await h.clock.advance(200)
  t.equal(tries, 3)
  t.equal(h.completed.length, 2)
  await stop(h)
})

t.test('what throws is not always an Error: nothing of it does harm', async t => {
  const thrown = [undefined, null, 'text', 0, Object.create(null), { retriable: false }, Object.assign(new Error('x'), { name: 5, message: {} })]

  const h = harness(({ offset }) => { throw thrown[offset] }, { retry: { maxAttempts: 1, backoffMs: 1, backoffMaxMs: 1 } })
  h.source.append(records(thrown.length))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === thrown.length, 'all to be dead-lettered')
  t.ok(h.letters.every(({ error }) => error instanceof Error))
  await stop(h)
})

t.test('a record is completed only once its dead letter is acknowledged, and blocks its key until then', async t => {
  let refuse = true
  const h = harness(({ offset }) => { if (offset === 0) throw new Error('poison') }, { commitIntervalMs: 100 }, {
    sink: async () => { if (refuse) throw new Error('no such topic') }
  })
  h.source.append([record({ offset: 0, ...key('a') }), record({ offset: 1, ...key('a') }), record({ offset: 2, ...key('b') })])
  h.source.event('assigned', [P0])
  await h.clock.advance(20_000)
  t.same(h.completed, ['t/0/2'])
  t.equal(h.source.committedOffsets.get('t/0'), 0)
  t.match(h.engine.state.problems, [/dead letters cannot be sent: no such topic/])
  refuse = false
  await h.clock.advance(31_000)
  t.same(h.completed, ['t/0/2', 't/0/0', 't/0/1'])
  t.equal(h.source.committedOffsets.get('t/0'), 3)
  t.same(h.engine.state.problems, [])
  t.equal(h.letters[0].attempts, 3)
  await stop(h)
})

t.test('with dead letters off, a failed record blocks its key and says so, or is skipped, as configured', async t => {
  const handler: TestHandler = ({ offset }) => { if (offset === 0) throw new Error('poison') }
  const three = [record({ offset: 0, ...key('a') }), record({ offset: 1, ...key('a') }), record({ offset: 2, ...key('b') })]
  const blocking = harness(handler, { exhausted: 'block' })
  blocking.source.append(three)
  blocking.source.event('assigned', [P0])
  await blocking.clock.advance(20_000)
  t.same(blocking.completed, ['t/0/2'])
  t.equal(blocking.engine.state.blocked, 1)
  t.match(blocking.engine.state.problems, [/1 failed records hold their keys/])
  await stop(blocking)
  t.equal(blocking.source.committedOffsets.get('t/0'), 0, 'where it began')

  const skipping = harness(handler, { exhausted: 'skip' })
  skipping.source.append(three)
  skipping.source.event('assigned', [P0])
  await skipping.clock.advance(20_000)
  await stop(skipping)
  t.equal(skipping.source.committedOffsets.get('t/0'), 3)
  t.ok(skipping.outcomes.includes('skipped'))
})

t.test('records that fail for ever do not fill the intake: healthy keys go on', async t => {
  const h = harness(({ key }) => { if (key?.toString() === 'bad') throw new Error('for ever') }, {
    retry: { maxAttempts: 1_000_000, backoffMs: 1000, backoffMaxMs: 1000 }, maxInFlight: 2
  })
  h.source.append(records(500).map((one, n) => record({ ...one, ...key(n % 2 === 0 ? 'bad' : `k${n}`) })))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 250, 'the healthy half', 10_000)
  t.equal(h.engine.state.retrying, 1, 'of the bad key one waits, the others wait behind it')
  await stop(h)
})

t.test('a handler past its time limit has its signal aborted, and a late success still counts', async t => {
  const h = harness((record, { signal }, clock) => new Promise<void>(resolve => {
    signal.addEventListener('abort', () => { clock.schedule(1000, resolve) })
  }), { handlerTimeoutMs: 2000, handlerGraceMs: 5000 })
  h.source.append(records(1))
  h.source.event('assigned', [P0])
  await h.clock.advance(1900)
  t.equal(h.completed.length, 0)
  await h.clock.advance(1500)
  t.same(h.outcomes, ['handled'])
  await stop(h)
})

t.test('a handler that never settles is dead-lettered after the grace; its slot is free, its key is held until it settles', async t => {
  const g = gate()
  const h = harness((record, attempt, clock) => record.offset === 0 ? g.handler(record, attempt, clock) : undefined,
    { handlerTimeoutMs: 1000, handlerGraceMs: 500, maxInFlight: 1, commitIntervalMs: 100 })
  h.source.append([record({ offset: 0, ...key('a') }), record({ offset: 1, ...key('a') }), record({ offset: 2, ...key('b') })])
  h.source.event('assigned', [P0])
  await h.clock.advance(1400)
  t.equal(h.completed.length, 0, 'not before the grace is over')
  await h.clock.advance(2000)
  t.same(h.completed, ['t/0/0', 't/0/2'], 'the other key goes on in the slot')
  t.match(h.letters[0].error.message, /had not settled/)
  t.equal(h.engine.state.abandoned, 1)
  t.equal(h.source.committedOffsets.get('t/0'), 1)
  g.pass(0)
  await h.clock.advance(1000)
  t.same(h.completed, ['t/0/0', 't/0/2', 't/0/1'])
  t.equal(h.engine.state.abandoned, 0)
  t.equal(h.source.committedOffsets.get('t/0'), 3)
  await stop(h)
})

t.test('at the cap of handlers that never settle nothing more is admitted, and one that settles lets it go on', async t => {
  const g = gate()
  const h = harness((record, attempt, clock) => record.offset < 3 ? g.handler(record, attempt, clock) : undefined,
    { handlerTimeoutMs: 1000, handlerGraceMs: 500, maxAbandoned: 2, maxInFlight: 2, order: 'unordered' })
  h.source.append(records(3))
  h.source.event('assigned', [P0])
  await h.clock.advance(10_000)
  t.equal(h.engine.state.abandoned, 2, 'the third keeps its slot')
  t.equal(h.engine.state.inFlight, 1)
  t.match(h.engine.state.problems, [/2 handlers never settled: nothing more is fetched/])
  h.source.append(records(10, {}, 3))
  await h.clock.advance(5_000)
  t.equal(h.completed.length, 2)
  t.ok(h.source.paused.has('t/0'))
  g.pass(0)
  g.pass(1)
  g.pass(2)
  await h.clock.until(() => h.completed.length === 13, 'the rest')
  t.same(h.engine.state.problems, [])
  await stop(h)
})

t.test('one stuck record on a hot partition: its window stays within its limits and the others go on', async t => {
  const h = harness(({ offset, partition }) => partition === 0 && offset === 0 ? never() : undefined, {
    windowMaxRecords: 200, handlerTimeoutMs: 1e9
  })
  h.source.append(records(5000).map((one, n) => record({ ...one, ...key(`k${n}`) })))
  h.source.append(records(5000, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.filter(id => id.startsWith('t/1')).length === 5000, 'the other partition', 30_000)
  const [stuck] = h.engine.state.partitions
  t.ok(stuck.windowRecords >= 200 && stuck.windowRecords <= 400, `${stuck.windowRecords} in the window: its limit, and at most one batch more`)
  t.ok(stuck.paused)
  await stop(h, 1000)
})

t.test('the window is limited in bytes, but a record larger than the limit is admitted alone', async t => {
  const g = gate()
  const big = Buffer.alloc(600)
  const h = harness(g.handler, { windowMaxBytes: 1000, order: 'unordered', maxInFlight: 100 })
  h.source.append(records(10, { value: big }))
  h.source.event('assigned', [P0])
  await h.clock.advance(10_000)
  t.ok(h.engine.state.partitions[0].windowBytes <= 1000 + 600, `${h.engine.state.partitions[0].windowBytes} bytes`)
  for (let n = 0; n < 10; n++) {
    await h.clock.until(() => g.running().includes(n), `record ${n}`)
    g.pass(n)
  }
  h.source.append(records(3, { value: Buffer.alloc(5000) }, 10))
  for (let n = 10; n < 13; n++) {
    await h.clock.until(() => g.running().includes(n), `record ${n}`)
    t.same(g.running(), [n], 'alone')
    g.pass(n)
    await h.clock.advance(3000)
  }
  await stop(h)
})

t.test('a partition that has no room is paused only after a second of that, and resumed when half empty', async t => {
  const g = gate()
  const h = harness(g.handler, { windowMaxRecords: 10, maxInFlight: 100, order: 'unordered' })
  h.source.append(records(30))
  h.source.event('assigned', [P0])
  await h.clock.advance(900)
  t.notOk(h.source.paused.has('t/0'))
  await h.clock.advance(1000)
  t.ok(h.source.paused.has('t/0'))
  for (let n = 0; n < 4; n++) g.pass(n)
  await h.clock.advance(500)
  t.ok(h.source.paused.has('t/0'), 'with 6 of 10 it stays paused')
  g.pass(4)
  await h.clock.advance(500)
  t.notOk(h.source.paused.has('t/0'))
  t.ok(h.engine.state.partitions[0].windowRecords > 5)
  await stop(h, 100)
})

t.test('while everything is paused the client is still polled, so that the membership is kept', async t => {
  const h = harness(never, { windowMaxRecords: 1, handlerTimeoutMs: 1e9 })
  h.source.append(records(5))
  h.source.event('assigned', [P0])
  await h.clock.advance(5_000)
  t.ok(h.source.paused.has('t/0'))
  let polls = 0
  h.source.onPoll = () => { polls++ }
  await h.clock.advance(600_000)
  t.ok(polls > 1000, `${polls} polls in ten minutes`)
  await stop(h, 100)
})

t.test('revoked: what is in flight ends and is committed, what has not started is left to the next owner', async t => {
  const g = gate()
  const h = harness(g.handler, { commitIntervalMs: 1e9, maxRecordsBeforeCommit: 1e9, order: 'unordered' })
  h.source.append(records(10))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  t.same(g.running(), [0, 1, 2, 3])
  h.source.event('revoked', [P0])
  await h.clock.advance(100)
  t.equal(h.source.unanswered, 1, 'not answered while handlers run')
  for (const offset of [0, 1, 2, 3]) g.pass(offset)
  await h.clock.advance(200)
  t.equal(h.source.unanswered, 0)
  t.same(g.running(), [], 'nothing more was started')
  t.equal(h.source.committedOffsets.get('t/0'), 4)
  t.same(h.engine.state.partitions, [])
  await stop(h)
})

t.test('revoked with a record failing or unstarted: no commit above it', async t => {
  const g = gate()
  const h = harness(g.handler, { order: 'unordered', maxInFlight: 3 })
  h.source.append(records(10))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  h.source.event('revoked', [P0])
  await h.clock.advance(50)
  g.pass(0)
  g.fail(1)
  g.pass(2)
  await h.clock.advance(500)
  t.equal(h.source.committedOffsets.get('t/0'), 1)
  t.equal(h.told.get('failed: given-back'), 1)
  await stop(h)
})

t.test('revoked: the drain ends at its limit, aborts the signals, and commits what is safe', async t => {
  let aborted = 0
  const h = harness((record, { signal }) => record.offset === 0
    ? undefined
    : new Promise<void>(() => signal.addEventListener('abort', () => { aborted++ })), { drainTimeoutMs: 3000, order: 'unordered' })
  h.source.append(records(3))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  h.source.event('revoked', [P0])
  await h.clock.advance(2900)
  t.equal(h.source.unanswered, 1)
  t.equal(aborted, 0)
  await h.clock.advance(1300)
  t.equal(aborted, 2)
  t.equal(h.source.unanswered, 0)
  t.equal(h.source.committedOffsets.get('t/0'), 1)
  await stop(h)
})

t.test('revoked, then assigned again while old items are queued: the new copies all run, the old ones change nothing', async t => {
  const g = gate()
  const h = harness(g.handler, { drainTimeoutMs: 100, maxInFlight: 2, order: 'unordered', commitIntervalMs: 100 })
  h.source.append(records(6))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  const old = g.running()
  t.same(old, [0, 1])
  h.source.event('revoked', [P0])
  h.source.event('assigned', [P0])
  await h.clock.advance(2000)
  t.equal(h.started.filter(id => id === 't/0/0').length, 1, 'its slot is still taken by the old attempt')
  g.pass(0)
  g.pass(1)
  await h.clock.advance(500)
  t.equal(h.source.committedOffsets.get('t/0'), 0, 'the old attempts complete nothing')
  for (let n = 0; n < 6; n++) {
    await h.clock.until(() => g.running().includes(n), `the new copy of ${n}`)
    g.pass(n)
  }
  await h.clock.advance(500)
  t.equal(h.source.committedOffsets.get('t/0'), 6)
  t.equal(h.completed.length, 6)
  t.equal(h.engine.state.inFlight, 0)
  await stop(h)
})

t.test('by key, the new copy of a record waits until the old attempt has settled', async t => {
  const g = gate()
  const h = harness(g.handler, { drainTimeoutMs: 100, commitIntervalMs: 100 })
  h.source.append(records(2, key('k')))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  h.source.event('lost', [P0])
  h.source.event('assigned', [P0])
  await h.clock.advance(2000)
  t.same(h.started, ['t/0/0'])
  g.pass(0)
  await h.clock.advance(500)
  t.same(h.started, ['t/0/0', 't/0/0'])
  t.equal(h.source.committedOffsets.get('t/0'), 0)
  g.pass(0)
  await h.clock.advance(100)
  g.pass(1)
  await h.clock.advance(500)
  t.equal(h.source.committedOffsets.get('t/0'), 2)
  await stop(h)
})

t.test('lost: no wait, no commit, signals aborted; a late completion commits nothing', async t => {
  const g = gate()
  let aborted = 0
  const h = harness((record, attempt, clock) => {
    attempt.signal.addEventListener('abort', () => { aborted++ })
    return g.handler(record, attempt, clock)
  }, { commitIntervalMs: 100, order: 'unordered' })
  h.source.append(records(4))
  h.source.event('assigned', [P0])
  await h.clock.advance(50)
  h.source.event('lost', [P0])
  await h.clock.advance(20)
  t.equal(h.source.unanswered, 0)
  t.equal(aborted, 4)
  g.pass(0)
  g.pass(1)
  g.pass(2)
  g.pass(3)
  await h.clock.advance(5000)
  t.same(h.source.commits.map(([{ offset }]) => offset), [0], 'but where it began')
  t.equal(h.engine.state.inFlight, 0)
  await stop(h)
})

t.test('one of four busy partitions is revoked: its drained work commits, the others keep their windows', async t => {
  const h = harness((record, attempt, clock) => clock.sleep(200), { maxInFlight: 8, commitIntervalMs: 1e9, maxRecordsBeforeCommit: 1e9 })
  const partitions = [0, 1, 2, 3].map(partition => ({ topic: 't', partition }))
  for (const { partition } of partitions) h.source.append(records(50).map((one, n) => record({ ...one, partition, ...key(`k${n}`) })))
  h.source.event('assigned', partitions)
  await h.clock.advance(500)
  const before = h.completed.length
  h.source.event('revoked', [partitions[1]])
  await h.clock.advance(500)
  t.equal(h.engine.state.partitions.length, 3)
  const handled = h.completed.filter(id => id.startsWith('t/1/')).length
  t.equal(h.source.committedOffsets.get('t/1'), handled, 'all that was handled of it')
  t.ok(h.completed.length > before, 'the others went on meanwhile')
  t.ok(h.engine.state.partitions.every(({ windowRecords }) => windowRecords > 0))
  await stop(h)
  t.equal(new Set(h.completed).size, h.completed.length, 'nothing was handled twice')
})

t.test('200 rebalances: the in-flight gauge returns to zero and everything is handled', async t => {
  const h = harness((record, attempt, clock) => clock.sleep(30), { drainTimeoutMs: 50, commitIntervalMs: 50, order: 'key' })
  h.source.append(records(300).map((one, n) => record({ ...one, ...key(`k${n % 7}`) })))
  h.source.event('assigned', [P0])
  for (let n = 0; n < 200; n++) {
    await h.clock.advance(40)
    h.source.event(n % 3 === 0 ? 'lost' : 'revoked', [P0])
    h.source.event('assigned', [P0])
  }
  await h.clock.until(() => h.source.committedOffsets.get('t/0') === 300, 'all to be committed')
  t.equal(h.engine.state.inFlight, 0)
  t.equal(h.engine.state.waiting, 0)
  t.equal(new Set(h.completed).size, 300)
  await stop(h)
})

t.test('gaps in the offsets, and a tail of markers, leave a lag of 0', async t => {
  const g = gate()
  const h = harness(g.handler, { commitIntervalMs: 100, order: 'unordered' })
  h.source.append([0, 2, 4, 6].map(offset => record({ offset })), 9)
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  for (const offset of [6, 2, 0, 4]) g.pass(offset)
  await h.clock.advance(1000)
  t.equal(h.source.committedOffsets.get('t/0'), 9)
  await stop(h)
})

t.test('the same offset in consecutive polls: one execution, and commits go on', async t => {
  const g = gate()
  const h = harness(g.handler, { commitIntervalMs: 100, order: 'unordered' })
  h.source.append(records(3))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  h.source.redeliver(P0, 0)
  await h.clock.advance(500)
  t.equal(h.started.length, 3)
  t.equal(h.told.get('duplicate'), 3)
  for (const offset of [0, 1, 2]) g.pass(offset)
  await h.clock.advance(500)
  t.equal(h.source.committedOffsets.get('t/0'), 3)
  await stop(h)
})

t.test('a log that was truncated is read again from where it goes on, and its commit offset goes back', async t => {
  const h = harness(() => {}, { commitIntervalMs: 100 })
  h.source.append(records(100))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.source.committedOffsets.get('t/0') === 100, 'the first log')
  h.source.truncate(P0)
  h.source.append(records(10))
  await h.clock.advance(1000)
  t.equal(h.told.get('rewound'), 1)
  t.equal(h.completed.length, 110)
  t.equal(h.source.committedOffsets.get('t/0'), 10)
  await stop(h)
})

t.test('a log that was truncated above a record under way: that one is not forgotten, the member is made anew from what the group holds', async t => {
  for (const [name, old, fresh] of [['into a gap', [0, 1, 5], 3], ['at an offset that was read', [0, 1, 2, 3], 2]] as const) {
    const h = harness(({ offset }) => offset === 1 ? never() : undefined, { order: 'unordered', commitIntervalMs: 100 })
    h.source.append(old.map(offset => record({ offset })))
    h.source.event('assigned', [P0])
    await h.clock.until(() => h.source.committedOffsets.get('t/0') === 1, name)
    h.source.truncate(P0)
    h.source.append([0, 1, fresh, 6].map(offset => record({ offset, leaderEpoch: offset < fresh ? 0 : 1 })))
    h.source.redeliver(P0, fresh)
    h.run.catch(() => {})
    await h.clock.advance(1000)
    t.equal(h.told.get('rewound'), 1, name)
    t.notOk(h.told.get('duplicate'))
    await t.rejects(h.run, { kind: 'fatal', message: /truncated/ })
    t.equal(h.source.committedOffsets.get('t/0'), 1, 'no commit passes it')
    const next = harness(() => {}, { order: 'unordered', commitIntervalMs: 100 }, { after: h })
    next.source.event('assigned', [P0])
    await next.clock.until(() => next.source.committedOffsets.get('t/0') === 7, 'all of the new log')
    t.same(next.started, [1, fresh, 6].map(offset => `t/0/${offset}`))
    await stop(next)
  }
})

t.test('a log that was truncated below all that is under way goes on in this member', async t => {
  const h = harness(({ offset, leaderEpoch }) => offset === 3 && leaderEpoch === 0 ? never() : undefined, { order: 'unordered', commitIntervalMs: 100 })
  h.source.append(records(5))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.source.committedOffsets.get('t/0') === 3, 'those before it')
  h.source.truncate(P0)
  h.source.append(records(4, { leaderEpoch: 1 }, 3))
  h.source.redeliver(P0, 3)
  await h.clock.until(() => h.source.committedOffsets.get('t/0') === 7, 'the new ones')
  t.same(h.started.slice(5), [3, 4, 5, 6].map(offset => `t/0/${offset}`))
  await stop(h)
})

t.test('commits that fail are due again, even when no more records come', async t => {
  const h = harness(() => {}, { commitIntervalMs: 100 })
  h.source.onCommit = () => { throw new CommitError('retriable', 'the coordinator is away') }
  h.source.append(records(5))
  h.source.event('assigned', [P0])
  await h.clock.advance(5000)
  t.ok((h.told.get('commit failed') ?? 0) > 3)
  t.match(h.engine.state.problems, [/offsets cannot be committed: the coordinator is away/])
  h.source.onCommit = () => {}
  await h.clock.advance(1000)
  t.equal(h.source.committedOffsets.get('t/0'), 5)
  t.same(h.engine.state.problems, [])
  await stop(h)
})

t.test('one commit at a time: while an acknowledgement is awaited no other is sent', async t => {
  let sent = 0
  const h = harness(() => {}, { maxRecordsBeforeCommit: 1, commitIntervalMs: 10 })
  const { commit } = h.source
  h.source.commit = offsets => {
    sent++
    return commit.call(h.source, offsets)
  }
  h.source.holdAcknowledgements = true
  h.source.event('assigned', [P0])
  for (let n = 0; n < 20; n++) {
    h.source.append(records(1, {}, n))
    await h.clock.advance(100)
  }
  t.equal(sent, 1)
  h.source.holdAcknowledgements = false
  await h.clock.advance(500)
  t.equal(h.source.committedOffsets.get('t/0'), 20)
  await stop(h)
})

t.test('assigned: as long as the group\'s offsets cannot be read, nothing starts; then it starts where they say', async t => {
  const h = harness(() => {})
  h.source.committedOffsets.set('t/0', 7)
  h.source.committedFails = 5
  h.source.append(records(10))
  h.source.event('assigned', [P0])
  await h.clock.advance(350)
  t.equal(h.started.length, 0)
  await h.clock.advance(1000)
  t.same(h.started, ['t/0/7', 't/0/8', 't/0/9'])
  await stop(h)
})

t.test('every event is answered, empty lists and unknown partitions too', async t => {
  const h = harness(() => {})
  h.source.event('assigned', [])
  h.source.event('revoked', [])
  h.source.event('assigned', [P0])
  h.source.event('lost', [P1])
  h.source.event('revoked', [P1])
  await h.clock.advance(1000)
  t.equal(h.source.unanswered, 0)
  t.equal(h.engine.state.partitions.length, 1)
  await stop(h)
})

t.test('stop: no new records, what is in flight finishes, a last commit, then it leaves', async t => {
  const h = harness((record, attempt, clock) => clock.sleep(1000), { commitIntervalMs: 1e9, maxRecordsBeforeCommit: 1e9, order: 'unordered' })
  h.source.append(records(100))
  h.source.event('assigned', [P0])
  await h.clock.advance(500)
  await stop(h)
  t.equal(h.started.length, 4)
  t.equal(h.completed.length, 4)
  t.equal(h.source.committedOffsets.get('t/0'), 4)
  t.ok(h.source.left)
  t.equal(h.engine.state.phase, 'stopped')
})

t.test('stop: handlers that go on are aborted at the deadline, and it ends all the same', async t => {
  const h = harness(never, { order: 'unordered' })
  h.source.append(records(100))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  const from = h.clock.now()
  await stop(h, 2000)
  t.ok(h.clock.now() - from < 4000)
  t.ok(h.source.left)
  t.equal(h.source.committedOffsets.get('t/0'), 0, 'where it began')
})

t.test('stop ends even when commits are never acknowledged', async t => {
  const h = harness(() => {})
  h.source.append(records(5))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  h.source.holdAcknowledgements = true
  await stop(h, 1000)
  t.equal(h.engine.state.phase, 'stopped')
})

t.test('stop before anything was assigned, and twice, ends at once', async t => {
  const h = harness(() => {})
  await Promise.all([stop(h), stop(h)])
  t.ok(h.source.left)
})

t.test('a passing failure of the client is told and it goes on; a fatal one ends the run', async t => {
  const h = harness(() => {})
  const { poll } = h.source
  let failures: PollError[] = [new PollError('passing', 'all brokers are down')]
  h.source.poll = (max, timeoutMs) => {
    const failure = failures.shift()
    return failure === undefined ? poll.call(h.source, max, timeoutMs) : Promise.reject(failure)
  }
  h.source.append(records(3))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 3, 'all to be handled')
  t.equal(h.told.get('poll failed'), 1)
  failures = [new PollError('fatal', 'fenced')]
  let error: Error | undefined
  h.run.catch((thrown: Error) => { error = thrown })
  await h.clock.until(() => error !== undefined, 'the run to end')
  t.match(error, { message: 'fenced' })
  t.equal(h.engine.state.phase, 'stopped')
})

t.test('one record hangs: what was completed behind it is not handled again by the next owner, whatever ends this one', async t => {
  const h = harness(({ offset }) => offset === 3 ? never() : undefined, { commitIntervalMs: 100, order: 'unordered', handlerTimeoutMs: 1e9 })
  h.source.append(records(900))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 899, 'the others')
  await h.clock.advance(1000)
  t.equal(h.source.committedOffsets.get('t/0'), 3)
  // As after SIGKILL: nothing but what the broker holds is left of this life.
  const next = harness(() => {})
  next.source.committedOffsets.set('t/0', 3)
  next.source.committedMetadata.set('t/0', h.source.committedMetadata.get('t/0') ?? '')
  next.source.append(records(910))
  next.source.event('assigned', [P0])
  await next.clock.advance(5000)
  t.same(next.started, ['t/0/3', ...Array.from({ length: 10 }, (_, n) => `t/0/${900 + n}`)])
  t.equal(next.told.get('completed before'), 896)
  await stop(next)
  t.equal(next.source.committedOffsets.get('t/0'), 910)
  t.match(decodeProgress(next.source.committedMetadata.get('t/0')!, 910), { done: [], attempts: [], clean: true })
  await stop(h, 100)
})

t.test('a record of a later leader epoch is another record, though its offset was completed', async t => {
  const h = harness(({ offset }) => offset === 0 ? never() : undefined, { commitIntervalMs: 100, order: 'unordered', handlerTimeoutMs: 1e9 })
  h.source.append(records(3))
  h.source.event('assigned', [P0])
  await h.clock.advance(1000)
  const next = harness(() => {})
  next.source.committedOffsets.set('t/0', 0)
  next.source.committedMetadata.set('t/0', h.source.committedMetadata.get('t/0')!)
  next.source.append([record({ offset: 0 }), record({ offset: 1 }), record({ offset: 2, leaderEpoch: 1 })])
  next.source.event('assigned', [P0])
  await next.clock.advance(1000)
  t.same(next.started, ['t/0/0', 't/0/2'])
  await Promise.all([stop(next), stop(h, 100)])
})

t.test('the metadata of others, and what is damaged, is ignored', async t => {
  for (const metadata of ['', 'somebody else', 'sluice1:', 'sluice1:AAAA.', 'sluice1:!!!!']) {
    const h = harness(() => {})
    h.source.committedOffsets.set('t/0', 2)
    h.source.committedMetadata.set('t/0', metadata)
    h.source.append(records(5))
    h.source.event('assigned', [P0])
    await h.clock.advance(500)
    t.same(h.started, ['t/0/2', 't/0/3', 't/0/4'], metadata)
    await stop(h)
  }
})

t.test('a problem that needs an operator stands until something is assigned; a denied topic only until records arrive', async t => {
  for (const [kind, isOver] of [['standing', false], ['denied', true]] as const) {
    const h = harness(() => {})
    h.source.event('assigned', [P0])
    await h.clock.advance(200)
    const { poll } = h.source
    h.source.poll = () => {
      h.source.poll = poll
      return Promise.reject(new PollError(kind, 'not allowed'))
    }
    await h.clock.advance(2000)
    t.same(h.engine.state.problems, ['not allowed'])
    h.source.append(records(1))
    await h.clock.advance(1000)
    t.same(h.engine.state.problems, isOver ? [] : ['not allowed'], kind)
    h.source.event('revoked', [P0])
    h.source.event('assigned', [P0])
    await h.clock.advance(1000)
    t.same(h.engine.state.problems, [])
    await stop(h)
  }
})

t.test('null keys, and the same key on two topics: none is lost, none waits for another, and the same key of a partition runs in order', async t => {
  const running = new Set<string>()
  const together: string[] = []
  const h = harness(async (record, attempt, clock) => {
    const lane = `${record.topic} ${record.key?.toString() ?? `none ${record.offset}`}`
    if (running.has(lane)) together.push(lane)
    running.add(lane)
    await clock.sleep(50)
    running.delete(lane)
  }, { maxInFlight: 8 })
  const u0 = { topic: 'u', partition: 0 }
  for (const at of [P0, u0]) {
    h.source.append([null, 'a', null, '', 'a', null, '', 'a'].map((text, offset) => record({ ...at, offset, key: text === null ? null : Buffer.from(text) })))
  }
  h.source.event('assigned', [P0, u0])
  await h.clock.until(() => h.completed.length === 16, 'all')
  t.same(together, [])
  t.equal(h.peak, 8)
  for (const topic of ['t', 'u']) {
    t.same(h.started.filter(at => [1, 4, 7].some(offset => at === `${topic}/0/${offset}`)).map(at => at.at(-1)), ['1', '4', '7'])
  }
  await stop(h)
})

t.test('an eager rebalance takes everything back and gives it again: what was read ahead comes again, once, and no commit goes back', async t => {
  const g = gate()
  const h = harness((record, attempt, clock) => record.offset === 3 ? g.handler(record, attempt, clock) : undefined,
    { order: 'unordered', commitIntervalMs: 50 })
  h.source.append(records(20))
  h.source.append(records(20, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length === 38, 'all but two')
  h.source.event('revoked', [P0, P1])
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(500)
  g.pass(3)
  await h.clock.advance(8_000)
  if (g.running().length > 0) g.pass(3)
  await h.clock.until(() => h.source.committedOffsets.get('t/0') === 20 && h.source.committedOffsets.get('t/1') === 20, 'all')
  for (const partition of [0, 1]) {
    const offsets = h.source.commits.flat().filter(one => one.partition === partition).map(({ offset }) => offset)
    t.same(offsets, [...offsets].sort((a, b) => a - b), 'commits only go on')
  }
  t.equal(h.completed.length, new Set(h.completed).size, 'what was completed before is not handled again')
  await stop(h)
})

t.test('an assignment that is the whole of it ends what it does not name: nothing of that is committed, also not at the end', async t => {
  const g = gate()
  let aborted = 0
  const h = harness((record, attempt, clock) => {
    attempt.signal.addEventListener('abort', () => { aborted++ })
    return record.offset === 1 ? g.handler(record, attempt, clock) : undefined
  }, { order: 'unordered', commitIntervalMs: 50 })
  h.source.append(records(3))
  h.source.append(records(3, P1))
  h.source.event('assigned', [P0, P1], true)
  await h.clock.until(() => h.completed.length === 4, 'all but two')
  await h.clock.advance(500)
  // Another member has had both of them meanwhile, and still has the first.
  h.source.committedOffsets.set('t/0', 3).set('t/1', 1)
  h.source.committedMetadata.clear()
  const before = h.source.commits.length
  h.source.event('assigned', [P1], true)
  await h.clock.advance(500)
  t.equal(aborted, 2)
  t.equal(h.told.get('lost'), 1, 'the log says so')
  g.pass(1)
  await h.clock.advance(3_000)
  if (g.running().length > 0) g.pass(1)
  await h.clock.until(() => h.source.committedOffsets.get('t/1') === 3, 'the one that is left')
  await stop(h)
  t.notOk(h.source.commits.slice(before).flat().some(({ partition }) => partition === 0))
  t.equal(h.source.committedOffsets.get('t/0'), 3)
})

t.test('no commit names a missing offset or one beyond the end of the log: of a partition without either nothing is said', async t => {
  const h = harness(() => {}, { commitIntervalMs: 50 })
  h.source.append(records(5))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.source.committedOffsets.get('t/0') === 5, 'the one')
  await h.clock.advance(5_000)
  await stop(h)
  t.notOk(h.source.commits.flat().some(({ partition, offset }) => partition === 1 || offset > 5 || !Number.isSafeInteger(offset)))
  t.equal(h.told.get('commit failed'), undefined, 'the source refuses what is no offset')
})
