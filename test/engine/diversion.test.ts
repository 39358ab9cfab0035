import t from 'tap'
import { DivertedError } from '../../src/engine/attempt-errors.js'
import type { EngineOptions } from '../../src/engine/engine.js'
import { distinct, harness, P0, P1, place, stop, type Harness, type TestHandler } from '../support/engine-harness.js'

// A record at the head of its window makes way when the window is nearly full and nearly all done.

const options: Partial<EngineOptions> = {
  windowMaxRecords: 20, diversionMaxPerMinute: 5, maxInFlight: 30, order: 'key', handlerTimeoutMs: 3_600_000, maxAbandoned: 10
}
/** Hangs at some offsets, and ends when it is told to. */
const hangsAt = (...offsets: number[]): TestHandler => ({ offset }, { signal }) => {
  if (!offsets.includes(offset)) return
  return new Promise((_resolve, reject) => { signal.addEventListener('abort', () => reject(signal.reason)) })
}

t.test('the head is told to end and dead-lettered when the window is nine tenths full and nine tenths done', async t => {
  const h = harness(hangsAt(0), options)
  h.source.append(distinct(18))
  h.source.event('assigned', [P0])
  await h.clock.advance(3_000)
  t.same(h.letters.map(({ record, attempts, error }) => [record.offset, attempts, error.name]), [[0, 1, 'DivertedError']])
  t.ok(h.letters[0].error instanceof DivertedError)
  t.same([h.told.get('diverted'), h.told.get('attempt timed-out'), h.completed.length], [1, 1, 18])
  t.same(h.engine.state.problems, [])
  await stop(h)
})

t.test('not when it is less than nine tenths full', async t => {
  const h = harness(hangsAt(0), options)
  h.source.append(distinct(17))
  h.source.event('assigned', [P0])
  await h.clock.advance(300_000)
  t.equal(h.completed.length, 16)
  t.equal(h.told.get('diverted'), undefined)
  await stop(h)
})

t.test('not when less than nine tenths of it are done', async t => {
  const h = harness(hangsAt(0, 5, 9), options)
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.advance(300_000)
  t.equal(h.completed.length, 17)
  t.equal(h.told.get('diverted'), undefined)
  await stop(h)
})

t.test('the next one makes way as well: what was full is not fetched again before half of it is free', async t => {
  const h = harness(hangsAt(0, 5), options)
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.advance(10_000)
  t.same(h.letters.map(({ record }) => record.offset), [0, 5], 'with 15 in the window')
  h.source.append(distinct(3, 20))
  await h.clock.until(() => h.completed.length === 23, 'more')
  await stop(h)
})

t.test('0 a minute: never', async t => {
  const h = harness(hangsAt(0), { ...options, diversionMaxPerMinute: 0 })
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.advance(300_000)
  t.equal(h.letters.length, 0)
  await stop(h)
})

t.test('one that ends well after all is handled', async t => {
  const h = harness(async ({ offset }, { signal }) => {
    if (offset === 0) await new Promise<void>(resolve => { signal.addEventListener('abort', () => resolve()) })
  }, options)
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'all')
  t.same(h.letters, [])
  t.same(new Set(h.outcomes), new Set(['handled']))
  await stop(h)
})

t.test('only so many a minute; then the problems name the record and the setting, until the minute is over', async t => {
  const partitions = [0, 1, 2, 3].map(partition => ({ topic: 't', partition }))
  const h = harness(hangsAt(0), { ...options, diversionMaxPerMinute: 2 })
  for (const partition of partitions) h.source.append(distinct(20, 0, partition))
  h.source.event('assigned', partitions)
  await h.clock.advance(5_000)
  t.equal(h.letters.length, 2)
  t.match(h.engine.state.problems, [/the record at offset 0 of t\/\d holds up its partition, and 2 records were .*KAFKA_DIVERSION_MAX_PER_MINUTE/])
  await h.clock.advance(50_000)
  t.equal(h.letters.length, 2)
  await h.clock.advance(10_000)
  t.equal(h.letters.length, 4)
  t.same(h.engine.state.problems, [])
  await stop(h)
})

t.test('the problem is gone with the partition that it speaks of', async t => {
  const h = harness(hangsAt(0), { ...options, diversionMaxPerMinute: 1, drainTimeoutMs: 10 })
  h.source.append(distinct(20))
  h.source.append(distinct(20, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(5_000)
  t.equal(h.engine.state.problems.length, 1)
  h.source.event('revoked', [P0, P1])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.same(h.engine.state.problems, [])
  await stop(h)
})

t.test('a handler that does not end is abandoned after the grace: its record is dead-lettered, its key stays held', async t => {
  let end: () => void = () => {}
  const h: Harness = harness(({ offset }) => offset === 0 ? new Promise<void>(resolve => { end = resolve }) : undefined, options)
  h.source.append(distinct(19))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.told.get('diverted') === 1, 'it to be told')
  await h.clock.advance(4_900)
  t.equal(h.letters.length, 0)
  await h.clock.advance(200)
  t.same(h.letters.map(({ record, error }) => [record.offset, error.name]), [[0, 'HandlerNeverSettledError']])
  t.equal(h.engine.state.abandoned, 1)
  h.source.append([{ ...distinct(1, 19)[0], key: Buffer.from('k0') }])
  await h.clock.advance(5_000)
  t.equal(h.completed.length, 19)
  end()
  await h.clock.until(() => h.completed.length === 20, 'the next of its key')
  t.equal(h.engine.state.abandoned, 0)
  await stop(h)
})

t.test('what waits for its next attempt makes way, too, without another one', async t => {
  const h = harness(({ offset }) => { if (offset === 0) throw Object.assign(new Error('later'), { retryAfterMs: 3_600_000 }) }, options)
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'all')
  t.same(h.letters.map(({ record, attempts, error, retryInMs }) => [record.offset, attempts, error.name, retryInMs]), [[0, 1, 'DivertedError', null]])
  t.equal(h.engine.state.retrying, 0)
  await stop(h)
})

