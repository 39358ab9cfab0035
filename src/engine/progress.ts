import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib'

/** Offsets [from, to). */
export type OffsetRange = readonly [from: number, to: number]

/** What of a partition is completed above its commit offset. */
export interface Progress {
  /** The commit offset that it belongs to; beside any other it means nothing. */
  readonly base: number
  /** The highest leader epoch among the completed records, −1 where unknown. A record of a later one is another record. */
  readonly leaderEpoch: number
  /** Completed offsets, ascending and disjoint, none below `base`. Offsets that do not exist may count as completed. */
  readonly done: readonly OffsetRange[]
}

/** What a broker takes as a commit's metadata is 4,096 bytes; the client adds one, and may lose one. */
export const METADATA_MAX_BYTES = 4_094

const PREFIX = 'sluice1:'
/** The last byte, which the client's binding may take away. */
const SACRIFICE = '.'
const CHECKSUM_BYTES = 4
const BITMAP = 1
const DEFLATED = 2
/** Nothing of ours inflates to more: what does is damaged. */
const INFLATED_MAX_BYTES = 1 << 20

/**
 * Encodes progress for a commit's metadata; '' where there is none, or where it does not fit: never a part of it.
 *
 * A checksum, then flags, base, leader epoch, and the smaller of alternating run lengths (not done, done, …, from the base on)
 * and a bitmap; deflated only where it would not fit otherwise, since that is the costly part. Base64, because brokers and
 * tools take metadata for text.
 *
 * Source: Confluent's Parallel Consumer had the idea; the format is our own.
 */
export function encodeProgress ({ base, leaderEpoch, done }: Progress, maxBytes = METADATA_MAX_BYTES): string {
  const last = done.at(-1)
  if (last === undefined) return ''
  const runs = runsOf(base, done)
  const bitmapBytes = Math.ceil((last[1] - base) / 8)
  const asBitmap = bitmapBytes < runs.length
  const body = asBitmap ? bitmapOf(base, done, bitmapBytes) : runs
  const flags = asBitmap ? BITMAP : 0
  const plain = textOf(flags, base, leaderEpoch, body)
  if (plain.length <= maxBytes) return plain
  const deflated = textOf(flags | DEFLATED, base, leaderEpoch, deflateRawSync(body))
  return deflated.length <= maxBytes ? deflated : ''
}

/**
 * Reads what `encodeProgress` wrote for this base. `null` for anything else: the metadata of another client, of another
 * commit, damaged, or none. That is no error: everything from the base on is then handled again.
 */
export function decodeProgress (metadata: string, base: number): Progress | null {
  const [, text] = /^sluice1:([A-Za-z0-9+/]+=*)/.exec(metadata) ?? []
  if (text === undefined) return null
  try {
    const bytes = Buffer.from(text, 'base64')
    const content = bytes.subarray(CHECKSUM_BYTES)
    if (bytes.length <= CHECKSUM_BYTES || crc32(content) !== bytes.readUInt32BE(0)) return null
    const reader = new VarintReader(content.subarray(1))
    if (reader.next() !== base) return null
    const leaderEpoch = reader.next() - 1
    const flags = content[0]
    const body = flags & DEFLATED ? inflateRawSync(reader.rest, { maxOutputLength: INFLATED_MAX_BYTES }) : reader.rest
    const done = flags & BITMAP ? rangesOfBitmap(base, body) : rangesOfRuns(base, body)
    return { base, leaderEpoch, done }
  } catch {
    // The checksum was right, and still it is not what we write: not ours, after all.
    return null
  }
}

/** Tells which records a predecessor completed. Ask in ascending order of offsets: each range is looked at once. */
export class CompletedBefore {
  readonly #done: readonly OffsetRange[]
  readonly #leaderEpoch: number
  #next = 0

  constructor ({ done, leaderEpoch }: Progress) {
    this.#done = done
    this.#leaderEpoch = leaderEpoch
  }

  has (offset: number, leaderEpoch: number): boolean {
    while (this.#next < this.#done.length && this.#done[this.#next][1] <= offset) this.#next++
    return this.#next < this.#done.length && this.#done[this.#next][0] <= offset && leaderEpoch <= this.#leaderEpoch
  }
}

function textOf (flags: number, base: number, leaderEpoch: number, body: Buffer): string {
  const content = Buffer.concat([Buffer.of(flags), Buffer.from([...varint(base), ...varint(leaderEpoch + 1)]), body])
  const checksum = Buffer.alloc(CHECKSUM_BYTES)
  checksum.writeUInt32BE(crc32(content))
  return PREFIX + Buffer.concat([checksum, content]).toString('base64') + SACRIFICE
}

function runsOf (base: number, done: readonly OffsetRange[]): Buffer {
  const bytes: number[] = []
  let at = base
  for (const [from, to] of done) {
    bytes.push(...varint(from - at), ...varint(to - from))
    at = to
  }
  return Buffer.from(bytes)
}

function rangesOfRuns (base: number, body: Buffer): OffsetRange[] {
  const reader = new VarintReader(body)
  const ranges: OffsetRange[] = []
  for (let at = base; !reader.ended;) {
    const from = at + reader.next()
    at = from + reader.next()
    if (!Number.isSafeInteger(at)) throw new RangeError('an offset too large')
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
      ranges.push([base + from, base + bit])
      from = -1
    }
  }
  return ranges
}

/** Seven bits a byte, the lowest first; the eighth says that more follow. Exact up to 2^53. */
function varint (value: number): number[] {
  const bytes: number[] = []
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push(value % 128 + 128)
  bytes.push(value)
  return bytes
}

class VarintReader {
  readonly #bytes: Buffer
  #at = 0

  constructor (bytes: Buffer) {
    this.#bytes = bytes
  }

  get ended (): boolean { return this.#at >= this.#bytes.length }
  get rest (): Buffer { return this.#bytes.subarray(this.#at) }

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
