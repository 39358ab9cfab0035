import t from 'tap'
import { AttemptsUsedUpError } from '../../src/engine/attempt-errors.js'
import { Entry } from '../../src/engine/entry.js'
import { OwnedPartition } from '../../src/engine/owned-partition.js'
import { encodeProgress, type Progress } from '../../src/engine/progress.js'
import { committedOf, defaults, distinct, harness, P0, P1, stop, type Harness } from '../support/engine-harness.js'
import { record } from '../support/fake-source.js'

// Attempts outlive the process: they are in the metadata of the group's commits.

const fails = () => { throw new Error('failed') }
const progress = (base: number, more: Partial<Progress> = {}): string =>
  encodeProgress({ base, leaderEpoch: 0, done: [], topicId: '', attempts: [], starts: 0, clean: true, ...more })
const attemptsIn = (h: Harness) => committedOf(h).progress?.attempts ?? []

t.test('the attempts of a record that failed are committed before its next attempt starts', async t => {
  const seen: (readonly (readonly number[])[])[] = []
  const h = harness(({ offset }) => {
    if (offset === 0) seen.push(attemptsIn(h))
    if (offset === 0) fails()
  }, { retry: { maxAttempts: 4, backoffMs: 1, backoffMaxMs: 1 } })
  h.source.append(distinct(2))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 2, 'both to be completed')
  t.same(seen, [[], [[0, 1]], [[0, 2]], [[0, 3]]])
  await stop(h)
  t.same(attemptsIn(h), [], 'and forgotten with the record')
})

t.test('as long as the commit that tells of an attempt is not acknowledged, there is no next one for 5 s; others go on', async t => {
  const h = harness(({ offset }) => { if (offset === 0) fails() }, { commitIntervalMs: 60_000 })
  h.source.event('assigned', [P0])
  await h.clock.advance(500)
  h.source.append(distinct(1))
  h.source.holdAcknowledgements = true
  await h.clock.advance(4_000)
  t.same(h.started, [], 'the first record decides where the partition begins, and that is written down before it is handled')
  h.source.holdAcknowledgements = false
  await h.clock.until(() => h.started.length === 1, 'the first attempt')
  h.source.holdAcknowledgements = true
  h.source.append(distinct(5, 1))
  await h.clock.advance(4_000)
  t.same(h.started, ['t/0/0', 't/0/1', 't/0/2', 't/0/3', 't/0/4', 't/0/5'])
  t.equal(h.engine.state.retrying, 1)
  h.source.holdAcknowledgements = false
  await h.clock.until(() => h.started.filter(one => one === 't/0/0').length === 2, 'the next attempt')
  await stop(h)
})

t.test('a commit that fails lets the next attempt go on: one counted too few is better than none made', async t => {
  const h = harness(({ offset }) => { if (offset === 0) fails() }, { exhausted: 'skip' })
  h.source.onCommit = () => { throw new Error('no coordinator') }
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 1, 'all attempts')
  t.equal(h.started.length, 3)
  t.equal(h.source.commits.length, 0)
  await stop(h)
})

t.test('a process that comes after goes on with the number of attempts', async t => {
  const numbers: number[] = []
  const handle = ({ offset }: { offset: number }, { attempt }: { attempt: number }) => {
    if (offset !== 3) return
    numbers.push(attempt)
    fails()
  }
  const options = { retry: { maxAttempts: 4, backoffMs: 10_000, backoffMaxMs: 10_000 } }
  const first = harness(handle, options)
  first.source.append(distinct(6))
  first.source.event('assigned', [P0])
  await first.clock.until(() => numbers.length === 2, 'two attempts')
  await first.clock.until(() => attemptsIn(first)[0]?.[1] === 2, 'the second to be written down')
  first.source.kill()
  const second = harness(handle, options, { after: first })
  second.source.event('assigned', [P0])
  await second.clock.until(() => second.letters.length === 1, 'the dead letter')
  t.same(numbers, [1, 2, 3, 4])
  t.equal(second.letters[0].attempts, 4)
  t.match(second.letters[0].error, { message: 'failed' })
  await stop(second)
})

t.test('attempts that predecessors used up: dead-lettered without another run, with that as the error', async t => {
  const h = harness(() => {})
  h.source.append(distinct(4))
  h.source.committedOffsets.set('t/0', 1)
  h.source.committedMetadata.set('t/0', progress(1, { attempts: [[2, 3]] }))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 3, 'all')
  t.same(h.started, ['t/0/1', 't/0/3'])
  t.equal(h.letters.length, 1)
  t.ok(h.letters[0].error instanceof AttemptsUsedUpError)
  t.equal(h.letters[0].attempts, 3)
  await stop(h)
})

