import t from 'tap'
import { ControlError } from '../../src/engine/controls.js'
import type { EngineOptions } from '../../src/engine/engine.js'
import { Suspensions, type Selection } from '../../src/engine/suspensions.js'
import type { Position, TopicPartition } from '../../src/engine/types.js'
import { committedOf, distinct, harness, P0, P1, place, stop, type Harness, type HarnessPorts, type TestHandler } from '../support/engine-harness.js'
import { record } from '../support/fake-source.js'

// What operators may do in the middle of traffic.

async function asked<T> (h: Harness, promise: Promise<T>): Promise<T> {
  let settled = false
  promise.then(() => { settled = true }, () => { settled = true })
  await h.clock.until(() => settled, 'what was asked for')
  return await promise
}
const seek = (h: Harness, selection: Selection, position: Position) => asked(h, h.engine.controls.seek(selection, position))
const slow: TestHandler = (_record, _attempt, clock) => clock.sleep(100)

/** With 40 records in each of two partitions, two of each in flight and 10 committed. */
async function busy (handle: TestHandler = slow, options: Partial<EngineOptions> = {}, ports: HarnessPorts = {}): Promise<Harness> {
  const h = harness(handle, { commitIntervalMs: 100, ...options }, ports)
  h.source.append(distinct(40))
  h.source.append(distinct(40, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => committedOf(h, P0).offset >= 10 && committedOf(h, P1).offset >= 10, 'some commits')
  return h
}

t.test('pause: nothing is fetched or started of what is selected, what is in flight ends, the rest goes on', async t => {
  const h = await busy()
  t.same(await asked(h, h.engine.controls.pause(P0)), [P0])
  const ofIt = () => h.started.filter(at => at.startsWith('t/0')).length
  const before = ofIt()
  t.same([...h.source.paused], ['t/0'])
  await h.clock.until(() => h.completed.filter(at => at.startsWith('t/1')).length === 40, 'the others')
  t.equal(ofIt(), before)
  t.equal(h.engine.state.inFlight, 0)
  t.match(h.engine.state.partitions, [{ partition: 0, paused: true, suspended: true }, { partition: 1, paused: false, suspended: false }])
  t.same(await asked(h, h.engine.controls.pause(P0)), [], 'what is paused already does not change')
  h.source.append(distinct(5, 40))
  await h.clock.advance(5_000)
  t.same(await asked(h, h.engine.controls.resume({ topic: 't' })), [P0])
  await h.clock.until(() => h.completed.length === 85, 'all')
  t.equal(h.peak, 4)
  t.equal(new Set(h.completed).size, 85)
  await stop(h)
})

t.test('pause: a record that waits for its next attempt does not start either', async t => {
  const h = harness((_record, { attempt }) => { if (attempt === 1) throw Object.assign(new Error('later'), { retryAfterMs: 1000 }) })
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.retrying === 1 && h.started.length === 1, 'it to wait')
  await asked(h, h.engine.controls.pause({}))
  await h.clock.advance(10_000)
  t.equal(h.started.length, 1)
  await asked(h, h.engine.controls.resume({}))
  await h.clock.until(() => h.completed.length === 1, 'it')
  await stop(h)
})

t.test('what is paused stays so over rebalances, for partitions that come later, and for another life', async t => {
  const suspensions = new Suspensions()
  const h = await busy(slow, {}, { suspensions })
  await asked(h, h.engine.controls.pause({ topic: 't' }))
  await asked(h, h.engine.controls.resume(P1))
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  const before = h.started.filter(at => at.startsWith('t/0')).length
  const P2 = { topic: 't', partition: 2 }
  h.source.append(distinct(3, 0, P2))
  h.source.event('assigned', [P0, P2])
  h.source.event('lost', [P1])
  h.source.event('assigned', [P1])
  await h.clock.until(() => h.completed.filter(at => at.startsWith('t/1/39')).length > 0, 'the partition that was resumed')
  t.equal(h.started.filter(at => at.startsWith('t/0')).length, before)
  t.equal(h.started.filter(at => at.startsWith('t/2')).length, 0)
  t.same([...h.source.paused].sort(), ['t/0', 't/2'])
  h.source.kill()

  const next = harness(slow, {}, { suspensions, after: h })
  next.source.event('assigned', [P0, P1])
  await next.clock.advance(10_000)
  t.equal(next.started.filter(at => at.startsWith('t/0')).length, 0)
  await asked(next, next.engine.controls.resume({}))
  await next.clock.until(() => next.completed.includes('t/0/39'), 'what was paused')
  await stop(next)
})

