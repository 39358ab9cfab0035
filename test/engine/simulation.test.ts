import fc from 'fast-check'
import t from 'tap'
import type { EngineOptions } from '../../src/engine/engine.js'
import type { BatchPolicy } from '../../src/engine/types.js'
import { Simulation, type Behaviour, type CommitFault, type Life, type Script, type Step } from '../support/engine-simulation.js'

// What is promised, and where it is checked: test/support/engine-simulation.ts. A failure prints its seed and the smallest
// script that repeats it.
const RUNS = Number(process.env.SLUICE_SIMULATION_RUNS ?? 40)
/** Of each order; also of the search for a smaller script that fails. */
const TIME_LIMIT_MS = 30_000

const bits = fc.integer({ min: 1, max: 15 })
const partition = fc.nat(3)

const behaviour: fc.Arbitrary<Behaviour> = fc.record({
  kind: fc.oneof(
    { weight: 6, arbitrary: fc.constant('ok' as const) },
    { weight: 2, arbitrary: fc.constant('sync' as const) },
    { weight: 5, arbitrary: fc.constantFrom('fail' as const, 'throw' as const, 'poison' as const, 'later' as const, 'drop' as const, 'nonsense' as const) },
    { weight: 2, arbitrary: fc.constantFrom('hang' as const, 'deaf' as const) }
  ),
  ms: fc.oneof(fc.nat(20), fc.nat(400))
})

const append = fc.record({
  what: fc.constant('append' as const),
  partition,
  keys: fc.array(fc.constantFrom(null, '', 'a', 'b', 'c'), { minLength: 1, maxLength: 12 }),
  gap: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(5) }),
  markers: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) }),
  bytes: fc.oneof(fc.nat(20), fc.nat(600))
})
const advance = fc.record({ what: fc.constant('advance' as const), ms: fc.oneof(fc.nat(30), fc.nat(500), fc.nat(4_000)) })
const times = fc.integer({ min: 1, max: 4 })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: append },
  { weight: 6, arbitrary: advance },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('assigned' as const), partitions: bits }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constantFrom('revoked' as const, 'lost' as const), partitions: bits, elsewhere: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('redeliver' as const), partition, back: fc.nat(15) }) },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant('commits fail' as const), how: fc.constantFrom('retriable' as const, 'applied' as const, 'lost' as const), times })
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('acknowledgements late' as const), ms: fc.constantFrom(0, 50, 1_000, 7_000) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constantFrom('pause' as const, 'resume' as const), partition: fc.option(partition) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant('seek' as const),
      partition,
      to: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom('beginning' as const, 'end' as const))
    })
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('limit' as const), limit: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constantFrom('committed fails' as const, 'sink refuses' as const, 'poll fails' as const), times }) }
)

const life: fc.Arbitrary<Life> = fc.record({
  // Most of what can go wrong needs something to be assigned first.
  steps: fc.tuple(append, append, fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }))
    .map(([one, other, steps]) => [{ what: 'assigned', partitions: 15 }, one, other, ...steps]),
  end: fc.oneof(
    { weight: 4, arbitrary: fc.constant('stop' as const) },
    { weight: 3, arbitrary: fc.constant('kill' as const) },
    { weight: 1, arbitrary: fc.constantFrom('fatal' as const, 'anew' as const, 'anew-away' as const) }
  ),
  stopTimeoutMs: fc.oneof(fc.nat(100), fc.nat(5_000))
})

/** One that is killed again and again, soon after it began, and mostly at the same place. */
const shortLife: fc.Arbitrary<Life> = fc.array(fc.oneof({ weight: 3, arbitrary: advance }, step), { maxLength: 4 }).map(steps => {
  return { steps: [{ what: 'assigned', partitions: 15 }, ...steps], end: 'kill', stopTimeoutMs: 0 }
})
const killed: fc.Arbitrary<Life[]> = fc.tuple(life, fc.array(shortLife, { minLength: 3, maxLength: 6 }))
  .map(([first, others]) => [{ ...first, end: 'kill' }, ...others])

const options = (order: EngineOptions['order']): fc.Arbitrary<EngineOptions> => fc.record({
  order: fc.constant(order),
  maxInFlight: fc.integer({ min: 1, max: 8 }),
  handlerTimeoutMs: fc.integer({ min: 100, max: 1_000 }),
  handlerGraceMs: fc.nat(300),
  maxAbandoned: fc.integer({ min: 1, max: 3 }),
  retry: fc.record({ maxAttempts: fc.integer({ min: 1, max: 4 }), backoffMs: fc.nat(50), backoffMaxMs: fc.constant(200) }),
  exhausted: fc.constantFrom('dead-letter' as const, 'skip' as const),
  maxRecordsBeforeCommit: fc.integer({ min: 1, max: 20 }),
  autoOffsetReset: fc.constant('earliest' as const),
  commitIntervalMs: fc.constantFrom(1, 100, 1_000, 20_000),
  windowMaxRecords: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.constant(100)),
  windowMaxBytes: fc.constantFrom(1, 200, 1_000, 1_000_000),
  windowTotalMaxBytes: fc.constantFrom(1_000, 1_000_000_000),
  diversionMaxPerMinute: fc.constantFrom(0, 10),
  deferAfterMs: fc.constantFrom(null, 20),
  breaker: fc.record({
    failureShare: fc.constantFrom(0, 0, 0.5),
    records: fc.integer({ min: 2, max: 5 }),
    probeMs: fc.constantFrom(1, 200),
    probeMaxMs: fc.constant(1000)
  }),
  drainTimeoutMs: fc.constantFrom(0, 100, 2_000)
})

