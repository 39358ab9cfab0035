import t from 'tap'
import { AdaptiveLimit } from '../../src/engine/adaptive-limit.js'
import { distinct, harness, P0, stop } from '../support/engine-harness.js'

/** A target that works on so many at once; what is beyond waits there, or is refused. */
function target (capacity: number, refuses: boolean) {
  let working = 0
  const waiting: (() => void)[] = []
  return async (sleep: (ms: number) => Promise<void>) => {
    if (working >= capacity) {
      if (refuses) throw Object.assign(new Error('too many'), { retryAfterMs: 100 })
      await new Promise<void>(resolve => { waiting.push(resolve) })
    }
    working++
    await sleep(50)
    working--
    waiting.shift()?.()
  }
}

for (const refuses of [false, true]) {
  t.test(`the engine comes near to what a target bears that ${refuses ? 'refuses' : 'lets wait'} what is too much`, async t => {
    const ask = target(10, refuses)
    const adaptive = new AdaptiveLimit({ min: 1, max: 100 })
    const h = harness((record, attempt, clock) => ask(ms => clock.sleep(ms)), {
      maxInFlight: 100, windowMaxRecords: 5000, retry: { maxAttempts: 50, backoffMs: 1, backoffMaxMs: 1 }
    }, { adaptive })
    h.source.append(distinct(4000))
    h.source.event('assigned', [P0])
    t.equal(h.engine.state.limit, 1)
    await h.clock.until(() => h.completed.length >= 2000, 'the first half')
    let highest = 0
    await h.clock.until(() => {
      highest = Math.max(highest, h.engine.state.limit)
      return h.completed.length >= 3500
    }, 'most of the other half')
    t.ok(highest >= 9 && highest <= 15, `at most ${highest}`)
    h.engine.limit = 3
    t.equal(h.engine.state.limit, 3, 'an operator\'s limit holds')
    h.engine.limit = 100
    await h.clock.until(() => h.completed.length === 4000, 'the rest')
    t.same(h.told.get('handled'), 4000)
    await stop(h)
  })
}

t.test('what fails for reasons of its own changes nothing', async t => {
  const adaptive = new AdaptiveLimit({ min: 2, max: 100 })
  const h = harness(() => { throw new Error('bad') }, { retry: { maxAttempts: 1, backoffMs: 1, backoffMaxMs: 1 } }, { adaptive })
  h.source.append(distinct(200))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.letters.length === 200, 'the dead letters')
  t.equal(h.engine.state.limit, 2)
  await stop(h)
})

const refused = (more: object = {}) => Object.assign(new Error('too many'), { retryAfterMs: 100, ...more })
const breaker = { failureShare: 0.8, records: 20, probeMs: 1000, probeMaxMs: 30_000 }
const patient = { maxInFlight: 100, breaker, retry: { maxAttempts: 50, backoffMs: 1, backoffMaxMs: 1 } }

for (const [what, adaptive, opens] of [['adaptive', true, false], ['fixed', false, true]] as const) {
  t.test(`refusals when the capacity drops ${opens ? 'open' : 'do not open'} the breaker with a ${what} limit`, async t => {
    let working = 0
    let capacity = 100
    const limit = new AdaptiveLimit({ min: 100, max: 100 })
    const floor = new AdaptiveLimit({ min: 1, max: 100 })
    t.notOk(limit.answers(0), 'nothing is below the least')
    const h = harness(async (record, attempt, clock) => {
      if (working >= capacity) throw refused()
      working++
      await clock.sleep(50)
      working--
    }, patient, adaptive ? { adaptive: floor } : {})
    h.source.append(distinct(3000))
    h.source.event('assigned', [P0])
    await h.clock.until(() => h.completed.length >= 1500, 'the first half')
    capacity = 5
    await h.clock.until(() => h.completed.length === 3000, 'the rest')
    t.equal(h.told.has('breaker open'), opens)
    t.same(h.told.get('handled'), 3000)
    await stop(h)
  })
}

for (const more of [{}, { outage: true }]) {
  t.test(`a target that refuses even the least opens the breaker ${JSON.stringify(more)}`, async t => {
    const h = harness(() => { throw refused(more) }, patient, { adaptive: new AdaptiveLimit({ min: 2, max: 100 }) })
    h.source.append(distinct(200))
    h.source.event('assigned', [P0])
    await h.clock.until(() => h.told.has('breaker open'), 'the breaker to open')
    t.equal(h.letters.length, 0)
    await stop(h)
  })
}
