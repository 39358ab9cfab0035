import fc from 'fast-check'
import t from 'tap'
import { retryAfterMs } from '../../src/handlers/retry-after.js'

const now = Date.UTC(1994, 10, 6, 8, 49, 7)

t.test('seconds are seconds', async t => {
  t.equal(retryAfterMs('0', undefined, now), 0)
  t.equal(retryAfterMs('120', undefined, now), 120_000)
  t.equal(retryAfterMs(' 7 ', undefined, now), 7000)
  t.equal(retryAfterMs('999999999999', undefined, now), 999_999_999_999_000)
})

t.test('a date in any of the three forms of RFC 9110 counts from now, and one that has passed is no wait', async t => {
  for (const date of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994']) {
    t.equal(retryAfterMs(date, undefined, now), 30_000, date)
    t.equal(retryAfterMs(date, undefined, now + 60_000), 0, date)
  }
})

t.test('a date counts from the Date of the same answer: whose clock is wrong does not matter', async t => {
  t.equal(retryAfterMs('Sun, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 08:49:27 GMT', now + 86_400_000), 10_000)
  t.equal(retryAfterMs('Sun, 06 Nov 1994 08:49:37 GMT', 'nonsense', now), 30_000)
})

t.test('what is neither asks for nothing', async t => {
  for (const text of [
    undefined, '', 'soon', '-1', '1.5', '1e3', '0x10', '+5', '1994-11-06T08:49:37Z', 'Sun, 06 Nov 1994 08:49:37 CET',
    'Sun, 99 Nov 1994 99:49:37 GMT', '9999999999999'
  ]) {
    t.equal(retryAfterMs(text, undefined, now), undefined, String(text))
  }
})

t.test('for any text it is a finite wait of 0 or more, or none', async () => {
  const texts = fc.oneof(fc.string(), fc.date({ noInvalidDate: true }).map(date => date.toUTCString()), fc.nat().map(String))
  fc.assert(fc.property(texts, text => {
    const ms = retryAfterMs(text, undefined, now)
    return ms === undefined || (Number.isFinite(ms) && ms >= 0)
  }))
})
