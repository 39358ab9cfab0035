import fc from 'fast-check'
import { parseTree, type Node } from 'jsonc-parser'
import { test } from 'tap'
import { JsonSpans, maxJsonDepth, parseJsonText } from '../src/json-text.js'

/** Numbers as people and programs write them, JavaScript's own way or not. */
const numberText = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.bigInt().map(String),
  fc.tuple(fc.constantFrom('', '-'), fc.nat().map(String), fc.constantFrom('', '.0', '.50', '.1', '.30000000000000004'), fc.constantFrom('', 'e1', 'E+2', 'e-7', 'e400'))
    .map(parts => parts.join('')),
  fc.constantFrom('0', '-0', '0.0', '-0.0', '1e0', '100', '999999999999999', '9007199254740993', '1e21', '1E5', '123456789012345678901234567890')
)

const space = fc.constantFrom('', ' ', '\n', '\t\r ')

const stringText = fc.string({ unit: 'binary' }).map(s => JSON.stringify(s))

/** The text of a JSON value, with white space anywhere that it may be, and with duplicate members. */
const { value: valueText } = fc.letrec<{ value: string }>(tie => ({
  value: fc.oneof({ maxDepth: 4 },
    numberText, stringText, fc.constantFrom('true', 'false', 'null'),
    fc.tuple(space, fc.array(fc.tuple(tie('value'), space).map(parts => parts.join('')), { maxLength: 4 })).map(([s, items]) => `[${s}${items.join(`,${s}`)}]`),
    fc.tuple(space, fc.array(fc.tuple(fc.oneof(stringText, fc.constantFrom('"a"', '"b"', '"\\u0061"')), space, space, tie('value'), space)
      .map(([name, s1, s2, value, s3]) => `${name}${s1}:${s2}${value}${s3}`), { maxLength: 4 })).map(([s, items]) => `{${s}${items.join(`,${s}`)}}`))
}))

const numbersOf = (text: string): string[] => text.replace(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g) ?? []

test('for any JSON text, the text is kept exactly where JavaScript would write a number otherwise', t => {
  fc.assert(fc.property(valueText, text => {
    const parsed = parseJsonText(Buffer.from(text))
    t.same(JSON.stringify(parsed.value), JSON.stringify(JSON.parse(text)))
    const kept = numbersOf(text).every(number => String(Number(number)) === number)
    if ((parsed.text === null) !== kept) throw new Error(`kept: ${String(parsed.text)}`)
    if (parsed.text !== null && parsed.text !== text) throw new Error('another text')
  }), { numRuns: 1_000 })
  t.end()
})

/** The spans of an object or array as jsonc-parser's tree has them. */
function expectedSpans (node: Node): { names: unknown[], texts: [number, number][] } {
  const children = node.children ?? []
  const values = node.type === 'object' ? children.map(property => property.children?.[1] as Node) : children
  return {
    names: node.type === 'object' ? children.map(property => property.children?.[0]?.value as unknown) : [],
    texts: values.map(({ offset, length }) => [offset, offset + length])
  }
}

test('for any JSON text, the spans of members and elements are those that a tree parser finds', t => {
  fc.assert(fc.property(space, valueText, (before, value) => {
    const text = before + value
    const check = (node: Node): void => {
      if (node.type !== 'object' && node.type !== 'array') return
      const { names, starts, ends } = new JsonSpans(text, node.offset)
      const expected = expectedSpans(node)
      const found = { names, texts: starts.map((start, i) => [start, ends[i]]) }
      if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`)
      for (const child of node.children ?? []) check(node.type === 'object' ? child.children?.[1] as Node : child)
    }
    check(parseTree(text, [], { disallowComments: true }) as Node)
  }), { numRuns: 1_000 })
  t.end()
})

test('for any bytes, parsing ends with a value or with the one error', t => {
  fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 40 }), valueText.map(text => Buffer.from(text).subarray(0, -1))), bytes => {
    try {
      parseJsonText(Buffer.from(bytes))
    } catch (err) {
      if ((err as { code: string }).code !== 'SLUICE_MALFORMED_JSON') throw err
    }
  }), { numRuns: 2_000 })
  t.end()
})

test('the depth limit from both sides; brackets in strings are not depth', async t => {
  const nested = (depth: number): Buffer => Buffer.from('[{"a":'.repeat(depth / 2) + '1' + '}]'.repeat(depth / 2))
  t.equal(parseJsonText(nested(maxJsonDepth)).text, null)
  t.throws(() => parseJsonText(nested(maxJsonDepth + 2)), { code: 'SLUICE_MALFORMED_JSON', details: { limit: maxJsonDepth } })
  t.equal(parseJsonText(Buffer.from(JSON.stringify('['.repeat(5_000)))).text, null)
})

test('a malformed body is not quoted in the error', async t => {
  t.throws(() => parseJsonText(Buffer.from('{"password": hunter2}')), { message: /^The body is not JSON \(at character 13\)\.$/ })
  t.throws(() => parseJsonText(Buffer.from(`{"password":"${'x'.repeat(100_000)}", hunter2}`)), { message: /^The body is not JSON \(at character 100016\)\.$/ })
})
