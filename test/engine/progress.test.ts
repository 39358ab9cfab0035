import { crc32, deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import {
  ATTEMPTS_MAX_RECORDS, CompletedBefore, decodeProgress, encodeProgress, METADATA_MAX_BYTES, topicIdIn,
  type OffsetAttempts, type OffsetRange, type Progress
} from '../../src/engine/progress.js'

const NOTHING: Progress = { base: 0, leaderEpoch: -1, done: [], topicId: '', attempts: [], starts: 0, clean: false }
const TOPIC_ID = 'AbCdEfGhIjKlMnOpQrSt-_'

const base = fc.oneof(fc.nat(1000), fc.integer({ min: 0, max: 2 ** 52 }))
const topicId = fc.oneof(fc.constant(''), fc.constant(TOPIC_ID), fc.string({ maxLength: 64 }))

/** Ranges as a window gives them: ascending, with a gap between any two. */
const ranges = (runMax: number, rangesMax: number) =>
  fc.array(fc.tuple(fc.integer({ min: 1, max: runMax }), fc.integer({ min: 1, max: runMax })), {
    maxLength: rangesMax, size: 'max'
  }).map(runs => (from: number): OffsetRange[] => {
    let at = from
    return runs.map(([open, length]) => {
      const start = at + open
      at = start + length
      return [start, at]
    })
  })

const tries = (gapMax: number, recordsMax: number) =>
  fc.array(fc.tuple(fc.nat(gapMax), fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 65_535 }))), {
    maxLength: recordsMax, size: 'max'
  }).map(gaps => (from: number): OffsetAttempts[] => {
    let at = from
    return gaps.map(([gap, attempts]) => {
      const offset = at + gap
      at = offset + 1
      return [offset, attempts]
    })
  })

const progress = (runMax: number, rangesMax: number, triesMax = 20) => fc.record({
  base,
  leaderEpoch: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
  done: ranges(runMax, rangesMax),
  topicId,
  attempts: fc.oneof(fc.constant(() => []), tries(runMax, triesMax)),
  starts: fc.oneof(fc.constant(0), fc.nat(1000), fc.maxSafeNat()),
  clean: fc.boolean()
}).map(({ done, attempts, ...rest }): Progress => ({ ...rest, done: done(rest.base), attempts: attempts(rest.base) }))

const saysSomething = ({ done, topicId, attempts, starts, clean }: Progress) =>
  done.length > 0 || topicId !== '' || attempts.length > 0 || starts > 0 || clean

const something = progress(100, 50).filter(saysSomething)

t.test('for any progress that fits, what is read is what was written', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.oneof(progress(5, 200), progress(100_000, 200)), one => {
    const text = encodeProgress(one)
    if (text.length > METADATA_MAX_BYTES) throw new Error(`${text.length} bytes`)
    if (text === '' && !saysSomething(one)) return
    same(decodeProgress(text, one.base), one)
    same(topicIdIn(text), one.topicId)
    same(encodeProgress(one, text.length), text)
  })))
})

t.test('for any limit it stays below; the ranges are whole or left out, the attempts the first ones, all else is kept', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(
    fc.oneof(progress(5, 300, 600), progress(100_000, 1000, 600)),
    fc.oneof(fc.integer({ min: 137, max: 600 }), fc.integer({ min: 137, max: METADATA_MAX_BYTES })),
    (one, maxBytes) => {
      const text = encodeProgress(one, maxBytes)
      if (text.length > maxBytes) throw new Error(`${text.length} bytes`)
      const read = text === '' ? { ...NOTHING, base: one.base, leaderEpoch: one.leaderEpoch } : decodeProgress(text, one.base)
      const attempts = one.attempts.slice(0, read?.attempts.length)
      same(read, { ...one, done: read?.done.length === 0 ? [] : one.done, attempts })
      same(text !== '', saysSomething(read!))
      // No more of them would have fitted.
      const more = { ...one, done: read!.done, attempts: one.attempts.slice(0, attempts.length + 1) }
      const untried = attempts.length === Math.min(one.attempts.length, ATTEMPTS_MAX_RECORDS)
      if (!untried) same(decodeProgress(encodeProgress(more, maxBytes), one.base)?.attempts.length ?? 0, attempts.length)
      // And ranges are left out only where they do not fit even without any attempts.
      const alone = decodeProgress(encodeProgress({ ...one, attempts: [] }, maxBytes), one.base)
      same(read?.done, alone?.done ?? [])
    }
  ), { numRuns: 500, interruptAfterTimeLimit: 20_000 }))
})

