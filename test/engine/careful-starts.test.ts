import t from 'tap'
import { AttemptsUsedUpError } from '../../src/engine/attempt-errors.js'
import type { EngineOptions } from '../../src/engine/engine.js'
import { encodeProgress } from '../../src/engine/progress.js'
import { committedOf, distinct, harness, P0, P1, place, stop, type Harness, type HarnessPorts } from '../support/engine-harness.js'
import { FakeSource } from '../support/fake-source.js'

// A record that ends the process each time that it is handled leaves nothing behind but the word of who has begun where.

const never = () => new Promise<void>(() => {})
/** Owners that ended at the same place, as one that begins there finds it. */
const ended = (base: number, starts: number, attempts: [number, number][] = []) =>
  encodeProgress({ base, leaderEpoch: 0, done: [], topicId: '', attempts, starts, clean: false })

/** One life after the other over the same broker, each until a poisonous record is handled. Gives the one that survives. */
async function lives (
  poison: (at: string) => boolean, prepare: (source: FakeSource) => void, options: Partial<EngineOptions> = {},
  { max = 20, handle = () => {}, ...ports }: HarnessPorts & { max?: number, handle?: () => unknown } = {}
) {
  const handled: string[] = []
  const all: Harness[] = []
  for (let life = 0; life < max; life++) {
    const h: Harness = harness((one, _attempt, clock) => {
      if (h.source.dead) return never()
      if (!poison(place(one))) {
        handled.push(place(one))
        return handle()
      }
      h.source.kill()
      // Nothing of this process happens any more.
      clock.stop()
      return never()
    }, options, { ...ports, ...(all.length > 0 && { after: all[all.length - 1] }) })
    all.push(h)
    if (life === 0) prepare(h.source)
    h.source.event('assigned', [P0, P1])
    await h.clock.advance(20_000)
    if (!h.source.dead) return { survivor: h, all, handled }
  }
  throw new Error(`${max} lives were not enough`)
}

for (const [where, ids, committed] of [
  ['in the middle of a topic', true, 3], ['where the group has no offset yet', true, -1], ['where topics have no ids', false, 3],
  ['where the group has no offset yet and topics have no ids', false, -1]
] as const) {
  t.test(`${where}: a record that ends the process each time is dead-lettered after its attempts, and no other is`, async t => {
    const bad = `t/0/${Math.max(committed, 0)}`
    const { survivor, all, handled } = await lives(at => at === bad, source => {
      if (ids) source.ids.set('t', 'an-id')
      if (committed >= 0) {
        source.committedOffsets.set('t/0', committed)
        source.committedOffsets.set('t/1', committed)
      }
      source.append(distinct(30))
      source.append(distinct(30, 0, P1))
    })
    t.same(survivor.letters.map(({ record }) => place(record)), [bad])
    t.ok(survivor.letters[0].error instanceof AttemptsUsedUpError)
    t.ok(all.length <= 3 + 3 + 2, `${all.length} lives`)
    t.equal(all.slice(0, -1).flatMap(({ letters }) => letters).length, 0)
    await survivor.clock.advance(2_000)
    for (const partition of [P0, P1]) t.equal(committedOf(survivor, partition).offset, 30)
    const wanted = [...distinct(30), ...distinct(30, 0, P1)].map(place).filter(at => at !== bad)
    t.same(wanted.filter(at => Number(at.split('/')[2]) >= committed && !handled.includes(at)), [], 'all the others are handled')
    t.equal(survivor.told.get('suspected') ?? 0, 2, 'nothing of either partition was ever committed')
    await stop(survivor)
  })
}

t.test('several such records, next to each other and in two partitions, and neighbours of the same key', async t => {
  const bad = ['t/0/0', 't/0/1', 't/1/4']
  const { survivor, all, handled } = await lives(at => bad.includes(at), source => {
    source.append(distinct(8).map(one => ({ ...one, key: Buffer.from('same') })))
    source.append(distinct(8, 0, P1))
  }, {}, { max: 40 })
  t.same(all.flatMap(({ letters }) => letters).map(({ record }) => place(record)).sort(), bad)
  t.equal(new Set(handled).size, 16 - 3)
  await stop(survivor)
})

