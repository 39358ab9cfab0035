import fc from 'fast-check'
import t from 'tap'
import { PollError } from '../../src/engine/types.js'
import { committedOf, defaults, distinct, harness, P0, P1, stop, type Harness } from '../support/engine-harness.js'

// What is fetched, and when: the limit of all windows together, and polling ahead. The fake source throws where something is
// assigned, taken back, paused or sought while a poll is under way.

const sized = (count: number, bytes: number, partition = P0, from = 0) =>
  distinct(count, from, partition).map(one => ({ ...one, value: Buffer.alloc(bytes), size: bytes }))
const bytesOf = (h: Harness) => h.engine.state.partitions.reduce((sum, { windowBytes }) => sum + windowBytes, 0)

/** How many bytes the windows have held together at the most, and how many the largest batch had. */
function watched (h: Harness) {
  const seen = { bytes: 0, batch: 0, before: 0 }
  const { poll } = h.source
  h.source.poll = async (max, timeoutMs) => {
    seen.bytes = Math.max(seen.bytes, bytesOf(h))
    const batch = await poll.call(h.source, max, timeoutMs)
    seen.batch = Math.max(seen.batch, batch.records.reduce((sum, { size }) => sum + size, 0))
    if (batch.records.length > 0) seen.before = Math.max(seen.before, bytesOf(h))
    return batch
  }
  return seen
}

t.test('all windows together hold no more bytes than they may but for one batch, and none is fetched while they are full', async t => {
  const h = harness((_record, _attempt, clock) => clock.sleep(5), { windowTotalMaxBytes: 10_000, windowMaxBytes: 8_000, maxInFlight: 2 })
  const partitions = [0, 1, 2, 3].map(partition => ({ topic: 't', partition }))
  const seen = watched(h)
  for (const partition of partitions) h.source.append(sized(200, 100, partition))
  h.source.event('assigned', partitions)
  await h.clock.until(() => h.completed.length === 800, 'all')
  t.ok(seen.before < 10_000, `records came while the windows held ${seen.before} bytes`)
  t.ok(seen.bytes < 10_000 + seen.batch, `${seen.bytes} bytes, with batches of up to ${seen.batch}`)
  t.ok(seen.bytes > 5_000, 'and the room is used')
  t.equal(bytesOf(h), 0)
  await stop(h)
})

t.test('when they are full the problems say so, all is paused after a second, and resumed when half is free', async t => {
  const ends: (() => void)[] = []
  const h = harness(() => new Promise<void>(resolve => { ends.push(resolve) }), { windowTotalMaxBytes: 1_000, maxInFlight: 100 })
  h.source.append(sized(10, 100))
  h.source.append(sized(10, 100, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => bytesOf(h) >= 1_000, 'them to be full')
  t.match(h.engine.state.problems, [/KAFKA_WINDOW_TOTAL_MAX_BYTES/])
  t.same([...h.source.paused], [])
  await h.clock.advance(1_500)
  t.same([...h.source.paused].sort(), ['t/0', 't/1'])
  h.source.append(sized(5, 100, P0, 10))
  while (bytesOf(h) > 600) {
    ends.shift()!()
    await h.clock.advance(200)
  }
  t.same([...h.source.paused].sort(), ['t/0', 't/1'], 'less than half is free')
  t.same(h.engine.state.problems, [])
  ends.shift()!()
  await h.clock.advance(300)
  t.same([...h.source.paused], [])
  for (let n = 0; n < 30; n++) {
    ends.splice(0).forEach(end => end())
    await h.clock.advance(100)
  }
  t.equal(h.completed.length, 25)
  await stop(h)
})

t.test('a single record larger than all of it is handled', async t => {
  const h = harness(() => {}, { windowTotalMaxBytes: 1_000, windowMaxBytes: 500 })
  h.source.append(sized(3, 5_000))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 3, 'all')
  await stop(h)
})