t.test('for any limit, however small, it throws nothing and stays below', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(progress(100, 50), fc.integer({ min: -10, max: 200 }), (one, maxBytes) => {
    return encodeProgress(one, maxBytes).length <= Math.max(0, maxBytes)
  })))
})

t.test('the last byte may be lost, and a NUL may follow', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(something, one => {
    const text = encodeProgress(one)
    for (const arrived of [text.slice(0, -1), `${text}\0`]) {
      same(decodeProgress(arrived, one.base), one)
      same(topicIdIn(arrived), one.topicId)
    }
  })))
})

t.test('for any change or cut of its text it is read as nothing, or as it was', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(something, fc.nat(), fc.nat(255), fc.nat(7), (one, at, byte, bit) => {
    const text = encodeProgress(one)
    const index = at % text.length
    const code = text.charCodeAt(index)
    for (const damaged of [
      text.slice(0, index) + String.fromCharCode(byte) + text.slice(index + 1),
      text.slice(0, index) + String.fromCharCode(code ^ (1 << bit)) + text.slice(index + 1),
      text.slice(0, index)
    ]) {
      const read = decodeProgress(damaged, one.base)
      if (read !== null) same(read, one)
      const id = topicIdIn(damaged)
      if (id !== '') same(id, one.topicId)
    }
  }), { numRuns: 2000 }))
})

t.test('for any text of others it is nothing, and throws nothing', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.oneof(fc.string(), fc.base64String().map(text => `sluice1:${text}`)), text => {
    if (decodeProgress(text, 0) !== null || topicIdIn(text) !== '') throw new Error('read something')
  }), { numRuns: 2000 }))
})

t.test('for any bytes with a checksum that is right it throws nothing, and what it reads is in order and within bounds', async t => {
  const hostile = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.array(fc.oneof(fc.nat(3), fc.nat(255)), { maxLength: 200 }))
  t.doesNotThrow(() => fc.assert(fc.property(hostile, ([flags, bytes]) => {
    const text = sealed(flags, 5, 0, ...bytes)
    const read = decodeProgress(text, 5)
    if (!/^[\x20-\x7e]{0,64}$/.test(topicIdIn(text))) throw new Error('no topic id')
    if (read === null) return
    if (flags > 63) throw new Error('flags of a later version')
    if (!(read.starts >= 0)) throw new Error('starts')
    let next = 5
    for (const [offset, attempts] of read.attempts) {
      if (offset < next || !Number.isSafeInteger(offset) || attempts < 1 || attempts > 65_535) throw new Error('attempts')
      next = offset + 1
    }
    next = 5
    for (const [from, to] of read.done) {
      if (from < next || to < from || !Number.isSafeInteger(to)) throw new Error('done')
      next = to
    }
  }), { numRuns: 5000 }))
})

t.test('beside another commit offset it means nothing, but for the topic id', async t => {
  const some = { done: [[101, 110]], topicId: TOPIC_ID, attempts: [[100, 2]], starts: 1 } as const
  const text = encodeProgress({ ...NOTHING, base: 100, ...some })
  t.equal(decodeProgress(text, 99), null)
  t.equal(decodeProgress(text, 101), null)
  t.ok(decodeProgress(text, 100))
  t.equal(topicIdIn(text), TOPIC_ID)
})