t.test('where failed records block, such a record is tried once by each process and never lost', async t => {
  await t.rejects(lives(at => at === 't/0/0', source => source.append(distinct(3)), { exhausted: 'block' }, { max: 12 }), /12 lives were not enough/)
})

t.test('an attempt is written down before it is made where owners keep ending, and only one is made at a time', async t => {
  const seen: unknown[] = []
  const h: Harness = harness(async (one, _attempt, clock) => {
    seen.push([h.engine.state.inFlight, committedOf(h).progress?.attempts])
    await clock.sleep(100)
  }, { maxRecordsBeforeCommit: 1, order: 'unordered' })
  h.source.append(distinct(3))
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', ended(0, 3))
  h.source.holdAcknowledgements = true
  h.source.event('assigned', [P0])
  await h.clock.advance(4_000)
  t.same(h.started, [], 'nothing before it is written down')
  t.equal(h.told.get('suspected'), 1)
  h.source.holdAcknowledgements = false
  await h.clock.until(() => h.completed.length === 3, 'all')
  t.same(seen, [[1, [[0, 1]]], [1, [[1, 1]]], [1, [[2, 1]]]])
  await stop(h)
})

t.test('two owners that ended at a place are none too many, and what they say of another place means nothing', async t => {
  for (const [starts, base] of [[2, 0], [9, 5]]) {
    const h = harness((_record, _attempt, clock) => clock.sleep(100))
    h.source.append(distinct(9))
    h.source.committedOffsets.set('t/0', 0)
    h.source.committedMetadata.set('t/0', ended(base, starts))
    h.source.event('assigned', [P0])
    await h.clock.until(() => h.completed.length === 9, 'all')
    t.equal(h.peak, 4)
    t.equal(h.told.get('suspected'), undefined)
    await stop(h)
  }
})

t.test('a clean stop is no bad sign: the one after begins as usual, whatever there was before', async t => {
  let last: Harness | undefined
  for (let life = 0; life < 6; life++) {
    const h: Harness = harness(() => {}, {}, last === undefined ? {} : { after: last })
    if (life === 0) {
      h.source.committedOffsets.set('t/0', 0)
      h.source.committedMetadata.set('t/0', ended(0, 2))
    }
    h.source.event('assigned', [P0])
    await h.clock.advance(500)
    t.equal(h.told.get('suspected'), undefined, `life ${life}`)
    await stop(h)
    t.equal(committedOf(h).progress?.clean, true)
    last = h
  }
})

t.test('so is a revocation in good order, though handlers of others go on', async t => {
  const h = harness(() => never(), { drainTimeoutMs: 10 })
  h.source.ids.set('t', 'an-id')
  h.source.append(distinct(1, 0, P1))
  h.source.committedOffsets.set('t/0', 0).set('t/1', 0)
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(500)
  t.equal(h.engine.state.inFlight, 1)
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.match([committedOf(h, P0).progress, committedOf(h, P1).progress], [{ clean: true }, { clean: false, starts: 1 }])
  await stop(h)
})

t.test('a stop that leaves a handler behind is none in good order', async t => {
  const h = harness(() => never(), { drainTimeoutMs: 10 })
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.advance(500)
  await stop(h, 100)
  t.equal(committedOf(h).progress?.clean, false)
})