t.test('what is given up, sought or lost gives its bytes back', async t => {
  const h = harness(() => new Promise<void>(() => {}), { windowTotalMaxBytes: 1_000, drainTimeoutMs: 10, maxInFlight: 1 })
  for (const type of ['revoked', 'lost', 'sought'] as const) {
    h.source.append(sized(10, 100, P0, h.source.committedOffsets.get('t/0') ?? 0))
    h.source.event('assigned', [P0])
    await h.clock.until(() => bytesOf(h) >= 1_000, 'it to be full')
    if (type === 'sought') h.engine.controls.seek(P0, 'end')
    else h.source.event(type, [P0])
    await h.clock.until(() => h.engine.state.problems.length === 0, 'room')
    t.equal(bytesOf(h), 0)
    if (type !== 'sought') await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  }
  await stop(h, 100)
})

t.test('what an operator has paused does not keep the others paused, however much it holds', async t => {
  const h = harness((_record, _attempt, clock) => clock.sleep(2_000), { windowTotalMaxBytes: 1_000, maxInFlight: 1, windowMaxBytes: 800 })
  h.source.append(sized(8, 100))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => bytesOf(h) >= 700, 'the one')
  h.engine.controls.pause(P0)
  await h.clock.advance(500)
  const held = bytesOf(h)
  t.ok(held > 500, 'more than half of all')
  h.source.append(sized(30, 100, P1))
  await h.clock.until(() => h.source.paused.has('t/1'), 'it to be paused for want of room')
  await h.clock.until(() => h.completed.filter(at => at.startsWith('t/1')).length === 30, 'all of the other')
  await stop(h)
})

t.test('for any sizes and limits all is handled, and no more is held than allowed', async () => {
  await fc.assert(fc.asyncProperty(fc.record({
    total: fc.integer({ min: 1, max: 5_000 }),
    window: fc.integer({ min: 1, max: 3_000 }),
    records: fc.integer({ min: 1, max: 30 }),
    sizes: fc.array(fc.nat(2_000), { minLength: 1, maxLength: 60 })
  }), async ({ total, window, records, sizes }) => {
    const h = harness(({ offset }, _attempt, clock) => clock.sleep(offset % 7), {
      windowTotalMaxBytes: total, windowMaxBytes: window, windowMaxRecords: records
    })
    const seen = watched(h)
    sizes.forEach((size, n) => h.source.append(sized(1, size, [P0, P1][n % 2], n)))
    h.source.event('assigned', [P0, P1])
    await h.clock.until(() => h.completed.length === sizes.length, 'all')
    if (seen.before >= total || seen.bytes >= total + seen.batch) throw new Error(JSON.stringify(seen))
    await stop(h)
  }), { numRuns: 40 })
})

// ---- polling ahead

/** In traffic that is never at an end, with a poll begun ahead. */
async function inTraffic (options: Partial<typeof defaults> = {}): Promise<{ h: Harness, ahead: () => boolean }> {
  const h = harness((_record, _attempt, clock) => clock.sleep(3), {
    maxInFlight: 50, windowMaxRecords: 2000, commitIntervalMs: 100, ...options
  })
  let polls = 0
  const { poll } = h.source
  h.source.poll = async (max, timeoutMs) => {
    polls++
    try {
      return await poll.call(h.source, max, timeoutMs)
    } finally {
      polls--
    }
  }
  h.source.append(distinct(150))
  h.source.append(distinct(150, 0, P1))
  h.source.event('assigned', [P0, P1])
  await h.clock.until(() => h.completed.length > 0, 'traffic')
  return { h, ahead: () => polls > 0 }
}

t.test('a poll that was begun ahead is waited for before partitions are assigned, taken back, lost, paused, resumed or sought', async t => {
  const { h, ahead } = await inTraffic()
  const P2 = { topic: 't', partition: 2 }
  for (let round = 0; round < 20; round++) {
    const from = 150 + round * 150
    h.source.append(distinct(150, from))
    h.source.append(distinct(150, from, P1))
    await h.clock.advance(round % 5)
    t.ok(ahead(), 'a poll is under way')
    const asked = h.clock.now()
    const what = [
      () => h.source.event('assigned', [P2]),
      () => h.source.event('revoked', [P2]),
      () => h.engine.controls.pause(P0),
      () => h.engine.controls.resume(P0),
      () => h.engine.controls.seek(P1, from),
      () => h.source.event('assigned', [P2]),
      () => h.source.event('lost', [P2])
    ][round % 7]()
    let done = false
    if (what === undefined) await h.clock.until(() => h.source.unanswered === 0, 'the answer')
    else {
      (what as Promise<unknown>).then(() => { done = true })
      await h.clock.until(() => done, 'the answer')
    }
    t.ok(h.clock.now() - asked <= 150, `answered after ${h.clock.now() - asked} ms`)
  }
  await h.clock.until(() => committedOf(h, P0).offset === 150 * 21 && committedOf(h, P1).offset === 150 * 21, 'all')
  await stop(h)
})

