import { Collected } from '../../src/engine/outputs.js'
import { decodeProgress } from '../../src/engine/progress.js'
import type { OffsetCommit } from '../../src/engine/types.js'
import type { KafkaRecord, OutgoingRecord } from '../../src/record.js'
import { idOf } from './fake-source.js'

const OUT = 'out'

const placeOf = (one: KafkaRecord) => `${idOf(one)}/${one.offset}`

/** What a handler answers for a record: none, one or two. */
export function answerOf (one: KafkaRecord): Collected | undefined {
  const count = one.offset % 3
  if (count === 0) return undefined
  return new Collected(Array.from({ length: count }, (_, n) => ({ topic: OUT, value: `${placeOf(one)} ${n}` })), count)
}

export function letterOf (one: KafkaRecord): Collected {
  return new Collected([{ topic: 'letters', value: `${placeOf(one)} letter` }], 1, true)
}

/** What one transaction may hold for one partition, and must. */
interface Transacted {
  /** What the group held before. */
  readonly before: { readonly offset: number, readonly metadata: string }
  readonly commit: OffsetCommit
  /** Of all partitions. */
  readonly outputs: readonly OutgoingRecord[]
  readonly records: readonly KafkaRecord[]
  /** How this member completed a record in this epoch; undefined: it did not. */
  readonly outcomeOf: (record: KafkaRecord) => string | undefined
  /** What may be written instead of what was answered for a record: `null`, nothing but that. */
  readonly insteadOf: (place: string) => 'letter' | '' | null
  readonly laneOf: (record: KafkaRecord) => string | null
}

/**
 * Exactly once, seen from one transaction: for each record that the group is told for the first time to be done, all that was answered
 * for it is in this transaction, once; and nothing else is.
 */
export function wrongIn ({ before, commit, outputs, records, outcomeOf, insteadOf, laneOf }: Transacted): string[] {
  const wrong: string[] = []
  const done = doneIn(before.offset, before.metadata)
  const told = doneIn(commit.offset, commit.metadata)
  const written = new Map<string, string[]>()
  for (const { value } of outputs) {
    const [place, what] = String(value).split(' ') as [string, string]
    written.set(place, [...written.get(place) ?? [], what])
  }
  const id = idOf(commit)
  const places = new Map(records.map(one => [placeOf(one), one]))
  const last = new Map<string, number>()
  for (const [place, what] of written) {
    if (!place.startsWith(`${id}/`)) continue
    const one = places.get(place)
    if (one === undefined || done(one.offset) || !told(one.offset)) wrong.push(`${place} is written (${what.join()}), and the group is not told now that it is done`)
    const lane = one === undefined ? null : laneOf(one)
    if (one === undefined || lane === null) continue
    if (one.offset < (last.get(lane) ?? -1)) wrong.push(`${place} is written after ${last.get(lane)}`)
    last.set(lane, one.offset)
  }
  for (const one of records) {
    if (done(one.offset) || !told(one.offset)) continue
    const place = placeOf(one)
    const is = (written.get(place) ?? []).join()
    const outcome = outcomeOf(one)
    const answered = (answerOf(one)?.records ?? []).map((_, n) => n).join()
    const expected = outcome === 'handled' ? answered : outcome === 'dead-lettered' || outcome === 'deferred' ? 'letter' : ''
    const replaced = outcome === 'handled' && is === insteadOf(place)
    if (is !== expected && !replaced) wrong.push(`${place} is ${outcome ?? 'jumped'}, and [${is}] is written instead of [${expected}]`)
  }
  return wrong
}

function doneIn (offset: number, metadata: string): (at: number) => boolean {
  const ranges = decodeProgress(metadata, offset)?.done ?? []
  return at => at < offset || ranges.some(([from, to]) => at >= from && at < to)
}