t.test('what was written without the later fields is still read', async t => {
  // As the first form of the format wrote it: as runs, as a bitmap, and deflated.
  const wide = { ...NOTHING, base: 100, leaderEpoch: 3, done: [[101, 210], [412, 413]] } as const
  const dense = { ...NOTHING, base: 100, leaderEpoch: 3, done: [[101, 103], [104, 105], [106, 107]] } as const
  const many = { ...NOTHING, base: 7, done: Array.from({ length: 200 }, (_, n): OffsetRange => [n * 500 + 8, n * 500 + 208]) }
  for (const [text, one, maxBytes] of [
    ['sluice1:h0LhpgBkBAFtygEB.', wide, 100],
    ['sluice1:MELqQAFkBFY=.', dense, 100],
    ['sluice1:5O0SAgIHAGM8wbiGaRSP4lGMDQMA.', many, 100]
  ] as const) {
    same(decodeProgress(text, one.base), one)
    t.equal(topicIdIn(text), '')
    t.equal(encodeProgress(one, maxBytes), text, 'and without them it is written as before')
  }
})

t.test('nothing to say is nothing said, anything is', async t => {
  t.equal(encodeProgress({ ...NOTHING, base: 5, leaderEpoch: 0 }), '')
  for (const some of [{ done: [[6, 7]] }, { topicId: 'a' }, { attempts: [[5, 1]] }, { starts: 1 }, { clean: true }] as const) {
    const one = { ...NOTHING, base: 5, ...some }
    same(decodeProgress(encodeProgress(one), 5), one)
  }
})

t.test('a topic id is 64 printable ASCII characters at most, or unknown', async t => {
  const read = (topicId: string) => decodeProgress(encodeProgress({ ...NOTHING, clean: true, topicId }), 0)?.topicId
  const longest = '~ '.repeat(32)
  t.equal(read(longest), longest)
  t.equal(read('a'.repeat(65)), '')
  t.equal(read(`${TOPIC_ID}==`), `${TOPIC_ID}==`)
  for (const id of ['a\x1f', 'a\x7f', 'é', '\ud83d\ude00']) t.equal(read(id), '')
  t.equal(encodeProgress({ ...NOTHING, topicId: 'é' }), '', 'and an unknown one is nothing to say')
  // A foreign one, under a right checksum.
  const withId = (id: string) => sealed(4, 0, 0, id.length, ...Buffer.from(id, 'latin1'))
  t.equal(topicIdIn(withId(longest)), longest)
  for (const id of ['a'.repeat(65), 'a\x1f', 'é']) {
    t.equal(topicIdIn(withId(id)), '')
    t.equal(decodeProgress(withId(id), 0), null)
  }
  t.equal(decodeProgress(sealed(4, 0, 0, 3, 97, 97), 0), null, 'nor one that is shorter than it says')
})

t.test('the attempts of 512 records are noted, those of one more are not; more than 65,535 are 65,535', async t => {
  const attempts = Array.from({ length: 513 }, (_, n): OffsetAttempts => [n, 1])
  same(decodeProgress(encodeProgress({ ...NOTHING, attempts: attempts.slice(0, 512) }), 0)?.attempts, attempts.slice(0, 512))
  same(decodeProgress(encodeProgress({ ...NOTHING, attempts }), 0)?.attempts, attempts.slice(0, 512))
  same(decodeProgress(encodeProgress({ ...NOTHING, attempts: [[3, 65_536], [4, 1]] }), 0)?.attempts, [[3, 65_535], [4, 1]])
  const foreign = (records: number) => decodeProgress(sealed(32, 0, 0, ...Array.from({ length: records }, () => [1, 0]).flat(), 0), 0)
  t.equal(foreign(512)?.attempts.length, 512)
  t.equal(foreign(513), null)
  t.ok(decodeProgress(sealed(32, 0, 0, 0xff, 0xff, 3, 0, 0), 0), '65,535')
  t.equal(decodeProgress(sealed(32, 0, 0, 0x80, 0x80, 4, 0, 0), 0), null, '65,536')
  t.equal(decodeProgress(sealed(32, 0, 0, 1, 0), 0), null, 'without an end')
  const largest = [255, 255, 255, 255, 255, 255, 255, 15]
  t.ok(decodeProgress(sealed(32, 0, 0, 1, ...largest, 0), 0), '2^53 - 1')
  t.equal(decodeProgress(sealed(32, 1, 0, 1, ...largest, 0), 1), null, '2^53')
})

