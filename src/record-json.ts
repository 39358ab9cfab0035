import { Type } from 'typebox'
import { SluiceError } from './errors.js'
import { JsonSpans, parseJsonText, type JsonText } from './json-text.js'
import type { OutgoingRecord } from './record.js'
import { fromBase64, isWellFormed } from './strict-text.js'

/** How many records one request may bring. */
export const maxBatchRecords = 10_000

// What these schemas say is checked by `decodeRecords`, which also reads lines of streams and says better what is wrong. They
// are the documentation; a test holds the two together.
const valueEncoding = Type.Union([Type.Literal('json'), Type.Literal('utf8'), Type.Literal('base64')], {
  description: '`json`: the JSON text. `utf8`: a string, as its UTF-8 bytes. `base64`: a string, as the bytes that it encodes. ' +
    'Without it a string goes as UTF-8 and anything else as its JSON text, every digit kept. `null` is always a real null.'
})

/** Only what an encoder writes: the unused bits of the last character are 0. */
export const base64Pattern = '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$'

/** Of a header: without NUL, where Kafka's client would cut it. */
export const headerNamePattern = '^[^\\u0000]*$'

/** What the encoding asks of what it encodes, as a JSON Schema: the member beside it has to suit. */
const encodingRule = (member: string, encoding: string) => ({
  anyOf: [
    { properties: { [encoding]: { const: 'json' } } },
    { properties: { [encoding]: { const: 'utf8' }, [member]: { type: ['string', 'null'] } } },
    { properties: { [encoding]: { const: 'base64' }, [member]: { type: ['string', 'null'], pattern: base64Pattern } } }
  ]
})

export const recordRules = [encodingRule('value', 'encoding'), encodingRule('key', 'keyEncoding')]

const header = Type.Object({
  name: Type.String({ pattern: headerNamePattern, description: 'Without NUL.' }),
  value: Type.String(),
  encoding: Type.Optional(Type.Union([Type.Literal('utf8'), Type.Literal('base64')]))
}, {
  additionalProperties: false,
  anyOf: [
    { properties: { encoding: { const: 'utf8' } } },
    { properties: { encoding: { const: 'base64' }, value: { pattern: base64Pattern } } }
  ]
})

export const recordSchema = Type.Object({
  value: Type.Unknown({ description: '`null` is a tombstone, `""` is empty bytes.' }),
  key: Type.Optional(Type.Unknown({ description: 'Absent or `null`: no key.' })),
  encoding: Type.Optional(valueEncoding),
  keyEncoding: Type.Optional(valueEncoding),
  headers: Type.Optional(Type.Union([
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Array(Type.String())]), { propertyNames: { pattern: headerNamePattern } }),
    Type.Array(header)
  ], { description: 'By name, or as a list, which keeps the order of all of them.' })),
  partition: Type.Optional(Type.Union([Type.Integer({ minimum: 0, maximum: 0x7fffffff }), Type.Null()], {
    description: 'Absent or `null`: the key decides, as in Java\'s clients.'
  })),
  timestamp: Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }), Type.Null()], {
    description: 'Milliseconds since 1970. Absent or `null`: now.'
  }))
}, { additionalProperties: false, title: 'Record', allOf: recordRules })

export const batchSchema = Type.Object({
  records: Type.Array(recordSchema, { minItems: 1, maxItems: maxBatchRecords })
}, { additionalProperties: false, title: 'Batch' })

/** A fault in the body, with a JSON Pointer to where it is. */
export function fault (pointer: string, what: string): SluiceError {
  return new SluiceError('SLUICE_INVALID_REQUEST', `${pointer === '' ? 'The body' : pointer} ${what}.`, { pointer: '#' + encodeURI(pointer) })
}

/** A name that a caller chose, fit for an error: whole up to 64 characters, and escaped. */
export function quoted (name: string): string {
  return JSON.stringify(name.length > 64 ? name.slice(0, 64) + '…' : name)
}

