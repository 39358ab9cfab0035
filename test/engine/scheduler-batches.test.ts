import fc from 'fast-check'
import t from 'tap'
import type { Schedulable } from '../../src/engine/lanes.js'
import { Scheduler, type Order } from '../../src/engine/scheduler.js'
import type { BatchPolicy } from '../../src/engine/types.js'
import { FakeClock } from '../support/fake-clock.js'
import { record } from '../support/fake-source.js'

interface Item extends Schedulable {
  readonly offset: number
  readonly partition: number
  readonly key: string | null
  readonly lock: string | null
  alone: boolean
}

function item (order: Order, offset: number, partition: number, key: string | null, alone = false): Item {
  const lock = order === 'partition' ? `${partition}` : order === 'key' && key !== null ? `${partition}/${key}` : null
  const bytes = key === null ? null : Buffer.from(key)
  return { offset, partition, key, lock, alone, lane: null, next: null, record: record({ offset, partition, key: bytes }) }
}

function setUp (order: Order, policy: Partial<BatchPolicy> = {}) {
  const clock = new FakeClock()
  let due = 0
  const scheduler = new Scheduler(order, { policy: { maxRecords: 4, by: 'partition', waitMs: 0, ...policy }, clock, due: () => { due++ } })
  return { clock, scheduler, take: (max = policy.maxRecords ?? 4) => scheduler.takeBatch(max) as Item[], get due () { return due } }
}

const offsets = (items: readonly Item[]) => items.map(({ offset }) => offset)

/** The obvious way: all that wait in one list in offset order, and which batch holds which lock. */
class Naive {
  waiting: Item[] = []
  readonly held = new Map<string, Set<Item>>()

  /** Whether it could be the first of a batch now. */
  mayStart (one: Item): boolean {
    if (!this.waiting.includes(one)) return false
    if (one.lock === null) return true
    return !this.held.has(one.lock) && this.waiting.find(other => other.lock === one.lock) === one
  }

  check (batch: readonly Item[], policy: BatchPolicy, max: number): void {
    const wrong = (what: string) => { throw new Error(`${what}: ${offsets(batch)}`) }
    if (batch.length === 0) {
      // Nothing of a partition that waits until its batch is full is looked for here: that is for the tests with a clock.
      if (policy.waitMs === 0 && this.waiting.some(one => this.mayStart(one))) wrong('something may start, but nothing was taken')
      return
    }
    if (batch.length > max) wrong(`more than ${max}`)
    if (batch.some(({ alone }) => alone) && batch.length > 1) wrong('with others, though it goes alone')
    if (batch.some(({ partition }) => partition !== batch[0].partition)) wrong('of two partitions')
    if (policy.by === 'key' && batch.some(({ key }) => key !== batch[0].key)) wrong('of two keys')
    if (batch.some(({ offset }, n) => n > 0 && offset <= batch[n - 1].offset)) wrong('not in order')
    for (const one of batch) {
      if (!this.waiting.includes(one)) wrong(`${one.offset} does not wait`)
      if (one.lock === null) continue
      if (this.held.has(one.lock)) wrong(`the lane of ${one.offset} is held`)
      const earlier = this.waiting.find(other => other.lock === one.lock && other.offset < one.offset && !batch.includes(other))
      if (earlier !== undefined) wrong(`${one.offset} overtakes ${earlier.offset}`)
    }
    // Not full: then nothing else of what it may hold could have gone along. So many are passed over, and no more.
    const passedOver = this.waiting.filter(one => one.alone && one.partition === batch[0].partition).length
    if (batch.length < max && !batch[0].alone && passedOver < max) {
      const left = this.waiting.find(one => !batch.includes(one) && one.partition === batch[0].partition && !one.alone &&
        (policy.by === 'partition' || one.key === batch[0].key) && (one.lock === null || !this.held.has(one.lock)) &&
        !this.waiting.some(other => other.alone && other.lock === one.lock && (one.lock === null || other.offset < one.offset)))
      if (left !== undefined) wrong(`${left.offset} was left behind`)
    }
  }

  start (batch: readonly Item[]): void {
    this.waiting = this.waiting.filter(one => !batch.includes(one))
    for (const one of batch) {
      if (one.lock === null) continue
      if (!this.held.has(one.lock)) this.held.set(one.lock, new Set())
      this.held.get(one.lock)!.add(one)
    }
  }

  letGo (one: Item): void {
    if (one.lock === null) return
    const held = this.held.get(one.lock)!
    held.delete(one)
    if (held.size === 0) this.held.delete(one.lock)
  }

  putBack (one: Item): void {
    this.letGo(one)
    const at = this.waiting.findIndex(({ offset }) => offset > one.offset)
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, one)
  }
}

const steps = fc.array(fc.record({
  what: fc.nat(13),
  partition: fc.nat(1),
  key: fc.constantFrom(null, '', 'a', 'b', '\u00ff'),
  alone: fc.nat(9).map(n => n === 0),
  max: fc.integer({ min: 1, max: 5 }),
  which: fc.nat()
}), { maxLength: 200, size: 'max' })

