import fc from 'fast-check'
import t from 'tap'
import { Entry } from '../../src/engine/entry.js'
import { OwnedPartition } from '../../src/engine/owned-partition.js'
import { Runner } from '../../src/engine/runner.js'
import { SlotPool, type Slots } from '../../src/engine/slots.js'
import type { Observer } from '../../src/engine/types.js'
import { defaults } from '../support/engine-harness.js'
import { FakeClock, settle } from '../support/fake-clock.js'
import { record } from '../support/fake-source.js'

/** As much of a runner as asks for slots. */
class Worker {
  inFlight = 0
  waiting = 0
  limit: number
  slots: Slots
  readonly pool: SlotPool

  constructor (pool: SlotPool, limit: number) {
    this.pool = pool
    this.limit = limit
    this.slots = this.#own(pool.join())
  }

  add (count: number): void {
    this.waiting += count
    this.pump()
  }

  end (): void {
    if (this.inFlight === 0) return
    this.inFlight--
    this.slots.release()
    this.pump()
  }

  /** A new engine, while the handlers of the old one never settle. */
  begin (): void {
    this.slots = this.#own(this.pool.renew(this.slots))
    this.inFlight = 0
    this.pump()
  }

  pump (): void {
    while (this.inFlight < this.limit && this.waiting > 0 && this.slots.ask()) {
      this.waiting--
      this.inFlight++
      this.slots.take()
    }
    this.slots.handOn()
  }

  #own (slots: Slots): Slots {
    slots.wake = () => this.pump()
    return slots
  }
}

/** What each gets where all have enough to do: water filled into vessels of these heights. */
function maxMin (total: number, limits: readonly number[]): number[] {
  const shares = limits.map(() => 0)
  for (let left = total; left > 0; left--) {
    const open = shares.map((share, index) => share < limits[index] ? share : Infinity)
    const least = Math.min(...open)
    if (least === Infinity) break
    shares[open.indexOf(least)]++
  }
  return shares
}

const pools = fc.integer({ min: 1, max: 5 }).chain(count => fc.record({
  limits: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: count, maxLength: count }),
  total: fc.integer({ min: count, max: 30 }),
  steps: fc.array(fc.record({
    who: fc.nat({ max: count - 1 }),
    what: fc.oneof(
      fc.record({ add: fc.integer({ min: 1, max: 15 }) }), fc.constant('end' as const), fc.constant('end' as const),
      fc.record({ limit: fc.integer({ min: 0, max: 12 }) }), fc.constant('begin' as const))
  }), { maxLength: 80 })
}))

t.test('for any load, never above the total, nobody without a slot who has work, and no slot idle that somebody may use', async t => {
  fc.assert(fc.property(pools, ({ limits, total, steps }) => {
    const pool = new SlotPool(total)
    const workers = limits.map(limit => new Worker(pool, limit))
    for (const { who, what } of steps) {
      const worker = workers[who]
      if (what === 'end') worker.end()
      else if (what === 'begin') worker.begin()
      else if ('add' in what) worker.add(what.add)
      else {
        worker.limit = what.limit
        worker.pump()
      }
      const inFlight = workers.reduce((sum, one) => sum + one.inFlight, 0)
      if (inFlight > total || pool.taken !== inFlight) throw new Error(`${inFlight} in flight, ${pool.taken} taken, of ${total}`)
      const kept = workers.filter(one => one.inFlight === 0).length
      for (const one of workers) {
        const wants = one.waiting > 0 && one.inFlight < one.limit
        if (wants && one.inFlight === 0) throw new Error('one that has work has no slot')
        if (wants && total - inFlight > kept) throw new Error(`${total - inFlight} slots are idle, ${kept} are kept`)
      }
    }
  }), { numRuns: 1000 })
})

t.test('for any load before it, all that have enough to do come to the same number, but for their own limits', async t => {
  fc.assert(fc.property(pools, fc.integer(), ({ limits, total, steps }, seed) => {
    const pool = new SlotPool(total)
    const workers = limits.map(limit => new Worker(pool, limit))
    for (const { who, what } of steps) {
      if (what === 'end') workers[who].end()
      else if (what === 'begin') workers[who].begin()
      else if ('add' in what) workers[who].add(what.add)
    }
    for (const worker of workers) worker.add(10_000)
    // Everything that is in flight now ends once, in an order that somebody chose; what is started meanwhile goes on.
    let random = seed >>> 0
    const running = workers.flatMap(worker => Array<Worker>(worker.inFlight).fill(worker))
    while (running.length > 0) {
      random = (random * 1_664_525 + 1_013_904_223) >>> 0
      running.splice(random % running.length, 1)[0].end()
    }
    const fair = maxMin(total, limits)
    for (const [index, worker] of workers.entries()) {
      if (Math.abs(worker.inFlight - fair[index]) > 1) throw new Error(`${workers.map(one => one.inFlight)} instead of ${fair}`)
    }
  }), { numRuns: 1000 })
})