t.test('with a retry topic it goes there while it has attempts left', async t => {
  const h = harness(hangsAt(0), { ...options, deferAfterMs: 60_000 })
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'all')
  t.same(h.letters.map(({ record, attempts, retryInMs }) => [record.offset, attempts, retryInMs]), [[0, 1, 60_000]])
  t.equal(h.outcomes.at(-1), 'deferred')
  await stop(h)
  const last = harness(hangsAt(0), { ...options, deferAfterMs: 60_000, retry: { maxAttempts: 1, backoffMs: 1, backoffMaxMs: 1 } })
  last.source.append(distinct(20))
  last.source.event('assigned', [P0])
  await last.clock.until(() => last.completed.length === 20, 'all')
  t.same(last.letters.map(({ retryInMs }) => retryInMs), [null], 'with none left it is a dead letter')
  await stop(last)
})

t.test('what the retry topic does not take of these is a dead letter', async t => {
  let refused = 0
  const h = harness(hangsAt(0), { ...options, deferAfterMs: 60_000 }, {
    sink: async ({ retryInMs }) => {
      if (retryInMs == null) return
      refused++
      throw new Error('no such topic')
    }
  })
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'all')
  t.equal(refused, 1)
  t.same(h.letters.map(({ retryInMs }) => retryInMs), [null])
  t.equal(h.started.filter(at => at === 't/0/0').length, 1)
  await stop(h)
})

t.test('one that blocks is left alone, and so is one whose dead letter is refused', async t => {
  for (const more of [{ exhausted: 'block' as const }, {}]) {
    let refuse = true
    const h = harness(({ offset }) => { if (offset === 0) throw Object.assign(new Error('bad'), { retriable: false }) },
      { ...options, ...more }, { sink: async () => { if (refuse) throw new Error('away') } })
    h.source.append(distinct(20))
    h.source.event('assigned', [P0])
    await h.clock.advance(120_000)
    t.equal(h.completed.length, 19)
    t.equal(h.told.get('diverted'), undefined)
    refuse = false
    await stop(h)
  }
})

t.test('one that is paused is left alone', async t => {
  const h = harness(hangsAt(0), options)
  h.source.append(distinct(17))
  h.source.event('assigned', [P0])
  await h.clock.advance(1000)
  h.source.append(distinct(3, 17))
  h.engine.controls.pause({})
  await h.clock.advance(120_000)
  t.equal(h.told.get('diverted'), undefined)
  h.engine.controls.resume({})
  await h.clock.until(() => h.completed.length === 20, 'all')
  t.equal(h.told.get('diverted'), 1)
  await stop(h)
})

t.test('while the breaker is not closed nobody makes way', async t => {
  let outage = false
  const h = harness(async (record, attempt, clock) => {
    if (record.partition === 1 && outage) throw new Error('away')
    if (record.partition === 0 && record.offset >= 17) await clock.sleep(5_000)
    await hangsAt(0)(record, attempt, clock)
  }, {
    ...options,
    breaker: { failureShare: 1, records: 3, probeMs: 1000, probeMaxMs: 1000 },
    retry: { maxAttempts: 9, backoffMs: 1, backoffMaxMs: 1 }
  })
  h.source.append(distinct(17))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length === 16, 'all but one')
  outage = true
  h.source.append(distinct(3, 17))
  h.source.append(distinct(3, 1, P1))
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  await h.clock.until(() => h.completed.length === 19, 'all but the one that hangs')
  await h.clock.advance(60_000)
  t.equal(h.told.get('diverted'), undefined)
  t.equal(h.letters.length, 0)
  await stop(h)
})

t.test('one of a partition that drains is left alone', async t => {
  const h = harness(hangsAt(0), { ...options, drainTimeoutMs: 60_000 })
  h.source.append(distinct(17))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 16, 'all but one')
  h.source.append(distinct(3, 17))
  h.source.event('revoked', [P0])
  await h.clock.advance(30_000)
  t.equal(h.told.get('diverted'), undefined)
  await stop(h)
})

t.test('one that made way just before its partition was lost leaves nothing behind', async t => {
  const h: Harness = harness(({ offset }) => offset === 0 ? new Promise<void>(() => {}) : undefined, options)
  h.source.append(distinct(19))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.told.get('diverted') === 1, 'it to be told')
  h.source.event('lost', [P0])
  await h.clock.advance(20_000)
  t.equal(h.letters.length, 0)
  t.equal(h.engine.state.inFlight, 0)
  t.notOk(h.completed.includes(place({ ...P0, offset: 0 })))
  await stop(h)
})
