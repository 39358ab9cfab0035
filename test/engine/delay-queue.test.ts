import t from 'tap'
import { DelayQueue } from '../../src/engine/delay-queue.js'
import { Entry } from '../../src/engine/entry.js'
import { OwnedPartition } from '../../src/engine/owned-partition.js'
import { FakeClock } from '../support/fake-clock.js'
import { record } from '../support/fake-source.js'

function setUp () {
  const clock = new FakeClock()
  const due: number[][] = []
  const at: number[] = []
  const set: number[] = []
  const from = clock.now()
  const noted = {
    now: () => clock.now(),
    random: () => 0,
    schedule (ms: number, fn: () => void) {
      set.push(ms)
      return clock.schedule(ms, fn)
    }
  }
  const queue = new DelayQueue(noted, entries => {
    due.push(entries.map(entry => entry.sequence))
    at.push(clock.now() - from)
  })
  const partition = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 1, { maxRecords: 10, maxBytes: 10 })
  const push = (sequence: number, delayMs: number) => queue.push(new Entry(record({ offset: sequence }), partition, sequence), delayMs)
  return { clock, queue, due, at, set, push, timers: () => clock.timers }
}

t.test('what waits comes in the order of its time, at its time, what is due together at once', async t => {
  const { clock, queue, due, at, push } = setUp()
  for (const [sequence, ms] of [[0, 300], [1, 100], [2, 200], [3, 100], [4, 0]]) push(sequence, ms)
  t.equal(queue.size, 5)
  await clock.advance(99)
  t.same(due, [[4]])
  await clock.advance(1000)
  t.same(due.map(entries => entries.sort()), [[4], [1, 3], [2], [0]])
  t.same(at, [0, 100, 200, 300])
  t.equal(queue.size, 0)
})

t.test('one timer is set, for the first; none when nothing waits', async t => {
  const { clock, queue, set, push, timers } = setUp()
  push(0, 300)
  push(1, 100)
  push(2, 200)
  t.equal(timers(), 1)
  t.same(set, [300, 100], 'what is due later than the first needs none')
  await clock.advance(100)
  t.equal(timers(), 1)
  t.same(queue.remove(({ sequence }) => sequence > 0).map(({ sequence }) => sequence), [2])
  t.equal(timers(), 1)
  queue.remove(() => true)
  t.equal(timers(), 0)
  push(3, 50)
  await clock.advance(50)
  t.equal(timers(), 0)
})

t.test('what is taken out does not come, and the others keep their time', async t => {
  const { clock, queue, due, at, push } = setUp()
  for (let n = 0; n < 10; n++) push(n, 1000 - n * 100)
  t.equal(queue.find(({ sequence }) => sequence === 9)?.sequence, 9)
  t.same(queue.remove(({ sequence }) => sequence % 3 === 0).map(({ sequence }) => sequence).sort(), [0, 3, 6, 9])
  t.same(queue.remove(() => false), [])
  t.equal(queue.find(({ sequence }) => sequence === 9), undefined)
  await clock.advance(2000)
  t.same(due.flat(), [8, 7, 5, 4, 2, 1])
  t.same(at, [200, 300, 500, 600, 800, 900])
})

t.test('whoever is told may put something back at once', async t => {
  const clock = new FakeClock()
  const seen: number[] = []
  const queue: DelayQueue = new DelayQueue(clock, ([entry]) => {
    seen.push(clock.now())
    if (seen.length < 3) queue.push(entry, 10)
  })
  const partition = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 1, { maxRecords: 10, maxBytes: 10 })
  queue.push(new Entry(record({ offset: 0 }), partition, 0), 10)
  await clock.advance(100)
  t.same(seen.map(at => at - seen[0]), [0, 10, 20])
})
