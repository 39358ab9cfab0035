import type { FastifyRequest } from 'fastify'
import { checkAttributes } from './cloud-event-attributes.js'
import { eventAttributes } from './cloud-event-headers.js'
import { SluiceError } from './errors.js'
import { headersNamed } from './header-allowlist.js'
import { JsonSpans, parseJsonText } from './json-text.js'
import { maxBatchRecords, type DecodedRecords } from './record-json.js'
import type { OutgoingRecord } from './record.js'
import { fromBase64 } from './strict-text.js'

/** The header `content-type` of a record that holds an event in structured mode. */
export const structuredType = 'application/cloudevents+json; charset=UTF-8'

/** How the media types of whole events begin; any other type is that of an event's data. */
const eventTypes = 'application/cloudevents'
const typeHeader = new Set(['content-type'])

type Mode = 'binary' | 'structured' | 'batched'

/**
 * Reads the events of a request, in the content mode that its `Content-Type` says (CloudEvents 1.0.2, HTTP binding), as records
 * of the Kafka binding. The sender chooses the mode, and it is kept: binary stays binary, structured stays structured, and each
 * event of a batch becomes a structured record, since Kafka's binding has no batches. Nothing is written anew: data go byte for
 * byte, and every digit of a number stays.
 *
 * The attribute `partitionkey` becomes the record's key, and stays an attribute.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST at the first fault, naming the attribute; SLUICE_MALFORMED_JSON; SLUICE_BATCH_TOO_LARGE;
 * SLUICE_UNSUPPORTED_MEDIA_TYPE for another event format, another charset, or a Content-Encoding
 */
export function decodeEvents (topic: string, request: FastifyRequest, body: Buffer): DecodedRecords {
  const contentType = request.headers['content-type']
  const encoding = request.headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') throw unsupported('The body must come without a Content-Encoding.')
  // What is no media type is among the raw headers only: see `takeBytes`.
  if (contentType === undefined && headersNamed(request.raw, typeHeader).length > 0) throw unsupported('The Content-Type is not a media type.')
  switch (modeOf(contentType)) {
    case 'binary': return { isBatch: false, records: [binaryRecord(topic, request, contentType, body)] }
    case 'structured': return { isBatch: false, records: [structuredRecord(topic, body)] }
    case 'batched': return { isBatch: true, records: batchedRecords(topic, body) }
  }
}

/** Whether the attributes of the event in a request are among its headers; else the body is the whole event, or several. */
export const isBinaryMode = ({ headers }: FastifyRequest): boolean =>
  !(headers['content-type'] ?? '').trim().toLowerCase().startsWith(eventTypes)

const unsupported = (why: string): SluiceError => new SluiceError('SLUICE_UNSUPPORTED_MEDIA_TYPE', why)

function modeOf (contentType: string | undefined): Mode {
  const [type = '', ...parameters] = (contentType ?? '').toLowerCase().split(';').map(part => part.trim())
  if (!type.startsWith(eventTypes)) return 'binary'
  const mode = type === 'application/cloudevents+json' ? 'structured' : type === 'application/cloudevents-batch+json' ? 'batched' : null
  if (mode === null) {
    throw unsupported('Of the event formats JSON is supported: application/cloudevents+json or application/cloudevents-batch+json. ' +
      'Any other Content-Type is the data\'s own, beside ce- headers.')
  }
  const charset = parameters.find(part => part.startsWith('charset='))?.slice('charset='.length).replaceAll('"', '')
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8') throw unsupported('JSON is UTF-8 (RFC 8259); another charset is not supported.')
  return mode
}

function binaryRecord (topic: string, request: FastifyRequest, contentType: string | undefined, body: Buffer): OutgoingRecord {
  const attributes = eventAttributes(request.raw)
  if (attributes.size === 0) {
    throw new SluiceError('SLUICE_INVALID_REQUEST',
      'This is not a CloudEvent: it has no ce- headers (binary mode), and its Content-Type is neither application/cloudevents+json ' +
      '(structured) nor application/cloudevents-batch+json (batched).')
  }
  checkAttributes(attributes, (name, what) => new SluiceError('SLUICE_INVALID_REQUEST',
    name === '' ? `The event ${what}.` : `The attribute ${quoted(name)} (header ce-${name.slice(0, 64)}) ${what}.`))
  const headers = [...attributes].map(([name, value]) => ({ name: `ce_${name}`, value }))
  return {
    topic,
    key: attributes.get('partitionkey') ?? null,
    // Kafka's binding, 3.2.2: an event without data is a record without a value. One whose data are empty has a type for them.
    value: body.length === 0 && contentType === undefined ? null : body,
    headers: contentType === undefined ? headers : [{ name: 'content-type', value: Buffer.from(contentType, 'latin1') }, ...headers]
  }
}

function structuredRecord (topic: string, body: Buffer): OutgoingRecord {
  const { value } = parseJsonText(body)
  return recordOf(topic, value, withoutMark(body), '')
}

function batchedRecords (topic: string, body: Buffer): OutgoingRecord[] {
  const { value } = parseJsonText(body)
  if (!Array.isArray(value)) throw fault('', 'must be an array of events')
  if (value.length > maxBatchRecords) {
    throw new SluiceError('SLUICE_BATCH_TOO_LARGE', `A batch may have ${maxBatchRecords} events.`, { limit: maxBatchRecords })
  }
  const text = withoutMark(body).toString()
  const { starts, ends } = new JsonSpans(text)
  return value.map((event, i) => recordOf(topic, event, text.slice(starts[i], ends[i]), `/${i}`))
}

/** A record in structured mode. `text` is the event as it was written. */
function recordOf (topic: string, event: unknown, text: Buffer | string, at: string): OutgoingRecord {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) throw fault(at, 'must be an object: a CloudEvent')
  const attributes = new Map<string, unknown>()
  for (const [name, value] of Object.entries(event)) {
    // An attribute that is null is not there (JSON format, 2.2). Null is a fine value for data.
    if (name !== 'data' && name !== 'data_base64' && value !== null) attributes.set(name, value)
  }
  checkAttributes(attributes, (name, what) => name === '' ? fault(at, what) : fault(at, `is not a CloudEvent: the attribute ${quoted(name)} ${what}`, name))
  const { data, data_base64: base64 } = event as Record<string, unknown>
  if (base64 != null) {
    if (data !== undefined) throw fault(at, 'has both data and data_base64', 'data_base64')
    if (typeof base64 !== 'string' || fromBase64(base64) === null) {
      throw fault(at, 'has data_base64 that is not base64 (RFC 4648, section 4), with padding and without spaces', 'data_base64')
    }
  }
  return {
    topic,
    key: attributes.get('partitionkey') as string | undefined ?? null,
    value: text,
    headers: [{ name: 'content-type', value: structuredType }]
  }
}

/** A fault in the body, with a JSON Pointer to where it is. */
function fault (at: string, what: string, member?: string): SluiceError {
  const pointer = member === undefined ? at : `${at}/${member.slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}`
  return new SluiceError('SLUICE_INVALID_REQUEST', `${at === '' ? 'The body' : at} ${what}.`, { pointer: '#' + encodePointer(pointer) })
}

/** Half of a surrogate pair cannot be part of a URI. */
const encodePointer = (pointer: string): string => encodeURI((pointer as string & { toWellFormed (): string }).toWellFormed())

const quoted = (name: string): string => JSON.stringify(name.length > 64 ? name.slice(0, 64) + '…' : name)

/** JSON texts of a network have no byte order mark, and readers may refuse one. */
function withoutMark (bytes: Buffer): Buffer {
  return bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
}
