import fc from 'fast-check'
import t from 'tap'
import { BatchAnswerError, readAnswer, type BatchResult } from '../../src/engine/batch-answer.js'

const error = new Error('e')
const produced = { produce: [{ topic: 't', value: 'v' }] }

/** Entries that are understood, each with what it says. */
const understood: fc.Arbitrary<[unknown, BatchResult]> = fc.oneof(
  fc.constantFrom(undefined, null).map((entry): [unknown, BatchResult] => [entry, { failed: false, value: undefined }]),
  fc.constantFrom(error, new TypeError('of another class'), new DOMException('aborted', 'AbortError'))
    .map((entry): [unknown, BatchResult] => [entry, { failed: true, error: entry }]),
  fc.anything().map((value): [unknown, BatchResult] => [{ status: 'fulfilled', value }, { failed: false, value }]),
  fc.anything().map((reason): [unknown, BatchResult] => [{ status: 'rejected', reason }, { failed: true, error: reason }]),
  fc.constant<[unknown, BatchResult]>([produced, { failed: false, value: produced }])
)
const nonsense: unknown[] = [
  true, false, 0, 1, Number.NaN, 'ok', '', Symbol('s'), 1n, () => {}, {}, [], Promise.resolve(), { then: () => {} }, { status: 'ok' }, { status: 'done', produce: [] },
  { produce: 'text' }, { reason: error }, new Date(0), new Map()
]

t.test('for any entries that are understood, each says how its record ended, in their order', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(understood), all => {
    const results = readAnswer(all.map(([entry]) => entry), all.length)!
    all.forEach(([, expected], index) => {
      const result = results[index] as { failed: boolean, value?: unknown, error?: unknown }
      const { failed, value, error } = expected as typeof result
      if (result.failed !== failed || !Object.is(result.value, value) || !Object.is(result.error, error)) throw new Error(`entry ${index}`)
    })
    return results.length === all.length
  })))
})

t.test('for any answer there is one reading or one clear error, and never a record too few or too many', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.anything({ withNullPrototype: true, withBigInt: true }), fc.nat(5), (answer, count) => {
    try {
      const results = readAnswer(answer, count)
      return results === null ? answer === undefined || answer === null : results.length === count
    } catch (error) {
      return error instanceof BatchAnswerError && error.message.length < 500
    }
  }), { numRuns: 1000 }))
})

t.test('for any answer with one entry that is not understood, nothing of it counts', async t => {
  const around = fc.array(understood)
  t.doesNotThrow(() => fc.assert(fc.property(around, around, fc.constantFrom(...nonsense), (before, after, odd) => {
    const answer = [...before.map(([entry]) => entry), odd, ...after.map(([entry]) => entry)]
    try {
      readAnswer(answer, answer.length)
      return false
    } catch (error) {
      return error instanceof BatchAnswerError && error.message.includes(`entry ${before.length} is `)
    }
  })))
})

t.test('nothing at all is: all are done', async t => {
  t.equal(readAnswer(undefined, 3), null)
  t.equal(readAnswer(null, 3), null)
})

t.test('what is no array is not understood, whatever it is, and the error says what it was', async t => {
  for (const answer of nonsense) {
    if (Array.isArray(answer)) continue
    t.throws(() => readAnswer(answer, 1), BatchAnswerError)
  }
  t.throws(() => readAnswer({ insertedCount: 3, secret: 'x' }, 3),
    { message: /^the handler's answer is not understood: got an object with insertedCount, secret; it must be/ })
  t.throws(() => readAnswer('a payload', 3), { message: /: got a string; / })
  t.throws(() => readAnswer([Promise.resolve()], 1), { message: /: entry 0 is a promise that nobody awaited; / })
})

t.test('one entry too few or too many is not understood: nobody knows which record is meant', async t => {
  t.throws(() => readAnswer([null], 2), { message: /: got 1 entries for 2 records; / })
  t.throws(() => readAnswer([null, null, null], 2), { message: /: got 3 entries for 2 records; / })
  t.throws(() => readAnswer([], 1), BatchAnswerError)
})

t.test('holes are entries without a word', async t => {
  const sparse: unknown[] = new Array(2)
  sparse[1] = error
  t.same(readAnswer(sparse, 2)?.map(({ failed }) => failed), [false, true])
})

t.test('what Promise.allSettled answers is an answer', async t => {
  const answer = await Promise.allSettled([Promise.resolve(1), Promise.reject(error)])
  t.same(readAnswer(answer, 2), [{ failed: false, value: 1 }, { failed: true, error }])
})

t.test('an answer that throws when it is looked at is not understood', async t => {
  const traps = { get () { throw new Error('trap') }, has () { throw new Error('trap') } }
  for (const answer of [new Proxy([null], traps), [new Proxy({}, traps)], [{ get status () { throw new Error('trap') } }]]) {
    t.throws(() => readAnswer(answer, 1), { name: 'BatchAnswerError', message: /: it cannot be read; / })
  }
})
