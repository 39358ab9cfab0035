import { Type } from 'typebox'
import { SluiceError } from '../errors.js'
import type { JsonText } from '../json-text.js'
import {
  base64, base64Pattern, checkHeaderName, elementTexts, fault, integer, isObject, headerNamePattern, maxBatchRecords, quoted,
  type MemberTexts
} from '../record-json.js'
import type { OutgoingRecord } from '../record.js'
import type { EmbeddedFormat } from './media-types.js'

type Header = NonNullable<OutgoingRecord['headers']>[number]

const base64Text = Type.String({ pattern: base64Pattern, description: 'Base64 (RFC 4648, section 4).' })
const orNull = (schema: object) => Type.Union([Type.Unsafe(schema), Type.Null()])

// What these schemas say is checked by `decodeV2Records`, which says better what is wrong. They are the documentation.
const recordSchema = (format: EmbeddedFormat, withPartition: boolean) => {
  const data = format === 'binary' ? orNull(base64Text) : Type.Unknown({ description: 'Its JSON text is what is written, every digit kept; `null` is a null.' })
  return Type.Object({
    key: Type.Optional(data),
    value: Type.Optional(data),
    ...(withPartition && { partition: Type.Optional(orNull(Type.Integer({ minimum: 0, maximum: 0x7fffffff }))) }),
    timestamp: Type.Optional(orNull(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Milliseconds since 1970.' }))),
    headers: Type.Optional(orNull(Type.Array(Type.Object({
      key: Type.String({ pattern: headerNamePattern }),
      value: base64Text
    }, { additionalProperties: false }))))
  }, { additionalProperties: false })
}

/** The body of `POST /topics/{topic}`; for one partition its records name none. */
export const v2BodySchema = (format: EmbeddedFormat, withPartition: boolean) => Type.Object({
  records: Type.Array(recordSchema(format, withPartition), { minItems: 1, maxItems: maxBatchRecords }),
  ...Object.fromEntries(schemaMembers.map(name => [name, Type.Optional(Type.Null({ description: 'Only for formats with a schema.' }))]))
}, { additionalProperties: false })

const schemaMembers = ['key_schema', 'key_schema_id', 'value_schema', 'value_schema_id'] as const

/**
 * Reads a body of v2: `{"records":[{"key":…,"value":…,"partition":0,"timestamp":…,"headers":[{"key":"h","value":"aGk="}]}]}`. Without a
 * key or value it is null, as at the proxy.
 *
 * @param partition of all of them, where the path names it; then a record may not
 * @throws {SluiceError} SLUICE_INVALID_REQUEST at the first fault, saying what and where; SLUICE_BATCH_TOO_LARGE
 */
export function decodeV2Records (
  topic: string, { value: body, text }: JsonText, format: EmbeddedFormat, partition: number | null = null
): OutgoingRecord[] {
  if (!isObject(body)) throw fault('', 'must be an object: {"records": [...]}')
  for (const name of Object.keys(body)) {
    if (name === 'records') continue
    if (!(schemaMembers as readonly string[]).includes(name)) throw fault('', `has an unknown member ${quoted(name)}`)
    if (body[name] !== null) throw fault(`/${name}`, `is for formats with a schema, and this body is ${format}`)
  }
  const { records } = body
  if (!Array.isArray(records) || records.length === 0) throw fault('/records', 'may not be empty: it is an array with at least one record')
  if (records.length > maxBatchRecords) {
    throw new SluiceError('SLUICE_BATCH_TOO_LARGE', `A request may have ${maxBatchRecords} records.`, { limit: maxBatchRecords })
  }
  const texts = text === null ? null : elementTexts(text)
  return records.map((record, i) => decodeRecord(topic, record, texts?.[i] ?? null, format, partition, `/records/${i}`))
}

function decodeRecord (
  topic: string, json: unknown, texts: MemberTexts | null, format: EmbeddedFormat, ofPath: number | null, at: string
): OutgoingRecord {
  if (!isObject(json)) throw fault(at, 'must be an object: a record')
  for (const name of Object.keys(json)) {
    if (name === 'key' || name === 'value' || name === 'timestamp' || name === 'headers') continue
    if (name !== 'partition') throw fault(at, `has an unknown member ${quoted(name)}`)
    if (ofPath !== null) throw fault(`${at}/partition`, 'is named by the path already')
  }
  const { partition, timestamp, headers } = json
  const data = (name: 'key' | 'value') => encode(json[name], format, () => texts?.of(name), `${at}/${name}`)
  return {
    topic,
    partition: partition == null ? ofPath : integer(partition, 0, 0x7fffffff, `${at}/partition`),
    key: data('key'),
    value: data('value'),
    timestamp: timestamp == null ? null : integer(timestamp, 1, Number.MAX_SAFE_INTEGER, `${at}/timestamp`),
    ...(headers == null ? null : { headers: decodeHeaders(headers, 'key', `${at}/headers`) })
  }
}

/** The bytes of a key or value. A null is a null in every format. */
function encode (value: unknown, format: EmbeddedFormat, text: () => string | undefined, at: string): Buffer | string | null {
  if (value == null) return null
  if (format === 'json') return text() ?? JSON.stringify(value)
  if (typeof value !== 'string') throw fault(at, 'must be base64, because the format is binary')
  return base64(value, at)
}

/** Headers with base64 values, as both versions have them; their names are under `key` in v2 and under `name` in v3. */
export function decodeHeaders (headers: unknown, nameMember: 'key' | 'name', at: string): Header[] {
  if (!Array.isArray(headers)) throw fault(at, `must be an array of {"${nameMember}", "value"}`)
  return headers.map((header, i) => {
    const here = `${at}/${i}`
    if (!isObject(header)) throw fault(here, `must be an object with a ${nameMember} and a value`)
    for (const member of Object.keys(header)) {
      if (member !== nameMember && member !== 'value') throw fault(here, `has an unknown member ${quoted(member)}`)
    }
    const { [nameMember]: name, value } = header
    if (typeof name !== 'string') throw fault(`${here}/${nameMember}`, 'must be a string')
    checkHeaderName(name, `${here}/${nameMember}`)
    if (typeof value !== 'string') throw fault(`${here}/value`, 'must be base64')
    return { name, value: base64(value, `${here}/value`) }
  })
}
