import fc from 'fast-check'
import t from 'tap'
import { DUPLICATE, OffsetWindow, REWOUND } from '../../src/engine/offset-window.js'

/** The obvious way: a list that is scanned. */
class NaiveWindow {
  readonly records: { offset: number, done: boolean }[] = []
  commitOffset: number
  end = -1
  constructor (commitOffset: number) { this.commitOffset = commitOffset }

  admit (offset: number): number {
    if (this.commitOffset === -1) this.commitOffset = offset
    return this.records.push({ offset, done: false }) - 1
  }

  complete (sequence: number): void {
    this.records[sequence].done = true
    this.#settle()
  }

  reachEnd (end: number): void {
    this.end = Math.max(this.end, end)
    this.#settle()
  }

  get size (): number {
    const first = this.records.findIndex(({ done }) => !done)
    return first === -1 ? 0 : this.records.length - first
  }

  /** Every completed record above the commit offset lies in the ranges, no other admitted one does, and they ascend. */
  agrees (ranges: readonly (readonly [number, number])[]): boolean {
    let last = this.commitOffset
    for (const [from, to] of ranges) {
      if (from < last || to <= from) return false
      last = to
    }
    const within = (offset: number) => ranges.some(([from, to]) => from <= offset && offset < to)
    return this.records.every(({ offset, done }) => offset < this.commitOffset || done === within(offset))
  }

  #settle (): void {
    for (const { offset, done } of this.records) {
      if (!done) return
      this.commitOffset = Math.max(this.commitOffset, offset + 1)
    }
    this.commitOffset = Math.max(this.commitOffset, this.end)
  }
}

t.test('for any gaps and any order of completions and ends, it answers as a scanned list does', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(
    fc.record({
      start: fc.integer({ min: -1, max: 1000 }),
      gaps: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 300, size: 'max' }),
      steps: fc.array(fc.tuple(fc.nat(9), fc.nat()), { maxLength: 600, size: 'max' })
    }),
    ({ start, gaps, steps }) => {
      const window = new OffsetWindow(start)
      const naive = new NaiveWindow(start)
      let offset = Math.max(0, start) - 1
      let admitted = 0
      const same = () => {
        if (window.commitOffset !== naive.commitOffset) throw new Error(`commit offset ${window.commitOffset}, should be ${naive.commitOffset}`)
        if (window.size !== naive.size) throw new Error(`size ${window.size}, should be ${naive.size}`)
        const above = window.doneAbove()
        if (!naive.agrees(above)) throw new Error(`done above: ${JSON.stringify(above)}`)
      }
      for (const [what, which] of steps) {
        if (what < 5 && admitted < gaps.length) {
          offset += gaps[admitted++]
          naive.admit(offset)
          window.admit(offset, 0)
        } else if (what < 9 && admitted > 0) {
          naive.complete(which % admitted)
          window.complete(which % admitted)
        } else {
          naive.reachEnd(offset + 1 + which % 3)
          window.reachEnd(offset + 1 + which % 3)
          offset += which % 3
        }
        same()
      }
      for (let sequence = 0; sequence < admitted; sequence++) {
        naive.complete(sequence)
        window.complete(sequence)
      }
      same()
      if (window.size !== 0) throw new Error('not empty at the end')
    }
  ), { numRuns: 500 }))
})

t.test('a full ring whose head was stuck, then freed, gives the right commit offset', async t => {
  for (const count of [31, 32, 33, 63, 64, 65, 128, 1000, 4096]) {
    const window = new OffsetWindow(0)
    for (let offset = 0; offset < count; offset++) window.admit(offset, 7)
    for (let sequence = 1; sequence < count; sequence++) window.complete(sequence)
    t.equal(window.commitOffset, 0, `${count}: the first holds it`)
    t.equal(window.size, count)
    t.ok(window.complete(0))
    t.equal(window.commitOffset, count)
    t.equal(window.commitLeaderEpoch, 7)
    t.equal(window.size, 0)
    t.equal(window.admit(count, 7), count, 'and it goes on')
    t.notOk(window.complete(0), 'completing the first again changes nothing')
    t.equal(window.commitOffset, count)
  }
})

