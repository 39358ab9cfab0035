import type { StoredRecord } from '../support/kafka.js'
import { decodeProgress } from '../../src/engine/progress.js'
import { idOf, orderViolations, peakInFlight, type LedgerEntry } from '../support/ledger.js'
import type { LoggedCommit } from '../support/kafka.js'
import type { Evidence } from './evidence.js'
import type { Excuses } from './excuses.js'
import type { FaultLog } from './faults.js'
import type { Life } from './fleet.js'
import type { Ownership } from './ownership.js'
import type { Profile } from './plan.js'
import type { Sent } from './traffic.js'

/** Everything that is known once a round is over. */
export interface Findings {
  readonly topic: string
  readonly profile: Profile
  /** False after a violation that ended the round early: then work is left, and that says nothing. */
  readonly whole: boolean
  readonly sent: readonly Sent[]
  /** The topic as the witness read it. */
  readonly stored: readonly StoredRecord[]
  readonly entries: readonly LedgerEntry[]
  readonly evidence: Evidence
  readonly lives: readonly Life[]
  readonly faults: FaultLog
  readonly ownership: Ownership
  readonly excuses: Excuses
  readonly settings: {
    /** Of the gateway in a slot. */
    readonly maxInFlight: (slot: number) => number
    readonly maxRecordsBeforeCommit: number
    readonly commitIntervalMs: number
    readonly sessionTimeoutMs: number
  }
}

type Check = (findings: Findings) => string[]

/** What was acknowledged is there once, what was refused never, what got no answer at most once; a key's records in their order. */
export const produced: Check = ({ sent, stored, topic }) => {
  const wrong: string[] = []
  const places = new Map<string, StoredRecord[]>()
  for (const record of stored) {
    const { id } = JSON.parse(String(record.value)) as { id: string }
    const list = places.get(id)
    if (list === undefined) places.set(id, [record])
    else list.push(record)
  }
  const latest = new Map<string, { id: string, offset: number }>()
  for (const { id, key, outcome, partition, offset, answer } of sent) {
    const found = places.get(id) ?? []
    places.delete(id)
    const where = found.map(record => `${record.partition}/${record.offset}`).join(', ')
    if (found.length > 1) wrong.push(`record ${id} (${outcome}) was written ${found.length} times: ${where}`)
    if (outcome === 'refused' && found.length > 0) wrong.push(`record ${id} was refused with ${answer}, but is at ${where}`)
    if (outcome !== 'acknowledged') continue
    if (found.length === 0) {
      wrong.push(`record ${id} was acknowledged at ${partition}/${offset}, but is not in the topic`)
      continue
    }
    const [record] = found
    if (record!.partition !== partition || (offset !== -1 && record!.offset !== offset)) {
      wrong.push(`record ${id} was acknowledged at ${partition}/${offset}, but is at ${where}`)
    }
    const lane = `${topic}/${record!.partition}/${key}`
    const before = latest.get(lane)
    if (before !== undefined && before.offset > record!.offset) {
      wrong.push(`${lane}: record ${id} was sent after ${before.id} had been acknowledged, but stands before it`)
    }
    latest.set(lane, { id, offset: record!.offset })
  }
  for (const [id, [record]] of places) wrong.push(`record ${id} at ${record!.partition}/${record!.offset} was sent by nobody`)
  return wrong
}

/** Whatever is in the topic was handled, or is in the dead-letter topic if it fails for good; the dead letters are what they were. */
export const completed: Check = ({ stored, topic, evidence, profile, whole }) => {
  const wrong: string[] = []
  const letters = new Map<string, StoredRecord[]>()
  for (const { original, record } of evidence.letters) letters.set(original, [...letters.get(original) ?? [], record])
  for (const record of stored) {
    const id = idOf({ topic, ...record })
    const { poison } = JSON.parse(String(record.value)) as { poison?: string }
    const mine = letters.get(id) ?? []
    letters.delete(id)
    const handled = evidence.ends.has(id)
    if (whole && (poison === undefined ? !handled : mine.length === 0)) wrong.push(`${id} was ${poison === undefined ? 'not handled' : 'not dead-lettered'}`)
    if (poison !== undefined ? handled : mine.length > 0) wrong.push(`${id} was ${poison === undefined ? 'dead-lettered, but does not fail for good' : 'handled, but fails always'}`)
    if (mine.length > 1 && profile === 'graceful') wrong.push(`${id} was dead-lettered ${mine.length} times`)
    if (mine.some(({ key, value }) => !same(key, record.key) || !same(value, record.value))) wrong.push(`the dead letter of ${id} is not what the record was`)
  }
  for (const id of letters.keys()) wrong.push(`there is a dead letter of ${id}, which does not exist`)
  for (const id of evidence.ends.keys()) if (!id.startsWith(`${topic}/`)) wrong.push(`${id} was handled, which is of another topic`)
  return wrong
}

function same (a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b)
}

/** One record of a key at a time, and their first handlings in the order of their offsets. */
export const inOrder: Check = ({ entries, excuses }) => orderViolations(entries, (entry, at) => excuses.superseded(entry, at))

/** Never more handlers at once than configured, in any process. */
export const withinLimits: Check = ({ entries, lives, settings }) => lives.flatMap(({ pid, slot }) => {
  const peak = peakInFlight(entries.filter(entry => entry.pid === pid))
  const most = settings.maxInFlight(slot)
  return peak > most ? [`process ${pid} had ${peak} handlers in flight, ${most} are allowed`] : []
})

