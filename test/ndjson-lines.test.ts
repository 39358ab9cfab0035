import fc from 'fast-check'
import t from 'tap'
import { LineSplitter, oversized } from '../src/ndjson-lines.js'

/** The lines of these chunks, as text; `null` for one that is too long. */
function split (chunks: Iterable<Buffer>, maxLineBytes = 100): (string | null)[] {
  const splitter = new LineSplitter(maxLineBytes)
  const lines: (string | null)[] = []
  const take = (line: Buffer | typeof oversized) => {
    lines.push(line === oversized ? null : line.toString())
    if (splitter.line !== lines.length) throw new Error(`line ${splitter.line}, and not ${lines.length}`)
  }
  for (const chunk of chunks) {
    splitter.feed(chunk)
    for (let line = splitter.next(); line !== null; line = splitter.next()) take(line)
  }
  const last = splitter.end()
  if (last !== null) take(last)
  return lines
}

/** What the lines of a text are, said in the simplest way. */
function expected (text: Buffer, maxLineBytes: number): (string | null)[] {
  const lines = text.toString().split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map(line => Buffer.byteLength(line) > maxLineBytes ? null : line)
}

function * cutAt (bytes: Buffer, cuts: readonly number[]): Generator<Buffer> {
  let from = 0
  for (const cut of [...cuts].map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b)) {
    // As a socket's buffer may be: used again once the chunk was taken.
    const chunk = Buffer.from(bytes.subarray(from, cut))
    yield chunk
    chunk.fill(0x2a)
    from = cut
  }
  yield bytes.subarray(from)
}

t.test('lines are the same wherever the bytes are split: at every byte, inside characters and between CR and LF', async t => {
  const text = Buffer.from('{"value":"é𝄞"}\r\n\r\n\n{"value":2}')
  for (let i = 0; i <= text.length; i++) {
    for (let j = i; j <= text.length; j++) t.same(split(cutAt(text, [i, j])), ['{"value":"é𝄞"}\r', '\r', '', '{"value":2}'])
  }
  t.same(split([...text].map(byte => Buffer.from([byte]))), ['{"value":"é𝄞"}\r', '\r', '', '{"value":2}'])
})

t.test('the limit of a line from both sides, whole and split', async t => {
  for (const [size, taken] of [[99, true], [100, true], [101, false], [10_000, false]] as const) {
    const text = Buffer.from(`a\n${'x'.repeat(size)}\nb`)
    for (const cuts of [[], [1], [50], [102], [103], [10, 20, 30]]) {
      t.same(split(cutAt(text, cuts)), ['a', taken ? 'x'.repeat(size) : null, 'b'], `${size}: ${cuts}`)
    }
  }
  t.same(split(cutAt(Buffer.from('x'.repeat(101)), [7])), [null], 'at the end')
})

t.test('for any text and any cuts, the lines are those of the text', async t => {
  const text = fc.string({ unit: fc.constantFrom('\n', '\r', 'a', 'é', '𝄞', '{', 'xxxx'), maxLength: 60 }).map(text => Buffer.from(text))
  fc.assert(fc.property(text, fc.array(fc.nat(200), { maxLength: 20 }), fc.integer({ min: 1, max: 12 }), (bytes, cuts, limit) => {
    const lines = split(cutAt(bytes, cuts), limit)
    if (JSON.stringify(lines) !== JSON.stringify(expected(bytes, limit))) throw new Error(JSON.stringify(lines))
  }), { numRuns: 3_000 })
})

t.test('of a line that is too long nothing is kept, however long it is', async t => {
  const splitter = new LineSplitter(1_000)
  const chunk = Buffer.alloc(65_536, 'x')
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 5_000; i++) {
    splitter.feed(chunk)
    if (splitter.next() !== null) throw new Error('there is no line')
  }
  t.ok(process.memoryUsage().arrayBuffers - before < 1_000_000, 'after 330 MB')
  splitter.feed(Buffer.from('x\nab'))
  t.equal(splitter.next(), oversized)
  t.equal(splitter.next(), null)
  t.equal(String(splitter.end()), 'ab')
})
