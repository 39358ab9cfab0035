import assert from 'node:assert'

/** `admit` answers this for a record that is in the window already. */
export const DUPLICATE = -1
/** `admit` answers this for an offset that the log should have left behind: it was truncated or made anew. */
export const REWOUND = -2

const SLOTS_AT_FIRST = 64

/**
 * Which offset of one partition is safe to commit, for one epoch of owning it.
 *
 * A ring indexed by delivery sequence, not by offset, so that offsets that never arrive (compaction, transaction
 * markers) cost nothing and hold nothing back.
 *
 *     offsets   [ 40 | 41 | 43 | 47 | 48 |    |    |    ]     42, 44–46 were compacted away
 *     done      [  1 |  1 |  0 |  1 |  0 |    |    |    ]
 *                          ▲ head            ▲ tail           commitOffset = 42: everything below it is completed
 *
 * `head` and `tail` only grow; a slot is `sequence & (capacity − 1)`. Capacity is a power of two that doubles when the
 * ring is full: how much may be admitted is for the caller to limit. 12 bytes and a bit a slot. Every operation is
 * O(1) amortised, but for telling a duplicate, which is a binary search.
 */
export class OffsetWindow {
  #offsets = new Float64Array(SLOTS_AT_FIRST)
  #leaderEpochs = new Int32Array(SLOTS_AT_FIRST)
  #done = new Uint32Array(SLOTS_AT_FIRST / 32)
  #mask = SLOTS_AT_FIRST - 1
  #head = 0
  #tail = 0
  #lastAdmitted = -1
  // One past the highest sequence that was completed: above it there is nothing to look for.
  #doneTail = 0
  #doneLeaderEpoch = -1
  #end = -1
  // A scalar of its own: once the ring is full, the slot before `head` belongs to another record.
  #commitOffset: number
  #commitLeaderEpoch = -1

  /** @param commitOffset what the group has committed, −1 where nothing: then the first record or end decides. */
  constructor (commitOffset: number) {
    assert(Number.isSafeInteger(commitOffset) && commitOffset >= -1, `commit offset ${commitOffset}`)
    this.#commitOffset = commitOffset
  }

