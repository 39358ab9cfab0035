import fc from 'fast-check'
import t from 'tap'
import { deadLetterRecord } from '../src/engine/dead-letter.js'
import { deferralOf, originalOf, retryRecord } from '../src/retry-topic.js'
import type { KafkaRecord, OutgoingRecord } from '../src/record.js'
import { distinct, harness, stop, type Harness } from './support/engine-harness.js'
import { record } from './support/fake-source.js'

const DAY_MS = 86_400_000
const NOW = 1_800_000_000_000
const original = record({
  topic: 'orders',
  partition: 3,
  offset: 70,
  timestamp: 1_700_000_000_000,
  key: Buffer.from('k'),
  value: Buffer.from('v'),
  headers: [{ name: 'trace', value: Buffer.from('1') }, { name: 'trace', value: Buffer.from('2') }]
})
const letter = (of: KafkaRecord, attempts = 2, retryInMs: number | null = 60_000) => ({ record: of, attempts, error: new TypeError('busy'), retryInMs })
/** As the retry topic hands it out. */
const stored = ({ key, value, headers }: OutgoingRecord, offset = 0): KafkaRecord => record({
  topic: 'retry',
  partition: 0,
  offset,
  timestamp: NOW,
  key: key as Buffer,
  value: value as Buffer,
  headers: (headers ?? []).map(({ name, value }) => ({ name, value: Buffer.from(value) }))
})
const any = () => true
const own = (headers: Record<string, string>) => Object.entries(headers).map(([name, value]) => ({ name, value: Buffer.from(value) }))

t.test('a record goes to the retry topic as it is, with where it came from, its attempts, and when it is due', t => {
  const sent = retryRecord(letter(original), 'retry', 'g', NOW)
  t.match(sent, { topic: 'retry', key: original.key, value: original.value })
  t.same(sent.headers!.slice(0, 2), original.headers)
  t.equal(sent.partition, undefined, 'its partition follows from the key')
  const text = Object.fromEntries(sent.headers!.map(({ name, value }) => [name, value.toString()]))
  t.match(text, {
    'sluice-original-topic': 'orders',
    'sluice-original-partition': '3',
    'sluice-original-offset': '70',
    'sluice-attempts': '2',
    'sluice-group': 'g',
    'sluice-error-class': 'TypeError',
    'sluice-error-message': 'busy',
    'sluice-retry-due-at': String(NOW + 60_000)
  })
  t.end()
})

t.test('from there a handler gets it as it was at first: topic, partition, offset, time and headers', t => {
  const back = originalOf(stored(retryRecord(letter(original), 'retry', 'g', NOW)), any)
  t.match(back, { topic: 'orders', partition: 3, offset: 70, timestamp: original.timestamp, key: original.key, value: original.value })
  t.same(back.headers, original.headers)
  t.end()
})

t.test('also after several times, and then as a dead letter', t => {
  let at = original
  for (let round = 1; round <= 4; round++) at = stored(retryRecord(letter(originalOf(at, any), round), 'retry', 'g', NOW + round), round)
  t.same(originalOf(at, any).headers, original.headers)
  t.same(deferralOf(at, NOW, DAY_MS), { attempts: 4, waitMs: 60_004 })
  const dead = deadLetterRecord(letter(originalOf(at, any), 5, null), { topic: 'orders.dlq', groupId: 'g', maxBytes: 1e6, nowMs: NOW })
  const names = dead.headers!.map(({ name }) => name)
  t.equal(new Set(names.filter(name => name.startsWith('sluice-'))).size, names.length - 2, 'each of ours once')
  t.notOk(names.includes('sluice-retry-due-at'))
  t.end()
})

t.test('headers of these names that a record brought along stay its own', t => {
  const sentAgain = { ...original, headers: [...own({ 'sluice-original-topic': 'elsewhere', 'sluice-attempts': '5' }), ...original.headers] }
  let at: KafkaRecord = sentAgain
  for (let round = 1; round <= 3; round++) at = stored(retryRecord(letter(originalOf(at, any), round), 'retry', 'g', NOW), round)
  t.same(originalOf(at, any).headers, sentAgain.headers)
  t.equal(originalOf(at, any).topic, 'orders')
  t.end()
})