t.test('what is paused may be sought, stays paused, and begins at the new place', async t => {
  const h = await busy()
  await asked(h, h.engine.controls.pause(P0))
  await seek(h, P0, 35)
  const before = h.started.length
  await h.clock.until(() => h.completed.filter(at => at.startsWith('t/1')).length === 40, 'the others')
  t.equal(h.started.slice(before).filter(at => at.startsWith('t/0')).length, 0)
  t.equal(committedOf(h).offset, 35)
  await asked(h, h.engine.controls.resume({}))
  await h.clock.until(() => h.completed.filter(at => at === 't/0/39').length === 1, 'the rest')
  t.same(h.started.slice(before).filter(at => at.startsWith('t/0')), [35, 36, 37, 38, 39].map(offset => place({ ...P0, offset })))
  await stop(h)
})

t.test('a truncated log does not undo a pause', async t => {
  const h = await busy()
  await asked(h, h.engine.controls.pause(P0))
  const before = h.started.filter(at => at.startsWith('t/0')).length
  // What the client had fetched already comes all the same.
  h.source.paused.delete('t/0')
  h.source.redeliver(P0, 0)
  await h.clock.advance(5_000)
  t.equal(h.told.get('rewound'), 1)
  t.equal(h.started.filter(at => at.startsWith('t/0')).length, before)
  await stop(h)
})

for (const [what, position, offset] of [
  ['back', 3, 3], ['on', 33, 33], ['to the beginning', 'beginning', 0], ['to the end', 'end', 40], ['to a time', { timestamp: 7 }, 7], ['to no time', { timestamp: 999 }, 40]
] as [string, Position, number][]) {
  t.test(`a seek ${what}: what waits is forgotten, what is in flight is told to end, the new place is committed at once`, async t => {
    const aborted: string[] = []
    const h = await busy(async (one, { signal }, clock) => {
      signal.addEventListener('abort', () => aborted.push(`${place(one)} ${(signal.reason as Error).name}`))
      await clock.sleep(100)
    }, { maxRecordsBeforeCommit: 1000, commitIntervalMs: 1_000, order: 'unordered' })
    h.source.append([])
    const running = h.started.slice(-4).filter(at => at.startsWith('t/0'))
    const before = h.started.length
    const commits = h.source.commits.length
    timestamps(h)
    t.same(await seek(h, P0, position), [{ ...P0, offset }])
    t.same(aborted, running.map(at => `${at} PartitionGivenUpError`))
    t.same(h.source.seeks, [{ ...P0, offset }])
    await h.clock.advance(150)
    t.ok(h.source.commits.length > commits, 'long before the interval')
    t.ok(committedOf(h).offset >= offset && committedOf(h).offset < offset + 10, `${committedOf(h).offset}`)
    await h.clock.until(() => committedOf(h, P0).offset === 40 && committedOf(h, P1).offset === 40, 'all')
    const after = h.started.slice(before).filter(at => at.startsWith('t/0'))
    t.same(after, Array.from({ length: 40 - offset }, (_, n) => `t/0/${offset + n}`), 'each from the new place on, once')
    t.equal(h.told.get('sought'), 1)
    t.equal(h.told.get('rewound') ?? 0, 0)
    await stop(h)
  })
}

