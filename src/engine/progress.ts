import assert from 'node:assert'
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib'

/** Offsets [from, to). */
export type OffsetRange = readonly [from: number, to: number]

/** How often a record was tried. */
export type OffsetAttempts = readonly [offset: number, attempts: number]

/** What a partition's next owner should know beside its commit offset. */
export interface Progress {
  /** The commit offset that it belongs to; beside any other it means nothing. */
  readonly base: number
  /** The highest leader epoch among the completed records, −1 where unknown. A record of a later one is another record. */
  readonly leaderEpoch: number
  /** Completed offsets, ascending and disjoint, none below `base`. Offsets that do not exist may count as completed. */
  readonly done: readonly OffsetRange[]
  /** Id of the topic that it speaks of, '' where unknown: up to 64 printable ASCII characters; anything else counts as unknown. */
  readonly topicId: string
  /** Attempts already made at records that failed and are not done: ascending, none below `base`, 1 to 65,535 (more is noted as 65,535). */
  readonly attempts: readonly OffsetAttempts[]
  /** How often in a row a partition was begun at this base by an owner after one that had not left in good order, 0 for none. */
  readonly starts: number
  /** The owner gave the partition back in good order: nothing was in flight. */
  readonly clean: boolean
}

/** What a broker takes as a commit's metadata is 4,096 bytes; the client adds one, and may lose one. */
export const METADATA_MAX_BYTES = 4_094
/** Of how many records the attempts are noted: those of the lowest offsets. */
export const ATTEMPTS_MAX_RECORDS = 512

const PREFIX = 'sluice1:'
/** The last byte, which the client's binding may take away. */
const SACRIFICE = '.'
const CHECKSUM_BYTES = 4
const TOPIC_ID_MAX_LENGTH = 64
const ATTEMPTS_MAX = 65_535

// Flags. What is not flagged takes no room, and whatever has another flag was written by a later version.
const BITMAP = 1
const DEFLATED = 2
const TOPIC_ID = 4
const STARTS = 8
const CLEAN = 16
const ATTEMPTS = 32
const KNOWN_FLAGS = 63

/** Nothing of ours inflates to more, nor has more ranges: a few bytes of a stranger must not take much memory. */
const INFLATED_MAX_BYTES = 1 << 20
const RANGES_MAX = 1 << 17

const NO_BYTES = Buffer.alloc(0)
/** Everything but the ranges is put together here: at most 90 bytes, and 11 for each record that was tried. */
const scratch = Buffer.alloc(8192)

/**
 * Encodes progress for a commit's metadata; '' where there is nothing to say.
 *
 * What does not fit into `maxBytes` is left out: the ranges whole, never a part of them, then the attempts from the highest
 * offset down. The rest is at most 137 bytes; with a limit below that the whole may be ''.
 *
 * A checksum, then flags, base, leader epoch, topic id, starts, attempts, and the smaller of alternating run lengths (not done,
 * done, …, from the base on) and a bitmap; deflated only where not everything would fit otherwise, since that is the costly part.
 * Base64, because brokers and tools take metadata for text.
 *
 * Source: Confluent's Parallel Consumer had the idea; the format is our own.
 *
 * @throws {AssertionError} if something is out of order or below the base: a bug, not bad input
 */
export function encodeProgress (progress: Progress, maxBytes = METADATA_MAX_BYTES): string {
  return encode(progress, maxBytes).text
}

/** As `encodeProgress`, for those who must not say less than what is done: `null` where the ranges do not fit. */
export function encodeWholeProgress (progress: Progress): string | null {
  const { text, whole } = encode(progress, METADATA_MAX_BYTES)
  return whole ? text : null
}

/** `whole`: the ranges are in it. */
function encode (progress: Progress, maxBytes: number): { text: string, whole: boolean } {
  const { base, done, starts, clean } = progress
  const topicId = isTopicId(progress.topicId) ? progress.topicId : ''
  const attempts = progress.attempts.length > ATTEMPTS_MAX_RECORDS ? progress.attempts.slice(0, ATTEMPTS_MAX_RECORDS) : progress.attempts
  const small = (topicId === '' ? 0 : TOPIC_ID) | (starts > 0 ? STARTS : 0) | (clean ? CLEAN : 0)
  const none = { text: '', whole: done.length === 0 }
  if (small === 0 && done.length === 0 && attempts.length === 0) return none

  const head = putHead(progress, topicId)
  const end = CHECKSUM_BYTES + head
  // Four characters for three bytes.
  const room = Math.floor((maxBytes - PREFIX.length - SACRIFICE.length) / 4) * 3 - end
  if (room < 0) return none

  let { flags, bytes } = packed(base, done)
  let tried = putAttempts(end, base, attempts, room - bytes.length)
  if (bytes.length > 0 && (bytes.length > room || tried.count < attempts.length)) {
    const deflated = bytes.length > INFLATED_MAX_BYTES ? bytes : deflateRawSync(bytes)
    if (deflated.length < bytes.length) {
      bytes = deflated
      flags |= DEFLATED
    }
    if (bytes.length > room) {
      bytes = NO_BYTES
      flags = 0
    }
    tried = putAttempts(end, base, attempts, room - bytes.length)
  }
  flags |= small | (tried.count > 0 ? ATTEMPTS : 0)
  return {
    text: flags === 0 && bytes.length === 0 ? '' : textOf(flags, tried.end, bytes),
    // Ranges take at least one byte each way.
    whole: done.length === 0 || bytes.length > 0
  }
}

