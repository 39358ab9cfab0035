import t from 'tap'
import type { LogLine } from '../support/gateway.js'
import type { LedgerEntry } from '../support/ledger.js'
import { repeatedForAReason, type Findings } from './aftermath.js'
import { Excuses } from './excuses.js'
import { FaultLog, type Fault } from './faults.js'
import type { Life } from './fleet.js'
import { Ownership } from './ownership.js'

const TOPIC = 'chaos'
const PID = 100
const OTHER = 200
/** Where the times of the stories below begin. */
const T = 1_000_000

interface Story {
  readonly faults?: ReadonlyArray<{ what: Fault['what'], pid?: number, from: number, to: number }>
  /** What the first gateway logged, and the second. */
  readonly log?: readonly LogLine[]
  readonly otherLog?: readonly LogLine[]
  readonly life?: Partial<Life>
  readonly onItsWayMs?: number
  /** Record 61 is at first one of a batch whose first record began at this time. */
  readonly batch?: number
  /** Who had record 61, and when: from, to. The first one is PID's. */
  readonly handled: ReadonlyArray<readonly [pid: number, from: number, to: number]>
}

function said (type: 'assigned' | 'revoked' | 'lost', at: number): LogLine {
  const msg = { assigned: 'partitions assigned', revoked: 'partitions revoked', lost: 'partitions lost: others may own them already' }[type]
  return { level: 30, msg, time: T + at, partitions: [{ topic: TOPIC, partition: 3 }] }
}

function drained (at: number): LogLine {
  return { level: 30, msg: 'drained', time: T + at, partitions: 1 }
}

function tell ({ faults = [], log = [], otherLog = [], life = {}, onItsWayMs = 0, batch, handled }: Story) {
  const lifeOf = (pid: number, lines: readonly LogLine[], more: Partial<Life>) => ({
    slot: 1, pid, gateway: { lines }, startedAt: T, killedAt: null, stoppedAt: null, paused: false, exit: null, exitedAt: null, ...more
  }) as unknown as Life
  const lives = [lifeOf(PID, log, life), lifeOf(OTHER, otherLog, {})]
  const faultLog = new FaultLog()
  for (const { what, pid = null, from, to } of faults) faultLog.faults.push({ what, pid, from: T + from, to: T + to })
  const entries: LedgerEntry[] = handled.flatMap(([pid, from, to], i) => (['start', 'end'] as const).map(what => ({
    what, topic: TOPIC, partition: 3, offset: 61, key: 'key', attempt: i + 1, pid, at: T + (what === 'start' ? from : to)
  }))).sort((a, b) => a.at - b.at)
  if (batch !== undefined) {
    const first = { ...entries[0], batch: `${PID}-1 of 2` }
    entries.splice(0, 1, { ...first, offset: 60, at: T + batch }, first)
  }
  const ends = entries.filter(({ what }) => what === 'end')
  return {
    entries,
    excuses: new Excuses(lives, entries, new Ownership(lives, TOPIC), faultLog, () => onItsWayMs),
    evidence: { ends: new Map([[`${TOPIC}/3/61`, ends]]) } as unknown as Findings['evidence']
  }
}

/** Why record 61 may have been handled a second time. */
function reason (story: Story) {
  const { excuses, entries } = tell(story)
  const [before, again] = entries.filter(({ what }) => what === 'end')
  return excuses.forRepeating(before, again)
}

// As it was seen: revoked at 11.4 s, the coordinator dead from 11.7 to 19.5 s, the record's end at 12.7 s, and back with the same process.
const drainWithoutCoordinator: Story = {
  faults: [{ what: 'broker', from: 11_734, to: 19_511 }],
  log: [said('assigned', 5171), said('revoked', 11_387), drained(12_748), said('assigned', 23_895)],
  handled: [[PID, 9312, 12_740], [PID, 23_935, 27_364]]
}

t.test('a record is handled again where the coordinator died while its partition was drained', async t => {
  t.equal(reason(drainWithoutCoordinator), 'not committed')
  const other = { ...drainWithoutCoordinator, otherLog: [said('assigned', 23_895)], handled: [[PID, 9312, 12_740], [OTHER, 23_935, 27_364]] as const }
  t.equal(reason(other), 'fenced', 'by the next owner as well: without a coordinator the group may have given the first one up')
})

t.test('without a broker that was away, a drain excuses nothing', async t => {
  t.equal(reason({ ...drainWithoutCoordinator, faults: [] }), null)
  t.equal(reason({ ...drainWithoutCoordinator, faults: [{ what: 'kill', pid: OTHER, from: 11_734, to: 19_511 }] }), null, 'no commit fails because another gateway dies')
  t.equal(reason({ ...drainWithoutCoordinator, faults: [{ what: 'partitions', from: 11_734, to: 19_511 }] }), null)
})

t.test('a fault counts from before the drain to the end of its last commit', async t => {
  const at = (from: number, to: number) => reason({ ...drainWithoutCoordinator, faults: [{ what: 'broker', from, to }] })
  t.equal(at(18_748, 19_000), 'not committed', 'the last commit may take 6 s after the drain')
  t.equal(at(18_749, 19_000), null, 'by then it had been given up, or taken')
  t.equal(at(1000, 11_387 - 15_000), 'not committed', 'clients hear late that brokers are back')
  t.equal(at(-9000, 11_386 - 15_000), null)
})

