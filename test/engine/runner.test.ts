import t from 'tap'
import { HandlerNeverSettledError, HandlerTimeoutError } from '../../src/engine/attempt-errors.js'
import { Entry } from '../../src/engine/entry.js'
import { OwnedPartition } from '../../src/engine/owned-partition.js'
import { Runner, type RunnerOptions } from '../../src/engine/runner.js'
import type { DeadLetter, Handler, Observer, Outcome } from '../../src/engine/types.js'
import { FakeClock, settle } from '../support/fake-clock.js'
import { record } from '../support/fake-source.js'

// The runner alone, where a test needs to be exact about its time limits or its partitions. What it does within the
// engine is in engine.test.ts and simulation.test.ts.

const options: RunnerOptions = {
  order: 'key',
  maxInFlight: 4,
  handlerTimeoutMs: 1000,
  handlerGraceMs: 100,
  maxAbandoned: 2,
  retry: { maxAttempts: 1, backoffMs: 100, backoffMaxMs: 1000 },
  exhausted: 'dead-letter',
  deferAfterMs: null,
  breaker: { failureShare: 0, records: 20, probeMs: 1000, probeMaxMs: 30_000 }
}
const never = () => new Promise<void>(() => {})

function setUp (
  handler: Handler, changed: Partial<RunnerOptions> = {},
  sink: (letter: DeadLetter) => Promise<void> = async () => {}, clock = new FakeClock()
) {
  const partition = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 1, { maxRecords: 1000, maxBytes: 1_000_000 })
  const completed: number[] = []
  const outcomes: Outcome[] = []
  const attempts: string[] = []
  const refusals: number[] = []
  const failures: { then: string, error: Error }[] = []
  const observer = {
    attemptEnded (_record, outcome, seconds) { attempts.push(`${outcome} after ${seconds} s`) },
    attemptFailed (_record, _attempt, error, then) { failures.push({ then, error }) },
    completed (_record, outcome) { outcomes.push(outcome) },
    deadLetterRefused (_record, _error, delayMs) { refusals.push(delayMs) }
  } as Partial<Observer> as Observer
  const ports = { handler, sink, clock, observer }
  const log = { note: () => 0, settled: 0 }
  const runner = new Runner({ ...options, ...changed }, ports, log, entry => { completed.push(entry.record.offset) })
  let next = 0
  const add = (key: string | null = null, owned = partition) => {
    const offset = next++
    const entry = new Entry(record({ offset, key: key === null ? null : Buffer.from(key) }), owned, owned.window.admit(offset, 0))
    runner.add(entry)
    return entry
  }
  return { clock, partition, runner, add, completed, outcomes, attempts, refusals, failures }
}

t.test('as many as the limit run at once, and the next starts when one ends', async t => {
  const end: (() => void)[] = []
  const { runner, add, completed } = setUp(() => new Promise<void>(resolve => { end.push(resolve) }), { maxInFlight: 2 })
  for (let n = 0; n < 5; n++) add()
  runner.pump()
  t.equal(runner.inFlight, 2)
  t.equal(runner.scheduler.waiting, 3)
  end[0]()
  await settle()
  t.same(completed, [0])
  t.equal(runner.inFlight, 2)
  t.equal(end.length, 3)
})

t.test('handlers that return no promise run one after another without growing the stack', async t => {
  const { runner, add, completed } = setUp(() => {}, { maxInFlight: 1 })
  for (let n = 0; n < 20_000; n++) add('k')
  runner.pump()
  t.equal(completed.length, 20_000)
  t.equal(runner.inFlight, 0)
})

t.test('what only looks like a promise is awaited; one that settles twice, or throws, counts once', async t => {
  const odd: unknown[] = [
    { then (resolve: () => void) { resolve(); resolve() } },
    { then () { throw new Error('in then') } },
    { get then () { throw new Error('in the getter') } },
    { then: 'no function' }
  ]
  const { runner, add, outcomes } = setUp(({ offset }) => odd[offset])
  for (let n = 0; n < odd.length; n++) add()
  runner.pump()
  await settle()
  t.same(outcomes.sort(), ['dead-lettered', 'dead-lettered', 'handled', 'handled'])
  t.equal(runner.inFlight, 0)
})

t.test('the signal is aborted at the time limit, not before, with the reason', async t => {
  let signal: AbortSignal | undefined
  const { clock, runner, add } = setUp((_record, attempt) => {
    signal = attempt.signal
    return never()
  })
  add()
  runner.pump()
  await clock.advance(999)
  runner.sweep()
  t.equal(signal?.aborted, false)
  await clock.advance(1)
  runner.sweep()
  t.equal(signal?.aborted, true)
  t.ok(signal?.reason instanceof HandlerTimeoutError)
})