t.test('what is out of order is a bug of the caller', async t => {
  t.throws(() => encodeProgress({ ...NOTHING, base: 5, attempts: [[4, 1]] }), { code: 'ERR_ASSERTION' })
  t.throws(() => encodeProgress({ ...NOTHING, base: 5, attempts: [[6, 1], [6, 1]] }), { code: 'ERR_ASSERTION' })
  t.throws(() => encodeProgress({ ...NOTHING, base: 5, attempts: [[6, 0]] }), { code: 'ERR_ASSERTION' })
  t.throws(() => encodeProgress({ ...NOTHING, base: 5, done: [[4, 7]] }), { code: 'ERR_ASSERTION' })
})

t.test('at the limit it is said whole, one byte below it not at all', async t => {
  const done = Array.from({ length: 300 }, (_, n): OffsetRange => [n * 200 + 8, n * 200 + 50 + n % 7])
  const one = { ...NOTHING, base: 7, leaderEpoch: 3, done }
  // Deflating is tried only where it does not fit otherwise: the smallest limit that works is the deflated size.
  let limit = 1
  while (encodeProgress(one, limit) === '') limit++
  const text = encodeProgress(one, limit)
  t.equal(text.length, limit)
  same(decodeProgress(text, 7), one)
  t.equal(encodeProgress(one, limit - 1), '')
  t.ok(encodeProgress(one, 100_000).length > limit, 'with room it is not deflated')

  // The same as a bitmap.
  const random = numbers()
  const dense = { ...NOTHING, done: Array.from({ length: 1000 }, (_, n): OffsetRange => [n * 4 + 1, n * 4 + 2 + random() % 3]) }
  t.equal(encodeProgress(dense, 200), '')
  same(decodeProgress(encodeProgress(dense), 0), dense)

  // With more to say, the ranges alone go.
  const more = { ...one, topicId: TOPIC_ID, starts: 2, clean: true }
  while (decodeProgress(encodeProgress(more, limit), 7)?.done.length === 0) limit++
  same(decodeProgress(encodeProgress(more, limit), 7), more)
  same(decodeProgress(encodeProgress(more, limit - 1), 7), { ...more, done: [] })
})

t.test('the broker\'s 4,096 bytes from both sides: what fills them is said, what takes one byte more is not', async t => {
  // Runs of unlike lengths, which hardly deflate: each takes four bytes here, or a little more.
  const random = numbers()
  const runs = Array.from({ length: 1000 }, () => [128 + random() % 16_000, 128 + random() % 16_000])
  const filled = (records: number): Progress => {
    let at = 0
    const done = runs.slice(0, records).map(([open, length]): OffsetRange => {
      const from = at + open
      at = from + length
      return [from, at]
    })
    return { ...NOTHING, leaderEpoch: 0, done, topicId: TOPIC_ID }
  }
  let records = 1
  while (decodeProgress(encodeProgress(filled(records + 1)), 0)?.done.length === records + 1) records++
  const last = encodeProgress(filled(records))
  t.ok(last.length > METADATA_MAX_BYTES - 12 && last.length <= METADATA_MAX_BYTES, `${last.length} bytes`)
  same(decodeProgress(encodeProgress(filled(records + 1)), 0), { ...filled(records + 1), done: [] })

  // The same with attempts, which go one by one: to the last byte that base64 leaves.
  const attempts = Array.from({ length: 512 }, (_, n): OffsetAttempts => [n * 2 ** 36, 60_000])
  const text = encodeProgress({ ...NOTHING, leaderEpoch: 0, attempts })
  t.ok(text.length > METADATA_MAX_BYTES - 20 && text.length <= METADATA_MAX_BYTES, `${text.length} bytes`)
  const kept = decodeProgress(text, 0)!.attempts.length
  t.ok(kept > 300 && kept < 512)
  t.equal(decodeProgress(encodeProgress({ ...NOTHING, leaderEpoch: 0, attempts }, text.length - 1), 0)?.attempts.length, kept - 1)
})

