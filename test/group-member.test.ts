import { mock } from 'node:test'
import t from 'tap'
import type { Engine, EngineState, PartitionState } from '../src/engine/engine.js'
import { PollError, type PartitionEnd, type TopicPartition } from '../src/engine/types.js'
import { GroupMember, type ConnectedSource } from '../src/group-member.js'
import { settle } from './support/fake-clock.js'
import { running, untouched } from './support/member-state.js'

const P0 = { topic: 't', partition: 0 }

interface Deferred<T> { readonly promise: Promise<T>, readonly resolve: (value: T) => void, readonly reject: (error: Error) => void }

function deferred<T> (): Deferred<T> {
  let ends!: Omit<Deferred<T>, 'promise'>
  const promise = new Promise<T>((resolve, reject) => { ends = { resolve, reject } })
  return { promise, ...ends }
}

function partition (fields: Partial<PartitionState>): PartitionState {
  return { ...untouched, ...fields }
}

/** An engine that runs until the test lets it end. */
class StubEngine {
  state: EngineState = running
  readonly stops: number[] = []
  #ended = deferred<void>()
  run (): Promise<void> { return this.#ended.promise }
  async stop (timeoutMs: number): Promise<void> {
    this.stops.push(timeoutMs)
    await this.#ended.promise.catch(() => {})
  }

  end (): void { this.#ended.resolve() }
  fail (error: Error): void { this.#ended.reject(error) }
}

class StubSource {
  closed = 0
  problems: string[] = []
  asked: TopicPartition[][] = []
  answer: () => Promise<PartitionEnd[]> = async () => []
  ends (partitions: TopicPartition[]): Promise<PartitionEnd[]> {
    this.asked.push(partitions)
    return this.answer()
  }

  async close (): Promise<void> { this.closed++ }
}

/** A member whose connections, engines and time are the test's. */
function setUp () {
  const engines: StubEngine[] = []
  const sources: StubSource[] = []
  const restarts: { message: string, delayMs: number }[] = []
  const fenced: string[] = []
  const connects: Deferred<StubSource>[] = []
  const member = new GroupMember({
    connect: async () => {
      const connect = deferred<StubSource>()
      connects.push(connect)
      const source = await connect.promise
      sources.push(source)
      return source as unknown as ConnectedSource
    },
    createEngine: () => {
      engines.push(new StubEngine())
      return engines.at(-1) as unknown as Engine
    },
    onRestart: ({ message }, delayMs) => restarts.push({ message, delayMs }),
    onFenced: ({ message }) => fenced.push(message)
  })
  return { member, engines, sources, restarts, connects, fenced }
}

async function tick (ms: number): Promise<void> {
  await settle()
  mock.timers.tick(ms)
  await settle()
}

let now = 0
t.beforeEach(t => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  now = 1_000_000
  t.intercept(performance, 'now', { value: () => now })
})
t.afterEach(() => mock.timers.reset())

t.test('it tries to connect again after waits that double from 0.5 to 30 s, and says why meanwhile', async t => {
  const { member, restarts, connects, engines } = setUp()
  t.match(member.state, { phase: 'connecting', problems: ['the consumer is connecting'], partitions: [] })
  member.start()
  for (let n = 0; n < 9; n++) {
    await settle()
    t.equal(connects.length, n + 1)
    connects[n].reject(new Error('no broker'))
    await settle()
    t.match(member.state, { phase: 'connecting', problems: ['the consumer cannot connect: no broker'] })
    const { delayMs } = restarts[n]
    await tick(delayMs - 1)
    t.equal(connects.length, n + 1, `not before ${delayMs} ms`)
    await tick(1)
  }
  t.same(restarts.map(({ delayMs }) => delayMs), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  connects[9].resolve(new StubSource())
  await settle()
  t.match(member.state, { phase: 'running', problems: [] })
  engines[0].end()
  await member.stop(1)
})

t.test('a new engine begins only when the handlers of one that failed have ended, or after 30 s', async t => {
  for (const ends of [true, false]) {
    const { member, connects, engines, restarts } = setUp()
    member.start()
    connects[0].resolve(new StubSource())
    await settle()
    engines[0].state = { ...engines[0].state, inFlight: 1 }
    engines[0].fail(new Error('fenced'))
    for (let n = 0; n < 299; n++) await tick(100)
    t.equal(restarts.length, 0, 'it waits')
    if (ends) engines[0].state = { ...engines[0].state, inFlight: 0 }
    await tick(100)
    t.equal(restarts.length, 1)
    await tick(500)
    t.equal(connects.length, 2)
    connects[1].resolve(new StubSource())
    await settle()
    engines[1].end()
    await member.stop(1)
  }
})

t.test('an engine that fails for good is made anew, with a new connection; the old one is closed', async t => {
  const { member, restarts, connects, engines, sources } = setUp()
  member.start()
  connects[0].resolve(new StubSource())
  await settle()
  engines[0].fail(new Error('fenced'))
  await settle()
  t.equal(sources[0].closed, 1)
  t.match(member.state, { phase: 'connecting', problems: ['the consumer cannot connect: fenced'] })
  t.same(restarts, [{ message: 'fenced', delayMs: 500 }])
  await tick(500)
  connects[1].resolve(new StubSource())
  await settle()
  t.equal(engines.length, 2)
  t.match(member.state, { phase: 'running', problems: [] })
  engines[1].end()
  await member.stop(1)
  t.equal(sources[1].closed, 1)
})

t.test('one that is fenced is not made anew: who asked for it is told, and its handlers get the time of the stop', async t => {
  const { member, connects, engines, sources, restarts, fenced } = setUp()
  member.start()
  connects[0].resolve(new StubSource())
  await settle()
  engines[0].state = { ...engines[0].state, inFlight: 1 }
  engines[0].fail(new PollError('fatal', 'somebody else', { fenced: true }))
  await settle()
  t.strictSame(fenced, ['somebody else'])
  t.match(member.state, { phase: 'stopped', problems: ['somebody else'], partitions: [] })
  let stopped = false
  member.stop(2000).then(() => { stopped = true }, t.error)
  now += 1000
  await tick(1000)
  t.notOk(stopped, 'a handler is still busy')
  t.equal(sources[0].closed, 0)
  now += 1001
  await tick(100)
  t.ok(stopped)
  t.equal(sources[0].closed, 1)
  await tick(60_000)
  t.equal(connects.length, 1)
  t.strictSame(restarts, [])
})

t.test('one that ran for more than a minute starts again without the waits of earlier failures', async t => {
  for (const [ranMs, delayMs] of [[60_000, 1000], [60_001, 500]]) {
    const { member, restarts, connects, engines } = setUp()
    member.start()
    connects[0].reject(new Error('no broker'))
    await tick(500)
    connects[1].resolve(new StubSource())
    await settle()
    now += ranMs
    engines[0].fail(new Error('fenced'))
    await settle()
    t.equal(restarts[1].delayMs, delayMs, `after ${ranMs} ms`)
    await member.stop(1)
  }
})

t.test('stop: the engine gets the time, and the connection is closed when it has ended', async t => {
  const { member, connects, engines, sources } = setUp()
  member.start()
  member.start()
  t.equal(connects.length, 1, 'starting twice is starting once')
  connects[0].resolve(new StubSource())
  await settle()
  let stopped = 0
  const stops = [member.stop(1234), member.stop(99)].map(stop => stop.then(() => stopped++))
  await settle()
  t.equal(stopped, 0)
  t.equal(sources[0].closed, 0)
  engines[0].end()
  await Promise.all(stops)
  t.same(engines[0].stops, [1234, 99])
  t.equal(sources[0].closed, 1)
  t.match(member.state, { phase: 'stopped', problems: [], partitions: [] })
  await member.stop(1)
  await tick(100_000)
  t.equal(connects.length, 1)
})

t.test('stop while it connects: what is connected is closed, and no engine is made', async t => {
  const { member, connects, engines, sources, restarts } = setUp()
  member.start()
  await settle()
  const stop = member.stop(1000)
  connects[0].resolve(new StubSource())
  await stop
  t.equal(engines.length, 0)
  t.equal(sources[0].closed, 1)
  t.same(restarts, [])
})

t.test('stop while it connects, and connecting fails: it ends', async t => {
  const { member, connects } = setUp()
  member.start()
  await settle()
  const stop = member.stop(1000)
  connects[0].reject(new Error('no broker'))
  await stop
  t.equal(connects.length, 1)
  t.match(member.state, { phase: 'stopped' })
})

t.test('stop between two attempts to connect ends the wait', async t => {
  const { member, connects } = setUp()
  member.start()
  connects[0].reject(new Error('no broker'))
  await settle()
  await member.stop(1000)
  t.equal(connects.length, 1)
})

t.test('stop of one that was never started, and of one whose engine fails meanwhile, resolves', async t => {
  await setUp().member.stop(1000)
  const { member, connects, engines } = setUp()
  member.start()
  connects[0].resolve(new StubSource())
  await settle()
  const stop = member.stop(1000)
  engines[0].fail(new Error('fenced'))
  await stop
  t.equal(connects.length, 1)
})

/** A member that runs, with these partitions, whose ends the source answers. */
async function withPartitions (partitions: PartitionState[], answer: () => Promise<PartitionEnd[]>) {
  const { member, connects, engines, sources } = setUp()
  member.start()
  const source = new StubSource()
  source.answer = answer
  connects[0].resolve(source)
  await settle()
  engines[0].state = { ...running, partitions }
  return {
    member,
    source: sources[0],
    engine: engines[0],
    lags: () => member.state.partitions.map(({ lag }) => lag),
    async stop () {
      engines[0].end()
      await member.stop(1)
    }
  }
}

t.test('the lag is unknown until the end is known, or something was read', async t => {
  const partitions = [partition({ commitOffset: 3 }), partition({ commitOffset: 3, lastAdmitted: 5 }), partition({})]
  const { lags, stop } = await withPartitions(partitions, async () => [])
  t.same(lags(), [null, 3, null])
  await stop()
})

t.test('the lag goes from the commit offset to the end; where nothing is known of the group, from the start of the log', async t => {
  const { lags, stop } = await withPartitions(
    [partition({ commitOffset: 3 }), partition({ partition: 1 }), partition({ partition: 2, commitOffset: 10 })],
    async () => [{ ...P0, offset: 10 }, { topic: 't', partition: 1, offset: 10 }, { topic: 't', partition: 2, offset: 10 }])
  await tick(500)
  t.same(lags(), [7, 10, 0])
  await stop()
})

t.test('an end that is older than what was read is moved by that; a lag is never negative', async t => {
  const partitions = [partition({ commitOffset: 3, lastAdmitted: 20 })]
  const { lags, engine, stop } = await withPartitions(partitions, async () => [{ ...P0, offset: 10 }])
  await tick(500)
  t.same(lags(), [18])
  engine.state = { ...running, partitions: [partition({ commitOffset: 25, lastAdmitted: 20 })] }
  t.same(lags(), [0])
  await stop()
})

t.test('ends are asked for every 5 s; sooner where one is not known yet; one question at a time', async t => {
  let answer = deferred<PartitionEnd[]>()
  const { source, engine, stop } = await withPartitions([partition({ commitOffset: 0 })], () => answer.promise)
  const wait = async (ms: number) => {
    now += ms
    await tick(ms)
  }
  await wait(500)
  t.equal(source.asked.length, 1)
  await wait(10_000)
  t.equal(source.asked.length, 1, 'the first question is open')
  answer.resolve([{ ...P0, offset: 1 }])
  await settle()
  await wait(500)
  t.equal(source.asked.length, 2, 'more than 5 s after the first')
  await wait(4500)
  t.equal(source.asked.length, 2)
  await wait(500)
  t.equal(source.asked.length, 3, 'after 5 s')
  engine.state = { ...running, partitions: [partition({ commitOffset: 0 }), partition({ partition: 1, commitOffset: 0 })] }
  await wait(500)
  t.match(source.asked[3], [P0, { topic: 't', partition: 1 }], 'a new partition does not wait')
  answer = deferred()
  await stop()
})

t.test('while ends cannot be read the lag stays what it was, and it is asked for again', async t => {
  let fails = false
  const { source, lags, stop } = await withPartitions([partition({ commitOffset: 3 })], async () => {
    if (fails) throw new Error('away')
    return [{ ...P0, offset: 10 }]
  })
  await tick(500)
  fails = true
  now += 5000
  await tick(500)
  t.equal(source.asked.length, 2)
  t.same(lags(), [7])
  fails = false
  now += 5000
  await tick(500)
  t.equal(source.asked.length, 3)
  await stop()
})

t.test('ends of an earlier connection are forgotten', async t => {
  const { member, connects, engines } = setUp()
  member.start()
  const source = new StubSource()
  source.answer = async () => [{ ...P0, offset: 10 }]
  connects[0].resolve(source)
  await settle()
  engines[0].state = { ...running, partitions: [partition({ commitOffset: 3 })] }
  await tick(500)
  t.equal(member.state.partitions[0].lag, 7)
  engines[0].fail(new Error('fenced'))
  await tick(500)
  connects[1].resolve(new StubSource())
  await settle()
  engines[1].state = engines[0].state
  t.equal(member.state.partitions[0].lag, null)
  engines[1].end()
  await member.stop(1)
})
