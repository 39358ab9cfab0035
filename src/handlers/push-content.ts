import { isUtf8 } from 'node:buffer'
import { structuredType } from '../cloud-events.js'
import type { KafkaRecord } from '../record.js'
import { isTraceparent, isTracestate } from '../trace-context.js'
import { isStructured, marksOf, type RecordEvents, type RecordMarks } from './push-event.js'
import type { PushHeaders } from './push-headers.js'

const batchedType = 'application/cloudevents-batch+json; charset=UTF-8'

/** What a request is made of, beside what all of them have. */
export interface Content {
  /** Name and value in turn. */
  readonly headers: string[]
  /** `null`: none, and no content type either. */
  readonly body: Buffer | null
}

export interface ContentOptions {
  readonly events: RecordEvents
  readonly contentType: string
  readonly headers: PushHeaders
}

/** What may stand in a header's value as it is (HTTP binding of CloudEvents, 3.1.3.2): all but spaces, quotes and percent signs. */
const plain = /^[\x21\x23\x24\x26-\x7e]*$/

/** Percent-encodes what the HTTP binding wants encoded. The text must be well formed. */
export function encodeAttribute (text: string): string {
  return plain.test(text) ? text : text.replace(/[^\x21\x23\x24\x26-\x7e]+/g, encodeURIComponent)
}

/**
 * Writes a record as the request of a CloudEvent in binary mode: attributes as headers, the value as the body, byte for byte.
 * A tombstone has neither body nor content type, which an empty value has. What is an event already keeps its attributes, and
 * what is one in structured mode stays so.
 */
export function binaryContent (record: KafkaRecord, { events, contentType, headers: allowed }: ContentOptions): Content {
  const marks = marksOf(record)
  const { value } = record
  const headers: string[] = []
  if (isStructured(marks)) {
    headers.push('content-type', marks.contentType!)
  } else {
    if (marks.attributes !== null) {
      for (const [name, attribute] of marks.attributes) headers.push(`ce-${name}`, encodeAttribute(attribute))
    } else {
      headers.push('ce-specversion', '1.0')
      // Of what is made here only the subject is somebody else's text.
      events.attributes(record, (name, attribute) => headers.push(`ce-${name}`, name === 'subject' ? encodeAttribute(attribute) : attribute))
    }
    if (value !== null) headers.push('content-type', marks.contentType ?? contentType)
    if (value !== null && marks.contentEncoding !== null) headers.push('content-encoding', marks.contentEncoding)
  }
  addTrace(headers, marks)
  allowed.addTo(headers, record.headers)
  return { headers, body: value }
}

/** Likewise in structured mode: all of the event is JSON. Of what is in it already, no byte is changed. */
export function structuredContent (record: KafkaRecord, options: ContentOptions): Content {
  const marks = marksOf(record)
  const headers: string[] = []
  const asItIs = isStructured(marks)
  headers.push('content-type', asItIs ? marks.contentType! : structuredType)
  addTrace(headers, marks)
  options.headers.addTo(headers, record.headers)
  return { headers, body: asItIs ? record.value : Buffer.from(eventText(record, marks, options)) }
}

/** What of some records becomes one request. */
export interface BatchedContent extends Content {
  /** Records that are in it, in order. */
  readonly records: readonly KafkaRecord[]
  /** Records that no batch can hold, and why: they are in another event format, or are not the JSON that they say they are. */
  readonly refused: ReadonlyMap<KafkaRecord, Error>
}

/**
 * Writes records as an array of structured events. Headers of a record have no place there: neither those of the allowlist nor
 * its trace context travel, but for what is an attribute.
 */
export function batchedContent (records: readonly KafkaRecord[], options: ContentOptions): BatchedContent {
  const texts: string[] = []
  const held: KafkaRecord[] = []
  const refused = new Map<KafkaRecord, Error>()
  for (const record of records) {
    const marks = marksOf(record)
    const text = isStructured(marks) ? jsonEvent(record, marks) : eventText(record, marks, options)
    if (text === null) {
      refused.set(record, Object.assign(new Error('the record says that it is a CloudEvent, and is not one in JSON: a batch cannot hold it'),
        { name: 'PushError', retriable: false }))
      continue
    }
    texts.push(text)
    held.push(record)
  }
  return { headers: ['content-type', batchedType], body: Buffer.from(`[${texts.join(',')}]`), records: held, refused }
}

/** The text of a structured event, `null` if it is not the JSON of one: it would spoil the others. */
function jsonEvent ({ value }: KafkaRecord, { contentType }: RecordMarks): string | null {
  if (value === null || !/^application\/cloudevents\+json *(;|$)/i.test(contentType!)) return null
  const text = jsonText(value)
  return text !== null && text.trimStart().startsWith('{') ? text : null
}

function eventText (record: KafkaRecord, marks: RecordMarks, { events, contentType }: ContentOptions): string {
  let text = '{"specversion":"1.0"'
  const add = (name: string, value: string) => { text += `,"${name}":${JSON.stringify(value)}` }
  if (marks.attributes === null) events.attributes(record, add)
  else for (const [name, value] of marks.attributes) if (name !== 'specversion') add(name, value)
  const { value } = record
  if (value !== null) {
    const type = marks.contentType ?? contentType
    add('datacontenttype', type)
    const json = isJson(type) ? jsonText(value) : null
    text += json === null ? `,"data_base64":"${value.toString('base64')}"` : `,"data":${json}`
  }
  return text + '}'
}

const isJson = (type: string): boolean => /^[^;/]+\/([^;]+\+)?json *(;|$)/i.test(type)

/** The bytes as text where they are JSON: as it was written, so that no digit of a number is lost. */
function jsonText (bytes: Buffer): string | null {
  if (!isUtf8(bytes)) return null
  const text = bytes.toString()
  try {
    JSON.parse(text)
    return text
  } catch {
    return null
  }
}

function addTrace (headers: string[], { traceparent, tracestate }: RecordMarks): void {
  if (!isTraceparent(traceparent)) return
  headers.push('traceparent', traceparent)
  if (isTracestate(tracestate)) headers.push('tracestate', tracestate)
}
