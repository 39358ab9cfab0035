import fc from 'fast-check'
import t from 'tap'
import { Limiter, type LimitSettings } from '../../src/auth/limiter.js'
import { TokenBucket } from '../../src/auth/token-bucket.js'
import { SluiceError } from '../../src/errors.js'

const MIDNIGHT = Date.UTC(2030, 0, 2)

function limiter (settings: LimitSettings, beforeMidnightMs = 3_600_000) {
  const clock = { nowMs: 0 }
  const made = new Limiter(settings, { monotonic: () => clock.nowMs, wall: () => MIDNIGHT - beforeMidnightMs + clock.nowMs })
  return { made, clock }
}

/** What a refusal says; `null`: it was let in. */
function refusal (act: () => void): { limit?: number, retryAfterSeconds?: number, message: string } | null {
  try {
    act()
    return null
  } catch (error) {
    if (!(error instanceof SluiceError) || error.code !== 'SLUICE_RATE_LIMITED') throw error
    return { limit: error.details.limit, retryAfterSeconds: error.details.retryAfterSeconds, message: error.message }
  }
}

t.test('requests: the burst is let in, the next one is not, and Retry-After is true', async t => {
  const { made, clock } = limiter({ requestsPerSecond: 0.5, requestsBurst: 3 })
  for (let i = 0; i < 3; i++) t.equal(refusal(() => made.admit(0)), null)
  t.match(refusal(() => made.admit(0)), { limit: 1, retryAfterSeconds: 2, message: 'This caller may send 0.5 requests a second, 3 at once.' })
  clock.nowMs = 1_999
  t.match(refusal(() => made.admit(0)), { retryAfterSeconds: 1 })
  clock.nowMs = 2_000
  t.equal(refusal(() => made.admit(0)), null)
  t.ok(refusal(() => made.admit(0)))
})

const rates = fc.double({ min: 0.01, max: 1e6, noNaN: true })

t.test('for any rate, after Retry-After the request is let in', async t => {
  fc.assert(fc.property(rates, fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 1e6 }), (rate, burst, body) => {
    const { made, clock } = limiter({ requestsPerSecond: rate, requestsBurst: burst, bytesPerSecond: rate })
    for (let i = 0; i <= burst; i++) {
      const refused = refusal(() => made.admit(body))
      if (refused === null) continue
      clock.nowMs += refused.retryAfterSeconds! * 1000
      if (refusal(() => made.admit(body)) !== null) return false
    }
    return true
  }))
  t.pass()
})

t.test('bytes: a body larger than the burst gets through, and its debt is waited for', async t => {
  const { made, clock } = limiter({ bytesPerSecond: 100 })
  t.equal(refusal(() => made.admit(1_000)), null)
  t.match(refusal(() => made.admit(1)), { limit: 100, retryAfterSeconds: 10, message: /100 bytes of request bodies a second, 100 at once/ })
  t.ok(refusal(() => made.admit(null)), 'a body of any length')
  t.equal(refusal(() => made.admit(0)), null, 'a request without a body')
  clock.nowMs = 9_009
  t.ok(refusal(() => made.admit(1)))
  clock.nowMs = 9_010
  t.equal(refusal(() => made.admit(1)), null)
})

t.test('what is refused for its bytes is not counted as a request', async t => {
  const { made, clock } = limiter({ requestsPerSecond: 1, requestsBurst: 2, bytesPerSecond: 1 })
  made.admit(10)
  for (let i = 0; i < 5; i++) t.ok(refusal(() => made.admit(1)))
  t.equal(refusal(() => made.admit(0)), null, 'the second of two')
  clock.nowMs = 60_000
})

t.test('a day begins at midnight, UTC', async t => {
  const { made, clock } = limiter({ requestsPerDay: 2, bytesPerDay: 10 }, 5_000)
  made.admit(6)
  made.admit(6)
  t.match(refusal(() => made.admit(0)), { limit: 2, retryAfterSeconds: 5, message: 'This caller may send 2 requests a day (UTC), and has.' })
  clock.nowMs = 4_999
  t.match(refusal(() => made.admit(0)), { retryAfterSeconds: 1 })
  clock.nowMs = 5_000
  t.equal(refusal(() => made.admit(10)), null)
  t.match(refusal(() => made.admit(1)), { limit: 10, retryAfterSeconds: 86_400 })
})

t.test('a limiter with other limits goes on from what was used today', async t => {
  const before = limiter({ requestsPerDay: 2 }).made
  before.admit(0)
  const { made } = limiter({ requestsPerDay: 3 })
  made.goOnFrom(before)
  made.admit(0)
  made.admit(0)
  t.ok(refusal(() => made.admit(0)))
})

