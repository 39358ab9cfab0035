import fc from 'fast-check'
import t from 'tap'
import { isOutage, isRetriable, retryDelay } from '../../src/engine/retry.js'
import { distinct, harness, P0, place, stop, type Harness } from '../support/engine-harness.js'

const outage = (more: object = {}) => Object.assign(new Error('the target answers 401'), { outage: true, ...more })
const policy = { maxAttempts: 3, backoffMs: 100, backoffMaxMs: 1000 }
const never = { failureShare: 0, records: 20, probeMs: 1000, probeMaxMs: 30_000 }

t.test('`outage: true` beats `retriable: false`, and `drop: true` beats both; nothing else means it', t => {
  t.ok(isOutage(outage()) && isRetriable(outage()))
  t.ok(isOutage(outage({ retriable: false })) && isRetriable(outage({ retriable: false })))
  t.notOk(isOutage(outage({ drop: true })) || isRetriable(outage({ drop: true })))
  for (const other of [undefined, null, 1, 'true', false]) t.notOk(isOutage({ outage: other }), String(other))
  t.end()
})

t.test('the wait grows with attempts that do not count, up to its most', t => {
  t.same([0, 1, 2, 3, 4, 5, 5000].map(uncounted => retryDelay(policy, 0, outage(), 0.5, uncounted)), [25, 50, 100, 200, 400, 500, 500])
  t.equal(retryDelay(policy, 3, outage(), 0.5, 2), null, 'and what counts ends as ever')
  t.end()
})

t.test('an outage uses up no attempt, however long it takes, and with a single record', async t => {
  let away = true
  const attempts = new Set<number>()
  const h = harness((_record, { attempt }) => {
    attempts.add(attempt)
    if (away) throw outage()
  }, { breaker: never, retry: { ...policy, maxAttempts: 1 } })
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.advance(60_000)
  t.ok(h.started.length > 60 && h.started.length < 400, `${h.started.length} starts in a minute: the waits have grown`)
  t.same([h.letters.length, h.completed.length], [0, 0])
  away = false
  await h.clock.until(() => h.completed.length === 1, 'it to be handled')
  t.same([...attempts], [1])
  t.equal(h.letters.length, 0)
  await stop(h)
})

t.test('what serves other records meanwhile is no outage: this one ends as a dead letter, and holds its key no longer', async t => {
  const h = harness(({ offset }) => { if (offset === 3) throw outage() }, { breaker: never, retry: policy, order: 'key' })
  h.source.event('assigned', [P0])
  h.source.append(distinct(3))
  await h.clock.until(() => h.completed.length === 3, 'the others')
  h.source.append(distinct(1, 3))
  await h.clock.advance(30_000)
  t.equal(h.letters.length, 0, 'nothing else was handled since it failed first')
  for (let n = 1; n <= 3; n++) {
    t.equal(h.letters.length, 0, `${n - 1} attempts count`)
    h.source.append(distinct(1, 3 + n))
    await h.clock.advance(5_000)
  }
  t.same(h.letters.map(({ record, attempts }) => [place(record), attempts]), [['t/0/3', 3]])
  await stop(h)
})

t.test('it feeds the breaker, also with `retriable: false` beside it', async t => {
  let away = true
  const h: Harness = harness(() => { if (away) throw outage({ retriable: false }) }, {
    breaker: { failureShare: 0.5, records: 5, probeMs: 1000, probeMaxMs: 8000 }
  })
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  t.match(h.engine.state.problems, [/the target answers 401/])
  away = false
  await h.clock.until(() => h.completed.length === 20, 'all')
  t.equal(h.letters.length, 0)
  await stop(h)
})

t.test('for any outage, however short or long, nothing at all is dead-lettered', async t => {
  await fc.assert(fc.asyncProperty(fc.record({
    order: fc.constantFrom('unordered' as const, 'key' as const, 'partition' as const),
    records: fc.integer({ min: 2, max: 30 }),
    failureShare: fc.constantFrom(0, 0.1, 1),
    outageMs: fc.nat(60_000),
    before: fc.nat(20)
  }), async ({ order, records, failureShare, outageMs, before }) => {
    let away = false
    const h = harness(() => { if (away) throw outage() }, {
      order, maxInFlight: 8, retry: { ...policy, maxAttempts: 1 }, breaker: { failureShare, records, probeMs: 500, probeMaxMs: 4000 }
    })
    h.source.append(distinct(before))
    h.source.event('assigned', [P0])
    await h.clock.until(() => h.completed.length === before, 'the time before')
    away = true
    h.source.append(distinct(20, before))
    await h.clock.advance(outageMs)
    away = false
    await h.clock.until(() => h.completed.length === before + 20, 'the time after')
    if (h.letters.length > 0) throw new Error(`${h.letters.length} dead letters`)
    await stop(h)
  }), { numRuns: 40 })
})
