import t from 'tap'
import type { GroupMemberState, PartitionStatus } from '../src/group-member.js'
import { Watchdog } from '../src/watchdog.js'
import { running, untouched } from './support/member-state.js'

const STALLED_AFTER_MS = 60_000
const HANDLER_MS = 65_000

function setUp () {
  let now = 0
  const partition: PartitionStatus = { ...untouched, commitOffset: 10, committedOffset: 10, lastAdmitted: 9, lag: 5 }
  const state: GroupMemberState = { ...running, partitions: [partition] }
  const watchdog = new Watchdog({ stalledAfterMs: STALLED_AFTER_MS, handlerMs: HANDLER_MS, now: () => now })
  /** What is found after some time, with the loop turning unless it is said otherwise. */
  const after = (ms: number, of: Partial<PartitionStatus> = {}, all: Partial<GroupMemberState> = {}) => {
    now += ms
    return watchdog.look({ ...state, lastTurnAt: now, partitions: [{ ...partition, ...of }], ...all }).map(({ kind, reason }) => `${kind}: ${reason}`)
  }
  return { after, watchdog }
}

t.test('all is well as long as the loop turns and there is nothing to read, or it is read', async t => {
  const { after, watchdog } = setUp()
  t.same(after(0), [])
  t.same(after(STALLED_AFTER_MS * 2, { lag: 0 }), [], 'nothing to read')
  t.same(after(1, { lag: 5 }), [])
  t.same(after(STALLED_AFTER_MS * 2, { lag: 9, lastAdmitted: 10 }), [], 'something was read')
  t.same(after(STALLED_AFTER_MS * 2, { lag: 20, lastAdmitted: 10, commitOffset: 11 }), [], 'something was done')
  t.same(after(STALLED_AFTER_MS * 2, { lag: 20, lastAdmitted: 10, commitOffset: 11 }), [], 'the lag does not grow')
  t.same(watchdog.stalls, [])
})

t.test('a loop that does not turn is told once its time is over, and no longer when it turns again', async t => {
  const { after, watchdog } = setUp()
  t.same(after(STALLED_AFTER_MS, {}, { lastTurnAt: 0 }), [])
  t.same(after(1_000, {}, { lastTurnAt: 0 }), ["loop: the consumer's loop has not turned for 61 s"])
  t.equal(watchdog.stalls.length, 1)
  t.same(after(1_000), [])
})

t.test('while it connects no loop turns, and that is told elsewhere; one that has ended by itself is told here', async t => {
  const { after } = setUp()
  t.same(after(STALLED_AFTER_MS * 2, {}, { phase: 'connecting', lastTurnAt: 0, partitions: [] }), [])
  t.same(after(1, {}, { phase: 'stopped', lastTurnAt: 0, partitions: [] }), ['ended: the consumer has ended by itself'])
})

t.test('silent: the lag of a partition grows, and nothing of it arrives', async t => {
  const { after } = setUp()
  after(0)
  t.same(after(STALLED_AFTER_MS, { lag: 9 }), [], 'not yet')
  t.same(after(1_000, { lag: 9 }), ['silent: nothing of t/0 arrives: its lag grew from 5 to 9 in 61 s'])
  t.same(after(1_000, { lag: 9, lastAdmitted: 12 }), [], 'it arrives again')
})

t.test('stuck: the lag grows, records wait, and nothing is done; a handler that runs is given its time', async t => {
  const held = { windowRecords: 3, windowBytes: 30, lastAdmitted: 12 }
  const { after } = setUp()
  after(0, held)
  t.same(after(STALLED_AFTER_MS + 1, { ...held, lag: 9 }, { inFlight: 1 }), [])
  t.same(after(HANDLER_MS, { ...held, lag: 9 }, { inFlight: 1 }), ['stuck: nothing of t/0 is done: its lag grew from 5 to 9 in 125 s'])
  t.same(after(0, { ...held, lag: 9 }, { inFlight: 0 }), ['stuck: nothing of t/0 is done: its lag grew from 5 to 9 in 125 s'])
  t.same(after(0, { ...held, lag: 9, windowBytes: 20 }), [], 'a record behind the first was done')
})

t.test('what has a reason is no stall: problems, an open breaker, a pause, a wait for a retry or a dead letter, a drain', async t => {
  const held = { windowRecords: 3, lastAdmitted: 12 }
  const reasons: [string, Partial<PartitionStatus>, Partial<GroupMemberState>][] = [
    ['problems', {}, { problems: ['the brokers are away'] }],
    ['an open breaker', {}, { breaker: 'open' }],
    ['a breaker that probes', {}, { breaker: 'probing' }],
    ['a pause', { suspended: true }, {}],
    ['a lag that is not known', { lag: null }, {}],
    ['a retry', held, { retrying: 1 }],
    ['a dead letter', held, { deadLettering: 1 }],
    ['a drain', {}, { phase: 'draining' }]
  ]
  for (const [what, of, all] of reasons) {
    const { after } = setUp()
    after(0, of, all)
    t.same(after(STALLED_AFTER_MS * 10, { lag: 100, ...of }, all), [], what)
  }
})

t.test('the time before a reason went away does not count', async t => {
  const { after } = setUp()
  after(0, {}, { problems: ['the brokers are away'] })
  t.same(after(STALLED_AFTER_MS * 10, { lag: 100 }), [])
  t.same(after(STALLED_AFTER_MS, { lag: 200 }), [])
  t.same(after(1, { lag: 200 }), ['silent: nothing of t/0 arrives: its lag grew from 100 to 200 in 60 s'])
})

t.test('a partition that was given up and comes back begins anew', async t => {
  const { after } = setUp()
  after(0)
  after(STALLED_AFTER_MS, {}, { partitions: [] })
  t.same(after(STALLED_AFTER_MS, { lag: 100 }), [])
})