t.test('a slot that is used again does not remember that it was done', async t => {
  const window = new OffsetWindow(0)
  for (let offset = 0; offset < 1000; offset += 2) {
    const first = window.admit(offset, 0)
    window.admit(offset + 1, 0)
    window.complete(first)
    t.equal(window.commitOffset, offset + 1, 'the second is not done')
    window.complete(first + 1)
    t.equal(window.commitOffset, offset + 2)
  }
})

t.test('a record that is in the window is a duplicate, done or not; one that never was is a rewound log', async t => {
  const window = new OffsetWindow(10)
  for (const offset of [10, 12, 14, 16]) window.admit(offset, 0)
  window.complete(2)
  t.equal(window.admit(14, 0), DUPLICATE)
  t.equal(window.admit(10, 0), DUPLICATE)
  t.equal(window.admit(16, 0), DUPLICATE)
  t.equal(window.admit(13, 0), REWOUND, 'within its range, but never admitted')
  t.equal(window.admit(9, 0), REWOUND, 'below it')
  t.equal(window.admit(14, 1), REWOUND, 'within it, and written by a later leader')
  t.equal(window.admit(14, -1), DUPLICATE, 'by nobody knows which')
  t.same([window.commitOffset, window.firstOpen], [10, 10])
  window.complete(0)
  t.equal(window.firstOpen, 12)
  t.equal(window.admit(10, 0), REWOUND, 'below the commit offset')
  t.equal(window.size, 3)
  t.equal(new OffsetWindow(100).admit(0, 0), REWOUND, 'the group had committed more than the log holds now')
})

t.test('what was read of an unknown leader is a duplicate whoever wrote it', async t => {
  const window = new OffsetWindow(0)
  t.equal(window.firstOpen, -1)
  window.admit(0, -1)
  t.equal(window.admit(0, 3), DUPLICATE)
  window.admit(1, 3)
  t.equal(window.admit(1, 2), DUPLICATE, 'and so is what an earlier one wrote')
})

t.test('without an offset of the group, the first record or end decides', async t => {
  const first = new OffsetWindow(-1)
  t.equal(first.commitOffset, -1)
  first.admit(40, 0)
  t.equal(first.commitOffset, 40)
  const empty = new OffsetWindow(-1)
  t.ok(empty.reachEnd(7))
  t.equal(empty.commitOffset, 7)
})

t.test('markers at the end are passed once everything before them is completed, not earlier', async t => {
  const window = new OffsetWindow(0)
  window.admit(0, 0)
  t.notOk(window.reachEnd(3))
  t.equal(window.commitOffset, 0)
  t.ok(window.complete(0))
  t.equal(window.commitOffset, 3)
  t.notOk(window.reachEnd(2), 'an older end changes nothing')
  t.equal(window.commitOffset, 3)
})

t.test('completing what was never admitted is a bug and says so', async t => {
  t.throws(() => new OffsetWindow(0).complete(0), { name: 'AssertionError' })
  t.throws(() => new OffsetWindow(1.5), { name: 'AssertionError' })
  t.throws(() => new OffsetWindow(-2), { name: 'AssertionError' })
})

t.test('offsets beyond 2^32 stay exact', async t => {
  const start = 2 ** 52
  const window = new OffsetWindow(start)
  for (let n = 0; n < 100; n++) window.admit(start + n, 0)
  for (let n = 0; n < 100; n++) window.complete(n)
  t.equal(window.commitOffset, start + 100)
})

t.test('the ring costs at most 16 bytes an offset at 100,000 in the window', async t => {
  const window = new OffsetWindow(0)
  for (let offset = 0; offset < 100_000; offset++) window.admit(offset, 0)
  t.ok(window.ringBytes / 100_000 <= 16, `${window.ringBytes / 100_000} bytes`)
})
