import fc from 'fast-check'
import t from 'tap'
import { AdaptiveLimit, type AttemptEnd } from '../../src/engine/adaptive-limit.js'
import { fixed, loadTarget, type Phase } from '../support/queueing-target.js'

const phase = (untilMs: number, capacity: number, more: Partial<Phase> = {}): Phase =>
  ({ untilMs, capacity, serviceMs: () => 50, queue: Infinity, ...more })
const from = (min: number, max: number) => fc.integer({ min, max })

t.test('it begins at the least', async t => {
  t.equal(new AdaptiveLimit({ min: 3, max: 10 }).limit, 3)
  t.equal(new AdaptiveLimit({ min: 10, max: 10 }).limit, 10)
})

t.test('for any ends of attempts, it is a whole number, never below the least nor above the greatest', async t => {
  const end = fc.record({
    tookMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 100_000 }), fc.double({ min: 0, max: 1e-9, noNaN: true })),
    passedMs: fc.integer({ min: 0, max: 1000 }),
    outcome: fc.constantFrom('done', 'done', 'done', 'overloaded', 'failed') as fc.Arbitrary<AttemptEnd['outcome']>,
    saturated: fc.boolean(),
    max: fc.option(fc.integer({ min: 1, max: 300 }), { freq: 50 })
  })
  fc.assert(fc.property(from(1, 50), from(0, 200), fc.array(end, { maxLength: 500 }), (min, more, ends) => {
    let max = min + more
    const adaptive = new AdaptiveLimit({ min, max })
    let now = 0
    for (const one of ends) {
      now += one.passedMs
      if (one.max !== null) adaptive.max = max = one.max
      adaptive.ended({ startedAt: now - one.tookMs, endedAt: now, outcome: one.outcome, saturated: one.saturated })
      const { limit } = adaptive
      if (!Number.isInteger(limit) || limit > max || limit < Math.min(min, max)) return false
    }
    return true
  }))
})

t.test('for any constant capacity it comes near to it, and gets done what can be', async t => {
  fc.assert(fc.property(from(1, 150), from(1, 20), from(5, 500), (capacity, least, ms) => {
    // Beyond what it can do from the beginning, nothing shows how long attempts take by themselves.
    const min = Math.min(capacity, least)
    const untilMs = 400 * ms
    const target = [phase(untilMs, capacity, { serviceMs: () => ms })]
    const [result] = loadTarget(target, new AdaptiveLimit({ min, max: 200 }))
    return result.lowest >= capacity * 0.9 && result.highest <= capacity * 1.34 + 2 && result.done >= 0.8 * untilMs / ms * capacity
  }), { numRuns: 40 })
})

t.test('the same with attempts of different lengths', async t => {
  for (const capacity of [5, 20, 100]) {
    // From 25 to 75 ms, in no order.
    const serviceMs = (n: number) => 25 + (n * 7919) % 51
    const [result] = loadTarget([phase(30_000, capacity, { serviceMs })], new AdaptiveLimit({ min: 1, max: 200 }))
    t.ok(result.lowest >= 0.9 * capacity && result.highest <= 1.6 * capacity + 1, `${capacity}: ${result.lowest} to ${result.highest}`)
    t.ok(result.done >= 0.9 * 30_000 / 50 * capacity, `${capacity}: ${result.done} done`)
  }
})

t.test('it follows a capacity of 100, then 20, then 100', async t => {
  for (const [what, queue] of [['that lets more wait', Infinity], ['that refuses more', 20], ['that lets nothing wait', 0]] as const) {
    const target = [phase(20_000, 100, { queue }), phase(40_000, 20, { queue }), phase(60_000, 100, { queue })]
    const [first, narrow, last] = loadTarget(target, new AdaptiveLimit({ min: 1, max: 200 }))
    for (const { lowest, highest } of [first, last]) t.ok(lowest >= 80 && highest <= 135, `a target ${what}, 100: ${lowest} to ${highest}`)
    t.ok(narrow.lowest >= 15 && narrow.highest <= 30, `a target ${what}, 20: ${narrow.lowest} to ${narrow.highest}`)
    const results = [20, 50, 100, 120, 200].map(limit => loadTarget(target, fixed(limit)))
    const sum = (phases: { done: number, refused: number }[], of: 'done' | 'refused') => phases.reduce((sum, one) => sum + one[of], 0)
    const best = Math.max(...results.map(one => sum(one, 'done')))
    const done = sum([first, narrow, last], 'done')
    t.ok(done >= 0.9 * best, `${done} done, with the best fixed limit ${best}`)
    const refused = sum([first, narrow, last], 'refused')
    const greatest = sum(results.at(-1)!, 'refused')
    t.ok(queue === Infinity ? refused === 0 : refused < greatest / 10, `${refused} refused, with a fixed limit of 200 ${greatest}`)
  }
})

t.test('a target that becomes slower by itself is no reason to ask less of it', async t => {
  const target = [phase(20_000, 100), phase(60_000, 100, { serviceMs: () => 150 }), phase(80_000, 100)]
  for (const { lowest, highest } of loadTarget(target, new AdaptiveLimit({ min: 1, max: 200 }))) {
    t.ok(lowest >= 80 && highest <= 135, `${lowest} to ${highest}`)
  }
})

t.test('it does not grow where it is not what holds back, nor by attempts that fail for reasons of their own', async t => {
  const adaptive = new AdaptiveLimit({ min: 2, max: 200 })
  for (let n = 0; n < 1000; n++) adaptive.ended({ startedAt: n * 50, endedAt: n * 50 + 50, outcome: 'done', saturated: false })
  t.equal(adaptive.limit, 2)
  for (let n = 0; n < 1000; n++) adaptive.ended({ startedAt: n, endedAt: n, outcome: 'failed', saturated: true })
  t.equal(adaptive.limit, 2)
})

t.test('an operator\'s limit below the least holds, and the least again afterwards', async t => {
  const adaptive = new AdaptiveLimit({ min: 5, max: 10 })
  adaptive.max = 2
  t.equal(adaptive.limit, 2)
  adaptive.max = 10
  t.equal(adaptive.limit, 5)
})
