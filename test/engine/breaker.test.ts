import fc from 'fast-check'
import t from 'tap'
import { Breaker } from '../../src/engine/breaker.js'
import type { EngineOptions } from '../../src/engine/engine.js'
import { committedOf, distinct, harness, P0, P1, place, stop, type Harness } from '../support/engine-harness.js'

const failure = new Error('the database is away')
const one = () => ({})
const breaker = (options: Partial<ConstructorParameters<typeof Breaker>[0]> = {}) =>
  new Breaker({ failureShare: 0.5, records: 4, probeMs: 100, probeMaxMs: 400, ...options })

t.test('it opens when the share of the last records is reached, not one below it', t => {
  const b = breaker()
  t.equal(b.note(one(), failure, 0), false)
  b.note(one(), null, 0)
  b.note(one(), null, 0)
  t.equal(b.note(one(), null, 0), false, 'one of four')
  t.equal(b.note(one(), failure, 0), false, 'the first has left, and again it is one of four')
  t.equal(b.note(one(), failure, 0), true, 'two of four')
  t.equal(b.state, 'open')
  t.match(b.reason, /2 of the last 4 records failed .*the database is away/)
  t.end()
})

t.test('fewer different records than it looks at never open it, however often they fail', t => {
  const b = breaker({ failureShare: 0.1 })
  const three = [one(), one(), one()]
  for (let n = 0; n < 300; n++) t.notOk(b.note(three[n % 3], failure, n))
  t.ok(b.note(one(), failure, 300))
  t.end()
})

t.test('a record counts by its newest attempt', t => {
  const b = breaker()
  const [x, y] = [one(), one()]
  b.note(x, failure, 0)
  b.note(y, failure, 0)
  b.note(x, null, 0)
  b.note(one(), null, 0)
  t.equal(b.note(one(), null, 0), false, 'one of four is left')
  t.equal(b.note(y, failure, 0), false, 'y has failed again, and is still one')
  t.equal(b.note(one(), failure, 0), true)
  t.end()
})

t.test('successes alone are not remembered: what was long ago has no say', t => {
  const b = breaker({ failureShare: 1, records: 3 })
  for (let n = 0; n < 100; n++) b.note(one(), null, 0)
  b.note(one(), failure, 0)
  b.note(one(), failure, 0)
  t.ok(b.note(one(), failure, 0), 'three records since it began')
  t.end()
})

t.test('with a share of 0 it never opens', t => {
  const b = breaker({ failureShare: 0 })
  for (let n = 0; n < 100; n++) t.notOk(b.note(one(), failure, n))
  t.end()
})

t.test('a probe comes after its wait, which doubles up to the most with each that fails; success closes it, with all forgotten', t => {
  const b = breaker({ failureShare: 1, records: 2 })
  const open = (now: number) => {
    b.note(one(), failure, now)
    t.ok(b.note(one(), failure, now))
  }
  open(1000)
  let now = 1000
  for (const wait of [100, 200, 400, 400]) {
    t.notOk(b.tick(now + wait - 1))
    t.ok(b.tick(now + wait))
    t.equal(b.state, 'probing')
    t.notOk(b.tick(now + wait + 1_000_000), 'it probes already')
    now += wait + 7
    t.notOk(b.closed)
    b.probed(false, now)
    t.equal(b.state, 'open')
  }
  t.ok(b.tick(now + 400))
  b.probed(true, now + 400)
  t.same([b.state, b.reason, b.closed], ['closed', null, true])
  t.notOk(b.note(one(), failure, now))
  t.ok(b.note(one(), failure, now), 'it takes as many as at first')
  b.probed(true, now)
  t.equal(b.state, 'open', 'what is no probe decides nothing')
  t.ok(b.tick(now + 100), 'and the waits begin anew')
  t.end()
})

// ---- within the engine

const outageOptions = {
  breaker: { failureShare: 0.5, records: 5, probeMs: 1_000, probeMaxMs: 8_000 },
  retry: { maxAttempts: 3, backoffMs: 20, backoffMaxMs: 40 }
} satisfies Partial<EngineOptions>