t.test('a topic that is not consumed here is not believed: nobody chooses where a dead letter goes', t => {
  const back = stored(retryRecord(letter(original), 'retry', 'g', NOW))
  t.equal(originalOf(back, topic => topic !== 'orders'), back)
  t.equal(originalOf(back, topic => topic === 'orders').topic, 'orders')
  t.end()
})

t.test('it is not due before its time, at once after it, and never later than the longest wait from now', t => {
  const at = (dueInMs: number) => deferralOf(stored(retryRecord(letter(original, 1, dueInMs), 'retry', 'g', NOW)), NOW, DAY_MS)?.waitMs
  t.same([60_000, 0, -5_000, 1.5, 1e12].map(at), [60_000, 0, 0, 2, DAY_MS])
  t.end()
})

t.test('a record that is none of ours has no deferral, and is what it is', t => {
  const foreign: KafkaRecord['headers'][] = [
    [], own({ 'sluice-attempts': '1' }), own({ 'sluice-retry-due-at': '1' }), own({ 'sluice-attempts': 'x', 'sluice-retry-due-at': '1' }),
    own({ 'sluice-attempts': '1e3', 'sluice-retry-due-at': '1' }), own({ 'sluice-attempts': '99999999999999999999', 'sluice-retry-due-at': '1' }),
    own({ 'sluice-attempts': '', 'sluice-retry-due-at': '' }), own({ 'sluice-attempts': ' 1', 'sluice-retry-due-at': '1' })
  ]
  for (const headers of foreign) {
    const one = record({ topic: 'retry', offset: 0, headers })
    t.equal(deferralOf(one, NOW, DAY_MS), null)
    t.equal(originalOf(one, any), one)
  }
  for (const lacking of ['sluice-original-topic', 'sluice-original-partition', 'sluice-original-offset', 'sluice-retry-due-at']) {
    const one = stored(retryRecord(letter(original), 'retry', 'g', NOW))
    const without = { ...one, headers: one.headers.filter(({ name }) => name !== lacking) }
    t.equal(originalOf(without, any), without)
  }
  t.end()
})

t.test('headers of our names that a record had before do not count: the last of a name is ours', t => {
  const headers = own({ 'sluice-retry-due-at': '9999999999999', 'sluice-attempts': '999', 'sluice-original-topic': 'secret' })
  const forged = { ...original, headers }
  const back = stored(retryRecord(letter(forged, 1), 'retry', 'g', NOW))
  t.same(deferralOf(back, NOW, DAY_MS), { attempts: 1, waitMs: 60_000 })
  t.equal(originalOf(back, any).topic, 'orders')
  t.end()
})

t.test('for any headers nothing throws, and a deferral is a whole number of attempts and a wait within bounds', t => {
  const header = fc.record({
    name: fc.constantFrom('sluice-attempts', 'sluice-retry-due-at', 'sluice-original-topic', 'sluice-original-partition', 'sluice-original-offset', 'x'),
    value: fc.oneof(fc.integer().map(String), fc.string()).map(text => Buffer.from(text))
  })
  fc.assert(fc.property(fc.array(header, { maxLength: 12 }), headers => {
    const one = record({ topic: 'retry', offset: 0, headers })
    const deferral = deferralOf(one, NOW, DAY_MS)
    originalOf(one, any)
    return deferral === null ||
      (Number.isSafeInteger(deferral.attempts) && deferral.attempts >= -1 && deferral.waitMs >= 0 && deferral.waitMs <= DAY_MS)
  }))
  t.end()
})

// ---- within the engine

const R0 = { topic: 'retry', partition: 0 }
const later = (ms: number) => { throw Object.assign(new Error('later'), { retryAfterMs: ms }) }

t.test('a wait of at least so long goes to the retry topic, and is complete with its acknowledgement, not before', async t => {
  let acknowledge: () => void = () => {}
  const handler = ({ offset }: KafkaRecord) => { if (offset < 2) later(offset === 0 ? 60_000 : 59_999) }
  const h = harness(handler, { deferAfterMs: 60_000, commitIntervalMs: 100 }, {
    sink: () => new Promise<void>(resolve => { acknowledge = resolve })
  })
  h.source.append(distinct(3))
  h.source.event('assigned', [{ topic: 't', partition: 0 }])
  await h.clock.advance(5_000)
  t.same([h.completed, h.engine.state.deadLettering, h.engine.state.retrying], [['t/0/2'], 1, 1])
  t.equal(h.source.committedOffsets.get('t/0'), 0)
  acknowledge()
  await h.clock.advance(500)
  t.same(h.letters.map(({ record, attempts, retryInMs }) => [record.offset, attempts, retryInMs]), [[0, 1, 60_000]])
  t.equal(h.outcomes.at(-1), 'deferred')
  t.equal(h.source.committedOffsets.get('t/0'), 1)
  t.equal(h.told.get('failed: defer'), 1)
  await stop(h)
})