for (const [order, by] of [['unordered', 'partition'], ['partition', 'partition'], ['key', 'partition'], ['key', 'key']] as const) {
  for (const waitMs of [0, 10]) {
    t.test(`${order} by ${by}, waiting ${waitMs} ms: for any sequence of operations, batches hold what they may, in order, and all of it in the end`, async t => {
      await t.resolves(fc.assert(fc.asyncProperty(steps, async steps => {
        const { clock, scheduler, take } = setUp(order, { by, waitMs, maxRecords: 5 })
        const policy = { maxRecords: 5, by, waitMs }
        const naive = new Naive()
        let running: Item[][] = []
        const dropped = new Set<Item>()
        let next = 0
        for (const { what, partition, key, alone, max, which } of steps) {
          const batch = running.length === 0 ? null : running[which % running.length]
          if (what < 6) {
            const added = item(order, next++, partition, key, alone)
            scheduler.add(added)
            naive.waiting.push(added)
          } else if (what < 9) {
            const taken = take(max)
            naive.check(taken, policy, max)
            naive.start(taken)
            if (taken.length > 0) running.push(taken)
          } else if (what < 11 && batch !== null) {
            for (const one of batch) {
              naive.letGo(one)
              scheduler.release(one)
            }
            running = running.filter(other => other !== batch)
          } else if (what === 11 && batch !== null && !batch.some(one => dropped.has(one))) {
            // From the last to the first, as the runner does: the first of them fails, and what follows it is put back before.
            const from = which % batch.length
            for (const one of batch.slice(from).reverse()) {
              naive.putBack(one)
              scheduler.putBack(one)
              if (which % 2 === 0) one.alone = true
            }
            for (const one of batch.slice(0, from)) {
              naive.letGo(one)
              scheduler.release(one)
            }
            running = running.filter(other => other !== batch)
          } else if (what === 12) {
            naive.waiting = naive.waiting.filter(one => one.partition !== partition)
            for (const one of running.flat()) if (one.partition === partition) dropped.add(one)
            scheduler.drop('t', partition)
          } else if (what === 13) {
            scheduler.suspend('t', partition, true)
            scheduler.suspend('t', partition, false)
          }
          if (scheduler.waiting !== naive.waiting.length) throw new Error(`${scheduler.waiting} wait, should be ${naive.waiting.length}`)
        }
        for (const one of running.flat()) {
          naive.letGo(one)
          scheduler.release(one)
        }
        await clock.advance(waitMs)
        while (naive.waiting.length > 0) {
          let taken = take(5)
          if (taken.length === 0) {
            await clock.advance(waitMs)
            taken = take(5)
            if (taken.length === 0) throw new Error(`${offsets(naive.waiting)} were never taken`)
          }
          naive.check(taken, policy, 5)
          naive.start(taken)
          for (const one of taken) {
            naive.letGo(one)
            scheduler.release(one)
          }
        }
        if (scheduler.lanes > 0) throw new Error(`${scheduler.lanes} lanes are left`)
      }), { numRuns: 300 }))
    })
  }
}

t.test('a record that goes alone is passed over once, and is the next to go', async t => {
  const { scheduler, take } = setUp('key', { maxRecords: 3 })
  for (const [offset, key, alone] of [[0, 'a'], [1, 'b', true], [2, 'c'], [3, 'd'], [4, 'e'], [5, 'f', true]] as const) {
    scheduler.add(item('key', offset, 0, key, alone))
  }
  t.same([offsets(take()), offsets(take()), offsets(take()), offsets(take()), offsets(take())], [[0, 2, 3], [1], [4], [5], []])
})

t.test('a hot key fills its own batch, and leaves the others to the next', async t => {
  const { scheduler, take } = setUp('key')
  for (let offset = 0; offset < 9; offset++) scheduler.add(item('key', offset, 0, offset < 7 ? 'hot' : `k${offset}`))
  t.same([offsets(take()), offsets(take()), offsets(take())], [[0, 1, 2, 3], [7, 8], []])
})

t.test('partitions take turns, batch by batch', async t => {
  const { scheduler, take } = setUp('unordered', { maxRecords: 2 })
  for (let offset = 0; offset < 4; offset++) for (const partition of [0, 1]) scheduler.add(item('unordered', offset, partition, null))
  const batches = Array.from({ length: 4 }, () => take())
  t.same(batches.map(batch => [batch[0].partition, ...offsets(batch)]), [[0, 0, 1], [1, 0, 1], [0, 2, 3], [1, 2, 3]])
})

t.test('what is put back by several is in offset order in front of its lane, and goes when the last of them lets go', async t => {
  const { scheduler, take } = setUp('partition')
  const items = Array.from({ length: 6 }, (_, offset) => item('partition', offset, 0, null))
  for (const one of items) scheduler.add(one)
  t.same(offsets(take()), [0, 1, 2, 3])
  scheduler.release(items[0])
  scheduler.putBack(items[3])
  scheduler.putBack(items[2])
  t.same(take(), [], 'the first that failed holds the lane')
  scheduler.putBack(items[1])
  t.same(offsets(take(10)), [1, 2, 3, 4, 5])
})