t.test('ranges go before attempts, and are deflated where that leaves room for more of them', async t => {
  const done = Array.from({ length: 300 }, (_, n): OffsetRange => [n * 200 + 8, n * 200 + 50 + n % 7])
  const attempts = Array.from({ length: 200 }, (_, n): OffsetAttempts => [n * 200 + 7, 3])
  const one = { ...NOTHING, base: 7, leaderEpoch: 3, done, attempts }
  const plain = encodeProgress({ ...one, attempts: [] }).length
  const read = decodeProgress(encodeProgress(one, plain), 7)
  same(read?.done, done)
  t.ok(read!.attempts.length > 100, `${read!.attempts.length} attempts`)
  same(decodeProgress(encodeProgress(one), 7), one)
})

t.test('a few bytes that would become much are nothing', async t => {
  const half = (bytes: number) => sealed(3, 0, 0, ...deflateRawSync(Buffer.alloc(bytes, 0x55)))
  t.equal(decodeProgress(half(2 ** 15), 0)?.done.length, 2 ** 17)
  t.ok(decodeProgress(half(2 ** 15 + 1), 0) === null, 'more ranges than of ours')
  const ones = (bytes: number) => sealed(2, 0, 0, ...deflateRawSync(Buffer.alloc(bytes, 1)))
  t.equal(decodeProgress(ones(2 ** 18), 0)?.done.length, 2 ** 17)
  t.ok(decodeProgress(ones(2 ** 18 + 2), 0) === null)
  const zeros = (bytes: number) => sealed(3, 0, 0, ...deflateRawSync(Buffer.alloc(bytes)))
  t.ok(decodeProgress(zeros(2 ** 20), 0))
  t.equal(decodeProgress(zeros(2 ** 20 + 1), 0), null, 'more bytes than of ours')
})

t.test('what could not be read again is not written', async t => {
  const every = (records: number) => Array.from({ length: records }, (_, n): OffsetRange => [n * 2 + 1, n * 2 + 2])
  const one = { ...NOTHING, done: every(2 ** 17) }
  same(decodeProgress(encodeProgress(one, 10_000), 0), one)
  t.equal(encodeProgress({ ...NOTHING, done: every(2 ** 17 + 1) }, 10_000), '')
  // Far apart, they would deflate well, from more than is read.
  const apart = Array.from({ length: 2 ** 17 }, (_, n): OffsetRange => [n * 2 ** 35 + 1, n * 2 ** 35 + 2 ** 28 + 1])
  t.equal(encodeProgress({ ...NOTHING, done: apart }, 100_000), '')
})

t.test('20,000 completed behind one that hangs take a few bytes; every second one of 20,000 still fits', async t => {
  t.ok(encodeProgress({ ...NOTHING, base: 1000, leaderEpoch: 0, done: [[1001, 21_001]] }).length < 50)
  const alternating = { ...NOTHING, leaderEpoch: 0, done: Array.from({ length: 10_000 }, (_, n): OffsetRange => [n * 2 + 1, n * 2 + 2]) }
  same(decodeProgress(encodeProgress(alternating), 0), alternating)
})

t.test('asked in ascending order, it knows what was completed, and by which leader', async t => {
  const before = new CompletedBefore({ ...NOTHING, base: 10, leaderEpoch: 4, done: [[12, 14], [20, 21]] })
  const asked = [10, 11, 12, 13, 14, 19, 20, 21, 22]
  t.same(asked.filter(offset => before.has(offset, 4)), [12, 13, 20])
  t.notOk(new CompletedBefore({ ...NOTHING, base: 10, leaderEpoch: 4, done: [[12, 14]] }).has(12, 5))
})

/** Metadata of any content under a right checksum. */
function sealed (...content: number[]): string {
  const bytes = Buffer.from([0, 0, 0, 0, ...content])
  bytes.writeUInt32BE(crc32(bytes.subarray(4)))
  return `sluice1:${bytes.toString('base64')}.`
}

/** The same numbers each time (Park and Miller). */
function numbers (): () => number {
  let state = 1
  return () => {
    state = state * 48_271 % 2_147_483_647
    return state
  }
}

/** As JSON tells it, whatever the order of the fields. */
function same (read: unknown, written: unknown): void {
  const told = (value: unknown) => JSON.stringify(value, (_, one) =>
    one !== null && typeof one === 'object' && !Array.isArray(one) ? Object.fromEntries(Object.entries(one).sort()) : one)
  if (told(read) !== told(written)) throw new Error(`${told(read)} should be ${told(written)}`)
}
