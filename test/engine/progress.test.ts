import fc from 'fast-check'
import t from 'tap'
import { CompletedBefore, decodeProgress, encodeProgress, METADATA_MAX_BYTES, type OffsetRange } from '../../src/engine/progress.js'

/** Ranges as a window gives them: ascending, with a gap between any two. */
const progress = (runMax: number, rangesMax: number) => fc.record({
  base: fc.oneof(fc.nat(1000), fc.integer({ min: 0, max: 2 ** 52 })),
  leaderEpoch: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
  runs: fc.array(fc.tuple(fc.integer({ min: 1, max: runMax }), fc.integer({ min: 1, max: runMax })), { minLength: 1, maxLength: rangesMax, size: 'max' })
}).map(({ base, leaderEpoch, runs }) => {
  let at = base
  const done = runs.map(([open, length]): OffsetRange => {
    const from = at + open
    at = from + length
    return [from, at]
  })
  return { base, leaderEpoch, done }
})

t.test('for any progress that fits, what is read is what was written', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.oneof(progress(5, 200), progress(100_000, 200)), one => {
    const text = encodeProgress(one)
    if (text.length > METADATA_MAX_BYTES) throw new Error(`${text.length} bytes`)
    if (text !== '') same(decodeProgress(text, one.base), one)
  })))
})

t.test('the last byte may be lost, and a NUL may follow', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(progress(100, 50), one => {
    const text = encodeProgress(one)
    same(decodeProgress(text.slice(0, -1), one.base), one)
    same(decodeProgress(`${text}\0`, one.base), one)
  })))
})

t.test('for any change of its text it is read as nothing, or as it was', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(progress(100, 50), fc.nat(), fc.nat(255), (one, at, byte) => {
    const text = encodeProgress(one)
    const index = at % text.length
    const changed = text.slice(0, index) + String.fromCharCode(byte) + text.slice(index + 1)
    const read = decodeProgress(changed, one.base)
    if (read !== null) same(read, one)
  }), { numRuns: 2000 }))
})

t.test('for any text of others it is nothing, and throws nothing', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.oneof(fc.string(), fc.base64String().map(text => `sluice1:${text}`)), text => {
    if (decodeProgress(text, 0) !== null) throw new Error('read something')
  }), { numRuns: 2000 }))
})

t.test('beside another commit offset it means nothing', async t => {
  const text = encodeProgress({ base: 100, leaderEpoch: 0, done: [[101, 110]] })
  t.equal(decodeProgress(text, 99), null)
  t.equal(decodeProgress(text, 101), null)
  t.ok(decodeProgress(text, 100))
})

t.test('nothing completed is nothing said', async t => {
  t.equal(encodeProgress({ base: 5, leaderEpoch: 0, done: [] }), '')
})

t.test('at the limit it is said whole, one byte below it not at all', async t => {
  const one = { base: 7, leaderEpoch: 3, done: Array.from({ length: 300 }, (_, n): OffsetRange => [n * 200 + 8, n * 200 + 50 + n % 7]) }
  // Deflating is tried only where it does not fit otherwise: the smallest limit that works is the deflated size.
  let limit = 1
  while (encodeProgress(one, limit) === '') limit++
  const text = encodeProgress(one, limit)
  t.equal(text.length, limit)
  same(decodeProgress(text, 7), one)
  t.equal(encodeProgress(one, limit - 1), '')
  t.ok(encodeProgress(one, 100_000).length > limit, 'with room it is not deflated')
})

t.test('20,000 completed behind one that hangs take a few bytes; every second one of 20,000 still fits', async t => {
  t.ok(encodeProgress({ base: 1000, leaderEpoch: 0, done: [[1001, 21_001]] }).length < 50)
  const alternating = { base: 0, leaderEpoch: 0, done: Array.from({ length: 10_000 }, (_, n): OffsetRange => [n * 2 + 1, n * 2 + 2]) }
  same(decodeProgress(encodeProgress(alternating), 0), alternating)
})

t.test('asked in ascending order, it knows what was completed, and by which leader', async t => {
  const before = new CompletedBefore({ base: 10, leaderEpoch: 4, done: [[12, 14], [20, 21]] })
  const asked = [10, 11, 12, 13, 14, 19, 20, 21, 22]
  t.same(asked.filter(offset => before.has(offset, 4)), [12, 13, 20])
  t.notOk(new CompletedBefore({ base: 10, leaderEpoch: 4, done: [[12, 14]] }).has(12, 5))
})

function same (read: unknown, written: unknown): void {
  if (JSON.stringify(read) !== JSON.stringify(written)) throw new Error(`${JSON.stringify(read)} should be ${JSON.stringify(written)}`)
}
