import t from 'tap'
import { encodeProgress, topicIdIn } from '../../src/engine/progress.js'
import { committedOf, distinct, harness, P0, P1, stop, type Harness } from '../support/engine-harness.js'
import type { FakeSource } from '../support/fake-source.js'

// A topic that was deleted and made again keeps its offsets in the group. Scenario 17.

const handledAt = (h: Harness, partition: number) => h.completed.filter(at => at.startsWith(`t/${partition}/`)).map(at => Number(at.split('/')[2]))
const idIn = (h: Harness, id = 't/0') => topicIdIn(h.source.committedMetadata.get(id) ?? '')
const zeroTo = (count: number) => Array.from({ length: count }, (_, n) => n)
/** The topic is deleted and made again, with so many records in each partition. */
const makeAnew = (source: FakeSource, count: number, id = 'other') => {
  for (const partition of [P0, P1]) source.truncate(partition)
  source.append(distinct(count))
  source.append(distinct(count, 0, P1))
  source.ids.set('t', id)
}

async function outcomeOf (h: Harness): Promise<() => unknown> {
  let outcome: unknown = 'still running'
  h.run.then(() => { outcome = 'ended' }, error => { outcome = error })
  return () => outcome
}

/** Both partitions, with so many records handled and committed. */
async function settled (count = 20, prepare: (h: Harness) => void = h => { h.source.ids.set('t', 'one') }): Promise<Harness> {
  const h = harness(() => {}, { commitIntervalMs: 100 })
  prepare(h)
  h.source.append(distinct(count))
  h.source.append(distinct(count, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => committedOf(h, P0).offset === count && committedOf(h, P1).offset === count, 'all')
  return h
}

t.test('scenario 17: a topic that was made anew while nobody read it is read from its beginning', async t => {
  const first = await settled()
  t.equal(idIn(first), 'one')
  await stop(first)
  makeAnew(first.source, 8)
  const h = harness(() => {}, { commitIntervalMs: 100 }, { after: first })
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length === 16, 'all of the new one')
  t.same([handledAt(h, 0), handledAt(h, 1)], [zeroTo(8), zeroTo(8)])
  t.equal(h.told.get('topic made anew'), 1)
  await h.clock.advance(1000)
  t.same([committedOf(h).offset, idIn(h)], [8, 'other'])
  await stop(h)
})

t.test('its first records may have gone already: the beginning is where the log begins', async t => {
  const first = await settled()
  await stop(first)
  for (const partition of [P0, P1]) first.source.truncate(partition)
  first.source.append(distinct(5, 7))
  first.source.ids.set('t', 'other')
  const h = harness(() => {}, { commitIntervalMs: 100 }, { after: first })
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 5, 'all of the new one')
  t.same(handledAt(h, 0), [7, 8, 9, 10, 11])
  await stop(h)
})

t.test('the new place is committed though nothing is handled there', async t => {
  const first = await settled()
  await stop(first)
  makeAnew(first.source, 0)
  const h = harness(() => {}, { commitIntervalMs: 100 }, { after: first })
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(1000)
  t.same([committedOf(h).offset, idIn(h)], [0, 'other'])
  h.source.kill()
  const next = harness(() => {}, { commitIntervalMs: 100 }, { after: h })
  next.source.append(distinct(3))
  next.source.event('assigned', [P0, P1])
  await next.clock.until(() => next.completed.length === 3, 'all of the new one')
  t.equal(next.told.get('topic made anew'), undefined, 'told once')
  await stop(next)
})

t.test('attempts and what was completed of the old one say nothing of the new one', async t => {
  const h = harness(() => {})
  h.source.ids.set('t', 'other')
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', encodeProgress({
    base: 0, leaderEpoch: 9, done: [[1, 3]], topicId: 'one', attempts: [[0, 3]], starts: 9, clean: false
  }))
  h.source.append(distinct(4))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 4, 'all')
  t.same(handledAt(h, 0), [0, 1, 2, 3])
  t.same([h.letters.length, h.told.get('suspected')], [0, undefined])
  await stop(h)
})