/** Records that were handled more than once. */
export function repeated ({ evidence }: Pick<Findings, 'evidence'>): LedgerEntry[][] {
  return [...evidence.ends.values()].filter(ends => ends.length > 1)
}

/** What is handled again was lost with a process, or handled by one that no longer counted; otherwise nothing is. */
export const repeatedForAReason: Check = findings => {
  const { excuses, profile } = findings
  const wrong: string[] = []
  for (const ends of repeated(findings)) {
    for (let i = 1; i < ends.length; i++) {
      const [before, again] = [ends[i - 1]!, ends[i]!]
      if (profile === 'full' && excuses.forRepeating(before, again) !== null) continue
      wrong.push(`${idOf(again)} was handled by process ${before.pid}, and again by ${again.pid} ${again.at - before.at} ms later, for no reason`)
    }
  }
  return wrong
}

/** Nobody begins with a record that the group's offsets called completed before the partition was assigned to him. */
export const nothingCommittedBegunAgain: Check = ({ entries, evidence, ownership, excuses }) => {
  const wrong: string[] = []
  const commits = byPartition(evidence.commits)
  const told = new Map<string, (offset: number) => boolean>()
  for (const entry of entries) {
    if (entry.what !== 'start') continue
    const held = ownership.at(entry.pid, entry.partition, entry.at)
    if (held === undefined) {
      wrong.push(`process ${entry.pid} began ${idOf(entry)} without having been assigned its partition`)
      continue
    }
    const life = `${entry.pid}/${entry.partition}/${held.from}`
    if (!told.has(life)) told.set(life, completedBy(commits.get(entry.partition)?.findLast(({ at }) => at < held.from)))
    if (told.get(life)!(entry.offset) && !excuses.superseded(entry, entry.at)) {
      wrong.push(`process ${entry.pid} began ${idOf(entry)}, which was committed as completed before it got the partition`)
    }
  }
  return wrong
}

/**
 * What a killed process had handled and not committed is bounded: by the count at which a commit is due, what runs at once
 * (twice: while that commit is under way the same number may complete again), and what it completed within one commit interval
 * and a second for the commit itself. Not asked where a broker or a pause stood in the way of its commits.
 *
 * A member that fell silent stands in the way, too: 1. It is killed. 2. Somebody joins or leaves, and all have to join again. 3. The
 * coordinator waits for the silent one until its session is over, and answers nothing else on a connection that waits to join:
 * commits share it. So whatever was completed since the first of these is excused.
 */
export const committedInTime: Check = ({ lives, evidence, faults, settings, ownership }) => {
  const commits = byPartition(evidence.commits)
  return lives.flatMap(({ pid, slot, killedAt }) => {
    if (killedAt === null || faults.fencing(pid, killedAt) !== undefined) return []
    const since = Math.min(killedAt - settings.commitIntervalMs - 1000, faults.silentSince(killedAt, settings.sessionTimeoutMs))
    const last = new Map<number, (offset: number) => boolean>()
    let uncommitted = 0
    let recent = 0
    for (const ends of evidence.ends.values()) {
      for (const { pid: by, partition, offset, at } of ends) {
        if (by !== pid) continue
        if (at > since) recent++
        const held = ownership.at(pid, partition, at)
        if (held === undefined || held.until !== null) continue
        if (!last.has(partition)) last.set(partition, completedBy(commits.get(partition)?.findLast(commit => commit.at <= killedAt)))
        if (!last.get(partition)!(offset)) uncommitted++
      }
    }
    const bound = settings.maxRecordsBeforeCommit + 2 * settings.maxInFlight(slot) + recent
    return uncommitted > bound
      ? [`gateway ${slot} (process ${pid}) was killed with ${uncommitted} records handled and not committed; ${bound} are allowed`]
      : []
  })
}

/** No gateway may say that it came to the end of its wits. */
export const logsAreSane: Check = ({ lives }) => lives.flatMap(({ slot, pid, gateway }) => gateway.lines
  .filter(({ level, msg }) => level >= 60 || /^(a promise was rejected|an exception was thrown)/.test(msg))
  .map(line => `gateway ${slot} (process ${pid}) logged: ${JSON.stringify(line).slice(0, 500)}`))

export const checks: ReadonlyArray<readonly [name: string, check: Check]> = [
  ['produce', produced], ['completed', completed], ['order', inOrder], ['limits', withinLimits], ['repeated', repeatedForAReason],
  ['begun again', nothingCommittedBegunAgain], ['committed in time', committedInTime], ['logs', logsAreSane]
]

function byPartition (commits: readonly LoggedCommit[]): Map<number, LoggedCommit[]> {
  const found = new Map<number, LoggedCommit[]>()
  for (const commit of commits) {
    const list = found.get(commit.partition)
    if (list === undefined) found.set(commit.partition, [commit])
    else list.push(commit)
  }
  return found
}

function completedBy (commit: LoggedCommit | undefined): (offset: number) => boolean {
  if (commit === undefined) return () => false
  const done = decodeProgress(commit.metadata, commit.offset)?.done ?? []
  return offset => offset < commit.offset || done.some(([from, to]) => from <= offset && offset < to)
}
