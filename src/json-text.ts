import { isUtf8 } from 'node:buffer'
import { parse, type ParseError } from 'jsonc-parser'
import { SluiceError } from './errors.js'

/** How deeply arrays and objects may be nested. Beyond this, programs that read recursively begin to fail. */
export const maxJsonDepth = 1_000

/** A JSON text that was parsed. */
export interface JsonText {
  readonly value: unknown
  /** The text itself where it writes a number otherwise than JavaScript would; else `null`, and `JSON.stringify` keeps every digit. */
  readonly text: string | null
}

/**
 * Parses JSON as RFC 8259 has it: UTF-8, and nothing after the value. A byte order mark is skipped. Of members with the same
 * name the last wins. `__proto__` is a name like any other.
 *
 * @throws {SluiceError} SLUICE_MALFORMED_JSON, also where the nesting is deeper than `maxJsonDepth`
 */
export function parseJsonText (bytes: Buffer): JsonText {
  if (bytes.length === 0) throw new SluiceError('SLUICE_MALFORMED_JSON', 'The body is empty.')
  // Decoding would put U+FFFD in place of what is not UTF-8.
  if (!isUtf8(bytes)) throw new SluiceError('SLUICE_MALFORMED_JSON', 'The body is not UTF-8.')
  const marked = bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  const text = bytes.toString('utf8', marked ? 3 : 0)
  const { depth, exact } = scan(text)
  if (depth > maxJsonDepth) {
    throw new SluiceError('SLUICE_MALFORMED_JSON', `Arrays and objects may be nested ${maxJsonDepth} deep.`, { limit: maxJsonDepth })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (err) {
    throw new SluiceError('SLUICE_MALFORMED_JSON', `The body is not JSON${position(text, err as Error)}.`)
  }
  return { value, text: exact ? null : text }
}

/** Up to which length a malformed text is read a second time to say where it stops being JSON. */
const maxExplainedLength = 65_536

/** Where the text stops being JSON, if that is easily said. V8 says it for some texts only, and then quotes the body. */
function position (text: string, err: Error): string {
  let at = /at position (\d+)/.exec(err.message)?.[1]
  if (at === undefined && text.length <= maxExplainedLength) {
    const errors: ParseError[] = []
    parse(text, errors, { disallowComments: true })
    at = errors[0]?.offset.toString()
  }
  return at === undefined ? '' : ` (at character ${at})`
}

const quote = 0x22
const minus = 0x2d
const zero = 0x30
const nine = 0x39
const backslash = 0x5c

/**
 * Reads a text once: how deep it nests, and whether JavaScript writes all its numbers as they are written there. The text need
 * not be JSON; then neither answer matters. Linear, and iterative.
 */
function scan (text: string): { depth: number, exact: boolean } {
  let depth = 0
  let deepest = 0
  let exact = true
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === quote) {
      i = endOfString(text, i)
    } else if (c === 0x5b || c === 0x7b) {
      if (++depth > deepest) deepest = depth
    } else if (c === 0x5d || c === 0x7d) {
      depth--
    } else if (c === minus || (c >= zero && c <= nine)) {
      const end = endOfNumber(text, i)
      if (exact && !isWrittenAsInJavaScript(text, i, end)) exact = false
      i = end - 1
    }
  }
  return { depth: deepest, exact }
}

/** The index of the quote that ends the string which begins at `start`. */
function endOfString (text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1
    while (text.charCodeAt(before) === backslash) before--
    if ((end - before) % 2 === 1) return end
  }
  return text.length
}

function endOfNumber (text: string, start: number): number {
  let end = start + 1
  for (; end < text.length; end++) {
    const c = text.charCodeAt(end)
    // Digits, and what else a number may hold: + - . E e
    if (!((c >= zero && c <= nine) || c === 0x2e || c === 0x45 || c === 0x65 || c === 0x2b || c === minus)) break
  }
  return end
}

function isWrittenAsInJavaScript (text: string, start: number, end: number): boolean {
  let i = start
  while (i < end && text.charCodeAt(i) >= zero && text.charCodeAt(i) <= nine) i++
  if (i === end && end - start <= 15) return true
  const written = text.slice(start, end)
  return String(Number(written)) === written
}

/**
 * Where the members of an object are, or the elements of an array, in a text that is known to be JSON. Linear in the length of
 * the value, and iterative: `start` is the index of its bracket.
 */
export class JsonSpans {
  /** Index of the first character of each element's value, and of the one after its last. */
  readonly starts: number[] = []
  readonly ends: number[] = []
  /** For an object: the names, decoded. */
  readonly names: string[] = []

  constructor (text: string, start = skipSpace(text, 0)) {
    const isObject = text[start] === '{'
    let i = skipSpace(text, start + 1)
    while (text[i] !== '}' && text[i] !== ']') {
      if (isObject) {
        const end = endOfString(text, i) + 1
        this.names.push(JSON.parse(text.slice(i, end)) as string)
        i = skipSpace(text, skipSpace(text, end) + 1)
      }
      this.starts.push(i)
      i = endOfValue(text, i)
      this.ends.push(i)
      i = skipSpace(text, i)
      if (text[i] === ',') i = skipSpace(text, i + 1)
    }
  }

  /** The index of the last member of this name: the one that counts. */
  last (name: string): number {
    return this.names.lastIndexOf(name)
  }
}

function skipSpace (text: string, start: number): number {
  let i = start
  for (let c = text.charCodeAt(i); c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = text.charCodeAt(i)) i++
  return i
}

function endOfValue (text: string, start: number): number {
  let depth = 0
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === quote) {
      i = endOfString(text, i)
      if (depth === 0) return i + 1
    } else if (c === 0x5b || c === 0x7b) {
      depth++
    } else if (c === 0x5d || c === 0x7d) {
      // A bracket that was not opened here ends a number or a word before it.
      if (depth === 0) return i
      if (--depth === 0) return i + 1
    } else if (depth === 0 && (c === 0x2c || c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09)) {
      return i
    }
  }
  return text.length
}