t.test('scenario 17: noticed from time to time while it is read: what is owned of it is lost, the others drain, the member ends', async t => {
  const U = { topic: 'u', partition: 0 }
  const h = harness(({ topic, offset }, _attempt, clock) => topic === 't' && offset === 20 ? clock.sleep(1e9) : clock.sleep(300), {
    commitIntervalMs: 1e9, maxRecordsBeforeCommit: 1e9, handlerTimeoutMs: 1e10
  })
  h.source.ids.set('t', 'one')
  h.source.ids.set('u', 'same')
  h.source.committedOffsets.set('u/0', 0)
  h.source.append(distinct(30))
  h.source.event('assigned', [P0, U])
  const outcome = await outcomeOf(h)
  await h.clock.until(() => h.completed.length === 29, 'what ends')
  h.source.append(distinct(1, 0, U))
  makeAnew(h.source, 0)
  const commits = h.source.commits.length
  await h.clock.until(() => h.engine.state.phase === 'draining', 'the look')
  await h.clock.until(() => outcome() !== 'still running', 'the end')
  t.match(outcome(), { name: 'PollError', kind: 'fatal', message: 't was deleted and made again' })
  t.notOk(h.source.commits.slice(commits).flat().some(({ topic }) => topic === 't'), 'nothing is committed of it')
  t.equal(committedOf(h, U).offset, 1)
  t.equal(committedOf(h, U).progress?.clean, true)
  t.ok(h.source.left)
  const next = harness(() => {}, { commitIntervalMs: 100 }, { after: h })
  makeAnew(next.source, 5)
  next.source.event('assigned', [P0, P1, U])
  await next.clock.until(() => next.completed.length === 10, 'the new one')
  t.equal(next.told.get('topic made anew'), 1)
  await stop(next)
})

t.test('it looks every 10 s, and does not wait for the answer', async t => {
  const h = await settled()
  const outcome = await outcomeOf(h)
  let answer: () => void = () => {}
  h.source.topicIdsHeld = new Promise(resolve => { answer = resolve })
  await h.clock.advance(31_000)
  makeAnew(h.source, 0)
  h.source.append(distinct(10, 20))
  await h.clock.until(() => h.completed.length === 50, 'more')
  t.equal(outcome(), 'still running')
  answer()
  await h.clock.until(() => outcome() !== 'still running', 'the end')
  t.match(outcome(), { kind: 'fatal' })
})

t.test('a stop while the member ends for that is a stop', async t => {
  const U = { topic: 'u', partition: 0 }
  const h = harness(({ topic }, _attempt, clock) => topic === 'u' ? clock.sleep(40_000) : undefined)
  h.source.ids.set('t', 'one')
  h.source.append([...distinct(1), ...distinct(1, 0, U)])
  h.source.event('assigned', [P0, U])
  await h.clock.until(() => h.completed.length === 1, 'the one')
  makeAnew(h.source, 0)
  await h.clock.until(() => h.engine.state.phase === 'draining', 'the look')
  await stop(h)
  await h.run
  t.equal(h.engine.state.phase, 'stopped')
})

t.test('scenario 17: a drain asks before its commit: nothing of the old one is committed', async t => {
  const h = harness((_record, _attempt, clock) => clock.sleep(2_000), { commitIntervalMs: 1e9, maxInFlight: 30 })
  h.source.ids.set('t', 'one')
  h.source.committedOffsets.set('t/0', 0)
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.inFlight === 20, 'all to start')
  const commits = h.source.commits.length
  makeAnew(h.source, 5)
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.equal(h.source.commits.length, commits)
  t.same([committedOf(h).offset, idIn(h)], [0, 'one'])
  t.equal(h.engine.state.phase, 'running', 'nothing of it stays here')
  await stop(h)
})

t.test('the same before the last commit of a stop', async t => {
  const h = harness(() => {}, { commitIntervalMs: 1e9 })
  h.source.ids.set('t', 'one')
  h.source.committedOffsets.set('t/0', 0)
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'all')
  makeAnew(h.source, 5)
  await stop(h)
  t.equal(committedOf(h).offset, 0)
})