/** What a body holds: exactly one record unless it is a batch. */
export type DecodedRecords =
  | { readonly isBatch: false, readonly records: readonly [OutgoingRecord] }
  | { readonly isBatch: true, readonly records: readonly OutgoingRecord[] }

/**
 * Reads a request body: one record, or `{ "records": [...] }`.
 *
 * Nothing is coerced, defaulted or dropped: a member that is not known is a fault.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST at the first fault, saying what and where; SLUICE_BATCH_TOO_LARGE
 */
export function decodeRecords (topic: string, { value, text }: JsonText): DecodedRecords {
  if (!isObject(value)) throw fault('', 'must be an object: a record, or {"records": [...]}')
  if (!Object.hasOwn(value, 'records')) {
    return { records: [decodeRecord(topic, value, text === null ? null : new MemberTexts(text), '')], isBatch: false }
  }
  const { records } = value
  for (const name of Object.keys(value)) {
    if (name !== 'records') throw fault('', `has an unknown member ${quoted(name)} beside records`)
  }
  if (!Array.isArray(records) || records.length === 0) throw fault('/records', 'must be an array with at least one record')
  if (records.length > maxBatchRecords) {
    throw new SluiceError('SLUICE_BATCH_TOO_LARGE', `A batch may have ${maxBatchRecords} records.`, { limit: maxBatchRecords })
  }
  const texts = text === null ? null : elementTexts(text)
  return { records: records.map((record, i) => decodeRecord(topic, record, texts?.[i] ?? null, `/records/${i}`)), isBatch: true }
}

/**
 * Reads a line of a stream: one record.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST, SLUICE_MALFORMED_JSON; a pointer in it leads into the line
 */
export function decodeLine (topic: string, bytes: Buffer): OutgoingRecord {
  try {
    const { value, text } = parseJsonText(bytes)
    return decodeRecord(topic, value, text === null || !isObject(value) ? null : new MemberTexts(text), '')
  } catch (err) {
    if (!(err instanceof SluiceError)) throw err
    throw new SluiceError(err.code, err.message.replace(/^The body\b/, 'The line'), err.details)
  }
}

/** The texts of each element of the array that a body has as this member. */
export function elementTexts (text: string, name = 'records'): MemberTexts[] {
  const members = new JsonSpans(text)
  const elements = new JsonSpans(text, members.starts[members.last(name)])
  return elements.starts.map(start => new MemberTexts(text, start))
}

/** The texts of a record's members, found when they are first asked for. */
export class MemberTexts {
  readonly #text: string
  readonly #start: number | undefined
  #spans: JsonSpans | undefined

  constructor (text: string, start?: number) {
    this.#text = text
    this.#start = start
  }

  of (name: string): string {
    const { spans, i } = this.#find(name)
    return this.#text.slice(spans.starts[i], spans.ends[i])
  }

  /** The texts of the members of a member that is an object. */
  within (name: string): MemberTexts {
    const { spans, i } = this.#find(name)
    return new MemberTexts(this.#text, spans.starts[i])
  }

  #find (name: string): { spans: JsonSpans, i: number } {
    const spans = this.#spans ??= new JsonSpans(this.#text, this.#start)
    return { spans, i: spans.last(name) }
  }
}

/**
 * Reads one record.
 *
 * @param texts the members as they were written, or `null` where `JSON.stringify` writes them the same
 * @param at JSON Pointer to the record, for faults
 */
export function decodeRecord (topic: string, json: unknown, texts: { of (name: string): string } | null, at: string): OutgoingRecord {
  if (!isObject(json)) throw fault(at, 'must be an object: a record')
  if (!Object.hasOwn(json, 'value')) throw fault(at, 'has no value; for a tombstone write "value": null')
  for (const name of Object.keys(json)) {
    switch (name) {
      case 'value': case 'key': case 'encoding': case 'keyEncoding': case 'headers': case 'partition': case 'timestamp': break
      default: throw fault(at, `has an unknown member ${quoted(name)}`)
    }
  }
  const { value, key, encoding, keyEncoding, headers, partition, timestamp } = json
  return {
    topic,
    partition: partition == null ? null : integer(partition, 0, 0x7fffffff, `${at}/partition`),
    key: encode(key, keyEncoding, 'key', texts, at),
    value: encode(value, encoding, 'value', texts, at),
    timestamp: timestamp == null ? null : integer(timestamp, 1, Number.MAX_SAFE_INTEGER, `${at}/timestamp`),
    ...(headers === undefined ? null : { headers: decodeHeaders(headers, `${at}/headers`) })
  }
}