/**
 * Reads what `encodeProgress` wrote for this base. `null` for anything else: the metadata of another client, of another
 * commit, damaged, or none. That is no error: everything from the base on is then handled again.
 */
export function decodeProgress (metadata: string, base: number): Progress | null {
  try {
    const head = headOf(metadata)
    if (head === null || head.base !== base) return null
    const { flags, leaderEpoch, topicId, reader } = head
    const starts = flags & STARTS ? reader.next() : 0
    const attempts = flags & ATTEMPTS ? attemptsIn(base, reader) : []
    const bytes = flags & DEFLATED ? inflateRawSync(reader.rest, { maxOutputLength: INFLATED_MAX_BYTES }) : reader.rest
    const done = flags & BITMAP ? rangesOfBitmap(base, bytes) : rangesOfRuns(base, bytes)
    return { base, leaderEpoch, done, topicId, attempts, starts, clean: (flags & CLEAN) !== 0 }
  } catch {
    // The checksum was right, and still it is not what we write: not ours, after all.
    return null
  }
}

/** The topic id in what `encodeProgress` wrote, whatever commit offset that belongs to; '' where there is none, or it is not ours. */
export function topicIdIn (metadata: string): string {
  try {
    return headOf(metadata)?.topicId ?? ''
  } catch {
    return ''
  }
}

/** Tells which records a predecessor completed. Ask in ascending order of offsets: each range is looked at once. */
export class CompletedBefore {
  readonly #done: readonly OffsetRange[]
  /** The highest leader epoch that it speaks of. */
  readonly leaderEpoch: number
  #next = 0

  constructor ({ done, leaderEpoch }: Progress) {
    this.#done = done
    this.leaderEpoch = leaderEpoch
  }

  /** What of it lies at an offset or above. */
  from (offset: number): OffsetRange[] {
    return this.#done.filter(([, to]) => to > offset).map(([from, to]) => [Math.max(from, offset), to])
  }

