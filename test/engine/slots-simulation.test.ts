import fc from 'fast-check'
import t from 'tap'
import { Engine } from '../../src/engine/engine.js'
import { SlotPool, type Slots } from '../../src/engine/slots.js'
import { PollError, type Handler, type Observer } from '../../src/engine/types.js'
import { defaults } from '../support/engine-harness.js'
import { FakeClock } from '../support/fake-clock.js'
import { FakeSource, record } from '../support/fake-source.js'

const P0 = { topic: 't', partition: 0 }
/** A slot that is kept, or that becomes free, is taken at once: a turn of the loop would bring it after 100 ms as well. */
const STARVED_MS = 20
const observer = new Proxy({}, { get: () => () => {} }) as Observer

/** `stop`: in good order; `fail`: its client does; either is followed by another engine in its place. */
type Step =
  | { readonly what: 'records', readonly who: number, readonly count: number }
  | { readonly what: 'advance', readonly ms: number }
  | { readonly what: 'revoked' | 'lost' | 'stop' | 'fail', readonly who: number }
  | { readonly what: 'limit', readonly who: number, readonly limit: number }

interface Script { readonly total: number, readonly kinds: readonly ('ok' | 'throw' | 'deaf')[], readonly steps: readonly Step[] }

/** One consumer: engine after engine over the same share of the pool, as group-member.ts makes them. */
class Consumer {
  engine!: Engine
  source!: FakeSource
  ended = false
  /** Since when it has had something to do and nothing in flight. */
  idleSince = Infinity
  #slots: Slots | null = null
  #run: Promise<void> = Promise.resolve()
  #appended = 0
  readonly deaf = new Set<() => void>()
  readonly #clock: FakeClock
  readonly #pool: SlotPool
  readonly #kinds: Script['kinds']

  constructor (clock: FakeClock, pool: SlotPool, kinds: Script['kinds']) {
    this.#clock = clock
    this.#pool = pool
    this.#kinds = kinds
    this.begin()
  }

  begin (): void {
    this.#slots = this.#slots === null ? this.#pool.join() : this.#pool.renew(this.#slots)
    const before: FakeSource | undefined = this.source
    this.source = new FakeSource(this.#clock)
    if (before !== undefined) this.source.takeOver(before)
    this.ended = false
    this.engine = new Engine({ ...defaults, order: 'unordered', maxInFlight: 6, handlerTimeoutMs: 500, handlerGraceMs: 200, drainTimeoutMs: 500, maxAbandoned: 10_000 }, {
      source: this.source, handler: this.#handler, sink: async () => {}, clock: this.#clock, observer, slots: this.#slots
    })
    this.#run = this.engine.run().catch(() => {}).finally(() => { this.ended = true })
    this.source.event('assigned', [P0])
  }

  readonly #handler: Handler = ({ offset }) => {
    const kind = this.#kinds[offset % this.#kinds.length]
    if (kind === 'throw') throw new Error('thrown')
    if (kind === 'deaf') return new Promise<void>(resolve => { this.deaf.add(resolve) })
    return this.#clock.sleep(20)
  }

  append (count: number): void {
    this.source.append(Array.from({ length: count }, () => record({ ...P0, offset: this.#appended++ })))
  }

  async end (how: 'stop' | 'fail'): Promise<void> {
    if (how === 'stop') this.engine.stop(500).catch(() => {})
    else this.source.onPoll = () => { throw new PollError('fatal', 'this member is done for') }
    await this.#clock.until(() => this.ended, how)
    await this.#run
  }
}

async function play ({ total, kinds, steps }: Script): Promise<void> {
  const clock = new FakeClock()
  const pool = new SlotPool(total)
  const consumers = [new Consumer(clock, pool, kinds), new Consumer(clock, pool, ['ok'])]
  const look = () => {
    const inFlight = consumers.map(({ engine, ended }) => ended ? 0 : engine.state.inFlight)
    const sum = inFlight.reduce((all, one) => all + one, 0)
    if (sum > total || pool.taken > total || pool.taken < sum) throw new Error(`${inFlight} in flight, ${pool.taken} taken, of ${total}`)
    for (const one of consumers) {
      const { waiting, inFlight, phase, limit } = one.engine.state
      const starves = !one.ended && phase === 'running' && waiting > 0 && inFlight === 0 && limit > 0
      one.idleSince = starves ? Math.min(one.idleSince, clock.now()) : Infinity
      if (clock.now() - one.idleSince > STARVED_MS) throw new Error(`one has ${waiting} records to start, and none in flight for ${STARVED_MS} ms`)
    }
  }
  const advance = async (ms: number) => {
    for (let left = ms; left > 0; left -= 10) {
      await clock.advance(Math.min(10, left))
      look()
    }
  }
  for (const step of steps) {
    if (step.what === 'advance') {
      await advance(step.ms)
      continue
    }
    const one = consumers[step.who]!
    if (step.what === 'records') one.append(step.count)
    else if (step.what === 'limit') one.engine.limit = step.limit
    else if (step.what === 'stop' || step.what === 'fail') {
      await one.end(step.what)
      one.begin()
    } else {
      one.source.event(step.what, [P0])
      one.source.event('assigned', [P0])
    }
    await advance(10)
  }
  // What never settled counts no more once it was given up; the rest ends.
  await clock.until(() => consumers.every(({ engine: { state } }) => state.waiting + state.inFlight + state.retrying === 0), 'all to be done')
  await advance(2_000)
  for (const one of consumers) await one.end('stop')
  if (pool.taken !== 0) throw new Error(`${pool.taken} slots were not given back`)
  for (const settle of consumers.flatMap(({ deaf }) => [...deaf])) settle()
  await clock.advance(100)
  if (pool.taken !== 0) throw new Error(`${pool.taken} slots after the late ones have settled`)
}

const who = fc.nat(1)
const script: fc.Arbitrary<Script> = fc.record({
  total: fc.integer({ min: 2, max: 8 }),
  kinds: fc.oneof(
    { weight: 3, arbitrary: fc.array(fc.constantFrom('ok' as const, 'ok' as const, 'throw' as const, 'deaf' as const), { minLength: 1, maxLength: 6 }) },
    { weight: 1, arbitrary: fc.constant(['deaf' as const]) }),
  steps: fc.array(fc.oneof(
    { weight: 4, arbitrary: fc.record({ what: fc.constant('records' as const), who, count: fc.integer({ min: 1, max: 30 }) }) },
    { weight: 4, arbitrary: fc.record({ what: fc.constant('advance' as const), ms: fc.oneof(fc.nat(50), fc.nat(1_500)) }) },
    { weight: 2, arbitrary: fc.record({ what: fc.constantFrom('revoked' as const, 'lost' as const, 'stop' as const, 'fail' as const), who }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('limit' as const), who, limit: fc.integer({ min: 1, max: 8 }) }) }
  ), { maxLength: 25 })
})

t.test('one whose handlers never settle does not keep the other waiting', async () => {
  await play({ total: 3, kinds: ['deaf'], steps: [{ what: 'records', who: 0, count: 10 }, { what: 'records', who: 1, count: 5 }, { what: 'advance', ms: 500 }] })
})

t.test('two engines with a common total: for any load, hangs, rebalances, stops and failures, never above it, none starves, and all of it comes back', async () => {
  await fc.assert(fc.asyncProperty(script, play), { numRuns: 200, interruptAfterTimeLimit: 30_000, includeErrorInReport: true })
})