t.test('a signal that is first asked for after the abort is aborted already', async t => {
  let ask: () => AbortSignal = () => { throw new Error('not started') }
  const { partition, runner, add } = setUp((_record, attempt) => {
    ask = () => attempt.signal
    return never()
  })
  add()
  runner.pump()
  const reason = new Error('given up')
  runner.abort(partition, reason)
  runner.abort(partition, new Error('again'))
  t.equal(ask().aborted, true)
  t.equal(ask().reason, reason, 'the first reason stays')
  t.equal(ask(), ask(), 'there is one signal')
})

t.test('only the handlers of that partition are aborted', async t => {
  const aborted: number[] = []
  const { partition, runner, add } = setUp(({ offset }, { signal }) => {
    signal.addEventListener('abort', () => aborted.push(offset))
    return never()
  })
  add()
  add(null, new OwnedPartition({ topic: 't', partition: 1, offset: 0, metadata: '' }, 2, { maxRecords: 10, maxBytes: 10 }))
  add()
  runner.pump()
  runner.abort(partition, new Error('given up'))
  t.same(aborted, [0, 2])
})

t.test('a handler that settles within the grace failed or succeeded as it says; its attempt is told as timed out where it failed', async t => {
  const { clock, runner, add, attempts, outcomes } = setUp(({ offset }, { signal }) => new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => offset === 0 ? resolve() : reject(new Error('aborted')))
  }))
  add()
  add()
  runner.pump()
  await clock.advance(1000)
  runner.sweep()
  await settle()
  t.same(attempts, ['ok after 1 s', 'timed-out after 1 s'])
  t.same(outcomes, ['handled', 'dead-lettered'])
  await clock.advance(10_000)
  runner.sweep()
  t.equal(runner.abandoned, 0)
})

t.test('it is abandoned at the end of the grace, not before: its slot is free, its key is held until it settles', async t => {
  let settleFirst = () => {}
  const { clock, runner, add, attempts, failures, completed } = setUp(({ offset }) => {
    return offset === 0 ? new Promise<void>(resolve => { settleFirst = resolve }) : undefined
  }, { maxInFlight: 1 })
  add('k')
  add('k')
  add('other')
  runner.pump()
  await clock.advance(1000)
  runner.sweep()
  await clock.advance(99)
  runner.sweep()
  t.equal(runner.abandoned, 0)
  t.same(completed, [])
  await clock.advance(1)
  runner.sweep()
  await settle()
  t.equal(runner.abandoned, 1)
  t.equal(runner.inFlight, 0)
  t.equal(attempts[0], 'abandoned after 1.1 s')
  t.ok(failures[0].error instanceof HandlerNeverSettledError)
  t.same(completed, [2, 0], 'the other key ran, and the record itself is dead-lettered; its key waits')
  settleFirst()
  await settle()
  t.equal(runner.abandoned, 0)
  t.same(completed, [2, 0, 1])
})

t.test('an abandoned record is not retried, however many attempts it has left', async t => {
  const { clock, runner, add, failures } = setUp(never, { retry: { maxAttempts: 10, backoffMs: 1, backoffMaxMs: 1 } })
  add()
  runner.pump()
  await clock.advance(1000)
  runner.sweep()
  await clock.advance(100)
  runner.sweep()
  t.same(failures.map(({ then }) => then), ['dead-letter'])
})

t.test('at the cap of abandoned handlers the others keep their slots, until one settles', async t => {
  const end: (() => void)[] = []
  const { clock, runner, add } = setUp(() => new Promise<void>(resolve => { end.push(resolve) }), { maxAbandoned: 2 })
  for (let n = 0; n < 4; n++) add()
  runner.pump()
  await clock.advance(1000)
  runner.sweep()
  await clock.advance(5000)
  runner.sweep()
  t.equal(runner.abandoned, 2)
  t.equal(runner.inFlight, 2)
  t.ok(runner.saturatedByAbandoned)
  end[0]()
  await settle()
  t.notOk(runner.saturatedByAbandoned)
  runner.sweep()
  t.equal(runner.abandoned, 2)
  t.equal(runner.inFlight, 1)
})

t.test('a dead letter that is acknowledged after its partition was lost completes nothing, and lets go of the key', async t => {
  let acknowledge = () => {}
  const { partition, runner, add, completed } = setUp(({ offset }) => { if (offset === 0) throw new Error('poison') }, {},
    () => new Promise(resolve => { acknowledge = resolve }))
  add('k')
  runner.pump()
  await settle()
  t.equal(runner.deadLettering, 1)
  t.ok(partition.busy, 'a drain waits for it')
  partition.owned = false
  runner.drop([partition])
  const next = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 2, { maxRecords: 10, maxBytes: 1000 })
  add('k', next)
  runner.pump()
  t.same(completed, [], 'the new copy waits for the old one')
  acknowledge()
  await settle()
  t.same(completed, [1], 'only the record of the new epoch')
  t.equal(runner.deadLettering, 0)
  t.notOk(partition.busy)
})

