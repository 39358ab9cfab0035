import fc from 'fast-check'
import t from 'tap'
import { retryDelay } from '../../src/engine/retry.js'

const policy = { maxAttempts: 5, backoffMs: 200, backoffMaxMs: 1000 }
const almost1 = 1 - Number.EPSILON / 2
const DAY_MS = 24 * 60 * 60 * 1000

t.test('the wait is drawn from zero up to a bound that doubles, and stops at the longest', async t => {
  t.same([1, 2, 3, 4].map(attempt => retryDelay(policy, attempt, new Error(), 0)), [0, 0, 0, 0])
  t.same([1, 2, 3, 4].map(attempt => retryDelay(policy, attempt, new Error(), 0.5)), [100, 200, 400, 500])
  for (const [attempt, bound] of [[1, 200], [2, 400], [3, 800], [4, 1000]]) {
    const longest = retryDelay(policy, attempt, new Error(), almost1)!
    t.ok(longest < bound && longest > bound - 0.001, `${attempt}: ${longest}`)
  }
})

t.test('the last attempt is the one whose number is the limit', async t => {
  t.equal(retryDelay(policy, 4, new Error(), 0.5), 500)
  t.equal(retryDelay(policy, 5, new Error(), 0.5), null)
  t.equal(retryDelay(policy, 6, new Error(), 0.5), null)
  t.equal(retryDelay({ ...policy, maxAttempts: 1 }, 1, new Error(), 0.5), null)
  t.equal(retryDelay({ ...policy, maxAttempts: 1 }, 1, { retryAfterMs: 10 }, 0.5), null, 'whatever the error asks for')
})

t.test('only `retriable: false` itself ends the attempts', async t => {
  t.equal(retryDelay(policy, 1, { retriable: false }, 0.5), null)
  t.equal(retryDelay(policy, 1, { retriable: false, retryAfterMs: 10 }, 0.5), null)
  for (const retriable of [true, undefined, null, 0, '', 'false']) t.equal(retryDelay(policy, 1, { retriable }, 0.5), 100, String(retriable))
  for (const error of [undefined, null, 0, 'text', true, Object.create(null)]) t.equal(retryDelay(policy, 1, error, 0.5), 100)
})

t.test('the wait that an error asks for is kept at least, up to a day', async t => {
  t.equal(retryDelay(policy, 1, { retryAfterMs: 99 }, 0.5), 100, 'the backoff is longer')
  t.equal(retryDelay(policy, 1, { retryAfterMs: 101 }, 0.5), 101)
  t.equal(retryDelay(policy, 1, { retryAfterMs: 60_000 }, 0.5), 60_000, 'longer than the longest backoff')
  t.equal(retryDelay(policy, 1, { retryAfterMs: DAY_MS }, 0.5), DAY_MS)
  t.equal(retryDelay(policy, 1, { retryAfterMs: DAY_MS + 1 }, 0.5), DAY_MS)
  t.equal(retryDelay(policy, 1, { retryAfterMs: Infinity }, 0.5), DAY_MS)
  for (const retryAfterMs of [NaN, -1, 0, '5000', null, {}]) t.equal(retryDelay(policy, 1, { retryAfterMs }, 0.5), 100, String(retryAfterMs))
})

t.test('for any policy that can be configured, a wait is finite and within its bounds', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(
    fc.record({ maxAttempts: fc.integer({ min: 1, max: 1000 }), backoffMs: fc.nat(3_600_000), backoffMaxMs: fc.nat(3_600_000) }),
    fc.integer({ min: 1, max: 1000 }), fc.double({ min: 0, max: almost1, noNaN: true }),
    (policy, attempt, random) => {
      const delay = retryDelay(policy, attempt, new Error(), random)
      if (attempt >= policy.maxAttempts) return delay === null
      return delay !== null && delay >= 0 && delay <= policy.backoffMaxMs && delay <= policy.backoffMs * 2 ** (attempt - 1)
    }
  )))
})