t.test('what a member keeps of a topic that a drain finds made anew is not forgotten: the member is made anew', async t => {
  const h = await settled()
  const outcome = await outcomeOf(h)
  makeAnew(h.source, 5)
  h.source.event('revoked', [P0])
  await h.clock.until(() => outcome() !== 'still running', 'the end')
  t.match(outcome(), { kind: 'fatal', message: 't was deleted and made again' })
  t.equal(h.source.unanswered, 0)
  t.same([committedOf(h, P0).offset, committedOf(h, P1).offset], [20, 20])
  const next = harness(() => {}, {}, { after: h })
  next.source.event('assigned', [P0, P1])
  await next.clock.until(() => next.completed.length === 10, 'the new one')
  await stop(next)
})

t.test('a drain does without an answer that takes too long', async t => {
  const h = await settled()
  h.source.append(distinct(1, 20))
  await h.clock.advance(50)
  h.source.topicIdsHeld = new Promise(() => {})
  const from = h.clock.now()
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.ok(h.clock.now() - from <= 1_300, `${h.clock.now() - from} ms`)
  t.equal(committedOf(h).offset, 21)
  await stop(h)
})

t.test('ids that cannot be told change nothing: neither where it begins nor what is committed', async t => {
  const first = await settled()
  await stop(first)
  const h = harness(() => {}, { commitIntervalMs: 100 }, { after: first })
  h.source.topicIdsFail = 1e9
  h.source.append(distinct(5, 20))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length === 5, 'what is new')
  await h.clock.advance(100_000)
  t.equal(h.engine.state.phase, 'running')
  t.same([committedOf(h).offset, idIn(h)], [25, 'one'], 'and what was known stays known')
  h.source.topicIdsFail = 0
  await h.clock.advance(40_000)
  t.equal(h.engine.state.phase, 'running')
  await stop(h)
})

t.test('a topic that is gone is not another one', async t => {
  const h = await settled()
  h.source.ids.delete('t')
  await h.clock.advance(100_000)
  t.equal(h.engine.state.phase, 'running')
  await stop(h)
})

t.test('where there are no ids everything is as it was', async t => {
  const first = await settled(20, () => {})
  await stop(first)
  t.equal(idIn(first), '')
  const h = harness(() => {}, {}, { after: first })
  h.source.append(distinct(5, 20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 5, 'what is new')
  t.equal(h.told.get('topic made anew'), undefined)
  await stop(h)
})

t.test('an id that is told later is adopted, and committed soon, with nothing to handle', async t => {
  const h = await settled(20, () => {})
  h.source.ids.set('t', 'late')
  await h.clock.advance(32_000)
  t.equal(h.engine.state.phase, 'running')
  t.same([idIn(h), idIn(h, 't/1')], ['late', 'late'])
  makeAnew(h.source, 0)
  const outcome = await outcomeOf(h)
  await h.clock.until(() => outcome() !== 'still running', 'the end')
  t.match(outcome(), { kind: 'fatal' })
})

t.test('where the beginnings of a topic made anew cannot be read nothing starts until they can', async t => {
  const first = await settled()
  await stop(first)
  makeAnew(first.source, 5)
  const h = harness(() => {}, {}, { after: first })
  h.source.offsetsAtFails = new Error('the brokers are away')
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(5_000)
  t.same(h.started, [])
  t.match(h.engine.state.problems, ['the brokers are away'])
  h.source.offsetsAtFails = null
  await h.clock.until(() => h.completed.length === 10, 'the new one')
  await stop(h)
})

t.test('an answer about a partition that has left meanwhile does no harm', async t => {
  const h = await settled()
  let answer: () => void = () => {}
  h.source.topicIdsHeld = new Promise(resolve => { answer = resolve })
  await h.clock.advance(31_000)
  h.source.event('lost', [P0, P1])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  h.source.ids.set('t', 'other')
  answer()
  await h.clock.advance(5_000)
  t.equal(h.engine.state.phase, 'running')
  await stop(h)
})
