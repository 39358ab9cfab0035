import { decodeProgress } from '../../src/engine/progress.js'
import type { LoggedCommit } from '../support/kafka.js'
import type { Evidence } from './evidence.js'

/** The ledger's clock and the coordinator's are the same machine's; both cut off what is below a millisecond. */
const CLOCK_SLACK_MS = 5
/** The client repeats a commit that was not answered; by then nobody waits for it any more. */
const LATE_MAX_MS = 15_000

export interface CommitCheckOptions {
  readonly violation: (text: string) => void
  /** Whether the brokers were disturbed at this time, or shortly before. */
  readonly disturbed: (at: number) => boolean
}

/**
 * Compares every commit that a coordinator took with what was completed by then. Nothing may be said to be completed, by
 * the commit offset or by the metadata above it, that was not, at the moment of the commit; and no commit may go back.
 *
 * Nobody can help this one: 1. A commit is sent, and its coordinator falls silent or is about to be another broker. 2. The client
 * gives it up, and commits more. 3. The brokers are well again, and take the first one after the second. So a commit that goes back
 * is excused where brokers were disturbed, and the very same, offset and metadata, had been taken before, or nothing beyond it had
 * been until shortly before: it is late. Whoever owns the partition next begins there, and handles again what was completed
 * meanwhile. What was lost with that must be committed again: at the end of a round there may be no lag.
 */
export class CommitCheck {
  /** Offsets and metadata that were looked at. A check that saw none has shown nothing. */
  compared = 0
  /** Commits that were taken late. */
  late = 0
  readonly #options: CommitCheckOptions
  readonly #taken = new Set<string>()
  readonly #reached = new Map<number, number>()
  readonly #history: { at: number, partition: number, offset: number }[] = []
  /** Where a late commit has taken a partition back to, until it is where it was. */
  readonly #backTo = new Map<number, number>()
  /** Above the commit offset, what was found to be well already. */
  readonly #seen = new Map<number, Set<number>>()
  #later: { id: string, commit: LoggedCommit }[] = []

  constructor (options: CommitCheckOptions) {
    this.#options = options
  }

  look (commit: LoggedCommit, evidence: Evidence): void {
    const { partition, offset, metadata, topic } = commit
    this.compared++
    const reached = this.#reached.get(partition) ?? 0
    const seen = this.#seen.get(partition) ?? new Set()
    this.#seen.set(partition, seen)
    const exactly = `${partition} ${offset} ${metadata}`
    if (offset < reached) {
      const sentWhileHere = this.#taken.has(exactly) || offset >= this.#reachedBy(partition, commit.at - LATE_MAX_MS)
      if (sentWhileHere && this.#options.disturbed(commit.at)) {
        this.late++
        this.#backTo.set(partition, Math.min(offset, this.#backTo.get(partition) ?? Infinity))
      } else if (offset < (this.#backTo.get(partition) ?? Infinity)) {
        this.#options.violation(`${topic}/${partition}: the commit went back from ${reached} to ${offset} at ${time(commit.at)}`)
      }
    }
    if (offset >= reached) this.#backTo.delete(partition)
    this.#taken.add(exactly)
    for (let at = reached; at < offset; at++) {
      if (!seen.delete(at)) this.#mustBeCompleted(`${topic}/${partition}/${at}`, commit, evidence)
    }
    this.#reached.set(partition, Math.max(reached, offset))
    if (offset > reached) this.#history.push({ at: commit.at, partition, offset })
    for (const [from, to] of decodeProgress(metadata, offset)?.done ?? []) {
      for (let at = Math.max(from, reached); at < to; at++) {
        if (seen.has(at)) continue
        seen.add(at)
        this.#mustBeCompleted(`${topic}/${partition}/${at}`, commit, evidence)
      }
    }
  }

  /** What could not be decided when it was seen: whether a dead letter was there. Once all of them are read. */
  finish (evidence: Evidence): void {
    const later = this.#later
    this.#later = []
    for (const { id, commit } of later) this.#mustBeCompleted(id, commit, evidence, true)
  }

  /** How far a partition was committed at a time. */
  #reachedBy (partition: number, at: number): number {
    return this.#history.findLast(one => one.partition === partition && one.at <= at)?.offset ?? 0
  }

  #mustBeCompleted (id: string, commit: LoggedCommit, evidence: Evidence, lettersAreRead = false): void {
    const at = evidence.completedAt(id)
    if (at !== undefined && at <= commit.at + CLOCK_SLACK_MS) return
    const entry = evidence.started.get(id)
    if (entry?.poison !== undefined && !lettersAreRead) {
      this.#later.push({ id, commit })
      return
    }
    const how = at !== undefined ? `it was completed ${at - commit.at} ms later` : entry === undefined ? 'nobody began it' : 'it was begun, and not completed'
    this.#options.violation(`${id} is said to be completed by the commit of ${commit.offset}${commit.metadata === '' ? '' : ' with metadata'} at ${time(commit.at)}, but ${how}`)
  }
}

export function time (at: number): string {
  return new Date(at).toISOString().slice(11, 23)
}
