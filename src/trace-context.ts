import type { IncomingHttpHeaders } from 'node:http'
import type { OutgoingRecord, RecordHeader } from './record.js'

// Version, trace, parent, flags. Later versions may add parts; "ff" and ids of zeros only are not valid.
const traceparent = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]*)?$/
// What every participant has to pass on. A longer list would be copied into each record of a batch.
const tracestateMaxLength = 512
const traceparentMaxLength = 128

/**
 * Carries the W3C trace context of a request into its records: `traceparent`, and with it `tracestate`.
 *
 * A `traceparent` that is not valid counts as none, as the specification has it, and a `tracestate` of more than 512 characters
 * is left out. A record that has a header `traceparent` of its own keeps that, and gets nothing.
 *
 * @returns what to put each record through; without a trace context it gives back the very record
 * @see https://www.w3.org/TR/trace-context/
 */
export function tracer (headers: IncomingHttpHeaders): <R extends OutgoingRecord>(record: R) => R {
  const trace = traceHeaders(headers)
  if (trace.length === 0) return record => record
  return record => {
    const own = record.headers ?? []
    return own.some(({ name }) => name.toLowerCase() === 'traceparent') ? record : { ...record, headers: [...own, ...trace] }
  }
}

function traceHeaders ({ traceparent: parent, tracestate: state }: IncomingHttpHeaders): RecordHeader[] {
  if (!isTraceparent(parent)) return []
  const trace = [{ name: 'traceparent', value: Buffer.from(parent, 'latin1') }]
  if (isTracestate(state)) trace.push({ name: 'tracestate', value: Buffer.from(state, 'latin1') })
  return trace
}

/** Whether it is a valid `traceparent`; any other counts as none. */
export function isTraceparent (value: unknown): value is string {
  return typeof value === 'string' && value.length <= traceparentMaxLength && traceparent.test(value)
}

/** Whether it can go on beside a valid `traceparent`. */
export function isTracestate (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= tracestateMaxLength
}
