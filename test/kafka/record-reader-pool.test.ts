import { test, type Test } from 'tap'
import { SluiceError } from '../../src/errors.js'
import { RecordReaderPool, type PooledReader } from '../../src/kafka/record-reader-pool.js'
import type { Isolation, ReadRequest, RecordPage } from '../../src/kafka/record-reader.js'

const silent = { debug () {}, info () {}, warn () {}, error () {} }
const page: RecordPage = { beginOffset: 0, endOffset: 0, records: [], nextOffset: 0 }
const request = (isolation: Isolation = 'read_committed'): ReadRequest =>
  ({ topic: 'a', partition: 0, from: 'beginning', isolation, limit: 1, maxWaitMs: 1 })
const turn = () => new Promise(resolve => { setImmediate(resolve) })

/** A client whose reads end when a test says so. */
class FakeClient implements PooledReader {
  isSpent = false
  closed = 0
  readonly reading: { done: () => void, fail: (error: Error) => void }[] = []
  constructor (readonly isolation: Isolation) {}

  read (): Promise<RecordPage> {
    return new Promise((resolve, reject) => { this.reading.push({ done: () => { resolve(page) }, fail: reject }) })
  }

  async bounds () { return [] }
  async close () { this.closed++ }
}

function pool (t: Test, { clients = 2, maxWaiting = 2 } = {}) {
  const opened: FakeClient[] = []
  const world = { reachable: true, openFails: false }
  const made = new RecordReaderPool({
    client: {},
    settings: { clients, maxWaiting, maxBytes: 1_000 },
    log: silent,
    isReachable: () => world.reachable,
    async open ({ isolation }) {
      if (world.openFails) throw new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'no')
      const client = new FakeClient(isolation)
      opened.push(client)
      return client
    }
  })
  t.teardown(() => made.close(10))
  return { pool: made, opened, world }
}

test('nothing is opened before it is needed; one request at a time on each client, the others wait in their order, one more is refused', async t => {
  const { pool: readers, opened } = pool(t)
  t.same(readers.state, { reading: 0, waiting: 0, clients: 0 })
  const ended: number[] = []
  const all = [0, 1, 2, 3].map(i => readers.read(request()).then(() => { ended.push(i) }))
  await turn()
  t.same(readers.state, { reading: 2, waiting: 2, clients: 2 })
  await t.rejects(readers.read(request()), { code: 'SLUICE_READ_BUSY' })
  t.same(opened.map(({ reading }) => reading.length), [1, 1])
  opened[1]!.reading[0]!.done()
  await all[1]
  await turn()
  t.same(opened.map(({ reading }) => reading.length), [1, 2], 'the first that waited got the client that was free')
  t.same(readers.state, { reading: 2, waiting: 1, clients: 2 })
  opened[1]!.reading[1]!.done()
  await all[2]
  opened[0]!.reading[0]!.done()
  await all[0]
  await turn()
  for (const { reading } of opened) for (const one of reading) one.done()
  await Promise.all(all)
  t.same(ended, [1, 2, 0, 3])
  t.same(readers.state, { reading: 0, waiting: 0, clients: 2 })
  t.equal(opened.length, 2)
})

test('a client is used for its own isolation level only; another level takes a free place before it takes one away', async t => {
  const { pool: readers, opened } = pool(t)
  const read = async (isolation: Isolation) => {
    const reading = readers.read(request(isolation))
    await turn()
    for (const client of opened) for (const one of client.reading) one.done()
    await reading
  }
  await read('read_committed')
  await read('read_uncommitted')
  await read('read_committed')
  t.same(opened.map(({ isolation }) => isolation), ['read_committed', 'read_uncommitted'])
  t.same(opened.map(({ reading }) => reading.length), [2, 1])
  // Both at work for one level: the client of the other has to go.
  const both = [readers.read(request()), readers.read(request())]
  await turn()
  for (const client of opened) for (const one of client.reading) one.done()
  await Promise.all(both)
  t.equal(opened.length, 3)
  t.equal(opened[1]!.closed, 1)
  t.same(await readers.bounds('a', 1), [], 'what needs no level takes any')
  t.equal(opened.length, 3)
})

