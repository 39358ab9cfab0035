import { Type } from 'typebox'
import type { JsonText } from '../json-text.js'
import { base64, base64Pattern, fault, headerNamePattern, integer, isObject, MemberTexts, quoted, utf8 } from '../record-json.js'
import type { OutgoingRecord, Receipt } from '../record.js'
import { noSchemaRegistry } from './media-types.js'
import { formatTimestamp, parseTimestamp, timestampPattern } from './timestamps.js'
import { decodeHeaders } from './v2-records.js'

const dataTypes = ['BINARY', 'JSON', 'STRING'] as const
type DataType = typeof dataTypes[number]
const schemaTypes = ['AVRO', 'JSONSCHEMA', 'PROTOBUF']
const schemaMembers = ['subject', 'subject_name_strategy', 'schema_id', 'schema_version', 'schema']

// What these schemas say is checked by `decodeV3Record`, which says better what is wrong. They are the documentation.
const dataSchema = Type.Union([
  Type.Object({
    type: Type.Literal('BINARY'), data: Type.Optional(Type.Union([Type.String({ pattern: base64Pattern }), Type.Null()]))
  }, { additionalProperties: false, description: 'Bytes, as base64.' }),
  Type.Object({ type: Type.Literal('JSON'), data: Type.Optional(Type.Unknown()) },
    { additionalProperties: false, description: 'The JSON text is what is written, every digit kept.' }),
  Type.Object({ type: Type.Literal('STRING'), data: Type.Optional(Type.Union([Type.String(), Type.Null()])) },
    { additionalProperties: false, description: 'The UTF-8 bytes of the string.' })
], { description: 'Without `data`, or with null, it is a null. Types that need a schema are answered with 42206: no registry is configured.' })

const recordMembers = {
  partition_id: Type.Optional(Type.Union([Type.Integer({ minimum: 0, maximum: 0x7fffffff }), Type.Null()])),
  headers: Type.Optional(Type.Union([Type.Array(Type.Object({
    name: Type.String({ pattern: headerNamePattern }), value: Type.String({ pattern: base64Pattern })
  }, { additionalProperties: false })), Type.Null()])),
  key: Type.Optional(Type.Union([dataSchema, Type.Null()])),
  value: Type.Optional(Type.Union([dataSchema, Type.Null()])),
  timestamp: Type.Optional(Type.Union([Type.String({ format: 'date-time', pattern: timestampPattern }), Type.Null()], {
    description: 'After the first of January 1970.'
  }))
}

export const v3RecordSchema = Type.Object(recordMembers, { additionalProperties: false, title: 'ProduceRequest' })

/** An entry of a batch: a record with an id. */
export const v3EntrySchema = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 80 }), ...recordMembers
}, { additionalProperties: false, title: 'ProduceBatchRequestEntry' })

/** What an answer tells of a key or value: its type, and how many bytes it has in Kafka. */
export interface DataInfo { readonly type: DataType, readonly size: number }

export interface V3Record {
  readonly record: OutgoingRecord
  readonly key: DataInfo | null
  readonly value: DataInfo | null
}

/**
 * Reads a record of v3.
 *
 * @param texts the members as they were written, or `null` where `JSON.stringify` writes them the same
 * @param at JSON Pointer to the record, for faults
 * @param withId for an entry of a batch, whose id somebody else has looked at
 * @throws {SluiceError} SLUICE_INVALID_REQUEST, saying what and where; SLUICE_NO_SCHEMA_REGISTRY
 */