const policy = (order: EngineOptions['order']): fc.Arbitrary<BatchPolicy> => fc.record({
  maxRecords: fc.integer({ min: 2, max: 8 }),
  by: order === 'key' ? fc.constantFrom('partition' as const, 'key' as const) : fc.constant('partition' as const),
  waitMs: fc.constantFrom(0, 0, 3, 200)
})

const script = (order: EngineOptions['order'], batched = false): fc.Arbitrary<Script> => fc.record({
  options: options(order),
  batches: batched ? policy(order) : fc.constant(null),
  partitions: fc.integer({ min: 1, max: 4 }),
  behaviours: fc.array(behaviour, { minLength: 1, maxLength: 12 }),
  lives: fc.oneof({ weight: 3, arbitrary: fc.array(life, { minLength: 1, maxLength: 3 }) }, { weight: 1, arbitrary: killed }),
  random: fc.nat()
})

/** Commits are transactions, and fail as such, more often. */
const transactional = (order: EngineOptions['order']): fc.Arbitrary<Script> => fc.tuple(
  script(order),
  fc.array(fc.record({
    what: fc.constant('commits fail' as const),
    how: fc.constantFrom<CommitFault>('retriable', 'lost', 'applied', 'unknown', 'refused', 'refused', 'refused-for-now', 'refused-for-now'),
    times: fc.integer({ min: 1, max: 3 })
  }), { minLength: 4, maxLength: 4 }),
  fc.integer({ min: 5, max: 30 })
).map(([script, faults, every]) => {
  let faulty = 0
  const fail = (steps: readonly Step[]) => steps.flatMap((step, n): Step[] =>
    step.what === 'commits fail' || n % every === every - 1 ? [faults[faulty++ % faults.length], step].slice(0, step.what === 'commits fail' ? 1 : 2) : [step])
  return {
    ...script,
    options: { ...script.options, transactional: true },
    lives: script.lives.map(life => ({ ...life, steps: fail(life.steps) }))
  }
})

for (const order of ['unordered', 'key', 'partition'] as const) {
  t.test(`${order}, exactly once: for any course of aborts, unknown ends, crashes and rebalances, what is answered is written once`, async () => {
    await fc.assert(fc.asyncProperty(transactional(order), async script => await new Simulation(script).play()), {
      numRuns: RUNS, interruptAfterTimeLimit: TIME_LIMIT_MS, includeErrorInReport: true
    })
  })

  t.test(`${order}: for any course of records, failures, hangs, rebalances and stops, the engine keeps its promises`, async () => {
    await fc.assert(fc.asyncProperty(script(order), async script => await new Simulation(script).play()), {
      numRuns: RUNS, interruptAfterTimeLimit: TIME_LIMIT_MS, includeErrorInReport: true
    })
  })

  t.test(`${order}, in batches: for any course of answers, throws, hangs, rebalances and stops, the engine keeps its promises`, async () => {
    await fc.assert(fc.asyncProperty(script(order, true), async script => await new Simulation(script).play()), {
      numRuns: RUNS, interruptAfterTimeLimit: TIME_LIMIT_MS, includeErrorInReport: true
    })
  })
}

async function reached (arbitrary: fc.Arbitrary<Script>): Promise<Map<string, number>> {
  const told = new Map<string, number>()
  for (const one of fc.sample(arbitrary, { numRuns: 60, seed: 1 })) {
    const simulation = new Simulation(one)
    await simulation.play()
    for (const [what, count] of simulation.told) told.set(what, (told.get(what) ?? 0) + count)
  }
  return told
}

t.test('the scripts reach what they are for: a simulation that reaches nothing would promise nothing', async t => {
  const told = await reached(script('key'))
  const wanted = ['handled', 'skipped', 'dead-lettered', 'committed', 'commit failed', 'revoked', 'lost', 'attempt abandoned', 'attempt timed-out',
    'failed: retry', 'failed: given-back', 'dead letter refused', 'drained', 'drain cut off', 'poll failed', 'duplicate', 'rewound', 'paused', 'resumed',
    'killed', 'sought', 'topic made anew', 'suspected', 'completed before', 'deferred', 'breaker open', 'breaker probing', 'breaker closed']
  t.same(wanted.filter(what => !told.has(what)), [], JSON.stringify(Object.fromEntries(told)))
})

t.test('those with batches reach what batches bring', async t => {
  const told = await reached(script('key', true))
  const wanted = ['batch of many', 'batch of one', 'batch failed as a whole', 'given back within its lane', 'handled', 'skipped', 'dead-lettered',
    'attempt abandoned', 'attempt timed-out', 'failed: retry', 'failed: given-back', 'drain cut off', 'killed', 'suspected', 'deferred', 'breaker closed']
  t.same(wanted.filter(what => !told.has(what)), [], JSON.stringify(Object.fromEntries(told)))
})

t.test('those of exactly once reach what transactions bring', async t => {
  const told = await reached(transactional('key'))
  const wanted = ['written', 'output refused', 'unknown', 'handled', 'skipped', 'dead-lettered', 'commit failed', 'revoked', 'lost', 'killed', 'sought', 'completed before',
    'dead letter refused', 'topic made anew', 'deferred']
  t.same(wanted.filter(what => !told.has(what)), [], JSON.stringify(Object.fromEntries(told)))
})