t.test('partitions on which owners keep ending do not hold up others while nothing of them can start', async t => {
  const suspicious = (source: FakeSource) => {
    source.committedOffsets.set('t/0', 0)
    source.committedMetadata.set('t/0', ended(0, 3))
  }
  const busy = async (h: Harness, count = 40) => {
    const before = h.completed.length
    h.source.append(distinct(count, 1000, P1))
    await h.clock.until(() => h.completed.length >= before + count, 'the others')
  }
  const slow = (_record: unknown, _attempt: unknown, clock: { sleep (ms: number): Promise<void> }) => clock.sleep(100)

  await t.test('it is empty', async t => {
    const h = harness(slow)
    suspicious(h.source)
    h.source.event('assigned', [P0, P1])
    await busy(h)
    t.equal(h.peak, 4)
    await stop(h)
  })

  await t.test('its record waits for its next attempt', async t => {
    const h = harness(async (one, { attempt }, clock) => {
      if (one.partition === 0 && attempt === 1) throw Object.assign(new Error('later'), { retryAfterMs: 3_600_000 })
      await clock.sleep(100)
    })
    suspicious(h.source)
    h.source.append(distinct(1))
    h.source.event('assigned', [P0, P1])
    await h.clock.until(() => h.engine.state.retrying === 1 && h.started.length === 1, 'it to wait')
    await busy(h)
    t.equal(h.peak, 4)
    await stop(h)
  })

  await t.test('its record blocks its key', async t => {
    const h = harness(async (one, _attempt, clock) => {
      if (one.partition === 0) throw Object.assign(new Error('bad'), { retriable: false })
      await clock.sleep(100)
    }, { exhausted: 'block' })
    suspicious(h.source)
    h.source.append(distinct(1))
    h.source.event('assigned', [P0, P1])
    await h.clock.until(() => h.engine.state.blocked === 1, 'it to block')
    await busy(h)
    t.equal(h.peak, 4)
    await stop(h)
  })

  await t.test('an operator has paused it', async t => {
    const h = harness(slow)
    suspicious(h.source)
    h.source.append(distinct(5))
    h.source.holdAcknowledgements = true
    h.source.event('assigned', [P0, P1])
    await h.clock.advance(500)
    const paused = h.engine.controls.pause({ topic: 't', partition: 0 })
    await h.clock.advance(500)
    t.same(await paused, [P0])
    h.source.holdAcknowledgements = false
    await busy(h)
    t.equal(h.peak, 4)
    t.equal(h.started.filter(at => at.startsWith('t/0')).length, 0, 'also the record that was to start next')
    t.same(committedOf(h).progress?.attempts ?? [], [], 'whose attempt was written down and is none')
    h.engine.controls.resume({})
    await h.clock.until(() => h.completed.length === 45, 'what was paused')
    await stop(h)
  })

  await t.test('its record is handled: the others wait for that alone', async t => {
    const beside: number[] = []
    const h: Harness = harness(async (one, _attempt, clock) => {
      if (one.partition === 0) beside.push(h.engine.state.inFlight)
      await clock.sleep(100)
      if (one.partition === 0) beside.push(h.engine.state.inFlight)
    })
    suspicious(h.source)
    h.source.append(distinct(3))
    h.source.event('assigned', [P0, P1])
    await busy(h)
    await h.clock.until(() => h.completed.length === 43, 'all')
    t.same(beside, [1, 1, 1, 1, 1, 1])
    t.equal(h.peak, 4)
    await stop(h)
  })
})

t.test('when its record is done the partition goes its usual way after as many as the limit', async t => {
  const at: number[] = []
  const h: Harness = harness(async (_record, _attempt, clock) => {
    at.push(h.engine.state.inFlight)
    await clock.sleep(100)
  }, { order: 'unordered', maxInFlight: 3 })
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', ended(0, 3))
  h.source.append(distinct(12))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.completed.length === 12, 'all')
  t.same(at.slice(0, 3), [1, 1, 1])
  t.equal(Math.max(...at.slice(3)), 3)
  await stop(h)
})