export function decodeV3Record (topic: string, json: unknown, texts: MemberTexts | null, at: string, withId = false): V3Record {
  if (!isObject(json)) throw fault(at, 'must be an object: a record')
  for (const name of Object.keys(json)) {
    if (!Object.hasOwn(recordMembers, name) && !(withId && name === 'id')) throw fault(at, `has an unknown member ${quoted(name)}`)
  }
  const { partition_id: partition, headers, timestamp } = json
  const data = (name: 'key' | 'value') => decodeData(json[name], () => texts?.within(name), `${at}/${name}`)
  const key = data('key')
  const value = data('value')
  return {
    record: {
      topic,
      partition: partition == null ? null : integer(partition, 0, 0x7fffffff, `${at}/partition_id`),
      key: key.bytes,
      value: value.bytes,
      timestamp: timestamp == null ? null : decodeTimestamp(timestamp, `${at}/timestamp`),
      ...(headers == null ? null : { headers: decodeHeaders(headers, 'name', `${at}/headers`) })
    },
    key: key.info,
    value: value.info
  }
}

/** One that is the whole of a text. */
export function decodeV3Text (topic: string, { value, text }: JsonText): V3Record {
  return decodeV3Record(topic, value, text === null ? null : new MemberTexts(text), '')
}

function decodeTimestamp (timestamp: unknown, at: string): number {
  const ms = typeof timestamp === 'string' ? parseTimestamp(timestamp) : null
  if (ms === null) throw fault(at, 'must be an ISO 8601 time after 1970, such as "2021-02-05T19:14:42Z"')
  return ms
}

interface Data { readonly bytes: Buffer | string | null, readonly info: DataInfo | null }

function decodeData (json: unknown, texts: () => MemberTexts | undefined, at: string): Data {
  if (json == null) return { bytes: null, info: null }
  if (!isObject(json)) throw fault(at, 'must be an object with a type and data')
  for (const name of Object.keys(json)) {
    if (name !== 'type' && name !== 'data' && !schemaMembers.includes(name)) throw fault(at, `has an unknown member ${quoted(name)}`)
  }
  const { type, data } = json
  // Without a type the proxy looks for the newest schema of the topic.
  if (type == null || (typeof type === 'string' && schemaTypes.includes(type))) throw noSchemaRegistry()
  if (!isDataType(type)) throw fault(`${at}/type`, `must be one of ${[...dataTypes, ...schemaTypes].join(', ')}`)
  const needless = schemaMembers.find(name => json[name] != null)
  if (needless !== undefined) throw fault(`${at}/${needless}`, `cannot be used with the type ${type}`)
  const bytes = encode(type, data, texts, `${at}/data`)
  return { bytes, info: { type, size: bytes === null ? 0 : Buffer.byteLength(bytes) } }
}

const isDataType = (type: unknown): type is DataType => (dataTypes as readonly unknown[]).includes(type)

function encode (type: DataType, data: unknown, texts: () => MemberTexts | undefined, at: string): Buffer | string | null {
  if (data == null) return null
  if (type === 'JSON') return texts()?.of('data') ?? JSON.stringify(data)
  if (typeof data !== 'string') throw fault(at, type === 'BINARY' ? 'must be a base64 string' : 'must be a string')
  return type === 'BINARY' ? base64(data, at) : utf8(data, at)
}

/** Where a record is, as v3 tells it. */
export function v3Receipt (clusterId: string, { topic, partition, offset, timestamp }: Receipt, { key, value }: V3Record) {
  return {
    cluster_id: clusterId,
    topic_name: topic,
    partition_id: partition,
    offset,
    timestamp: formatTimestamp(timestamp),
    ...(key && { key }),
    ...(value && { value })
  }
}

const dataInfo = Type.Object({ type: Type.String(), size: Type.Integer({ description: 'Bytes in Kafka.' }) })

/** What a receipt has, beside what the kind of answer adds to it. */
export const v3ReceiptMembers = {
  cluster_id: Type.String(),
  topic_name: Type.String(),
  partition_id: Type.Integer(),
  offset: Type.Integer({ description: '−1 where Kafka acknowledged a repeated delivery without saying where the first one went.' }),
  timestamp: Type.String({ description: 'ISO 8601, in UTC.' }),
  key: Type.Optional(dataInfo),
  value: Type.Optional(dataInfo)
}