test('what a read fails with is its own; a client that is spent is let go, and the next request has a new one', async t => {
  const { pool: readers, opened } = pool(t, { clients: 1 })
  const first = readers.read(request())
  await turn()
  opened[0]!.reading[0]!.fail(new SluiceError('SLUICE_UNKNOWN_TOPIC', 'no'))
  await t.rejects(first, { code: 'SLUICE_UNKNOWN_TOPIC' })
  t.same(readers.state, { reading: 0, waiting: 0, clients: 1 })

  const second = readers.read(request())
  const waiting = readers.read(request())
  await turn()
  t.equal(opened.length, 1)
  opened[0]!.isSpent = true
  opened[0]!.reading[1]!.fail(new Error('poll'))
  await t.rejects(second, { message: 'poll' })
  await turn()
  t.equal(opened[0]!.closed, 1)
  t.equal(opened.length, 2, 'for the one that waited')
  opened[1]!.reading[0]!.done()
  t.equal(await waiting, page)
})

test('where no client can be opened the place is free again, and while Kafka is away nothing is begun', async t => {
  const { pool: readers, opened, world } = pool(t, { clients: 1, maxWaiting: 1 })
  world.openFails = true
  const both = [readers.read(request()), readers.read(request())]
  for (const one of both) await t.rejects(one, { code: 'SLUICE_BROKER_UNAVAILABLE' })
  t.same(readers.state, { reading: 0, waiting: 0, clients: 0 })
  world.openFails = false
  world.reachable = false
  await t.rejects(readers.read(request()), { code: 'SLUICE_BROKER_UNAVAILABLE' })
  t.equal(opened.length, 0)
  world.reachable = true
  const last = readers.read(request())
  await turn()
  opened[0]!.reading[0]!.done()
  t.equal(await last, page)
})

test('who waits too long is refused, and leaves no place taken; a client that nobody needs is let go', async t => {
  const timers: { act: () => void, ms: number }[] = []
  const { setTimeout: real } = globalThis
  globalThis.setTimeout = ((act: () => void, ms: number) => {
    const timer = real(() => {}, 0)
    timers.push({ act, ms })
    return timer
  }) as typeof setTimeout
  t.teardown(() => { globalThis.setTimeout = real })
  const { pool: readers, opened } = pool(t, { clients: 1, maxWaiting: 2 })
  const reading = readers.read(request())
  await turn()
  const late = readers.read(request())
  const next = readers.read(request())
  await turn()
  t.same(timers.map(({ ms }) => ms), [10_000, 10_000])
  timers[0]!.act()
  await t.rejects(late, { code: 'SLUICE_READ_BUSY' })
  t.same(readers.state, { reading: 1, waiting: 1, clients: 1 })
  opened[0]!.reading[0]!.done()
  await reading
  await turn()
  opened[0]!.reading[1]!.done()
  await next
  await turn()
  const idle = timers.at(-1)!
  t.equal(idle.ms, 60_000)
  idle.act()
  t.equal(readers.state.reading, 1, 'nobody gets it while it is let go')
  await turn()
  t.same(readers.state, { reading: 0, waiting: 0, clients: 0 })
  t.equal(opened[0]!.closed, 1)
})

test('a close refuses what waits, lets what is under way end, and lets go of all clients; nothing begins afterwards', async t => {
  const { pool: readers, opened } = pool(t, { clients: 1 })
  const reading = readers.read(request())
  await turn()
  const waiting = readers.read(request())
  const closed = readers.close(60_000)
  await t.rejects(waiting, { code: 'SLUICE_CLOSING' })
  await t.rejects(readers.read(request()), { code: 'SLUICE_CLOSING' })
  t.equal(opened[0]!.closed, 0)
  opened[0]!.reading[0]!.done()
  t.equal(await reading, page)
  await closed
  t.equal(opened[0]!.closed, 1)
})

test('a close waits no longer than it may', async t => {
  const { pool: readers, opened } = pool(t, { clients: 1 })
  readers.read(request()).catch(() => {})
  await turn()
  await readers.close(5)
  t.equal(opened[0]!.closed, 0, 'not to be closed while it reads')
  opened[0]!.reading[0]!.done()
})