t.test('what the retry topic does not take waits in place, as long as the handler asked for, and is not lost', async t => {
  const at: number[] = []
  const h = harness((_record, { attempt }, clock) => {
    at.push(clock.now())
    if (attempt < 3) later(60_000)
  }, { deferAfterMs: 1_000 }, { sink: async () => { throw new Error('no such topic') } })
  h.source.append(distinct(1))
  h.source.event('assigned', [{ topic: 't', partition: 0 }])
  await h.clock.advance(1_000)
  t.match(h.engine.state.problems, [/no such topic/])
  await h.clock.until(() => h.completed.length === 1, 'it')
  t.same([at.length, h.outcomes], [3, ['handled']])
  t.ok(at[1] - at[0] >= 60_000 && at[2] - at[1] >= 60_000, at.join(' '))
  await stop(h)
})

t.test('a record of the retry topic is not due before its time, holds no key meanwhile, and has its attempts', async t => {
  const seen: [number, number, number][] = []
  const from = 1_000
  const h: Harness = harness((one, { attempt }, clock) => { seen.push([one.offset, attempt, clock.now() - from]) }, {}, {
    deferralOf: one => one.topic === 'retry' && one.offset < 2 ? { attempts: 2 - one.offset, waitMs: 60_000 - one.offset * 30_000 } : null
  })
  h.source.append([0, 1, 2].map(offset => record({ ...R0, offset, key: Buffer.from('same') })))
  h.source.committedOffsets.set('retry/0', 0)
  h.source.event('assigned', [R0])
  await h.clock.until(() => h.completed.length === 3, 'all')
  t.same(seen.map(([offset, attempt]) => [offset, attempt]), [[2, 1], [1, 2], [0, 3]])
  t.ok(seen[1][2] >= 30_000 && seen[1][2] <= 31_000 && seen[2][2] >= 60_000 && seen[2][2] <= 61_000, JSON.stringify(seen))
  await stop(h)
})

t.test('attempts that are used up there, or are no number of attempts, do no harm', async t => {
  const numbers: number[] = []
  const h = harness((_record, { attempt }) => { numbers.push(attempt) }, {}, {
    deferralOf: ({ offset }) => ({ attempts: [-1, 3, Number.MAX_SAFE_INTEGER][offset], waitMs: 0 })
  })
  h.source.append([0, 1, 2].map(offset => record({ ...R0, offset, key: null })))
  h.source.event('assigned', [R0])
  await h.clock.until(() => h.completed.length === 3, 'all')
  t.same(numbers, [1])
  t.same(h.letters.map(({ record }) => record.offset), [1, 2])
  await stop(h)
})

t.test('a partition that is given up while one waits for its time gives it back', async t => {
  const h = harness(() => {}, {}, { deferralOf: () => ({ attempts: 1, waitMs: 3_600_000 }) })
  h.source.append([record({ ...R0, offset: 0 })])
  h.source.committedOffsets.set('retry/0', 0)
  h.source.event('assigned', [R0])
  await h.clock.until(() => h.engine.state.retrying === 1, 'it to wait')
  h.source.event('revoked', [R0])
  await h.clock.until(() => h.source.unanswered === 0, 'the answer')
  t.equal(h.engine.state.retrying, 0)
  t.equal(h.source.committedOffsets.get('retry/0'), 0)
  await stop(h)
})

t.test('what is to be dropped is skipped, without a dead letter and without the retry topic', async t => {
  const h = harness(() => { throw Object.assign(new Error('no use'), { drop: true, retryAfterMs: 60_000 }) }, { deferAfterMs: 1 })
  h.source.append(distinct(2))
  h.source.event('assigned', [{ topic: 't', partition: 0 }])
  await h.clock.until(() => h.completed.length === 2, 'both')
  t.same([h.outcomes, h.letters.length, h.started.length, h.told.get('failed: drop')], [['skipped', 'skipped'], 0, 2, 2])
  await stop(h)
})