t.test('where failed records block, each process makes one more attempt at one whose attempts are used up', async t => {
  const numbers: number[] = []
  const h = harness((_record, { attempt }) => {
    numbers.push(attempt)
    fails()
  }, { exhausted: 'block' })
  h.source.append(distinct(1))
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', progress(0, { attempts: [[0, 7]] }))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.blocked === 1, 'it to block')
  await h.clock.advance(10_000)
  t.same(numbers, [3])
  await stop(h)
})

t.test('where failed records are skipped, one whose attempts are used up is skipped without another run', async t => {
  const h = harness(() => {}, { exhausted: 'skip' })
  h.source.append(distinct(1))
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', progress(0, { attempts: [[0, 3]] }))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 1, 'it to be skipped')
  t.same([h.started, h.outcomes], [[], ['skipped']])
  await stop(h)
})

t.test('attempts at a record of an earlier leader do not count for another record at its offset', async t => {
  const numbers: number[] = []
  const h = harness((_record, { attempt }) => { numbers.push(attempt) })
  h.source.append([record({ offset: 0, leaderEpoch: 5 }), record({ offset: 1, leaderEpoch: 6 })])
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', progress(0, { leaderEpoch: 5, attempts: [[0, 2], [1, 2]] }))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 2, 'both')
  t.same(numbers, [3, 1])
  await stop(h)
})

t.test('nor where an earlier record of the later leader has failed here meanwhile', async t => {
  const numbers: [number, number][] = []
  const h = harness(({ offset }, { attempt }) => {
    numbers.push([offset, attempt])
    if (offset === 0) fails()
  }, { retry: { maxAttempts: 3, backoffMs: 60_000, backoffMaxMs: 60_000 } })
  h.source.append([record({ offset: 0, leaderEpoch: 6 })])
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', progress(0, { leaderEpoch: 5, attempts: [[1, 2]] }))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.length === 1, 'the first attempt')
  await h.clock.advance(1000)
  t.same(committedOf(h).progress?.attempts, [[0, 1]], 'and they are not handed on')
  h.source.append([record({ offset: 1, leaderEpoch: 6 })])
  await h.clock.until(() => h.started.length === 2, 'the second record')
  t.same(numbers, [[0, 1], [1, 1]])
  await stop(h)
})

t.test('what was tried and is completed now is not remembered, however it ended', async t => {
  const partition = new OwnedPartition({ ...P0, offset: 0, metadata: '' }, 1, { maxRecords: 100, maxBytes: 1000 })
  const h = harness(({ offset }, { attempt }) => {
    if (offset === 1) throw Object.assign(new Error('no use'), { drop: true })
    if (attempt < 3 || offset === 2) fails()
  })
  h.source.append(distinct(4))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 4, 'all')
  t.same([...h.outcomes].sort(), ['dead-lettered', 'handled', 'handled', 'skipped'])
  await h.clock.advance(2000)
  t.same(attemptsIn(h), [])
  t.equal(committedOf(h).offset, 4)
  await stop(h)
  partition.remember(record({ offset: 4 }), 2)
  partition.remember(record({ offset: 4 }), 0)
  t.equal(partition.attempts.size, 0, 'none that count')
})

t.test('nor is it while an earlier record is still open', async t => {
  let end: () => void = () => {}
  const h = harness(({ offset }, { attempt }) => {
    if (offset === 0) return new Promise<void>(resolve => { end = resolve })
    if (attempt < 3) fails()
    return Promise.resolve()
  }, { commitIntervalMs: 50 })
  h.source.append(distinct(3))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 2, 'the others')
  await h.clock.advance(500)
  t.equal(committedOf(h).offset, 0)
  t.same(attemptsIn(h), [])
  end()
  await stop(h)
})

t.test('what predecessors completed and tried above what has been read again is handed on: a process that is killed right after its first commit loses nothing of it', async t => {
  const first = harness(async ({ offset }, _attempt, clock) => {
    if (offset === 0) await clock.sleep(3_600_000)
    if (offset === 8) throw Object.assign(new Error('later'), { retryAfterMs: 3_600_000 })
  }, { handlerTimeoutMs: 7_200_000, commitIntervalMs: 100 })
  first.source.append(distinct(10))
  first.source.event('assigned', [P0])
  await first.clock.advance(2_000)
  t.same(committedOf(first).progress, {
    base: 0, leaderEpoch: 0, done: [[1, 8], [9, 10]], topicId: '', attempts: [[8, 1]], starts: committedOf(first).progress!.starts, clean: false
  })
  first.source.kill()

  const second = harness(() => {}, { windowMaxRecords: 2, maxInFlight: 1 }, { after: first })
  second.source.onPoll = () => { if (second.source.commits.length === 1) second.source.kill() }
  second.source.event('assigned', [P0])
  await second.clock.advance(2_000)
  t.ok(second.source.dead)
  t.equal(second.source.commits.length, 1)
  t.match(committedOf(second).progress, { done: [[1, 8], [9, 10]], attempts: [[8, 1]] })

  const numbers: [number, number][] = []
  const third = harness(({ offset }, { attempt }) => { numbers.push([offset, attempt]) }, {}, { after: second })
  third.source.event('assigned', [P0])
  await third.clock.until(() => third.completed.length === 2, 'what was left')
  await third.clock.advance(1000)
  t.same(numbers.sort(), [[0, 1], [8, 2]])
  await stop(third)
})