t.test('while it is open nothing starts, what fails in flight loses no attempt, and the state and the problems say why', async t => {
  let outage = false
  const attempts: number[] = []
  const h: Harness = harness(async (_record, { attempt }, clock) => {
    await clock.sleep(10)
    attempts.push(attempt)
    if (outage) throw failure
  }, { ...outageOptions, maxInFlight: 10, order: 'unordered' })
  h.source.append(distinct(20))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 20, 'good times')
  outage = true
  attempts.length = 0
  h.source.append(distinct(40, 20))
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  await h.clock.advance(15)
  const { length } = h.started
  await h.clock.advance(800)
  t.equal(h.started.length, length, 'nothing starts')
  t.equal(h.engine.state.inFlight, 0)
  t.match(h.engine.state.problems, [/5 of the last 5 records failed/])
  t.equal(h.told.get('breaker open'), 1)
  t.equal(h.letters.length, 0)
  outage = false
  await h.clock.until(() => h.completed.length === 60, 'the rest')
  t.equal(h.letters.length, 0)
  t.same(h.engine.state.problems, [])
  t.equal(h.engine.state.breaker, 'closed')
  t.equal(Math.max(...attempts), 2, 'those before it opened had one attempt, all others none')
  await stop(h)
})

t.test('probes are made one at a time, with waits that double', async t => {
  let outage = true
  const at: number[] = []
  const h: Harness = harness(async (_record, _attempt, clock) => {
    if (h.engine.state.breaker === 'probing') at.push(clock.now())
    await clock.sleep(50)
    if (outage) throw failure
  }, { ...outageOptions, order: 'unordered' })
  h.source.append(distinct(50))
  h.source.event('assigned', [P0])
  await h.clock.advance(60_000)
  const waits = at.slice(1).map((time, n) => time - at[n] - 50)
  t.ok(waits.every((wait, n) => wait >= Math.min(8_000, 2_000 * 2 ** n) && wait <= Math.min(8_000, 2_000 * 2 ** n) + 200), waits.join(' '))
  t.ok(waits.length >= 6)
  t.equal(h.letters.length, 0)
  outage = false
  await h.clock.until(() => h.completed.length === 50, 'all')
  t.equal(h.peak, 4, 'and then as many as before')
  await stop(h)
})

t.test('one bad record never opens it, nor do fewer than it looks at', async t => {
  const h = harness(({ offset }) => { if (offset % 10 < 4) throw failure }, outageOptions)
  h.source.append(distinct(4))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.letters.length === 4, 'dead letters')
  t.equal(h.told.get('breaker open'), undefined)
  await stop(h)
})

t.test('an answer that a record is no good is an answer: it does not open it, and ends an outage', async t => {
  let outage = false
  const h = harness(({ offset }) => {
    if (outage) throw failure
    throw Object.assign(new Error('no good'), offset % 2 === 0 ? { retriable: false } : { drop: true })
  }, outageOptions)
  h.source.append(distinct(100))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 100, 'all')
  t.equal(h.told.get('breaker open'), undefined)
  t.equal(h.letters.length, 50)
  outage = true
  h.source.append(distinct(10, 100))
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  outage = false
  await h.clock.until(() => h.engine.state.breaker === 'closed', 'it to close')
  await h.clock.until(() => h.completed.length === 110, 'all')
  await stop(h)
})

