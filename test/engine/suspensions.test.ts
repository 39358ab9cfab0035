import fc from 'fast-check'
import t from 'tap'
import { selects, Suspensions, type Selection } from '../../src/engine/suspensions.js'

const a0 = { topic: 'a', partition: 0 }
const a1 = { topic: 'a', partition: 1 }
const b0 = { topic: 'b', partition: 0 }

t.test('a selection is everything, a topic, or one partition', t => {
  t.same([a0, a1, b0].map(one => selects({}, one)), [true, true, true])
  t.same([a0, a1, b0].map(one => selects({ topic: 'a' }, one)), [true, true, false])
  t.same([a0, a1, b0].map(one => selects({ topic: 'a', partition: 0 }, one)), [true, false, false])
  t.end()
})

t.test('at first nothing is paused, and resuming what is not changes nothing', t => {
  const s = new Suspensions()
  s.set({ topic: 'a' }, false)
  t.same([a0, b0].map(one => s.has(one)), [false, false])
  t.end()
})

t.test('a part of what was paused can be resumed, and paused again', t => {
  const s = new Suspensions()
  s.set({}, true)
  s.set({ topic: 'a' }, false)
  t.same([a0, a1, b0].map(one => s.has(one)), [false, false, true])
  s.set({ topic: 'a', partition: 1 }, true)
  t.same([a0, a1, b0].map(one => s.has(one)), [false, true, true])
  s.set({}, false)
  t.same([a0, a1, b0].map(one => s.has(one)), [false, false, false])
  t.end()
})

const selection: fc.Arbitrary<Selection> = fc.oneof(
  fc.constant({}), fc.record({ topic: fc.constantFrom('a', 'b') }),
  fc.record({ topic: fc.constantFrom('a', 'b'), partition: fc.nat(2) }))

t.test('for any words, the newest one on a partition holds', t => {
  const partitions = ['a', 'b'].flatMap(topic => [0, 1, 2].map(partition => ({ topic, partition })))
  fc.assert(fc.property(fc.array(fc.tuple(selection, fc.boolean()), { maxLength: 30 }), words => {
    const s = new Suspensions()
    for (const [which, suspended] of words) s.set(which, suspended)
    for (const one of partitions) {
      const newest = words.findLast(([which]) => selects(which, one))?.[1] ?? false
      if (s.has(one) !== newest) return false
    }
    return true
  }))
  t.end()
})