t.test('what ends late after a seek changes nothing: not the window, not the attempts, not the dead letters', async t => {
  const ends: ((failed: boolean) => void)[] = []
  const h = harness(({ offset }) => offset < 2 && ends.length < 2
    ? new Promise<void>((resolve, reject) => ends.push(failed => failed ? reject(new Error('late')) : resolve()))
    : undefined, { order: 'unordered', commitIntervalMs: 100, retry: { maxAttempts: 1, backoffMs: 1, backoffMaxMs: 1 } })
  h.source.append(distinct(6))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 4, 'the others')
  await h.clock.advance(500)
  t.equal(committedOf(h).offset, 0)
  await seek(h, P0, 4)
  ends[0](false)
  ends[1](true)
  await h.clock.advance(1_000)
  t.same(h.completed.slice(4).sort(), ['t/0/4', 't/0/5'])
  t.equal(committedOf(h).offset, 6)
  t.equal(h.letters.length, 0)
  t.same(committedOf(h).progress?.attempts ?? [], [])
  t.equal(h.engine.state.inFlight, 0)
  await stop(h)
})

t.test('after a seek a key waits for the attempt that is still running, and the records run in order', async t => {
  let end: () => void = () => {}
  const h = harness(({ offset }) => offset === 2 ? new Promise<void>(resolve => { end = resolve }) : undefined)
  const same = distinct(6).map(one => ({ ...one, key: Buffer.from('same') }))
  h.source.append(same)
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.includes('t/0/2'), 'the third')
  await seek(h, P0, 0)
  await h.clock.advance(5_000)
  t.same(h.started, ['t/0/0', 't/0/1', 't/0/2'], 'nothing of the key starts beside it')
  end()
  await h.clock.until(() => h.started.filter(at => at === 't/0/2').length === 2, 'the third again')
  end()
  await h.clock.until(() => h.completed.includes('t/0/5'), 'all')
  t.same(h.started, [0, 1, 2, 0, 1, 2, 3, 4, 5].map(offset => `t/0/${offset}`))
  await stop(h)
})

t.test('a seek forgets attempts and what predecessors have completed', async t => {
  const numbers: number[] = []
  const h = harness(({ offset }, { attempt }) => {
    if (offset !== 1) return
    numbers.push(attempt)
    throw Object.assign(new Error('later'), { retryAfterMs: 60_000 })
  })
  h.source.append(distinct(4))
  h.source.event('assigned', [P0])
  await h.clock.until(() => committedOf(h).progress?.attempts.length === 1, 'an attempt')
  await seek(h, P0, 0)
  await h.clock.until(() => numbers.length === 2, 'another')
  t.same(numbers, [1, 1])
  await stop(h)
})

t.test('a commit that is under way during a seek is not the last word', async t => {
  // 1. Ten are committed. 2. A commit of more is under way. 3. Somebody seeks back to ten.
  const h = harness(() => {}, { commitIntervalMs: 100 })
  h.source.ids.set('t', 'an-id')
  h.source.committedOffsets.set('t/0', 0)
  const unknown = (count: number, from = 0) => distinct(count, from).map(one => ({ ...one, leaderEpoch: -1 }))
  h.source.append(unknown(10))
  h.source.event('assigned', [P0])
  await h.clock.until(() => committedOf(h).offset === 10, 'ten')
  await h.clock.advance(500)
  h.source.holdAcknowledgements = true
  h.source.append(unknown(10, 10))
  await h.clock.until(() => h.completed.length === 20, 'twenty')
  await h.clock.advance(500)
  await asked(h, h.engine.controls.pause({}))
  await seek(h, P0, 10)
  h.source.holdAcknowledgements = false
  await h.clock.advance(500)
  t.equal(committedOf(h).offset, 10)
  await stop(h)
  t.equal(committedOf(h).offset, 10)
})

