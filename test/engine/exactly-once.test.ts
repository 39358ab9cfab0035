import t from 'tap'
import { Collected, Outputs, weightOf } from '../../src/engine/outputs.js'
import { encodeProgress, encodeWholeProgress, type OffsetRange } from '../../src/engine/progress.js'
import { CommitError, OutputRefusedError } from '../../src/engine/types.js'
import { committedOf, distinct, harness, P0, P1, stop, type Harness } from '../support/engine-harness.js'
import { record } from '../support/fake-source.js'

const EXACTLY = { transactional: true, commitIntervalMs: 50, maxRecordsBeforeCommit: Infinity }
const out = (value: string, bytes = 1) => new Collected([{ topic: 'out', value }], bytes)
const written = ({ source }: Harness) => source.written.map(({ value }) => value)
const letter = () => new Collected([{ topic: 'letters', value: 'letter' }], 1, true)

t.test('what is answered is written with the commit that tells of it, also above a record that is not done', async t => {
  let release: (() => void) | undefined
  const h = harness(({ offset }) => offset === 0 ? new Promise(resolve => { release = () => resolve(out('0')) }) : out(`${offset}`), EXACTLY)
  h.source.append(distinct(3))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.source.written.length === 2, 'the transaction')
  t.same(written(h), ['1', '2'])
  t.match(committedOf(h), { offset: 0, progress: { done: [[1, 3]] } })
  release?.()
  await h.clock.until(() => h.source.written.length === 3, 'the next one')
  t.equal(committedOf(h).offset, 3)
  await stop(h)
  t.same(written(h), ['1', '2', '0'])
})

t.test('an aborted transaction is made again with the same and what came since, in order; nothing is handled again', async t => {
  const h = harness(({ offset }) => out(`${offset}`), EXACTLY)
  let aborts = 2
  h.source.onCommit = (offsets, outputs) => {
    if (outputs.length === 0 || aborts-- <= 0) return
    throw new CommitError('retriable', 'aborted')
  }
  h.source.append(distinct(2))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.told.get('commit failed') === 1, 'an abort')
  h.source.append(distinct(2, 2))
  await h.clock.until(() => committedOf(h).offset === 4, 'the commit')
  t.same(written(h), ['0', '1', '2', '3'])
  t.equal(h.started.length, 4)
  await stop(h)
})

t.test('where nobody knows how a transaction ended, the member ends without another commit', async t => {
  const h = harness(({ offset }) => out(`${offset}`), EXACTLY)
  h.source.onCommit = (offsets, outputs) => { if (outputs.length > 0) throw new CommitError('unknown', 'no answer') }
  h.source.append(distinct(2))
  h.source.event('assigned', [P0])
  const failed = t.rejects(h.run, { kind: 'fatal', message: 'nobody knows whether the last commit was taken: no answer' })
  let ended = false
  h.run.catch(() => {}).finally(() => { ended = true })
  await h.clock.until(() => ended, 'the end')
  await failed
  t.same(written(h), [])
  t.equal(h.told.get('commit failed'), 1, 'it was called once')
})

t.test('an output that Kafka refuses for good makes way for the dead letter of its record; the others are written', async t => {
  const h = harness(({ offset }) => out(`${offset}`), EXACTLY, { sink: async () => letter() })
  h.source.onCommit = (offsets, outputs) => {
    const index = outputs.findIndex(({ value }) => value === '1')
    if (index >= 0) throw new OutputRefusedError(index, true, 'too large')
  }
  h.source.append(distinct(3))
  h.source.event('assigned', [P0])
  await h.clock.until(() => committedOf(h).offset === 3, 'the commit')
  t.same(written(h), ['0', 'letter', '2'])
  t.match(h.letters[0], { record: { offset: 1 }, error: { message: 'too large' } })
  t.equal(h.started.length, 3)
  await stop(h)
})

t.test('what may pass is tried as often as a record is; meanwhile other partitions are committed', async t => {
  const h = harness(({ partition, offset }) => out(`${partition}/${offset}`), { ...EXACTLY, retry: { maxAttempts: 3, backoffMs: 0, backoffMaxMs: 0 } },
    { sink: async () => letter() })
  let refusals = 0
  h.source.onCommit = (offsets, outputs) => {
    const index = outputs.findIndex(({ value }) => value === '0/0')
    if (index < 0) return
    refusals++
    throw new OutputRefusedError(index, false, 'not authorized')
  }
  h.source.append(distinct(1))
  h.source.append(distinct(1, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => committedOf(h, P1).offset === 1, 'the other partition')
  t.equal(committedOf(h, P0).offset, 0)
  await h.clock.until(() => committedOf(h, P0).offset === 1, 'the partition')
  t.equal(refusals, 3)
  t.same(written(h), ['1/0', 'letter'])
  await stop(h)
})

t.test('with dead letters off its partition is not committed, and a problem says why', async t => {
  const h = harness(({ offset }) => out(`${offset}`), { ...EXACTLY, exhausted: 'block' })
  let refuses = true
  h.source.onCommit = (offsets, outputs) => { if (refuses && outputs.length > 0) throw new OutputRefusedError(0, true, 'too large') }
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.problems.some(problem => problem.includes('is not committed')), 'the problem')
  t.match(h.engine.state.problems.at(-1), /t\/0 is not committed: what the handler answered for offset 0 cannot be written: too large/)
  refuses = false
  await h.clock.until(() => committedOf(h).offset === 1, 'the commit')
  t.same(h.engine.state.problems, [])
  t.same(written(h), ['0'])
  await stop(h)
})