t.test('one that was idle has its part as soon as so many handlers of the others have ended', async t => {
  const pool = new SlotPool(10)
  const [busy, idle] = [new Worker(pool, 50), new Worker(pool, 50)]
  busy.add(1000)
  t.equal(busy.inFlight, 9, 'one is kept for the other')
  idle.add(1000)
  t.equal(idle.inFlight, 1, 'which has it at once')
  for (let n = 0; n < 4; n++) busy.end()
  t.same([busy.inFlight, idle.inFlight], [5, 5])
  for (let n = 0; n < 20; n++) (n % 2 ? busy : idle).end()
  t.same([busy.inFlight, idle.inFlight], [5, 5])
  idle.waiting = 0
  for (let n = 0; n < 5; n++) idle.end()
  t.same([busy.inFlight, idle.inFlight], [9, 0])
})

t.test('with as many slots as shares each has one, however long the others take', async t => {
  const pool = new SlotPool(3)
  const workers = [5, 5, 5].map(limit => new Worker(pool, limit))
  for (const worker of workers) worker.add(10)
  t.same(workers.map(({ inFlight }) => inFlight), [1, 1, 1])
  t.throws(() => pool.join(), /no slot to be kept/)
})

t.test('what a share still had when another took its place is free, and what ends of it later changes nothing', async t => {
  const pool = new SlotPool(4)
  const [one, other] = [new Worker(pool, 50), new Worker(pool, 50)]
  one.add(3)
  other.add(10)
  t.same([one.inFlight, other.inFlight], [3, 1])
  const left = one.slots
  one.begin()
  t.same([one.inFlight, other.inFlight, pool.taken], [0, 3, 3])
  left.release()
  left.handOn()
  t.equal(pool.taken, 3)
  t.notOk(left.ask(), 'and it starts nothing')
  t.throws(() => pool.renew(left), /not a share/)
})

/** A runner with that many records to start, as they come to the handler. */
function runnerWith (count: number, slots: Slots, handler: () => Promise<void> | void): Runner {
  const observer = new Proxy({}, { get: () => () => {} }) as Observer
  const ports = { handler, sink: async () => {}, clock: new FakeClock(), observer, slots }
  const runner = new Runner({ ...defaults, order: 'unordered', maxInFlight: 10 }, ports, { note: () => 0, settled: 0 }, () => {})
  const partition = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 1, { maxRecords: 1000, maxBytes: 1_000_000 })
  for (let offset = 0; offset < count; offset++) runner.add(new Entry(record({ offset }), partition, partition.window.admit(offset, 0)))
  runner.pump()
  return runner
}

t.test('two runners share a total, with handlers that end at once as well', async t => {
  for (const atOnce of [true, false]) {
    const pool = new SlotPool(4)
    const ended: string[] = []
    const running: (() => void)[] = []
    let inFlight = 0
    let most = 0
    for (const name of ['a', 'b']) {
      runnerWith(50, pool.join(), () => {
        most = Math.max(most, ++inFlight)
        const end = () => { inFlight--; ended.push(name) }
        if (atOnce) return end()
        return new Promise<void>(resolve => { running.push(() => { end(); resolve() }) })
      })
    }
    while (running.length > 0) {
      running.shift()!()
      await settle()
    }
    t.equal(ended.length, 100)
    t.equal(most, atOnce ? 1 : 4)
    t.equal(pool.taken, 0)
    if (!atOnce) t.ok(Math.abs(ended.slice(10, 90).filter(name => name === 'a').length - 40) <= 3, 'each has its half')
  }
})

t.test('a runner that waits starts as soon as another one\'s handler has ended, though nothing of its own does', async t => {
  const pool = new SlotPool(4)
  const ends: (() => void)[] = []
  const slots = [pool.join(), pool.join()]
  const busy = runnerWith(3, slots[0], () => new Promise(resolve => { ends.push(resolve) }))
  const stuck = runnerWith(10, slots[1], () => new Promise(() => {}))
  t.same([busy.inFlight, stuck.inFlight], [3, 1])
  ends[0]()
  await settle()
  t.same([busy.inFlight, stuck.inFlight], [2, 2])
  busy.limit = 1
  stuck.limit = 2
  ends[1]()
  ends[2]()
  await settle()
  t.same([busy.inFlight, stuck.inFlight], [0, 2], 'each within its own limit')
  stuck.limit = 9
  t.same([busy.inFlight, stuck.inFlight], [0, 3], 'one is kept')
})