t.test('offsets outside of what a partition holds, and what is no offset, are refused, and nothing changes', async t => {
  const h = await busy()
  h.source.append([record({ offset: 40 })], 45)
  for (const position of [46, -1, 1.5, Number.MAX_SAFE_INTEGER, NaN]) {
    const error = await seek(h, P0, position).catch(error => error)
    t.ok(error instanceof ControlError)
    t.equal(error.kind, 'invalid', `${position}: ${error.message}`)
  }
  t.same(h.source.seeks, [])
  await h.clock.until(() => h.completed.length === 81, 'all')
  t.equal(new Set(h.started).size, h.started.length, 'nothing is handled twice')
  t.same(await seek(h, P0, 45), [{ ...P0, offset: 45 }], 'the end is none of them')
  await stop(h)
})

t.test('of several partitions one that does not hold the offset spoils it for all', async t => {
  const h = await busy()
  h.source.append(distinct(5, 40))
  const error = await seek(h, {}, 43).catch(error => error)
  t.match(error, { kind: 'invalid', message: /43 is outside of what t\/1 holds: 0 to 40/ })
  t.same(h.source.seeks, [])
  await h.clock.until(() => h.completed.length === 85, 'all')
  t.equal(h.started.length, 85)
  await stop(h)
})

t.test('where the brokers do not answer, or not for all, a seek is refused, and nothing changes', async t => {
  const h = await busy()
  h.source.offsetsAtFails = new Error('the brokers are away')
  t.match(await seek(h, {}, 'beginning').catch(error => error), { kind: 'unavailable', message: 'the brokers are away' })
  h.source.offsetsAtFails = null
  const all = h.source.offsetsAt.bind(h.source)
  h.source.offsetsAt = async (position, partitions) => (await all(position, partitions)).slice(1)
  t.match(await seek(h, {}, 'beginning').catch(error => error), { kind: 'unavailable' })
  h.source.offsetsAt = async (position, partitions) => {
    return (await all(position, partitions)).map((one, n) => ({ ...one, offset: n === 0 ? 0 : -1 }))
  }
  t.match(await seek(h, {}, 'beginning').catch(error => error), { kind: 'unavailable' })
  await h.clock.until(() => h.completed.length === 80, 'all')
  t.equal(h.started.length, 80)
  await stop(h)
})

t.test('what is not owned here cannot be sought', async t => {
  const h = await busy()
  t.match(await seek(h, { topic: 'other' }, 'end').catch(error => error), { kind: 'unavailable' })
  t.match(await seek(h, { topic: 't', partition: 9 }, 'end').catch(error => error), { kind: 'unavailable' })
  await stop(h)
})

t.test('a seek that the client fails at ends this member: it may be at one place or the other', async t => {
  const h = await busy()
  let failed: unknown
  h.run.catch(error => { failed = error })
  h.source.seekFails = new Error('timed out')
  const error = await seek(h, P0, 0).catch(error => error)
  await h.clock.until(() => failed !== undefined, 'the end')
  t.equal(failed, error)
  t.match(error, { name: 'PollError', kind: 'fatal', message: /timed out/ })
  t.equal(h.engine.state.phase, 'stopped')
  const commits = h.source.commits.length
  await h.clock.advance(5_000)
  t.equal(h.source.commits.length, commits)
  t.match(await asked(h, h.engine.controls.pause({})).catch(error => error), { kind: 'unavailable' })
})

t.test('requests are refused once it stops, those that wait as well', async t => {
  const h = await busy()
  const stopping = stop(h)
  const late = h.engine.controls.resume({}).catch(error => error)
  await stopping
  t.match(await late, { name: 'ControlError', kind: 'unavailable' })
  t.match(await h.engine.controls.pause({}).catch(error => error), { kind: 'unavailable' })
  t.match(await h.engine.controls.seek({}, 'end').catch(error => error), { kind: 'unavailable' })
  t.equal(h.engine.controls.pending, false)
})

