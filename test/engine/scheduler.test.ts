import fc from 'fast-check'
import t from 'tap'
import type { Schedulable } from '../../src/engine/lanes.js'
import { Scheduler, type Order } from '../../src/engine/scheduler.js'
import { record } from '../support/fake-source.js'

interface Item extends Schedulable { id: number, lock: string | null }

function item (id: number, order: Order, topic: string, partition: number, key: string | null): Item {
  const keyed = order === 'key' && key !== null
  const lock = order === 'partition' ? `${topic}/${partition}` : keyed ? `${topic}/${partition}/${key}` : null
  const bytes = key === null ? null : Buffer.from(key)
  return { id, lock, alone: false, lane: null, next: null, record: record({ topic, partition, offset: id, key: bytes }) }
}

/** The obvious way: all that wait in one list, and the set of what is locked. */
class NaiveScheduler {
  waiting: Item[] = []
  readonly locked = new Map<string, Item>()

  mayStart (one: Item): boolean {
    if (!this.waiting.includes(one)) return false
    if (one.lock === null) return true
    // The oldest of its lock that waits, and nobody holds the lock.
    return !this.locked.has(one.lock) && this.waiting.find(other => other.lock === one.lock) === one
  }

  get anyMayStart (): boolean { return this.waiting.some(one => this.mayStart(one)) }

  start (one: Item): void {
    this.waiting = this.waiting.filter(other => other !== one)
    if (one.lock !== null) this.locked.set(one.lock, one)
  }
}

for (const order of ['unordered', 'key', 'partition'] as const) {
  t.test(`${order}: for any sequence of operations, only what may start is taken, and something is whenever anything may`, async t => {
    const keys = [null, '', 'a', 'b', '\u00ff']
    t.doesNotThrow(() => fc.assert(fc.property(
      fc.array(fc.record({ what: fc.nat(11), topic: fc.constantFrom('s', 't'), partition: fc.nat(1), key: fc.constantFrom(...keys), which: fc.nat() }), { maxLength: 200, size: 'max' }),
      steps => {
        const scheduler = new Scheduler(order)
        const naive = new NaiveScheduler()
        const running: Item[] = []
        const given = new Set<Item>()
        let id = 0
        for (const { what, topic, partition, key, which } of steps) {
          if (what < 5) {
            const added = item(id++, order, topic, partition, key)
            scheduler.add(added)
            naive.waiting.push(added)
          } else if (what < 8) {
            const taken = scheduler.take() as Item | null
            if (taken === null) {
              if (naive.anyMayStart) throw new Error('something may start, but nothing was taken')
            } else {
              if (!naive.mayStart(taken)) throw new Error(`${taken.id} may not start`)
              naive.start(taken)
              running.push(taken)
            }
          } else if (running.length > 0 && what < 10) {
            const [ended] = running.splice(which % running.length, 1)
            if (ended.lock !== null) naive.locked.delete(ended.lock)
            scheduler.release(ended)
          } else if (running.length > 0 && what === 10) {
            const [again] = running.splice(which % running.length, 1)
            if (given.has(again)) {
              // What ran when its partition was dropped is never tried again here.
              running.push(again)
              continue
            }
            if (again.lock !== null) naive.locked.delete(again.lock)
            naive.waiting.unshift(again)
            scheduler.putBack(again)
          } else if (what === 11) {
            naive.waiting = naive.waiting.filter(({ record }) => record.topic !== topic || record.partition !== partition)
            for (const one of running) if (one.record.topic === topic && one.record.partition === partition) given.add(one)
            scheduler.drop(topic, partition)
          }
          if (scheduler.waiting !== naive.waiting.length) throw new Error(`${scheduler.waiting} wait, should be ${naive.waiting.length}`)
        }
        for (const ended of running) scheduler.release(ended)
        naive.locked.clear()
        for (let taken = scheduler.take() as Item | null; taken !== null; taken = scheduler.take() as Item | null) {
          if (!naive.mayStart(taken)) throw new Error(`${taken.id} may not start`)
          naive.start(taken)
          if (taken.lock !== null) naive.locked.delete(taken.lock)
          scheduler.release(taken)
        }
        if (naive.waiting.length > 0) throw new Error(`${naive.waiting.length} were never taken`)
        if (scheduler.lanes > 0) throw new Error(`${scheduler.lanes} lanes are left`)
      }
    ), { numRuns: 300 }))
  })
}

t.test('key: a hot partition with many keys starves neither another partition nor a rare key', async t => {
  const scheduler = new Scheduler('key')
  for (let n = 0; n < 1000; n++) scheduler.add(item(n, 'key', 't', 0, `hot${n % 10}`))
  scheduler.add(item(1000, 'key', 't', 0, 'rare'))
  scheduler.add(item(1001, 'key', 't', 1, 'other'))
  const taken: number[] = []
  for (let n = 0; n < 13; n++) {
    const one = scheduler.take() as Item | null
    if (one !== null) taken.push(one.id)
  }
  t.ok(taken.slice(0, 2).includes(1001), 'partitions take turns')
  t.ok(taken.includes(1000), 'the rare key has its turn after each hot one had one')
  t.equal(taken.length, 12, 'ten hot keys, the rare one and the other partition')
})

t.test('after a drop, the new copy of a record waits until the old attempt has settled', async t => {
  const scheduler = new Scheduler('key')
  const old = item(1, 'key', 't', 0, 'k')
  scheduler.add(old)
  t.equal(scheduler.take(), old)
  scheduler.drop('t', 0)
  const copy = item(2, 'key', 't', 0, 'k')
  scheduler.add(copy)
  t.equal(scheduler.take(), null)
  scheduler.release(old)
  t.equal(scheduler.take(), copy)
})
