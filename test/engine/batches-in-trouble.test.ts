import t from 'tap'
import { BatchFailedError, DivertedError, HandlerNeverSettledError, HandlerTimeoutError } from '../../src/engine/attempt-errors.js'
import type { EngineOptions } from '../../src/engine/engine.js'
import type { KafkaRecord } from '../../src/record.js'
import { committedOf, completed, distinct, harness, harnessOf, P0, P1, stop, type Harness, type TestBatchHandler } from '../support/engine-harness.js'

// Batches that take too long, never settle, hold up their partition, fail in an outage, or wait until they are full.

const many = (records: readonly KafkaRecord[]) => records.length > 1
const never = () => new Promise<never>(() => {})

t.test('one time limit for the batch: its signal is aborted, and where it ends by that each is tried alone', async t => {
  const reasons: unknown[] = []
  const h = harnessOf({
    handle: async (records, { signal }) => {
      if (!many(records)) return
      await new Promise(resolve => signal.addEventListener('abort', resolve))
      reasons.push(signal.reason)
      throw signal.reason
    }
  }, distinct(3), { handlerTimeoutMs: 1000 })
  await completed(h, 3)
  t.equal(reasons.length, 1)
  t.ok(reasons[0] instanceof HandlerTimeoutError)
  t.equal(h.told.get('attempt timed-out'), 3)
  t.equal(h.batches.length, 4)
  t.same(h.letters, [])
  await stop(h)
})

t.test('what a batch answers after its time counts all the same: record by record', async t => {
  const h = harnessOf({
    handle: async (records, { signal }) => {
      if (!many(records)) return
      await new Promise(resolve => signal.addEventListener('abort', resolve))
      return [undefined, new Error('no time left'), undefined]
    }
  }, distinct(3), { handlerTimeoutMs: 1000 })
  await completed(h, 3)
  t.same(h.batches, [[0, 1, 2], [1]])
  t.same([h.told.get('attempt timed-out'), h.told.get('attempt ok')], [1, 3])
  await stop(h)
})

t.test('a batch of many that never settles: its slot is free, its records wait for it, none is dead-lettered, and the attempt is written down', async t => {
  const h = harnessOf({ handle: (records) => many(records) ? never() : undefined }, distinct(3), { maxInFlight: 1, exhausted: 'skip' })
  await h.clock.advance(66_000)
  t.same([h.engine.state.abandoned, h.engine.state.inFlight, h.completed.length], [1, 0, 0])
  t.equal(h.told.get('attempt abandoned'), 3)
  h.source.append(distinct(1, 0, P1))
  await completed(h, 1)
  t.same(h.completed, ['t/1/0'], 'others go on')
  await h.clock.advance(2000)
  t.same(committedOf(h).progress?.attempts, [[0, 1], [1, 1], [2, 1]])

  // The process is killed, and the next one tries each alone.
  h.source.kill()
  const next = harness({ handle: () => {} }, {}, { after: h })
  next.source.event('assigned', [P0])
  await completed(next, 3)
  t.same(next.batches, [[0], [1], [2]])
  await stop(next)
})

t.test('with one attempt altogether as well: what was written down of it does not use it up', async t => {
  const retry = { maxAttempts: 1, backoffMs: 1, backoffMaxMs: 1 }
  const h = harnessOf({ handle: (records) => many(records) ? never() : undefined }, distinct(3), { retry })
  await h.clock.advance(70_000)
  h.source.kill()
  const next = harness({ handle: () => {} }, { retry }, { after: h })
  next.source.event('assigned', [P0])
  await completed(next, 3)
  t.same([next.outcomes, next.letters], [['handled', 'handled', 'handled'], []])
  await stop(next)
})

t.test('when it settles after all, its answer is read: what is done is done, what failed is tried alone', async t => {
  let settle = (_answer: unknown) => {}
  const h = harnessOf({ handle: records => many(records) ? new Promise(resolve => { settle = resolve }) : undefined }, distinct(3))
  await h.clock.advance(70_000)
  t.equal(h.engine.state.abandoned, 1)
  settle([undefined, new Error('late'), undefined])
  await completed(h, 3)
  t.same([h.engine.state.abandoned, h.batches], [0, [[0, 1, 2], [1]]])
  t.same([h.told.get('attempt abandoned'), h.told.get('attempt ok')], [3, 1], 'its attempts were told of once')
  await stop(h)
})

t.test('when it settles after its partition was lost, nothing of it counts, and its lanes are free for the next copies', async t => {
  let settle = (_answer: unknown) => {}
  const h = harnessOf({ handle: records => many(records) ? new Promise(resolve => { settle = resolve }) : undefined }, distinct(2))
  await h.clock.advance(70_000)
  h.source.event('lost', [P0])
  await h.clock.advance(1000)
  h.source.event('assigned', [P0])
  await h.clock.advance(1000)
  t.same(h.batches, [[0, 1]], 'the new copies wait for the old attempt')
  settle(undefined)
  await completed(h, 2)
  t.same(h.batches, [[0, 1], [0], [1]])
  await stop(h)
})

