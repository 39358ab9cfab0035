import { SluiceError } from './errors.js'
import { JsonSpans, type JsonText } from './json-text.js'

/** How many parts a pointer may have: each is a pass over what it leads into, where numbers are looked up as they are written. */
export const maxPointerParts = 32

/**
 * The parts of a JSON Pointer (RFC 6901), unescaped.
 *
 * @param what how an error names it
 * @throws {SluiceError} SLUICE_INVALID_REQUEST
 */
export function parsePointer (pointer: string, what: string): string[] {
  const wrong = (why: string) => new SluiceError('SLUICE_INVALID_REQUEST', `${what} ${why}.`)
  if (pointer === '') return []
  if (!pointer.startsWith('/')) throw wrong('must be a JSON Pointer (RFC 6901): "" or a text that begins with "/"')
  if (/~(?![01])/.test(pointer)) throw wrong('holds a ~ that is followed by neither 0 nor 1 (RFC 6901)')
  const parts = pointer.slice(1).split('/')
  if (parts.length > maxPointerParts) throw wrong(`may have at most ${maxPointerParts} parts`)
  return parts.map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/**
 * What a pointer leads to: a string as it is; a number as it is written, every digit of it; `true` or `false`.
 *
 * @returns `undefined` where there is nothing; `null` for null, an object or an array, which are not the text of anything
 */
export function textAt (json: JsonText, parts: readonly string[]): string | null | undefined {
  let value = json.value
  for (const part of parts) {
    if (Array.isArray(value)) value = /^(0|[1-9]\d{0,8})$/.test(part) ? value[Number(part)] as unknown : undefined
    else if (typeof value === 'object' && value !== null && Object.hasOwn(value, part)) value = (value as Record<string, unknown>)[part]
    else return undefined
  }
  switch (typeof value) {
    case 'string': return value
    case 'number': return json.text === null ? JSON.stringify(value) : writtenAt(json.text, parts)
    case 'boolean': return String(value)
    case 'undefined': return undefined
    default: return null
  }
}

/** The text of a value that is known to be there. */
function writtenAt (text: string, parts: readonly string[]): string {
  let start: number | undefined
  let end = text.length
  for (const part of parts) {
    const spans = new JsonSpans(text, start)
    // Names are there for objects only; an empty object or array leads nowhere.
    const i = spans.names.length > 0 ? spans.last(part) : Number(part)
    start = spans.starts[i]
    end = spans.ends[i]!
  }
  return text.slice(start ?? 0, end).trim()
}