t.test('bytes that come piece by piece are waited for, and those of the day refused', async t => {
  const { made } = limiter({ bytesPerSecond: 100, bytesPerDay: 1_000 })
  t.equal(made.spendAndWait(99), 0)
  t.equal(made.spendAndWait(101), 1_010)
  t.ok(refusal(() => made.spendAndWait(800)))
  const other = limiter({ bytesPerSecond: 100 }).made
  t.equal(refusal(() => other.spend(99)), null)
  t.ok(refusal(() => other.spend(1)))
})

t.test('records: those of a batch may pass the limit, and the next request waits for it', async t => {
  const { made, clock } = limiter({ recordsPerSecond: 10, recordsBurst: 3 })
  t.equal(refusal(() => made.admit(0, 1)), null)
  made.countRecords(9)
  t.match(refusal(() => made.admit(0, 1)), { limit: 10, retryAfterSeconds: 1, message: 'This caller may send 10 records a second, 3 at once.' })
  t.ok(refusal(() => made.admit(0, null)), 'a stream')
  t.equal(refusal(() => made.admit(0)), null, 'what produces nothing')
  clock.nowMs = 799
  t.ok(refusal(() => made.admit(0, 1)))
  clock.nowMs = 800
  t.equal(refusal(() => made.admit(0, 1)), null)
})

t.test('records of a stream: what may come at once does; the rest is waited for, and beyond the day refused', async t => {
  const { made, clock } = limiter({ recordsPerSecond: 10, recordsBurst: 3, recordsPerDay: 6 })
  t.equal(made.recordsAtOnce, 3)
  t.equal(made.spendRecordsAndWait(3), 0)
  t.equal(made.spendRecordsAndWait(1), 100)
  t.equal(made.recordsAtOnce, 2, 'of the day')
  t.equal(made.spendRecordsAndWait(2), 300)
  t.match(refusal(() => made.spendRecordsAndWait(1)), { limit: 6, retryAfterSeconds: 3_600, message: /6 records a day/ })
  t.equal(made.recordsAtOnce, 1)
  clock.nowMs = 3_600_000
  t.equal(made.spendRecordsAndWait(1), 0, 'a new day')
  const unlimited = limiter({ bytesPerSecond: 1 }).made
  t.equal(unlimited.recordsAtOnce, Infinity)
  t.equal(unlimited.spendRecordsAndWait(1_000_000), 0)
})

t.test('for any stream, no more records are let through than burst and rate allow, and none waits that need not', async t => {
  fc.assert(fc.property(small, small, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (rate, burst, wanted) => {
    const { made, clock } = limiter({ recordsPerSecond: rate, recordsBurst: burst })
    let passed = 0
    for (const more of wanted) {
      const records = Math.min(more, made.recordsAtOnce)
      clock.nowMs += made.spendRecordsAndWait(records)
      passed += records
      if (passed > burst + clock.nowMs * rate / 1000 + 1e-6) return false
    }
    return clock.nowMs <= Math.max(0, passed - burst) / rate * 1000 + 1e-6
  }))
  t.pass()
})

t.test('the headers say what there is, what is left, and when all of it is back', async t => {
  const { made } = limiter({ requestsPerSecond: 2, requestsBurst: 10, bytesPerSecond: 100, requestsPerDay: 50 }, 5_000)
  made.admit(150)
  t.equal(made.policy, '"requests";q=10;w=5, "requests-day";q=50;w=86400, "bytes";q=100;qu="content-bytes";w=1')
  t.equal(made.remaining, '"requests";r=9;t=1, "requests-day";r=49;t=5, "bytes";r=0;t=2')
  const records = limiter({ recordsPerSecond: 2 }).made
  records.admit(0, 1)
  t.equal(records.policy, '"records";q=2;qu="records";w=1')
  t.equal(records.remaining, '"records";r=1;t=1')
})

const small = fc.integer({ min: 1, max: 20 })

t.test('for any spending, a bucket never lets in more than its burst and its rate allow', async t => {
  fc.assert(fc.property(small, small, fc.array(fc.integer({ min: 0, max: 2_000 })), (rate, burst, pauses) => {
    const bucket = new TokenBucket(rate, burst, 0)
    let nowMs = 0
    let spent = 0
    for (const pause of pauses) {
      nowMs += pause
      while (bucket.waitMs(nowMs) === 0) {
        bucket.spend(1)
        spent++
      }
    }
    return spent <= burst + rate * nowMs / 1000 + 1e-6
  }))
  t.pass()
})

t.test('a clock that goes back changes nothing', async t => {
  const bucket = new TokenBucket(1, 1, 10_000)
  bucket.spend(1)
  t.ok(bucket.waitMs(0) > 0)
  t.equal(bucket.waitMs(11_000), 0)
})
