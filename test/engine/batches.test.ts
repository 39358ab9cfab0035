import t from 'tap'
import { BatchFailedError } from '../../src/engine/attempt-errors.js'
import { BatchAnswerError } from '../../src/engine/batch-answer.js'
import type { KafkaRecord } from '../../src/record.js'
import { committedOf, completed, distinct, harnessOf, P0, P1, stop, type TestBatchHandler } from '../support/engine-harness.js'
import { record } from '../support/fake-source.js'

// What a handler of batches gets, and what becomes of the records of one, within the engine. How they are taken is in
// scheduler.test.ts, how an answer is read in batch-answer.test.ts.

/** Records of one partition with these keys, from offset 0 on. */
function keyed (keys: string, from = 0): KafkaRecord[] {
  return [...keys].map((key, n) => record({ ...P0, offset: from + n, key: key === '-' ? null : Buffer.from(key) }))
}

const ok = () => {}

t.test('by partition, keys together: in offset order, full as long as there is enough, and the rest as it is', async t => {
  const seen: string[] = []
  const h = harnessOf({
    maxRecords: 4, handle: async (records, { attempts }) => { seen.push(records.map(({ key }) => key!.toString()).join('') + attempts.join('')) }
  }, keyed('aabcabcaab'))
  await completed(h, 10)
  t.same(h.batches.flat().sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  for (const batch of h.batches) t.same(batch, [...batch].sort((a, b) => a - b))
  t.equal(seen[0], 'aaaa1111', 'a lane gives all that it has')
  await stop(h)
  t.equal(committedOf(h).offset, 10)
})

t.test('by key: one key in a batch, and records without a key among themselves', async t => {
  const h = harnessOf({ maxRecords: 3, by: 'key', handle: ok }, keyed('ab-aab--a-'), { maxInFlight: 1 })
  await completed(h, 10)
  t.same(h.batches, [[0, 3, 4], [1, 5], [2, 6, 7], [8], [9]])
  await stop(h)
})

for (const order of ['unordered', 'partition'] as const) {
  t.test(`${order}: the records of a partition as they come, and never of two`, async t => {
    const h = harnessOf({ maxRecords: 4, handle: async (_records, _attempt, clock) => { await clock.sleep(10) } },
      [...distinct(6), ...distinct(5, 0, P1)], { order })
    await completed(h, 11)
    t.same(h.batches.map(batch => batch.join()).sort(), ['0,1,2,3', '0,1,2,3', '4', '4,5'])
    t.equal(h.peak, order === 'partition' ? 2 : 4)
    await stop(h)
  })
}

t.test('a batch is one handler in flight, whatever the number of its records', async t => {
  const handle: TestBatchHandler['handle'] = async (_records, _attempt, clock) => { await clock.sleep(10) }
  const h = harnessOf({ maxRecords: 5, handle }, distinct(40), { maxInFlight: 3 })
  await h.clock.until(() => h.engine.state.inFlight > 0, 'a start')
  t.equal(h.engine.state.inFlight, 3)
  t.equal(h.engine.state.partitions[0].inFlight, 3)
  t.equal(h.engine.state.waiting, 25)
  await completed(h, 40)
  t.equal(h.peak, 3)
  await stop(h)
})

t.test('what fails is tried again alone, with its attempts counted, and goes to the dead letters by itself', async t => {
  const attempts: number[][] = []
  const h = harnessOf({
    handle: async (records, attempt) => {
      attempts.push([...attempt.attempts])
      return records.map(({ offset }) => offset === 1 ? new Error('bad') : undefined)
    }
  }, distinct(4))
  await completed(h, 4)
  t.same(h.batches, [[0, 1, 2, 3], [1], [1]])
  t.same(attempts, [[1, 1, 1, 1], [2], [3]])
  t.same(h.letters.map(({ record: { offset }, attempts, error }) => [offset, attempts, error.message]), [[1, 3, 'bad']])
  t.same([h.told.get('attempt ok'), h.told.get('attempt failed')], [3, 3])
  await stop(h)
})

t.test('a record that came after a failed one of its lane is given back, whatever was answered for it, with no attempt counted', async t => {
  const seen: string[] = []
  const h = harnessOf({
    handle: async (records, { attempts }) => {
      seen.push(records.map(({ offset }, n) => `${offset}:${attempts[n]}`).join(' '))
      return records.map(({ offset }, n) => offset === 1 && attempts[n] === 1 ? new Error('not yet') : offset === 3 ? new Error('bad') : null)
    }
  }, keyed('baba'), { retry: { maxAttempts: 2, backoffMs: 100, backoffMaxMs: 1000 } })
  await h.clock.advance(20)
  t.same(seen, ['0:1 1:1 2:1 3:1'])
  t.same(h.completed, ['t/0/0', 't/0/2'])
  await completed(h, 4)
  t.same(seen.slice(1), ['1:2', '3:1', '3:2'], 'the later one waited for the first, and had an attempt less')
  await stop(h)
})

t.test('with partition order the first that fails stops all that come after it', async t => {
  const h = harnessOf({
    handle: async (records, { attempts }) => records.map(({ offset }, n) => offset === 1 && attempts[n] === 1 ? new Error('not yet') : null)
  }, distinct(4), { order: 'partition' })
  await completed(h, 4)
  t.same(h.batches, [[0, 1, 2, 3], [1], [2, 3]])
  t.same(h.completed, ['t/0/0', 't/0/1', 't/0/2', 't/0/3'])
  await stop(h)
})

t.test('where a batch fails as a whole, the records of a lane go alone in their order, and only the first has an attempt less', async t => {
  const seen: string[] = []
  const h = harnessOf({
    handle: async (records, { attempts }) => {
      seen.push(records.map(({ offset }, n) => `${offset}:${attempts[n]}`).join(' '))
      if (records.length > 1) throw new Error('whole')
    }
  }, distinct(4), { order: 'partition' })
  await completed(h, 4)
  t.same(seen, ['0:1 1:1 2:1 3:1', '0:2', '1:1', '2:1', '3:1'])
  await stop(h)
})

t.test('one that is dropped is done: what came after it stands', async t => {
  const h = harnessOf({
    handle: async records => records.map(({ offset }) => offset === 1 ? Object.assign(new Error('no use'), { drop: true }) : null)
  }, distinct(4), { order: 'partition' })
  await completed(h, 4)
  t.same(h.batches, [[0, 1, 2, 3]])
  t.same(h.outcomes, ['handled', 'skipped', 'handled', 'handled'])
  await stop(h)
})

t.test('what is no good goes to the dead letters at once, and what waits waits for as long as it asked', async t => {
  const h = harnessOf({
    handle: async (records, { attempts }) => records.map(({ offset }, n) => {
      if (offset === 0) return { status: 'rejected', reason: Object.assign(new Error('bad'), { retriable: false }) }
      if (offset === 1 && attempts[n] === 1) return { status: 'rejected', reason: Object.assign(new Error('busy'), { retryAfterMs: 5000 }) }
      return { status: 'fulfilled', value: offset }
    })
  }, distinct(3))
  await h.clock.advance(4900)
  t.same(h.batches, [[0, 1, 2]])
  t.same(h.completed, ['t/0/2', 't/0/0'])
  await h.clock.advance(300)
  t.same(h.batches, [[0, 1, 2], [1]])
  await completed(h, 3)
  await stop(h)
})

for (const [what, handle] of Object.entries<TestBatchHandler['handle']>({
  'a handler that throws': (records) => { if (records.length > 1) throw new Error('poison') },
  'one that rejects': async (records) => { if (records.length > 1) throw new Error('poison') },
  'one that asks for no retry': (records) => { if (records.length > 1) throw Object.assign(new Error('poison'), { retriable: false }) },
  'one that asks to drop': (records) => { if (records.length > 1) throw Object.assign(new Error('poison'), { drop: true }) },
  'one that answers nonsense': records => records.length > 1 ? 'ok' : undefined
})) {
  for (const maxAttempts of [1, 3]) {
    t.test(`${what}, with ${maxAttempts} attempts: all failed, none is dead-lettered or dropped, each is tried alone`, async t => {
      const h = harnessOf({ handle }, distinct(3), { retry: { maxAttempts, backoffMs: 1, backoffMaxMs: 1 } })
      await completed(h, 3)
      t.same(h.batches[0], [0, 1, 2])
      t.same(h.batches.slice(1).map(batch => batch.join()).sort(), ['0', '1', '2'])
      t.same(h.outcomes, ['handled', 'handled', 'handled'])
      t.same(h.letters, [])
      await stop(h)
    })
  }
}

t.test('a poison record takes no other with it: it alone goes to the dead letters, and the others lose one attempt at most', async t => {
  const most = new Map<number, number>()
  const h = harnessOf({
    handle: async (records, { attempts }) => {
      records.forEach(({ offset }, n) => most.set(offset, attempts[n]))
      if (records.some(({ offset }) => offset === 5)) throw new Error('poison')
    }
  }, keyed('abcabcabcabc'))
  await completed(h, 12)
  t.same(h.letters.map(({ record: { offset }, error }) => [offset, error.message]), [[5, 'poison']])
  for (const [offset, attempts] of most) t.ok(offset === 5 ? attempts === 3 : attempts <= 2, `${offset}: ${attempts}`)
  await stop(h)
})

t.test('what is said of a batch that failed as a whole names how many, and why; of one of one, only why', async t => {
  const errors: Error[] = []
  const h = harnessOf({ handle: () => 'nonsense' }, distinct(2), { retry: { maxAttempts: 2, backoffMs: 1, backoffMaxMs: 1 } },
    { failed: error => { errors.push(error) } })
  await completed(h, 2)
  t.ok(errors[0] instanceof BatchFailedError)
  t.match(errors[0], { message: /^the handler failed for a batch of 2 records as a whole: the handler's answer is not understood: / })
  t.ok(h.letters.every(({ error }) => error instanceof BatchAnswerError))
  await stop(h)
})