  has (offset: number, leaderEpoch: number): boolean {
    while (this.#next < this.#done.length && this.#done[this.#next][1] <= offset) this.#next++
    return this.#next < this.#done.length && this.#done[this.#next][0] <= offset && leaderEpoch <= this.leaderEpoch
  }
}

function isTopicId (id: string): boolean {
  if (id.length > TOPIC_ID_MAX_LENGTH) return false
  for (let at = 0; at < id.length; at++) {
    const code = id.charCodeAt(at)
    if (code < 0x20 || code > 0x7e) return false
  }
  return true
}

/** Everything before the attempts, behind the room for the checksum. The flags are filled in later. Returns its length. */
function putHead ({ base, leaderEpoch, starts }: Progress, topicId: string): number {
  let at = CHECKSUM_BYTES + 1
  at = putVarint(scratch, at, base)
  at = putVarint(scratch, at, leaderEpoch + 1)
  if (topicId !== '') {
    at = putVarint(scratch, at, topicId.length)
    for (let index = 0; index < topicId.length; index++) scratch[at++] = topicId.charCodeAt(index)
  }
  if (starts > 0) at = putVarint(scratch, at, starts)
  return at - CHECKSUM_BYTES
}

/** As many as take up to `room` bytes: attempts, and how far it is from the record before; a 0 after the last. */
function putAttempts (start: number, base: number, attempts: readonly OffsetAttempts[], room: number): { count: number, end: number } {
  let end = start
  let count = 0
  for (let next = base; count < attempts.length; count++) {
    const [offset, made] = attempts[count]
    assert(made >= 1, 'a record that was tried was tried at least once')
    const behind = putVarint(scratch, putVarint(scratch, end, Math.min(made, ATTEMPTS_MAX)), offset - next)
    if (behind + 1 - start > room) break
    end = behind
    next = offset + 1
  }
  if (count > 0) scratch[end++] = 0
  return { count, end }
}

function attemptsIn (base: number, reader: VarintReader): OffsetAttempts[] {
  const attempts: OffsetAttempts[] = []
  for (let next = base, made = reader.next(); made !== 0; made = reader.next()) {
    const offset = next + reader.next()
    if (made > ATTEMPTS_MAX || attempts.length === ATTEMPTS_MAX_RECORDS || !Number.isSafeInteger(offset)) throw new RangeError('not our attempts')
    attempts.push([offset, made])
    next = offset + 1
  }
  return attempts
}

function textOf (flags: number, end: number, bytes: Buffer): string {
  scratch[CHECKSUM_BYTES] = flags
  const whole = bytes.length === 0 ? scratch.subarray(0, end) : Buffer.concat([scratch.subarray(0, end), bytes])
  whole.writeUInt32BE(crc32(whole.subarray(CHECKSUM_BYTES)))
  return PREFIX + whole.toString('base64') + SACRIFICE
}

/** What stands before the starts, and a reader of the rest. `null` for what is not ours, or damaged. */
function headOf (metadata: string): { flags: number, base: number, leaderEpoch: number, topicId: string, reader: VarintReader } | null {
  const [, text] = /^sluice1:([A-Za-z0-9+/]+=*)/.exec(metadata) ?? []
  if (text === undefined) return null
  const bytes = Buffer.from(text, 'base64')
  const content = bytes.subarray(CHECKSUM_BYTES)
  if (content.length === 0 || crc32(content) !== bytes.readUInt32BE(0) || content[0] > KNOWN_FLAGS) return null
  const [flags] = content
  const reader = new VarintReader(content.subarray(1))
  const base = reader.next()
  const leaderEpoch = reader.next() - 1
  const topicId = flags & TOPIC_ID ? reader.take(reader.next()).toString('latin1') : ''
  return isTopicId(topicId) ? { flags, base, leaderEpoch, topicId, reader } : null
}

/** The ranges, as runs or as a bitmap. */
function packed (base: number, done: readonly OffsetRange[]): { flags: number, bytes: Buffer } {
  const last = done.at(-1)
  if (last === undefined || done.length > RANGES_MAX) return { flags: 0, bytes: NO_BYTES }
  const runs = runsOf(base, done)
  const bitmapBytes = Math.ceil((last[1] - base) / 8)
  return bitmapBytes < runs.length
    ? { flags: BITMAP, bytes: bitmapOf(base, done, bitmapBytes) }
    : { flags: 0, bytes: Buffer.from(runs) }
}

function runsOf (base: number, done: readonly OffsetRange[]): number[] {
  const bytes: number[] = []
  let at = base
  for (const [from, to] of done) {
    putVarint(bytes, putVarint(bytes, bytes.length, from - at), to - from)
    at = to
  }
  return bytes
}

function rangesOfRuns (base: number, body: Buffer): OffsetRange[] {
  const reader = new VarintReader(body)
  const ranges: OffsetRange[] = []
  for (let at = base; !reader.ended;) {
    const from = at + reader.next()
    at = from + reader.next()
    if (!Number.isSafeInteger(at) || ranges.length === RANGES_MAX) throw new RangeError('not our ranges')
    ranges.push([from, at])
  }
  return ranges
}

function bitmapOf (base: number, done: readonly OffsetRange[], length: number): Buffer {
  const bitmap = Buffer.alloc(length)
  for (const [from, to] of done) {
    for (let bit = from - base; bit < to - base; bit++) bitmap[bit >>> 3] |= 1 << (bit & 7)
  }
  return bitmap
}

function rangesOfBitmap (base: number, bitmap: Buffer): OffsetRange[] {
  const ranges: OffsetRange[] = []
  let from = -1
  for (let bit = 0; bit <= bitmap.length * 8; bit++) {
    const set = bit < bitmap.length * 8 && (bitmap[bit >>> 3] & (1 << (bit & 7))) !== 0
    if (set && from === -1) from = bit
    if (!set && from !== -1) {
      if (ranges.length === RANGES_MAX) throw new RangeError('not our ranges')
      ranges.push([base + from, base + bit])
      from = -1
    }
  }
  return ranges
}

/** Seven bits a byte, the lowest first; the eighth says that more follow. Exact up to 2^53. Returns where the next may begin. */
function putVarint (bytes: Buffer | number[], at: number, value: number): number {
  assert(value >= 0, 'nothing is below zero: offsets ascend, from the base on')
  for (; value >= 128; value = Math.floor(value / 128)) bytes[at++] = value % 128 + 128
  bytes[at++] = value
  return at
}

class VarintReader {
  readonly #bytes: Buffer
  #at = 0

  constructor (bytes: Buffer) {
    this.#bytes = bytes
  }

  get ended (): boolean { return this.#at >= this.#bytes.length }
  get rest (): Buffer { return this.#bytes.subarray(this.#at) }

  take (length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw new RangeError('not that many bytes here')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  next (): number {
    for (let value = 0, factor = 1; this.#at < this.#bytes.length; factor *= 128) {
      const byte = this.#bytes[this.#at++]
      value += (byte & 127) * factor
      if (!Number.isSafeInteger(value)) break
      if (byte < 128) return value
    }
    throw new RangeError('no number here')
  }
}