for (const [what, act] of [
  ['a loss', h => h.source.event('lost', [P1])],
  ['a revocation', h => h.source.event('revoked', [P1])],
  ['a pause', h => { h.engine.controls.pause(P1) }],
  ['a seek', h => { h.engine.controls.seek(P1, 0) }],
  ['a stop', h => { h.engine.stop(1_000) }]
] as [string, (h: Harness) => void][]) {
  t.test(`${what} that comes right after a poll was begun ahead waits for it`, async t => {
    let at: number | null = null
    // The handlers of a batch start right after the next poll was begun.
    const h: Harness = harness(({ offset }) => { if (offset === at) act(h) }, { windowMaxRecords: 2000 })
    h.source.append(distinct(10))
    h.source.event('assigned', [P0, P1])
    await h.clock.until(() => h.completed.length === 10, 'some')
    await h.clock.advance(500)
    at = 10
    h.source.pollsEndLate = true
    let failed: unknown
    h.run.catch(error => { failed = error })
    h.source.append(distinct(150, 10))
    for (let n = 0; n < 100; n++) await h.clock.advance(20)
    t.equal(failed, undefined)
    t.equal(h.told.get('poll failed'), undefined)
    if (what === 'a stop') {
      t.equal(h.engine.state.phase, 'stopped')
      t.ok(committedOf(h).offset >= 11, 'what had started is committed')
      return
    }
    await stop(h)
    t.equal(committedOf(h).offset, 160)
  })
}

t.test('nothing is polled ahead where there is no room', async t => {
  let most = 0
  const h = harness((_record, _attempt, clock) => clock.sleep(50), { windowMaxRecords: 200 })
  h.source.onPoll = () => { most = Math.max(most, h.engine.state.partitions[0]?.windowRecords ?? 0) }
  h.source.append(distinct(1_000))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 1_000, 'all')
  t.equal(h.told.get('poll failed'), undefined)
  t.equal(most, 200)
  await stop(h)
})

t.test('a stop with a poll under way ahead ends soon', async t => {
  const { h, ahead } = await inTraffic()
  t.ok(ahead())
  const from = h.clock.now()
  await stop(h)
  t.ok(h.clock.now() - from <= 400, `${h.clock.now() - from} ms`)
})

t.test('a poll that fails ahead is told as any other, and what is fatal ends the member', async t => {
  for (const kind of ['passing', 'fatal'] as const) {
    const h = harness(() => {}, { windowMaxRecords: 2000 })
    let ended: unknown
    h.run.catch(error => { ended = error })
    const { poll } = h.source
    let fail = false
    h.source.poll = async (max, timeoutMs) => {
      // The one right after a full batch is begun ahead.
      if (fail) {
        fail = false
        throw new PollError(kind, 'the brokers are away')
      }
      const batch = await poll.call(h.source, max, timeoutMs)
      fail = batch.records.length > 100
      return batch
    }
    h.source.append(distinct(1000))
    h.source.event('assigned', [P0])
    await h.clock.until(() => kind === 'fatal' ? ended !== undefined : (h.told.get('poll failed') ?? 0) >= 1, 'the failure')
    if (kind === 'fatal') {
      t.match(ended, { kind: 'fatal' })
      continue
    }
    h.source.append(distinct(10, 1000))
    await h.clock.until(() => h.completed.length === 1010, 'it to go on')
    t.same(h.engine.state.problems, [])
    await stop(h)
  }
})