t.test('what is handed on is told from where it has been read to, and not what was read and is open again', t => {
  const metadata = progress(10, { done: [[12, 20], [30, 40]] })
  const partition = new OwnedPartition({ ...P0, offset: 10, metadata }, 1, { maxRecords: 100, maxBytes: 1000 })
  const done = (base: number, metadata: string) => decode(base, metadata)
  t.same(done(10, partition.metadata()), [[12, 20], [30, 40]])
  partition.window.admit(10, 0)
  partition.window.admit(11, 0)
  partition.window.complete(partition.window.admit(15, 0))
  t.same(done(10, partition.metadata()), [[12, 20], [30, 40]], 'gaps count as done')
  partition.window.complete(partition.window.admit(33, 0))
  t.same(done(10, partition.metadata()), [[12, 34], [34, 40]], 'up to 33 by the window, above it by the predecessor')
  partition.window.complete(0)
  partition.window.complete(1)
  t.equal(partition.window.commitOffset, 34)
  t.same(done(34, partition.metadata()), [[34, 40]])
  t.end()
})

t.test('what a predecessor completed is not handed on once a later leader has written below it', t => {
  const metadata = progress(0, { leaderEpoch: 4, done: [[5, 9]] })
  const partition = new OwnedPartition({ ...P0, offset: 0, metadata }, 1, { maxRecords: 100, maxBytes: 1000 })
  partition.window.complete(partition.window.admit(0, 4))
  t.same(decode(1, partition.metadata()), [[5, 9]])
  partition.window.complete(partition.window.admit(1, 5))
  t.same(decode(2, partition.metadata()), [])
  t.end()
})

t.test('an attempt that was cut short because the partition is given up is none', async t => {
  const h = harness((_record, { signal }) => new Promise((_resolve, reject) => { signal.addEventListener('abort', () => reject(signal.reason)) }),
    { drainTimeoutMs: 100 })
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.length === 1, 'the attempt')
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.same(attemptsIn(h), [])
  t.equal(h.told.get('failed: given-back'), 1)
  await stop(h)
})

t.test('one that fails by itself while the partition is given up is one', async t => {
  const h = harness(async (_record, _attempt, clock) => {
    await clock.sleep(1000)
    fails()
  })
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.length === 1, 'the attempt')
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.same(attemptsIn(h), [[0, 1]])
  await stop(h)
})

t.test('attempts of one partition say nothing about another', async t => {
  const numbers: string[] = []
  const h = harness(({ partition, offset }, { attempt }) => { numbers.push(`${partition}/${offset} ${attempt}`) })
  h.source.append(distinct(1))
  h.source.append(distinct(1, 0, P1))
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', progress(0, { attempts: [[0, 2]] }))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length === 2, 'both')
  t.same(numbers.sort(), ['0/0 3', '1/0 1'])
  await stop(h)
})

t.test('what waits for a commit is forgotten when its partition is lost meanwhile', async t => {
  // 1. Its attempt fails. 2. Before the commit that says so is acknowledged, the partition is lost. 3. Then it is acknowledged.
  const h = harness(fails, { retry: { maxAttempts: 3, backoffMs: 0, backoffMaxMs: 0 } })
  h.source.committedOffsets.set('t/0', 0)
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.length === 1, 'the attempt')
  h.source.holdAcknowledgements = true
  await h.clock.advance(1000)
  h.source.event('lost', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  h.source.holdAcknowledgements = false
  await h.clock.advance(10_000)
  t.equal(h.started.length, 1)
  t.equal(h.engine.state.retrying, 0)
  await stop(h)
})

t.test('an entry has the attempts of its predecessors from the start', t => {
  const partition = new OwnedPartition({ ...P0, offset: 0, metadata: '' }, 1, { maxRecords: defaults.windowMaxRecords, maxBytes: 1 })
  t.equal(new Entry(record({ offset: 0 }), partition, 0, 2).attempts, 2)
  t.end()
})

function decode (base: number, metadata: string) {
  return committedOf({ source: { committedOffsets: new Map([['t/0', base]]), committedMetadata: new Map([['t/0', metadata]]) } } as unknown as Harness)
    .progress?.done ?? []
}