t.test('a seek commits first what is done, and is refused where that fails', async t => {
  const h = harness(({ offset }) => out(`${offset}`), { ...EXACTLY, commitIntervalMs: 60_000 })
  h.source.append(distinct(3))
  h.source.append(distinct(1, 10))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 4, 'all to be handled')
  t.same(written(h), [])
  let fails = true
  h.source.onCommit = () => { if (fails) throw new CommitError('retriable', 'the broker is away') }
  const refused = t.rejects(h.engine.controls.seek({}, 'end'), { kind: 'unavailable', message: /the broker is away/ })
  await h.clock.advance(6_000)
  await refused
  fails = false
  const sought = h.engine.controls.seek({}, 'end')
  await h.clock.advance(1_000)
  t.same(await sought, [{ ...P0, offset: 11 }])
  t.same(written(h), ['0', '1', '2', '10'])
  await stop(h)
})

t.test('a partition whose metadata is not understood is not read, nor is that overwritten, until it is resumed', async t => {
  const h = harness(({ offset }) => out(`${offset}`), EXACTLY)
  h.source.committedOffsets.set('t/0', 1)
  h.source.committedMetadata.set('t/0', 'somebody else\'s')
  h.source.committedOffsets.set('t/1', 1)
  h.source.append(distinct(3))
  h.source.append(distinct(3, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => committedOf(h, P1).offset === 3, 'the other partition')
  t.same(h.started.filter(at => at.startsWith('t/0')), [])
  t.equal(h.source.committedMetadata.get('t/0'), 'somebody else\'s')
  t.match(h.engine.state.problems, [/t\/0 is not read: what the group holds beside its offset \(1\) is not understood/])
  const resumed = h.engine.controls.resume(P0)
  await h.clock.until(() => committedOf(h, P0).offset === 3, 'the partition')
  await resumed
  t.same(h.engine.state.problems, [])
  await stop(h)
})

t.test('what waits to be written takes room, and at the limit nothing more of its partition starts', async t => {
  const h = harness(({ offset }) => out(`${offset}`, 400), { ...EXACTLY, windowMaxBytes: 1_000, maxInFlight: 1, commitIntervalMs: 60_000 })
  let holds = true
  h.source.onCommit = (offsets, outputs) => { if (holds && outputs.length > 0) throw new CommitError('retriable', 'not now') }
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.told.get('commit failed') === 1, 'a commit, long before the interval is over')
  await h.clock.advance(5_000)
  t.equal(h.started.length, 2, 'two of 529 bytes')
  holds = false
  await h.clock.until(() => h.started.length === 20, 'all to be handled')
  await stop(h)
  t.equal(h.source.written.length, 20)
})

t.test('what keeps a partition from being fetched because it waits to be written is not left to the usual time of commits', async t => {
  const rare = { transactional: true, commitIntervalMs: 1e9, maxRecordsBeforeCommit: Infinity }
  const weight = weightOf({ record: record({ offset: 0 }), collected: out('0'), attempts: 1, refusals: 0 })
  const h = harness(({ offset }) => out(`${offset}`), { ...rare, windowMaxBytes: 4 * weight - 1 })
  h.source.append(distinct(2))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.source.written.length === 2, 'a transaction of what takes more than half of the room')
  h.source.append(distinct(1, 2))
  await h.clock.until(() => h.started.length === 3, 'the third')
  await h.clock.advance(60_000)
  t.equal(h.source.written.length, 2, 'less than that waits')
  await stop(h)
  t.same(written(h), ['0', '1', '2'])
})

t.test('outputs: what is taken is written, or waits again in front', async t => {
  const outputs = new Outputs()
  const output = (offset: number) => ({ record: record({ offset }), attempts: 1, collected: out(`${offset}`), refusals: 0 })
  const [a, b, c] = [output(0), output(1), output(2)]
  outputs.add(a)
  outputs.add(b)
  t.same(outputs.take(), [a, b])
  outputs.add(c)
  t.equal(outputs.size, 3)
  outputs.takeBack()
  t.same(outputs.take(), [a, b, c])
  t.equal(outputs.written(), [a, b, c].reduce((sum, one) => sum + weightOf(one), 0))
  t.equal(outputs.size, 0)
})

t.test('metadata that does not say all is none: its ranges fit whole, or it is not to be committed', async t => {
  const progress = { base: 0, leaderEpoch: 0, topicId: '', attempts: [], starts: 0, clean: false }
  const noise = (count: number): OffsetRange[] => {
    let state = 1
    return Array.from({ length: count }, (_, n): OffsetRange => {
      state = (state * 48_271) % 2_147_483_647
      return [n * 50 + 1 + state % 20, n * 50 + 22 + state % 20]
    })
  }
  for (const count of [0, 1, 100, 1_000]) {
    t.equal(encodeWholeProgress({ ...progress, done: noise(count) }), encodeProgress({ ...progress, done: noise(count) }))
  }
  t.equal(encodeWholeProgress({ ...progress, done: noise(5_000) }), null)
  t.equal(encodeProgress({ ...progress, topicId: 'x', done: noise(5_000) }).length > 0, true, 'at least once says the rest')
})