type Encoding = 'json' | 'utf8' | 'base64'

const isEncoding = (encoding: unknown): encoding is Encoding => encoding === 'json' || encoding === 'utf8' || encoding === 'base64'

/** A null is a null in every encoding. */
function encode (
  value: unknown, encoding: unknown, name: 'key' | 'value', texts: { of (name: string): string } | null, at: string
): Buffer | string | null {
  if (encoding !== undefined && !isEncoding(encoding)) {
    throw fault(`${at}/${name === 'key' ? 'keyEncoding' : 'encoding'}`, 'must be "json", "utf8" or "base64"')
  }
  if (value == null) return null
  if (typeof value === 'string') {
    switch (encoding) {
      case 'json': return JSON.stringify(value)
      case 'base64': return base64(value, `${at}/${name}`)
      default: return utf8(value, `${at}/${name}`)
    }
  }
  if (encoding === 'utf8' || encoding === 'base64') throw fault(`${at}/${name}`, `must be a string, because its encoding is ${encoding}`)
  return texts?.of(name) ?? JSON.stringify(value)
}

export function utf8 (value: string, at: string): string {
  if (!isWellFormed(value)) throw fault(at, 'holds half of a surrogate pair, which UTF-8 cannot write')
  return value
}

export function base64 (value: string, at: string): Buffer {
  const bytes = fromBase64(value)
  if (bytes === null) throw fault(at, 'must be base64 (RFC 4648, section 4), with padding and without spaces')
  return bytes
}

export function integer (value: unknown, min: number, max: number, at: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw fault(at, `must be an integer from ${min} to ${max}`)
  }
  return value
}

type Header = NonNullable<OutgoingRecord['headers']>[number]

function decodeHeaders (headers: unknown, at: string): Header[] {
  if (Array.isArray(headers)) return headers.map((header, i) => decodeListedHeader(header, `${at}/${i}`))
  if (!isObject(headers)) throw fault(at, 'must be an object of strings, or an array of {name, value, encoding}')
  const decoded: Header[] = []
  for (const [name, value] of Object.entries(headers)) {
    checkHeaderName(name, at)
    const values = Array.isArray(value) ? value : [value]
    for (const one of values) {
      if (typeof one !== 'string') throw fault(at, `has a value for ${quoted(name)} that is neither a string nor an array of strings`)
      decoded.push({ name, value: utf8(one, at) })
    }
  }
  return decoded
}

function decodeListedHeader (header: unknown, at: string): Header {
  if (!isObject(header)) throw fault(at, 'must be an object with a name and a value')
  for (const member of Object.keys(header)) {
    if (member !== 'name' && member !== 'value' && member !== 'encoding') throw fault(at, `has an unknown member ${quoted(member)}`)
  }
  const { name, value, encoding } = header
  if (typeof name !== 'string') throw fault(`${at}/name`, 'must be a string')
  checkHeaderName(name, `${at}/name`)
  if (typeof value !== 'string') throw fault(`${at}/value`, 'must be a string')
  if (encoding === undefined || encoding === 'utf8') return { name, value: utf8(value, `${at}/value`) }
  if (encoding !== 'base64') throw fault(`${at}/encoding`, 'must be "utf8" or "base64"')
  return { name, value: base64(value, `${at}/value`) }
}

export function checkHeaderName (name: string, at: string): void {
  if (name.includes('\0')) throw fault(at, 'holds a name with a NUL in it, which Kafka\'s client would cut there')
  utf8(name, at)
}

export function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