t.test('a batch of one that never settles is dead-lettered, as a single record is', async t => {
  const h = harnessOf({ handle: never }, distinct(1))
  await completed(h, 1)
  t.ok(h.letters[0].error instanceof HandlerNeverSettledError)
  await stop(h, 100)
})

const stuck: Partial<EngineOptions> = {
  windowMaxRecords: 20, diversionMaxPerMinute: 5, maxInFlight: 30, order: 'key', handlerTimeoutMs: 3_600_000, maxAbandoned: 10
}
/** Records 0 to 2 first, so that they share a batch. */
async function stuckBatch (handle: TestBatchHandler['handle'], options: Partial<EngineOptions> = {}): Promise<Harness> {
  const h = harnessOf({ maxRecords: 3, handle }, distinct(3), { ...stuck, windowMaxRecords: 30, ...options })
  await h.clock.until(() => h.batches.length === 1, 'the first batch')
  h.source.append(distinct(27, 3))
  return h
}

t.test('a record that holds up its partition is diverted with its batch told to end; only it loses an attempt', async t => {
  const attempts = new Map<number, number>()
  const h = await stuckBatch(async (records, { attempts: numbers, signal }) => {
    records.forEach(({ offset }, n) => attempts.set(offset, numbers[n]))
    if (records[0].offset > 0) return
    await new Promise(resolve => signal.addEventListener('abort', resolve))
    throw signal.reason
  })
  await completed(h, 30)
  t.same(h.letters.map(({ record: { offset }, error, attempts }) => [offset, attempts, error.name]), [[0, 1, 'DivertedError']])
  t.ok(h.letters[0].error instanceof DivertedError)
  t.same([attempts.get(1), attempts.get(2)], [1, 1])
  t.equal(h.told.get('diverted'), 1)
  await stop(h)
})

t.test('of a batch that does not end by that, the record alone is sent off; the others wait until it settles, or are diverted in their turn', async t => {
  let settle = (_answer: unknown) => {}
  const h = await stuckBatch(records => records[0].offset === 0 && many(records) ? new Promise(resolve => { settle = resolve }) : undefined,
    { diversionMaxPerMinute: 2 })
  await h.clock.advance(20_000)
  t.same(h.letters.map(({ record: { offset } }) => offset), [0, 1])
  t.equal(h.completed.length, 29)
  settle([new Error('late'), new Error('late'), undefined])
  await completed(h, 30)
  t.same(h.outcomes.filter(outcome => outcome === 'dead-lettered').length, 2)
  t.equal(h.engine.state.abandoned, 0)
  await stop(h)
})

const breaker = { failureShare: 0.5, records: 4, probeMs: 1000, probeMaxMs: 1000 }

t.test('a batch that fails as a whole is one failure: one poison record opens no breaker', async t => {
  const h = harnessOf({ maxRecords: 10, handle: records => { if (records.some(({ offset }) => offset === 3)) throw new Error('poison') } }, distinct(10), { breaker })
  await completed(h, 10)
  t.equal(h.told.get('breaker open'), undefined)
  t.equal(h.letters.length, 1)
  await stop(h)
})

t.test('an outage opens it, costs no attempts, and is probed with one record', async t => {
  let away = true
  const h = harnessOf({ maxRecords: 5, handle: async () => { if (away) throw new Error('the database is away') } }, distinct(60), {
    breaker, maxInFlight: 8
  })
  await h.clock.until(() => h.told.get('breaker open') === 1, 'open')
  const before = h.batches.length
  await h.clock.advance(5_500)
  t.ok(h.batches.length > before + 2)
  for (const batch of h.batches.slice(before)) t.equal(batch.length, 1)
  away = false
  await completed(h, 60)
  t.same(h.letters, [])
  t.ok(h.batches.at(-1)!.length > 1 || h.batches.slice(before).some(batch => batch.length > 1), 'batches again')
  await stop(h)
})

t.test('a batch that blames an outage is tried again as one: it says nothing of its records', async t => {
  let away = true
  const h = harnessOf({ handle: async () => { if (away) throw Object.assign(new Error('401'), { outage: true, retriable: false, retryAfterMs: 500 }) } }, distinct(3))
  await h.clock.advance(400)
  t.same(h.batches, [[0, 1, 2]])
  away = false
  await completed(h, 3)
  t.same(h.batches, [[0, 1, 2], [0, 1, 2]])
  await stop(h)
})