t.test('a dead letter that is refused is tried again after waits that double from 500 ms to 30 s, and says why meanwhile', async t => {
  let refuse = true
  const { clock, runner, add, refusals, completed } = setUp(() => { throw new Error('poison') }, {}, async () => {
    if (refuse) throw new Error('no such topic')
  })
  add()
  runner.pump()
  await clock.advance(200_000)
  t.same(refusals.slice(0, 9), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  t.match(runner.deadLetterError, { message: 'no such topic' })
  t.equal(runner.retrying, 1)
  refuse = false
  await clock.advance(30_000)
  t.same(completed, [0])
  t.equal(runner.deadLetterError, null)
})

t.test('a sink that throws at once is a refusal', async t => {
  const { runner, add, refusals } = setUp(() => { throw new Error('poison') }, {}, () => { throw new Error('at once') })
  add()
  runner.pump()
  await settle()
  t.same(refusals, [500])
})

t.test('a dead letter that is refused while its partition drains is left to the next owner', async t => {
  let refuse = (_error: Error) => {}
  const { clock, partition, runner, add, completed } = setUp(() => { throw new Error('poison') }, {},
    () => new Promise((resolve, reject) => { refuse = reject }))
  add('k')
  runner.pump()
  await settle()
  partition.draining = true
  runner.drop([partition])
  refuse(new Error('away'))
  await clock.advance(60_000)
  t.equal(runner.retrying, 0)
  t.equal(runner.deadLettering, 0)
  t.equal(runner.scheduler.lanes, 0)
  t.same(completed, [])
})

t.test('what is blocked, waits for a retry or has not started is forgotten with its partition, keys and all', async t => {
  const { clock, partition, runner, add } = setUp(({ offset }) => {
    throw Object.assign(new Error('x'), { retriable: offset !== 0 })
  }, { exhausted: 'block', retry: { maxAttempts: 2, backoffMs: 1000, backoffMaxMs: 1000 } })
  for (const key of ['a', 'a', 'b', 'b']) add(key)
  runner.pump()
  t.same([runner.blocked, runner.retrying, runner.scheduler.waiting], [1, 1, 2])
  partition.draining = true
  runner.drop([partition])
  t.same([runner.blocked, runner.retrying, runner.scheduler.waiting, runner.scheduler.lanes], [0, 0, 0, 0])
  await clock.advance(10_000)
  t.equal(runner.inFlight, 0)
})

t.test('a retry is due at its time, not before', async t => {
  let tries = 0
  const { clock, runner, add } = setUp(() => {
    if (++tries === 1) throw new Error('not yet')
  }, { retry: { maxAttempts: 2, backoffMs: 1000, backoffMaxMs: 1000 } })
  add()
  runner.pump()
  await clock.advance(499)
  t.equal(tries, 1)
  await clock.advance(1)
  t.equal(tries, 2)
})

for (const [what, returned] of [['that compute before they return', undefined], ['that compute, and return a promise that is settled', Promise.resolve()]] as const) {
  t.test(`handlers ${what} let the others have their turn every 20 ms`, async t => {
    let now = 0
    const rounds: (() => void)[] = []
    // Time passes by what is computed; the event loop comes round when the test lets it.
    class BusyClock extends FakeClock {
      override now (): number { return now }
      override schedule (_delayMs: number, fn: () => void): () => void {
        rounds.push(fn)
        return () => {}
      }
    }
    const { add, completed, runner } = setUp(() => {
      now += 7
      return returned
    }, { maxInFlight: 2 }, undefined, new BusyClock())
    for (let n = 0; n < 10; n++) add()
    runner.pump()
    await settle()
    t.equal(completed.length, 3, 'after 21 ms')
    runner.pump()
    await settle()
    t.equal(completed.length, 3, 'also where something has ended or was added meanwhile')
    for (const expected of [6, 9, 10]) {
      t.equal(rounds.length, 1)
      rounds.pop()!()
      await settle()
      t.equal(completed.length, expected)
    }
  })
}

t.test('handlers that wait are not held up: each starts as soon as there is a slot', async t => {
  const { add, clock, runner } = setUp(() => clock.sleep(50), { maxInFlight: 3 })
  for (let n = 0; n < 9; n++) add()
  runner.pump()
  t.equal(runner.inFlight, 3)
  await clock.advance(50)
  t.equal(runner.inFlight, 3)
  t.equal(runner.scheduler.waiting, 3)
})