// ---- waiting until a batch is full

t.test('a batch that is not full waits for as long as its oldest record may, and then goes as it is', async t => {
  const s = setUp('unordered', { waitMs: 100 })
  s.scheduler.add(item('unordered', 0, 0, null))
  await s.clock.advance(99)
  s.scheduler.add(item('unordered', 1, 0, null))
  t.same([s.take(), s.due], [[], 0])
  await s.clock.advance(1)
  t.equal(s.due, 1)
  t.same(offsets(s.take()), [0, 1])
  s.scheduler.add(item('unordered', 2, 0, null))
  await s.clock.advance(99)
  t.same(s.take(), [], 'who comes after it waits anew')
  await s.clock.advance(1)
  t.same(offsets(s.take()), [2])
})

t.test('it goes at once when it is full; what is left over has waited since it came, at most', async t => {
  const s = setUp('unordered', { waitMs: 100 })
  for (let offset = 0; offset < 5; offset++) s.scheduler.add(item('unordered', offset, 0, null))
  t.same([offsets(s.take()), s.take()], [[0, 1, 2, 3], []])
  await s.clock.advance(100)
  t.same(offsets(s.take()), [4])
})

t.test('a partition that waits stops no other, and each has its own time', async t => {
  const s = setUp('unordered', { waitMs: 100 })
  s.scheduler.add(item('unordered', 0, 0, null))
  await s.clock.advance(60)
  for (let offset = 0; offset < 4; offset++) s.scheduler.add(item('unordered', offset, 1, null))
  s.scheduler.add(item('unordered', 0, 2, null))
  t.same(s.take().map(({ partition }) => partition), [1, 1, 1, 1])
  t.same(s.take(), [])
  await s.clock.advance(40)
  t.same([s.take().map(({ partition }) => partition), s.take()], [[0], []])
  await s.clock.advance(60)
  t.same(s.take().map(({ partition }) => partition), [2])
})

t.test('by key each key has its own time, and by partition what is held does not count', async t => {
  const byKey = setUp('key', { waitMs: 100, by: 'key', maxRecords: 2 })
  byKey.scheduler.add(item('key', 0, 0, 'a'))
  await byKey.clock.advance(50)
  byKey.scheduler.add(item('key', 1, 0, 'b'))
  byKey.scheduler.add(item('key', 2, 0, 'c'))
  byKey.scheduler.add(item('key', 3, 0, 'c'))
  t.same([offsets(byKey.take()), byKey.take()], [[2, 3], []])
  await byKey.clock.advance(50)
  t.same([offsets(byKey.take()), byKey.take()], [[0], []])

  const s = setUp('key', { waitMs: 100, maxRecords: 2 })
  for (const [offset, key] of [[0, 'a'], [1, 'a'], [2, 'a'], [3, 'a'], [4, 'b']] as const) s.scheduler.add(item('key', offset, 0, key))
  const first = s.take()
  t.same(offsets(first), [0, 1])
  t.same(s.take(), [], 'two of the key a wait for it, and b alone is not full')
  for (const one of first) s.scheduler.release(one)
  t.same(offsets(s.take()), [2, 4], 'now three are there')
})

t.test('what goes alone waits for nobody', async t => {
  for (const by of ['partition', 'key'] as const) {
    const s = setUp('key', { waitMs: 100, by })
    s.scheduler.add(item('key', 0, 0, 'a'))
    t.same(s.take(), [])
    s.scheduler.add(item('key', 1, 0, 'b', true))
    const taken = [s.take(), s.take()].flat()
    t.ok(taken.some(({ offset }) => offset === 1), by)
  }
})

t.test('what is dropped while it waits leaves no timer behind, and nothing that goes later', async t => {
  for (const by of ['partition', 'key'] as const) {
    const clock = new FakeClock()
    const scheduler = new Scheduler('key', { policy: { maxRecords: 4, by, waitMs: 100 }, clock, due: () => {} })
    for (let offset = 0; offset < 3; offset++) scheduler.add(item('key', offset, 0, `k${offset}`))
    t.equal(clock.timers, 1, 'one for all')
    scheduler.drop('t', 0)
    t.equal(clock.timers, 0)
    await clock.advance(200)
    t.same(scheduler.takeBatch(4), [])
    scheduler.add(item('key', 3, 0, 'k0'))
    t.same(scheduler.takeBatch(4), [], 'and who comes next waits anew')
    await clock.advance(100)
    t.equal(scheduler.takeBatch(4).length, 1)
  }
})

t.test('a partition that is suspended while it waits starts nothing, and goes once it is not', async t => {
  const s = setUp('unordered', { waitMs: 100 })
  s.scheduler.add(item('unordered', 0, 0, null))
  s.scheduler.suspend('t', 0, true)
  await s.clock.advance(500)
  t.same(s.take(), [])
  s.scheduler.suspend('t', 0, false)
  t.same(offsets(s.take()), [0])
})