  /** Everything below it is completed. −1 while nothing is known. Never goes backwards. */
  get commitOffset (): number { return this.#commitOffset }

  /** Leader epoch of the last record below the commit offset, −1 where unknown. */
  get commitLeaderEpoch (): number { return this.#commitLeaderEpoch }

  /** The sequence of the first record that is not completed, where there is one. */
  get head (): number { return this.#head }

  /** Admitted records that the commit offset has not passed. */
  get size (): number { return this.#tail - this.#head }

  /** How far the last admitted offset is ahead of the commit offset: 0 with an empty window. */
  get span (): number { return this.size === 0 ? 0 : this.#lastAdmitted + 1 - this.#commitOffset }

  /** The highest offset admitted in this epoch, −1 for none. */
  get lastAdmitted (): number { return this.#lastAdmitted }

  /** The lowest offset that is admitted and not completed, −1 for none. */
  get firstOpen (): number { return this.size === 0 ? -1 : this.#offsets[this.#head & this.#mask] }

  /** Bytes that the ring itself holds. */
  get ringBytes (): number { return this.#offsets.byteLength + this.#leaderEpochs.byteLength + this.#done.byteLength }

  /**
   * Enters a record and returns its sequence, or `DUPLICATE` (drop it: it is here already), or `REWOUND` (nobody
   * sought, yet the log goes on below what was read, or a later leader has written what was read anew: start a new epoch with it).
   */
  admit (offset: number, leaderEpoch: number): number {
    if (offset <= this.#lastAdmitted) return this.#has(offset, leaderEpoch) ? DUPLICATE : REWOUND
    if (offset < this.#commitOffset) return REWOUND
    // The group had no offset: where the reset policy put us is where the commit offset starts.
    if (this.#commitOffset === -1) this.#commitOffset = offset
    if (this.size > this.#mask) this.#grow()
    const sequence = this.#tail++
    const slot = sequence & this.#mask
    this.#offsets[slot] = offset
    this.#leaderEpochs[slot] = leaderEpoch
    this.#done[slot >>> 5] &= ~(1 << (slot & 31))
    this.#lastAdmitted = offset
    return sequence
  }

  /**
   * Marks a record completed and returns whether the commit offset moved. Completing twice changes nothing.
   *
   * @throws {AssertionError} if the sequence was never admitted: a bug, not bad input
   */
  complete (sequence: number): boolean {
    assert(sequence < this.#tail, `sequence ${sequence} was never admitted`)
    if (sequence < this.#head) return false
    const slot = sequence & this.#mask
    this.#done[slot >>> 5] |= 1 << (slot & 31)
    if (sequence >= this.#doneTail) this.#doneTail = sequence + 1
    if (this.#leaderEpochs[slot] > this.#doneLeaderEpoch) this.#doneLeaderEpoch = this.#leaderEpochs[slot]
    if (sequence !== this.#head) return false
    this.#advance()
    return true
  }

  /** The highest leader epoch of a completed record of this epoch, −1 where unknown. */
  get doneLeaderEpoch (): number { return this.#doneLeaderEpoch }

  /**
   * What is completed above the commit offset, as ranges [from, to) of offsets, ascending. Offsets between admitted ones that
   * were never delivered count as completed. Looks at the slots from the first open one to the last completed one.
   */
  doneAbove (): [from: number, to: number][] {
    const ranges: [number, number][] = []
    let from = this.#commitOffset
    for (let sequence = this.#head; sequence < this.#doneTail; sequence++) {
      const slot = sequence & this.#mask
      if (this.#done[slot >>> 5] & (1 << (slot & 31))) continue
      const open = this.#offsets[slot]
      if (open > from && sequence > this.#head) ranges.push([from, open])
      from = open + 1
    }
    if (this.#doneTail > this.#head) ranges.push([from, this.#offsets[(this.#doneTail - 1) & this.#mask] + 1])
    return ranges
  }

  /**
   * Notes that the partition ends before `offset`; returns whether the commit offset moved. With everything completed
   * it rises to the end, past transaction markers that no one can read; otherwise it does so later.
   */
  reachEnd (offset: number): boolean {
    if (offset <= this.#end) return false
    this.#end = offset
    if (this.size > 0 || offset <= this.#commitOffset) return false
    this.#commitOffset = offset
    return true
  }

  #advance (): void {
    while (this.#head < this.#tail) {
      const slot = this.#head & this.#mask
      const word = this.#done[slot >>> 5] >>> (slot & 31)
      const zeros = ~word
      // The lowest zero bit tells how many ones come first; a full word has none.
      const ones = Math.min(zeros === 0 ? 32 : 31 - Math.clz32(zeros & -zeros), this.#tail - this.#head)
      if (ones === 0) break
      this.#head += ones
    }
    const last = (this.#head - 1) & this.#mask
    this.#commitOffset = this.#offsets[last] + 1
    this.#commitLeaderEpoch = this.#leaderEpochs[last]
    if (this.size === 0 && this.#end > this.#commitOffset) this.#commitOffset = this.#end
  }

  /** An unknown leader epoch may be any. */
  #has (offset: number, leaderEpoch: number): boolean {
    let low = this.#head
    let high = this.#tail - 1
    while (low <= high) {
      const middle = Math.floor((low + high) / 2)
      const slot = middle & this.#mask
      const found = this.#offsets[slot]
      if (found === offset) return leaderEpoch <= this.#leaderEpochs[slot] || this.#leaderEpochs[slot] === -1
      if (found < offset) low = middle + 1
      else high = middle - 1
    }
    return false
  }

  #grow (): void {
    const capacity = (this.#mask + 1) * 2
    const offsets = new Float64Array(capacity)
    const leaderEpochs = new Int32Array(capacity)
    const done = new Uint32Array(capacity / 32)
    for (let sequence = this.#head; sequence < this.#tail; sequence++) {
      const from = sequence & this.#mask
      const to = sequence & (capacity - 1)
      offsets[to] = this.#offsets[from]
      leaderEpochs[to] = this.#leaderEpochs[from]
      if (this.#done[from >>> 5] & (1 << (from & 31))) done[to >>> 5] |= 1 << (to & 31)
    }
    this.#offsets = offsets
    this.#leaderEpochs = leaderEpochs
    this.#done = done
    this.#mask = capacity - 1
  }
}
