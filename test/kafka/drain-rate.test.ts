import t from 'tap'
import { DrainRate } from '../../src/kafka/drain-rate.js'

/** A queue out of which so many records of 100 bytes left in each second, for so many seconds, from this moment on. */
function draining (perSecond: number, seconds: number, from = 0): DrainRate {
  const rate = new DrainRate()
  for (let i = 0; i < perSecond * seconds; i++) rate.left(100, from + i * 1000 / perSecond)
  return rate
}

t.test('nobody knows before anything has left, nor when nothing has left for ten seconds', async t => {
  t.equal(new DrainRate().secondsFor(1, 1, 0), undefined)
  const rate = draining(10, 5)
  t.equal(rate.secondsFor(100, 0, 5_000), 10)
  t.type(rate.secondsFor(100, 0, 13_999), 'number')
  t.equal(rate.secondsFor(100, 0, 15_000), undefined)
})

t.test('as many seconds as it takes at the rate of the last ten, whole ones, from 1 to 60', async t => {
  const rate = draining(100, 30, 7_000_000)
  const now = 7_030_000
  for (const [records, seconds] of [
    [0, 1], [1, 1], [90, 1], [200, 2], [201, 3], [1_000, 10], [5_900, 59], [6_000, 60], [1e9, 60]
  ] as const) {
    const given = rate.secondsFor(records, 0, now)!
    t.ok(Math.abs(given - seconds) <= 1, `${records}: ${given}, about ${seconds}`)
    t.ok(given >= 1 && given <= 60)
  }
})

t.test('bytes count where they take longer', async t => {
  const rate = draining(100, 20)
  t.ok(Math.abs(rate.secondsFor(1, 100_000, 20_000)! - 10) <= 1)
  t.equal(rate.secondsFor(3_000, 1, 20_000)! >= 29, true)
})

t.test('records without bytes leave as well', async t => {
  const rate = new DrainRate()
  for (let i = 0; i < 1_000; i++) rate.left(0, i)
  t.equal(rate.secondsFor(5_000, 1_000_000, 1_000), 5)
})

t.test('what left long ago does not count', async t => {
  const rate = draining(1_000, 10)
  for (let i = 0; i < 10; i++) rate.left(100, 20_000 + i * 1_000)
  t.equal(rate.secondsFor(20, 0, 29_900), 20)
})

t.test('the first burst does not count as a rate for ever: it counts as half a second', async t => {
  const rate = new DrainRate()
  for (let i = 0; i < 100; i++) rate.left(1, 1_000)
  t.equal(rate.secondsFor(1_000, 0, 1_001), 5)
})
