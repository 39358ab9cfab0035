import { isUtf8 } from 'node:buffer'
import { checkAttributes, isAttributeText } from '../cloud-event-attributes.js'
import { SluiceError } from '../errors.js'
import type { KafkaRecord } from '../record.js'

/** What the event of a record that is none by itself has as its `type`. */
export const recordEventType = 'sluice.kafka.record'

/** A longer key is no subject: as a header it would make targets refuse the request. */
const subjectBytesMax = 1024
/** The last millisecond of the year 9999, with which RFC 3339 ends. */
const timeMax = 253_402_300_799_999

/** What a record says of itself in headers that mean something to a push. */
export interface RecordMarks {
  /** As a character a byte; `null` where there is none that HTTP could carry. */
  readonly contentType: string | null
  readonly contentEncoding: string | null
  readonly traceparent: string | null
  readonly tracestate: string | null
  /** The attributes of the CloudEvent that the record is in binary mode, `null` where it is none. */
  readonly attributes: ReadonlyMap<string, string> | null
}

const noMarks: RecordMarks = { contentType: null, contentEncoding: null, traceparent: null, tracestate: null, attributes: null }
const printable = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/

/** Reads the headers once. Of a name that is there more than once the first counts. */
export function marksOf ({ headers }: KafkaRecord): RecordMarks {
  if (headers.length === 0) return noMarks
  const marks = { ...noMarks }
  let attributes: Map<string, string> | null = null
  let broken = false
  for (const { name, value } of headers) {
    if (name.startsWith('ce_')) {
      const attribute = name.slice('ce_'.length)
      attributes ??= new Map()
      // Whatever is there twice, is no text, or cannot be an attribute in this mode: it is no event, and not a part of one.
      broken ||= attributes.has(attribute) || notHere.has(attribute) || !isUtf8(value)
      attributes.set(attribute, value.toString())
      continue
    }
    const mark = markNames[name.toLowerCase()]
    if (mark === undefined || marks[mark] !== null) continue
    const text = value.toString('latin1')
    if (printable.test(text)) marks[mark] = text
  }
  if (attributes !== null && !broken && isEvent(attributes)) marks.attributes = attributes
  return marks
}

// In binary mode these are the content type and the value.
const notHere = new Set(['datacontenttype', 'data', 'data_base64'])

const markNames: Readonly<Record<string, Exclude<keyof RecordMarks, 'attributes'> | undefined>> = Object.assign(Object.create(null), {
  'content-type': 'contentType',
  'content-encoding': 'contentEncoding',
  traceparent: 'traceparent',
  tracestate: 'tracestate'
})

const noEvent = new SluiceError('SLUICE_INVALID_REQUEST', 'It is no CloudEvent.')

function isEvent (attributes: ReadonlyMap<string, string>): boolean {
  try {
    checkAttributes(attributes, () => noEvent)
    return true
  } catch {
    return false
  }
}

/** Whether the record holds an event (or several) in an event format: its value is sent as it is. */
export function isStructured ({ contentType }: RecordMarks): boolean {
  return contentType !== null && /^application\/cloudevents/i.test(contentType)
}

/** The attributes of the event that is made of a record which is none, in the order in which they are written. */
export class RecordEvents {
  readonly #source: string
  #second = -1
  // As in 2026-01-01T00:00:00.
  #time = ''

  /** @param source what their `source` is before the topic's name */
  constructor (source: string) {
    this.#source = source
  }

  /** Calls `add` with each but `specversion`. `id` is the same each time that the record is read. */
  attributes ({ topic, partition, offset, timestamp, key }: KafkaRecord, add: (name: string, value: string) => void): void {
    add('id', `partition:${partition}/offset:${offset}`)
    add('source', this.#source + topic)
    add('type', recordEventType)
    if (key !== null && key.length > 0 && key.length <= subjectBytesMax && isUtf8(key)) {
      const subject = key.toString()
      if (isAttributeText(subject)) add('subject', subject)
    }
    if (timestamp >= 0 && timestamp <= timeMax) add('time', this.#timeOf(timestamp))
  }

  /** Records come in runs of one second: what Date makes of it costs more than a microsecond. */
  #timeOf (timestamp: number): string {
    const second = Math.floor(timestamp / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#time = new Date(second * 1000).toISOString().slice(0, -'000Z'.length)
    }
    return `${this.#time}${String(timestamp - second * 1000).padStart(3, '0')}Z`
  }
}
