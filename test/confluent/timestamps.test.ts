import fc from 'fast-check'
import { test } from 'tap'
import { formatTimestamp, parseTimestamp } from '../../src/confluent/timestamps.js'

test('for any time after 1970, what is written is read as the same millisecond', async t => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 253402300799999 }), ms => parseTimestamp(formatTimestamp(ms)) === ms))
  t.pass('held')
})

test('the forms of a time', async t => {
  t.equal(parseTimestamp('2021-02-05T19:14:42Z'), 1612552482000)
  t.equal(formatTimestamp(1612552482000), '2021-02-05T19:14:42Z')
  t.equal(formatTimestamp(1612552482012), '2021-02-05T19:14:42.012Z')
  t.equal(parseTimestamp('2021-02-05T19:14:42.0129999Z'), 1612552482012)
  t.equal(parseTimestamp('2021-02-05T20:14:42.5+01:00'), 1612552482500)
  t.equal(parseTimestamp('1970-01-01T00:00:00.001Z'), 1)
  t.equal(formatTimestamp(Number.MAX_SAFE_INTEGER), '9007199254740991', 'later than any date')
  for (const wrong of ['1970-01-01T00:00:00Z', '2021-02-30T00:00:00Z', '2021-13-01T00:00:00Z', '2021-02-05T24:00:00Z', '2021-02-05T19:14:42', '2021-02-05',
    '1612552482000', '', '2021-02-05T19:14:42+19:00', '2021-02-05T19:14:42+01:60', ' 2021-02-05T19:14:42Z', '1969-01-01T00:00:00Z', '2021-02-05T19:14:60Z']) {
    t.equal(parseTimestamp(wrong), null, wrong)
  }
})
