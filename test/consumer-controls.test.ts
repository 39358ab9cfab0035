import t from 'tap'
import { Controlled, ControlError, LIMIT_MAX } from '../src/consumer-controls.js'
import type { Engine } from '../src/engine/engine.js'
import { distinct, harness, P0, P1, stop } from './support/engine-harness.js'

const noEngine = () => new Controlled(50, () => null)

t.test('the limit is a whole number from 1 to 10,000: both ends, and what lies beyond', t => {
  const controls = noEngine()
  for (const limit of [1, LIMIT_MAX, 7]) {
    controls.limit = limit
    t.equal(controls.limit, limit)
  }
  for (const limit of [0, LIMIT_MAX + 1, -1, 1.5, NaN, Infinity, '5' as unknown as number]) {
    t.throws(() => { controls.limit = limit }, { name: 'ControlError', message: /from 1 to 10000/ })
    t.equal(controls.limit, 7, 'and nothing changes')
  }
  t.end()
})

t.test('a limit above what can run at once is taken as that, for the engine as well', async t => {
  let engine: Engine | null = null
  const controls = new Controlled(9, () => engine, 4)
  t.equal(controls.limit, 4)
  const h = harness(() => {}, { maxInFlight: controls.limit })
  engine = h.engine
  for (const [asked, limit] of [[3, 3], [4, 4], [5, 4], [LIMIT_MAX, 4], [1, 1]]) {
    controls.limit = asked
    t.same([controls.limit, h.engine.limit], [limit, limit])
  }
  await stop(h)
})

t.test('a partition without its topic, and what is no partition, are refused', async t => {
  const controls = noEngine()
  for (const selection of [{ partition: 0 }, { topic: 't', partition: -1 }, { topic: 't', partition: 0.5 }, { topic: 't', partition: NaN }]) {
    for (const ask of [() => controls.pause(selection), () => controls.resume(selection), () => controls.seek(selection, 'end')]) {
      const error = await ask().then(() => null, (error: unknown) => error)
      t.match(error, { name: 'ControlError', kind: 'invalid' })
    }
  }
})

t.test('what is no position is refused before anything is asked of an engine', async t => {
  const controls = new Controlled(50, () => { throw new Error('not asked') })
  for (const position of [-1, 0.5, NaN, Infinity, 'middle', {}, { timestamp: -1 }, { timestamp: '5' }, undefined, null, Number.MAX_SAFE_INTEGER + 1]) {
    const error = await controls.seek({}, position as 'end').then(() => null, (error: unknown) => error)
    t.match(error, { kind: 'invalid' }, String(position))
    t.ok(error instanceof ControlError)
  }
})

t.test('between two connections: a pause and a limit hold for the next, a seek is not possible', async t => {
  let engine: Engine | null = null
  const controls = new Controlled(2, () => engine)
  t.same(await controls.pause({ topic: 't', partition: 1 }), [])
  controls.limit = 3
  t.match(await controls.seek({}, 'end').catch(error => error), { kind: 'unavailable' })
  const h = harness((_record, _attempt, clock) => clock.sleep(50), { maxInFlight: controls.limit }, { suspensions: controls.suspensions })
  engine = h.engine
  h.source.append(distinct(20))
  h.source.append(distinct(20, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length === 20, 'what is not paused')
  await h.clock.advance(1000)
  t.equal(h.completed.filter(at => at.startsWith('t/1')).length, 0)
  t.equal(h.peak, 3)
  controls.limit = 6
  t.equal(h.engine.limit, 6)
  let resumed: unknown
  controls.resume({}).then(what => { resumed = what })
  await h.clock.until(() => h.completed.length === 40, 'the rest')
  t.same(resumed, [P1])
  t.equal(h.peak, 6)
  await stop(h)
})