t.test('a drain that takes longer than one may is not excused by what happens in it', async t => {
  const late = (drainedAt: number, from: number) => reason({
    faults: [{ what: 'broker', from, to: from + 100 }],
    log: [said('assigned', 0), said('revoked', 10_000), drained(drainedAt), said('assigned', 90_000)],
    handled: [[PID, 9000, 9500], [PID, 90_100, 90_200]]
  })
  t.equal(late(60_000, 35_000), 'not committed')
  t.equal(late(60_000, 35_001), null)
})

t.test('a gateway that did not drain is not excused by what happens later', async t => {
  const log = [said('assigned', 0), said('revoked', 9300), said('assigned', 12_000)]
  const handled = [[PID, 9000, 9500], [PID, 12_100, 12_200]] as const
  t.equal(reason({ log, handled, faults: [{ what: 'leaders', from: 9300, to: 9400 }] }), 'not committed')
  t.equal(reason({ log, handled, faults: [{ what: 'leaders', from: 9301, to: 9400 }] }), null)
})

t.test('a gateway that has ended in good order is no excuse by itself, without a coordinator it is', async t => {
  const stopped = (faultAt: number) => reason({
    faults: [{ what: 'broker', from: faultAt, to: faultAt + 100 }],
    log: [said('assigned', 0)],
    otherLog: [said('assigned', 30_000)],
    life: { stoppedAt: T + 10_000, exitedAt: T + 16_000 },
    handled: [[PID, 9000, 10_500], [OTHER, 30_100, 30_200]]
  })
  t.equal(stopped(9000), 'fenced')
  t.equal(stopped(16_000), 'fenced')
  t.equal(stopped(16_001), null)
})

t.test('while a gateway holds a partition nobody may handle again what it has handled', async t => {
  const log = [said('assigned', 0), said('revoked', 20_000), drained(20_100)]
  const faults = [{ what: 'broker', from: 1000, to: 19_000 }] as const
  t.equal(reason({ faults, log, handled: [[PID, 2000, 2100], [PID, 3000, 3100]] }), null)
  t.equal(reason({ faults, log, handled: [[PID, 2000, 2100], [PID, 20_200, 20_300]] }), 'not committed')
})

t.test('a process that was killed is an excuse from then on, and not before', async t => {
  const killed = (killedAt: number) => reason({
    log: [said('assigned', 0)], otherLog: [said('assigned', 8000)], life: { killedAt: T + killedAt }, handled: [[PID, 1000, 1100], [OTHER, 8100, 8200]]
  })
  t.equal(killed(8200), 'killed')
  t.equal(killed(8201), null)
})

t.test('a partition that a gateway says it lost is no excuse by itself', async t => {
  const log = [said('assigned', 0), said('lost', 9000), said('assigned', 12_000)]
  const handled = [[PID, 1000, 1100], [PID, 12_100, 12_200]] as const
  t.equal(reason({ log, handled }), null)
  t.equal(reason({ log, handled, faults: [{ what: 'pause', pid: OTHER, from: 1500, to: 8800 }] }), null, 'another one was frozen')
  t.equal(reason({ log, handled, faults: [{ what: 'pause', pid: PID, from: 1500, to: 8800 }] }), 'fenced')
})

// As it was seen: a thread began with it in the millisecond after its gateway knew, which was back from a freeze.
t.test('what was on its way to a thread or a receiver when its gateway lost the partition may begin just after that', async t => {
  const begun = (at: number, onItsWayMs: number) => {
    const { excuses, entries } = tell({
      faults: [{ what: 'pause', pid: PID, from: 1000, to: 9900 }],
      log: [said('assigned', 0), said('lost', 10_000), said('assigned', 20_000)],
      otherLog: [said('assigned', 7000)],
      handled: [[OTHER, 7100, 7200], [PID, at, at + 10]],
      onItsWayMs
    })
    return excuses.superseded(entries.find(({ pid }) => pid === PID)!, T + at)
  }
  t.equal(begun(10_000, 0), true)
  t.equal(begun(10_001, 0), false, 'not in the process itself')
  t.equal(begun(10_250, 250), true)
  t.equal(begun(10_251, 250), false)
})

// As it was seen: all were frozen, and a batch with many records of one key was begun before its gateway learned of the loss.
t.test('a record in a batch begins with its batch', async t => {
  const faults = [{ what: 'pause', pid: PID, from: 1000, to: 9900 }] as const
  const log = [said('assigned', 0), said('lost', 10_000), said('assigned', 10_200)]
  const handled = [[PID, 10_600, 10_700], [PID, 11_500, 11_600]] as const
  t.equal(reason({ faults, log, handled, batch: 9950 }), 'fenced')
  t.equal(reason({ faults, log, handled, batch: 10_300 }), null, 'begun in the life in which both ended')
  t.equal(reason({ faults, log, handled }), null)
})

t.test('in the graceful profile nothing is excused', async t => {
  const findings = { ...tell(drainWithoutCoordinator), profile: 'full' } as unknown as Findings
  t.strictSame(repeatedForAReason(findings), [])
  t.match(repeatedForAReason({ ...findings, profile: 'graceful' }), [/chaos\/3\/61 was handled by process 100, and again by 100 14624 ms later, for no reason/])
})
