import fc from 'fast-check'
import t from 'tap'
import { maxPointerParts, parsePointer, textAt } from '../src/json-pointer.js'
import { parseJsonText } from '../src/json-text.js'

const at = (json: string, pointer: string) => textAt(parseJsonText(Buffer.from(json)), parsePointer(pointer, 'keyPointer'))

t.test('the examples of RFC 6901 lead where it says', async t => {
  const document = '{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\\\j":5,"k\\"l":6," ":7,"m~n":8}'
  t.same(['/foo/0', '/', '/a~1b', '/c%d', '/e^f', '/g|h', '/i\\j', '/k"l', '/ ', '/m~0n'].map(pointer => at(document, pointer)),
    ['bar', '0', '1', '2', '3', '4', '5', '6', '7', '8'])
  t.equal(at(document, ''), null, 'the whole is an object')
  t.equal(at(document, '/foo'), null)
})

t.test('a number keeps its digits as they are written', async t => {
  const document = '{"id": 12345678901234567890 , "a": [1.0, 1e2, -0, {"deep": 0.10}], "id2": 7}'
  t.equal(at(document, '/id'), '12345678901234567890')
  t.same([0, 1, 2].map(i => at(document, `/a/${i}`)), ['1.0', '1e2', '-0'])
  t.equal(at(document, '/a/3/deep'), '0.10')
  t.equal(at(document, '/id2'), '7')
  t.equal(at(' 1.50 ', ''), '1.50')
  t.equal(at('{"a":1.0,"a":2.0}', '/a'), '2.0', 'of members with the same name the last counts')
})

t.test('what is not there is undefined, and what is no text is null', async t => {
  const document = '{"a":{"b":null,"c":[true]},"s":"x"}'
  t.same(['/x', '/a/x', '/s/0', '/a/c/1', '/a/c/-', '/a/c/00', '/a/c/length', '/toString', '/__proto__', '/constructor'].map(p => at(document, p)),
    new Array(10).fill(undefined))
  t.same(['/a', '/a/b', '/a/c'].map(p => at(document, p)), [null, null, null])
  t.equal(at(document, '/a/c/0'), 'true')
  t.equal(at('{"__proto__":"p"}', '/__proto__'), 'p')
})

t.test('a pointer that is none says what is wrong', async t => {
  const parse = (pointer: string) => () => parsePointer(pointer, 'keyPointer')
  t.throws(parse('a'), { code: 'SLUICE_INVALID_REQUEST', message: /^keyPointer must be a JSON Pointer/ })
  t.throws(parse('/a~2'), { message: /~/ })
  t.throws(parse('/a~'), { message: /~/ })
  t.equal(parsePointer('/x'.repeat(maxPointerParts), 'k').length, maxPointerParts)
  t.throws(parse('/x'.repeat(maxPointerParts + 1)), { message: /at most 32 parts/ })
})

t.test('for any document and any place in it, the pointer finds what is there, number by number', async () => {
  const number = fc.stringMatching(/^-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?$/)
  type Doc = { text: string, places: Map<string, string> }
  const escape = (name: string) => name.replaceAll('~', '~0').replaceAll('/', '~1')
  const { doc } = fc.letrec<{ doc: Doc, leaf: Doc }>(tie => ({
    leaf: fc.oneof(
      number.map(n => ({ text: n, places: new Map([['', n]]) })),
      fc.string().map(s => ({ text: JSON.stringify(s), places: new Map([['', s]]) }))),
    doc: fc.oneof({ maxDepth: 4 }, tie('leaf'),
      fc.array(tie('doc'), { maxLength: 4 }).map(items => ({
        text: `[ ${items.map(({ text }) => text).join(' ,')}]`,
        places: new Map(items.flatMap(({ places }, i) => [...places].map(([p, v]): [string, string] => [`/${i}${p}`, v])))
      })),
      fc.uniqueArray(fc.tuple(fc.string({ maxLength: 6 }), tie('doc')), { selector: ([name]) => name, maxLength: 4 }).map(members => ({
        text: `{${members.map(([name, { text }]) => `${JSON.stringify(name)} : ${text}`).join(',\n')}}`,
        places: new Map(members.flatMap(([name, { places }]) => [...places].map(([p, v]): [string, string] => [`/${escape(name)}${p}`, v])))
      })))
  }))
  fc.assert(fc.property(doc, ({ text, places }) => {
    for (const [pointer, value] of places) if (at(text, pointer) !== value) return false
    return true
  }))
})
