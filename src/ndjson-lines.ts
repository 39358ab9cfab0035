const newline = 0x0a
const firstCarryBytes = 4_096
/** What may be kept for the next line that is split. */
const keptCarryBytes = 65_536

/** A line that was longer than it may be. Its bytes are gone. */
export const oversized = Symbol('oversized')

/**
 * Cuts chunks of bytes into lines, wherever the chunks are split: `feed` a chunk, then take `next` until it is `null`; at the end
 * take `end`.
 *
 *     chunk   │{"value":1}\n{"val│        carry: {"val
 *     chunk   │ue":2}\n{"value"  │        carry: {"value"
 *
 * A line that lies within a chunk is a view of it, not a copy, and good until the next `feed`. What is carried over is copied
 * into one buffer that grows by doubling, so that bytes that come one by one cost what they cost in one piece. Of a line that is
 * too long nothing is kept. Holds at most `maxLineBytes`, rounded up to a power of two, beside the chunk. Lines are counted from 1.
 */
export class LineSplitter {
  readonly #maxLineBytes: number
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  #carry: Buffer | null = null
  #carried = 0
  #skipping = false
  #line = 0

  constructor (maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes
  }

  /** The number of the line that was taken last. */
  get line (): number { return this.#line }

  /** Everything of the chunk before must have been taken. */
  feed (chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
  }

  /** The next whole line without its line feed, or `null` where the chunk holds no more. */
  next (): Buffer | typeof oversized | null {
    const chunk = this.#chunk
    const from = this.#at
    if (from >= chunk.length) return null
    const end = chunk.indexOf(newline, from)
    if (end === -1) {
      this.#at = chunk.length
      this.#keep(chunk, from, chunk.length)
      return null
    }
    this.#at = end + 1
    this.#line++
    if (this.#carried === 0 && !this.#skipping) {
      return end - from > this.#maxLineBytes ? oversized : chunk.subarray(from, end)
    }
    this.#keep(chunk, from, end)
    return this.#take()
  }

  /** What came after the last line feed, where there is anything. */
  end (): Buffer | typeof oversized | null {
    if (this.#carried === 0 && !this.#skipping) return null
    this.#line++
    return this.#take()
  }

  #keep (chunk: Buffer, from: number, to: number): void {
    if (this.#skipping) return
    const size = this.#carried + to - from
    if (size > this.#maxLineBytes) {
      this.#skipping = true
      this.#carried = 0
      this.#carry = null
      return
    }
    if (this.#carry === null || this.#carry.length < size) {
      let capacity = this.#carry?.length ?? firstCarryBytes
      while (capacity < size) capacity *= 2
      const larger = Buffer.allocUnsafeSlow(capacity)
      this.#carry?.copy(larger, 0, 0, this.#carried)
      this.#carry = larger
    }
    chunk.copy(this.#carry, this.#carried, from, to)
    this.#carried = size
  }

  #take (): Buffer | typeof oversized {
    const line = this.#skipping ? oversized : this.#carry!.subarray(0, this.#carried)
    this.#skipping = false
    this.#carried = 0
    // The view that goes out keeps it as long as it is needed.
    if (this.#carry !== null && this.#carry.length > keptCarryBytes) this.#carry = null
    return line
  }
}