t.test('an attempt that was announced and not made is none: its partition is revoked meanwhile', async t => {
  const h = harness(() => {})
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', ended(0, 3))
  h.source.event('assigned', [P0])
  await h.clock.advance(500)
  h.source.append(distinct(1))
  h.source.onCommit = offsets => {
    // What the announcement is committed with is under way when the group takes the partition back.
    if (decodeAttempts(offsets[0]).length > 0 && !h.source.hasEvent) h.source.event('revoked', [P0])
  }
  h.source.holdAcknowledgements = true
  await h.clock.advance(500)
  h.source.event('revoked', [P0])
  await h.clock.advance(500)
  h.source.onCommit = () => {}
  h.source.holdAcknowledgements = false
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.same(h.started, [])
  t.same(committedOf(h).progress?.attempts, [])
  await stop(h)
})

t.test('a record whose attempt is announced does not start when its partition is paused meanwhile', async t => {
  const h = harness(() => {})
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', ended(0, 3))
  h.source.event('assigned', [P0, P1])
  await h.clock.advance(500)
  h.source.holdAcknowledgements = true
  h.source.append(distinct(1))
  await h.clock.advance(500)
  h.engine.controls.pause(P0)
  await h.clock.advance(500)
  h.source.holdAcknowledgements = false
  h.source.append(distinct(5, 0, P1))
  await h.clock.until(() => h.completed.length === 5, 'the others')
  await h.clock.advance(2_000)
  t.equal(h.started.filter(at => at.startsWith('t/0')).length, 0)
  t.same(committedOf(h).progress?.attempts, [], 'and that attempt is none')
  h.engine.controls.resume({})
  await h.clock.until(() => h.completed.length === 6, 'it')
  await stop(h)
})

t.test('owners that end at different places, however often, are no bad sign', async t => {
  let last: Harness | undefined
  for (let life = 0; life < 8; life++) {
    const h: Harness = harness(() => {}, { commitIntervalMs: 50 }, last === undefined ? {} : { after: last })
    h.source.ids.set('t', 'an-id')
    h.source.append(distinct(3, life * 3))
    h.source.event('assigned', [P0])
    await h.clock.until(() => committedOf(h).offset === life * 3 + 3, 'some progress')
    t.equal(h.told.get('suspected'), undefined, `life ${life}`)
    h.source.kill()
    last = h
  }
})

t.test('an attempt with care that was cut short by a drain is none', async t => {
  const h = harness((_record, { signal }) => new Promise((_resolve, reject) => { signal.addEventListener('abort', () => reject(signal.reason)) }),
    { drainTimeoutMs: 10 })
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', ended(0, 3, [[0, 1]]))
  h.source.append(distinct(1))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.started.length === 1, 'it to start')
  t.same(committedOf(h).progress?.attempts, [[0, 2]])
  h.source.event('revoked', [P0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.same(committedOf(h).progress?.attempts, [[0, 1]])
  await stop(h)
})

t.test('while the breaker is open nothing is started with care either', async t => {
  let outage = true
  const h = harness(() => { if (outage) throw new Error('away') }, {
    breaker: { failureShare: 1, records: 2, probeMs: 5_000, probeMaxMs: 5_000 }, retry: { maxAttempts: 3, backoffMs: 1, backoffMaxMs: 1 }
  })
  h.source.committedOffsets.set('t/0', 0)
  h.source.committedMetadata.set('t/0', ended(0, 3))
  h.source.append(distinct(5))
  h.source.event('assigned', [P0])
  await h.clock.until(() => h.engine.state.breaker === 'open', 'it to open')
  const { length } = h.started
  await h.clock.advance(4_000)
  t.equal(h.started.length, length)
  await h.clock.advance(60_000)
  t.equal(h.letters.length, 0)
  outage = false
  await h.clock.until(() => h.completed.length === 5, 'all')
  t.equal(h.letters.length, 0)
  await stop(h)
})

function decodeAttempts ({ offset, metadata }: { offset: number, metadata: string }) {
  return committedOf({ source: { committedOffsets: new Map([['t/0', offset]]), committedMetadata: new Map([['t/0', metadata]]) } } as unknown as Harness)
    .progress?.attempts ?? []
}
