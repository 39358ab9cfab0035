import t from 'tap'
import { harness, stop, type Harness } from '../support/engine-harness.js'
import { record } from '../support/fake-source.js'

// What a drain must not be led astray by. The rest of draining is in engine.test.ts.

const P0 = { topic: 't', partition: 0 }
const records = (count: number, from = 0) => Array.from({ length: count }, (_, n) => record({ offset: from + n }))

t.test('the end of a partition that is being given up does not raise its commit offset past records that were dropped', async t => {
  // 1. The partition drains: what still arrives of it is left to its next owner. 2. Its end arrives behind these records.
  // 3. Everything admitted is completed, so the window is empty; but the records below that end were not admitted.
  let pass = () => {}
  const h = harness(() => new Promise<void>(resolve => { pass = resolve }))
  h.source.append(records(1))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  const { poll } = h.source
  h.source.event('revoked', [P0])
  await h.clock.advance(50)
  pass()
  let late = true
  h.source.poll = async (max, timeoutMs) => {
    if (!late) return await poll.call(h.source, max, timeoutMs)
    late = false
    return { records: records(3, 1), ends: [{ ...P0, offset: 4 }] }
  }
  await h.clock.advance(500)
  t.equal(h.source.unanswered, 0)
  t.equal(h.source.committedOffsets.get('t/0'), 1)
  await stop(h)
})

t.test('when it has stopped no timer is left, though a record waited for its next attempt and another for its dead letter', async t => {
  const h = harness(({ offset }) => {
    throw Object.assign(new Error('later'), offset === 0 ? { retryAfterMs: 3_600_000 } : { retriable: false })
  }, {}, { sink: async () => { throw new Error('away') } })
  const timers = new Set<object>()
  const { schedule } = h.clock
  h.clock.schedule = (delayMs, fn) => {
    const timer = {}
    timers.add(timer)
    const cancel = schedule.call(h.clock, delayMs, () => {
      timers.delete(timer)
      fn()
    })
    return () => {
      timers.delete(timer)
      cancel()
    }
  }
  h.source.append(records(2))
  h.source.event('assigned', [P0])
  await h.clock.advance(1_000)
  t.equal(h.engine.state.retrying, 2)
  await stop(h)
  t.equal(timers.size, 0)
})

t.test('what waits for its next attempt elsewhere keeps its time when a partition is given up', async t => {
  const P1 = { topic: 't', partition: 1 }
  const h = harness(({ partition }, { attempt }) => {
    if (attempt === 1) throw Object.assign(new Error('later'), { retryAfterMs: partition === 0 ? 500 : 1_000 })
  })
  h.source.append([record({ offset: 0 }), record({ offset: 0, partition: 1 })])
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(100)
  h.source.event('revoked', [P0])
  await h.clock.advance(700)
  t.same(h.completed, [])
  await h.clock.advance(400)
  t.same(h.completed, ['t/1/0'])
  await stop(h)
})

t.test('a stop while a revoked partition drains answers that event before it takes the next', async t => {
  const answered: string[] = []
  const h = harness((record, attempt, clock) => clock.sleep(500))
  const { assign, unassign } = h.source
  h.source.assign = partitions => {
    answered.push(`assign ${partitions.length}`)
    assign.call(h.source, partitions)
  }
  h.source.unassign = partitions => {
    answered.push(`unassign ${partitions.length}`)
    unassign.call(h.source, partitions)
  }
  h.source.append(records(1))
  h.source.event('assigned', [P0])
  await h.clock.advance(100)
  h.source.event('revoked', [P0])
  h.source.event('assigned', [P0])
  await h.clock.advance(50)
  await stop(h)
  t.same(answered, ['assign 1', 'unassign 1', 'assign 0'])
  t.ok(h.source.left)
  t.equal(h.source.committedOffsets.get('t/0'), 1)
})

t.test('stop: signals are aborted at the deadline, not before; a revoke: when its own time is over', async t => {
  for (const [how, limitMs] of [['stop', 2_000], ['revoked', 5_000]] as const) {
    let abortedAt = 0
    const h = harness((record, { signal }, clock) => new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => {
        abortedAt = clock.now()
        reject(new Error('aborted'))
      })
    }), { drainTimeoutMs: 5_000 })
    h.source.append(records(1))
    h.source.event('assigned', [P0])
    await h.clock.advance(100)
    const from = h.clock.now()
    if (how === 'revoked') {
      h.source.event('revoked', [P0])
      await h.clock.advance(6_000)
    }
    await stop(h, 2_000)
    t.ok(abortedAt >= from + limitMs && abortedAt <= from + limitMs + 200, `${how}: after ${abortedAt - from} ms`)
  }
})

t.test('while the process drains, a partition that the group takes back is given up at once: its next owner must not wait for the others', async t => {
  const P1 = { topic: 't', partition: 1 }
  const h = harness((record, attempt, clock) => clock.sleep(3_000))
  h.source.append(records(1))
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(100)
  const stopped = h.engine.stop(10_000)
  await h.clock.advance(200)
  h.source.event('revoked', [P1])
  await h.clock.advance(200)
  t.equal(h.source.unanswered, 0)
  t.same([...h.source.owned], ['t/0'])
  t.equal(h.engine.state.inFlight, 1, 'the other still drains')
  await h.clock.advance(5_000)
  await stopped
  t.equal(h.source.committedOffsets.get('t/0'), 1)
})

t.test('nothing starts once a stop has begun, though a poll is under way that brings records, and the word that others wait for', async t => {
  let stopping: Promise<void> | null = null
  const after: string[] = []
  const h: Harness = harness(({ offset }) => {
    if (h.engine.state.phase === 'draining') after.push(`started ${offset}`)
    // The handlers of a batch start right after the next poll was begun.
    if (offset === 20) stopping = h.engine.stop(1_000)
  }, { windowMaxRecords: 800, maxInFlight: 1, order: 'unordered' })
  h.source.append(records(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'some')
  h.source.append(records(300, 20))
  await h.clock.until(() => stopping !== null, 'the stop')
  h.source.append(records(100, 320))
  await h.clock.until(() => h.engine.state.phase === 'stopped', 'the end')
  t.same(after, [])
})