t.test('records that a predecessor has tried go alone', async t => {
  const h = harnessOf({ handle: async () => [null, new Error('x'), null, null] }, distinct(4), { retry: { maxAttempts: 9, backoffMs: 600_000, backoffMaxMs: 600_000 } })
  await h.clock.until(() => committedOf(h).progress?.attempts.length === 1, 'the attempt is written down')
  h.source.kill()
  const next = harness({ handle: async () => {} }, {}, { after: h })
  next.source.append(distinct(3, 4))
  next.source.event('assigned', [P0])
  await completed(next, 4)
  t.same(next.batches.map(batch => batch.join()).sort(), ['1', '4,5,6'])
  await stop(next)
})

t.test('as long as a partition is begun with care its records go one by one, and in batches again afterwards', async t => {
  let h = harnessOf({ handle: never }, distinct(30), { maxInFlight: 2 })
  for (let life = 0; life < 3; life++) {
    await h.clock.until(() => h.batches.length > 0, 'a start')
    h.source.kill()
    h = harness({ handle: life === 2 ? async () => {} : never }, { maxInFlight: 2 }, { after: h })
    h.source.event('assigned', [P0])
  }
  await completed(h, 30)
  t.equal(h.told.get('suspected'), 1)
  t.same(h.batches.slice(0, 3).map(({ length }) => length), [1, 1, 10])
  await stop(h)
})

t.test('what is dropped while its partition is drained is done, as what came after it is', async t => {
  let answer = (_entries: unknown[]) => {}
  const h = harnessOf({ handle: () => new Promise(resolve => { answer = resolve }) }, distinct(3), { order: 'partition' })
  await h.clock.until(() => h.batches.length === 1, 'the batch')
  h.source.event('revoked', [P0])
  await h.clock.advance(100)
  answer([undefined, Object.assign(new Error('of no use'), { drop: true }), undefined])
  await h.clock.advance(1_000)
  t.same(h.outcomes, ['handled', 'skipped', 'handled'])
  t.equal(committedOf(h).offset, 3)
  await stop(h)
})

t.test('what fails while its partition is drained, and what came after it in its lane, is left to the next owner', async t => {
  let answer = (_entries: unknown[]) => {}
  const h = harnessOf({ handle: () => new Promise(resolve => { answer = resolve }) }, distinct(3), { order: 'partition' })
  await h.clock.until(() => h.batches.length === 1, 'the batch')
  h.source.event('revoked', [P0])
  await h.clock.advance(100)
  answer([undefined, new Error('bad'), undefined])
  await h.clock.advance(1_000)
  t.same([h.completed, h.told.get('failed: given-back')], [['t/0/0'], 1])
  t.match(committedOf(h), { offset: 1, progress: { attempts: [[1, 1]] } })
  t.same([h.engine.state.inFlight, h.engine.state.waiting], [0, 0])
  await stop(h)
})

// ---- waiting until a batch is full

t.test('what waits for a full batch holds no slot, and ends at once with a drain', async t => {
  const records = [...distinct(3), ...distinct(10, 0, P1)]
  const h = harnessOf({ maxRecords: 10, waitMs: 60_000, handle: async () => {} }, records, { maxInFlight: 1 })
  await completed(h, 10)
  t.same([h.engine.state.inFlight, h.engine.state.waiting], [0, 3])
  const from = h.clock.now()
  await stop(h)
  t.ok(h.clock.now() - from < 1000)
  t.equal(committedOf(h).offset, 0, 'it was not started, and comes again')
})

t.test('a partition that is revoked while it waits, and comes again, is handled', async t => {
  const h = harnessOf({ maxRecords: 10, waitMs: 2_000, handle: async () => {} }, distinct(3))
  await h.clock.advance(1_000)
  h.source.event('revoked', [P0])
  await h.clock.advance(500)
  h.source.event('assigned', [P0])
  await completed(h, 3)
  t.same(h.batches, [[0, 1, 2]])
  await stop(h)
})

t.test('a retry waits for its own time only, not for a batch', async t => {
  let tries = 0
  const h = harnessOf({
    waitMs: 10_000,
    maxRecords: 3,
    handle: async records => records.map(({ offset }) => offset === 0 && ++tries === 1 ? new Error('once') : null)
  }, distinct(3))
  await h.clock.until(() => h.batches.length > 0, 'the batch')
  const from = h.clock.now()
  await completed(h, 3)
  t.ok(h.clock.now() - from < 1_000)
  await stop(h)
})

t.test('what is said of a whole batch is a BatchFailedError with the thrown error as its cause', async t => {
  const thrown = new Error('poison')
  const errors: Error[] = []
  const handle: TestBatchHandler['handle'] = records => { if (many(records)) throw thrown }
  const h = harnessOf({ handle }, distinct(2), {}, { failed: error => { errors.push(error) } })
  await completed(h, 2)
  t.equal(errors.length, 2)
  t.ok(errors.every(error => error instanceof BatchFailedError && error.cause === thrown))
  await stop(h)
})