t.test('they are refused at once, however long the drain takes', async t => {
  const h = harness((_record, _attempt, clock) => clock.sleep(4_000))
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.length === 1, 'it to start')
  const stopping = h.engine.stop(10_000)
  await h.clock.advance(200)
  t.equal(h.engine.state.phase, 'draining')
  let refused: unknown
  h.engine.controls.seek({}, 'end').catch(error => { refused = error })
  await h.clock.advance(100)
  t.match(refused, { kind: 'unavailable' })
  t.equal(h.engine.state.phase, 'draining')
  await h.clock.advance(10_000)
  await stopping
})

t.test('a request is served within a poll, also with nothing to do and with no room', async t => {
  const h = harness(() => new Promise<void>(() => {}), { windowMaxRecords: 5, order: 'partition' })
  h.source.event('assigned', [P0])
  await h.clock.advance(1000)
  let from = h.clock.now()
  await asked(h, h.engine.controls.pause(P1))
  t.ok(h.clock.now() - from <= 110)
  h.source.append(distinct(50))
  await h.clock.advance(5000)
  from = h.clock.now()
  await asked(h, h.engine.controls.pause({}))
  t.ok(h.clock.now() - from <= 110)
  await stop(h, 100)
})

t.test('many requests at once are done in their order', async t => {
  const h = await busy()
  const { controls } = h.engine
  const answers = Promise.all([
    controls.pause({}), controls.seek(P1, 'beginning'), controls.resume(P1), controls.seek(P0, 'end'), controls.pause(P0)
  ])
  t.same(await asked(h, answers), [[P0, P1], [{ ...P1, offset: 0 }], [P1], [{ ...P0, offset: 40 }], []])
  await stop(h)
})

t.test('a seek while another partition is being given up, and one of a partition that is', async t => {
  const h = await busy((_record, _attempt, clock) => clock.sleep(2_000), { commitIntervalMs: 10, maxInFlight: 20 })
  h.source.event('revoked', [P0])
  await h.clock.advance(120)
  const ofIt = h.engine.controls.seek(P0, 0).catch(error => error)
  const ofOther = h.engine.controls.seek(P1, 5)
  t.same(await asked(h, ofOther), [{ ...P1, offset: 5 }], 'served after the drain')
  t.match(await ofIt, { kind: 'unavailable' })
  t.notOk(h.source.owned.has('t/0'))
  await h.clock.until(() => committedOf(h, P1).offset === 40, 'the other')
  await stop(h)
})

t.test('the limit is raised: more start at once; lowered: what is in flight ends, and fewer start', async t => {
  const h = harness((_record, _attempt, clock) => clock.sleep(100), { maxInFlight: 2, order: 'unordered' })
  h.source.append(distinct(200))
  h.source.event('assigned', [P0])
  await h.clock.advance(200)
  t.equal(h.engine.state.inFlight, 2)
  h.engine.limit = 10
  t.equal(h.engine.state.inFlight, 10)
  t.equal(h.engine.limit, 10)
  await h.clock.advance(50)
  h.engine.limit = 3
  t.equal(h.engine.state.inFlight, 10, 'nothing is stopped')
  const from = h.started.length
  await h.clock.advance(45)
  t.equal(h.started.length, from, 'nothing starts above it')
  await h.clock.advance(1000)
  t.equal(h.engine.state.inFlight, 3)
  t.equal(h.engine.state.limit, 3)
  t.equal(h.peak, 10)
  await stop(h)
})

function timestamps (h: Harness): void {
  const { offsetsAt } = h.source
  // The record at an offset has that as its time.
  h.source.offsetsAt = async (position, partitions: readonly TopicPartition[]) => typeof position !== 'object'
    ? await offsetsAt.call(h.source, position, partitions)
    : partitions.map(one => ({ topic: one.topic, partition: one.partition, offset: Math.min(40, position.timestamp) }))
}
