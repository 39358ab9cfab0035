import { isUtf8 } from 'node:buffer'
import { Type, type Static } from 'typebox'
import type { KafkaRecord, RecordHeader } from './record.js'

const encoding = Type.Union([Type.Literal('utf8'), Type.Literal('base64')])

/** What of a record was too large to be shown whole, with its bytes. */
const truncatedSchema = Type.Object({
  key: Type.Optional(Type.Integer()),
  value: Type.Optional(Type.Integer()),
  headers: Type.Optional(Type.Integer())
}, { description: 'What is cut off, or left out, with its true size in bytes. Such a record is refused when it is posted.' })

export const storedRecordSchema = Type.Object({
  offset: Type.Integer(),
  timestamp: Type.Integer({ description: 'Milliseconds since 1970. −1: the record has none.' }),
  size: Type.Integer({ description: 'Bytes of key, value and headers.' }),
  record: Type.Object({
    key: Type.Optional(Type.String({ description: 'Absent: no key.' })),
    keyEncoding: Type.Optional(encoding),
    value: Type.Union([Type.String(), Type.Null()], { description: '`null` is a tombstone.' }),
    encoding: Type.Optional(encoding),
    headers: Type.Optional(Type.Array(Type.Object({ name: Type.String(), value: Type.String(), encoding }))),
    timestamp: Type.Optional(Type.Integer({ description: 'The same, where it can be posted again.' })),
    truncated: Type.Optional(truncatedSchema)
  }, { description: 'As POST /topics/{topic}/records takes it: posted again it is the same byte for byte.' })
}, { title: 'StoredRecord' })

type StoredRecord = Static<typeof storedRecordSchema>

/**
 * A record as it is shown: text where it is UTF-8, else base64.
 *
 * @param maxBytes above it, key and value are each cut off there, and headers that have more are left out
 */
export function storedRecordJson ({ offset, timestamp, size, key, value, headers }: KafkaRecord, maxBytes: number): StoredRecord {
  const truncated: { key?: number, value?: number, headers?: number } = {}
  const headerBytes = headers.reduce((sum, { name, value }) => sum + Buffer.byteLength(name) + value.length, 0)
  if (key !== null && key.length > maxBytes) truncated.key = key.length
  if (value !== null && value.length > maxBytes) truncated.value = value.length
  if (headerBytes > maxBytes) truncated.headers = headerBytes
  const shownKey = key === null ? null : encoded(cut(key, maxBytes))
  const shownValue = value === null ? null : encoded(cut(value, maxBytes))
  return {
    offset,
    timestamp,
    size,
    record: {
      ...(shownKey === null ? null : { key: shownKey.value, keyEncoding: shownKey.encoding }),
      ...(shownValue === null ? { value: null } : shownValue),
      ...(headers.length > 0 && truncated.headers === undefined && { headers: headers.map(header) }),
      ...(timestamp > 0 && { timestamp }),
      ...(Object.keys(truncated).length > 0 && { truncated })
    }
  }
}

function header ({ name, value }: RecordHeader) {
  return { name, ...encoded(value) }
}

function encoded (bytes: Buffer): { value: string, encoding: 'utf8' | 'base64' } {
  return isUtf8(bytes) ? { value: bytes.toString('utf8'), encoding: 'utf8' } : { value: bytes.toString('base64'), encoding: 'base64' }
}

/** The beginning of it; of text, whole characters. */
function cut (bytes: Buffer, max: number): Buffer {
  if (bytes.length <= max) return bytes
  // A character has at most four bytes.
  for (let length = max; length > max - 4; length--) {
    if (isUtf8(bytes.subarray(0, length))) return bytes.subarray(0, length)
  }
  return bytes.subarray(0, max)
}