t.test('a probe whose partition is lost decides nothing, and the next one does', async t => {
  let outage = true
  let hang = false
  const h = harness(async () => {
    if (hang) await new Promise<void>(() => {})
    if (outage) throw failure
  }, { ...outageOptions, drainTimeoutMs: 10 })
  h.source.append(distinct(10))
  h.source.append(distinct(10, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  hang = true
  await h.clock.until(() => h.engine.state.inFlight === 1, 'a probe')
  const probed = h.started.at(-1)!.startsWith('t/0') ? P0 : P1
  hang = outage = false
  h.source.event('lost', [probed])
  await h.clock.advance(2_000)
  t.equal(h.engine.state.breaker, 'probing')
  // The handler that hangs holds its slot; after its limit and grace it is abandoned.
  await h.clock.until(() => h.engine.state.breaker === 'closed', 'it to close')
  await h.clock.until(() => h.completed.length >= 10, 'the other partition')
  t.equal(h.letters.length, 0)
  await stop(h)
})

t.test('a drain and a stop end while it is open, and give everything back', async t => {
  const h = harness(() => { throw failure }, outageOptions)
  h.source.append(distinct(10))
  h.source.append(distinct(10, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  const from = h.clock.now()
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.ok(h.clock.now() - from < 200, `${h.clock.now() - from} ms`)
  await stop(h)
  t.ok(h.clock.now() - from < 400, `${h.clock.now() - from} ms`)
  t.equal(h.letters.length, 0)
  t.same(committedOf(h, P1).progress?.clean, true)
})

t.test('a probe that fails by the outage while its partition drains loses no attempt', async t => {
  const h: Harness = harness(async (_record, _attempt, clock) => {
    await clock.sleep(h.engine.state.breaker === 'probing' ? 300 : 1)
    throw failure
  }, { ...outageOptions, retry: { maxAttempts: 2, backoffMs: 1, backoffMaxMs: 1 } })
  h.source.append(distinct(10))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.breaker === 'probing' && h.engine.state.inFlight === 1, 'a probe')
  await h.clock.advance(50)
  const before = committedOf(h).progress!.attempts
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.same(committedOf(h).progress!.attempts, before)
  await stop(h)
})

// Those are the records that were tried in full before it opened: as long as fewer different ones have failed, nobody can tell.
t.test('for any outage in which every attempt fails, fewer records are dead-lettered than the breaker looks at; all others are handled', async t => {
  await fc.assert(fc.asyncProperty(fc.record({
    records: fc.integer({ min: 1, max: 8 }),
    failureShare: fc.constantFrom(0.1, 0.5, 1),
    maxInFlight: fc.integer({ min: 1, max: 10 }),
    order: fc.constantFrom('unordered' as const, 'key' as const, 'partition' as const),
    maxAttempts: fc.integer({ min: 1, max: 4 }),
    before: fc.nat(30),
    outageMs: fc.oneof(fc.nat(200), fc.nat(100_000)),
    keys: fc.integer({ min: 1, max: 20 }),
    handlerMs: fc.nat(30)
  }), async ({ records, failureShare, maxInFlight, order, maxAttempts, before, outageMs, keys, handlerMs }) => {
    let outage = false
    const deadLettered: string[] = []
    const h: Harness = harness(async (record, _attempt, clock) => {
      await clock.sleep((record.offset * 7) % (handlerMs + 1))
      if (outage) throw failure
    }, {
      maxInFlight,
      order,
      breaker: { failureShare, records, probeMs: 500, probeMaxMs: 4_000 },
      retry: { maxAttempts, backoffMs: 10, backoffMaxMs: 50 }
    }, { sink: async ({ record }) => { deadLettered.push(place(record)) } })
    const all = distinct(80).map(one => ({ ...one, key: Buffer.from(`k${one.offset % keys}`) }))
    h.source.append(all.slice(0, before))
    h.source.event('assigned', [P0])
    await h.clock.until(() => h.completed.length === before, 'the time before')
    outage = true
    h.source.append(all.slice(before))
    await h.clock.advance(outageMs)
    outage = false
    await h.clock.until(() => h.completed.length === 80, 'the time after')
    if (deadLettered.length > records - 1) throw new Error(`${deadLettered.length} dead letters with a breaker that looks at ${records}`)
    if (new Set(h.completed).size !== 80) throw new Error('something is missing')
    await stop(h)
  }), { numRuns: 60 })
})

t.test('that bound is met: one record at a time, and each in full', async t => {
  let outage = true
  const h = harness(() => { if (outage) throw failure }, { ...outageOptions, order: 'partition' })
  h.source.append(distinct(30))
  h.source.event('assigned', [P0])
  await h.clock.advance(60_000)
  t.equal(h.letters.length, 4, 'it looks at five: the fifth opens it')
  outage = false
  await h.clock.until(() => h.completed.length === 30, 'the rest')
  t.equal(h.letters.length, 4)
  await stop(h)
})
