import { isReservedTopic, isTopicName } from '../topic-name.js'
import type { OutgoingRecord } from '../record.js'

/** Records that one answer may hold: what they weigh is for whoever sends them to limit. */
export const PRODUCED_MAX_RECORDS = 10_000

const PARTITION_MAX = 0x7fffffff
const NOTHING: readonly OutgoingRecord[] = Object.freeze([])

/** A handler answered records that cannot be produced as they are. Another attempt would most likely answer the same. */
export class ProducedError extends Error {
  readonly retriable = false
  constructor (what: string) {
    super(`the handler's answer cannot be produced: ${what}`)
    this.name = 'ProducedError'
  }
}

/**
 * The records that a handler's answer asks to be produced: those of `{ produce: [records] }`, each an OutgoingRecord of
 * src/record.ts, in their order. Any other answer asks for none.
 *
 * Bytes may be any Uint8Array: what comes from another thread is no Buffer any more. They are not copied.
 *
 * @throws {ProducedError} for `produce` that is no array, has more than 10,000 records, or one that is no record: it names its index
 *   and what is wrong
 */
export function producedBy (answer: unknown): readonly OutgoingRecord[] {
  if (typeof answer !== 'object' || answer === null) return NOTHING
  const { produce } = answer as { readonly produce?: unknown }
  if (produce === undefined || produce === null) return NOTHING
  if (!Array.isArray(produce)) throw new ProducedError(`'produce' must be an array of records, got ${described(produce)}`)
  if (produce.length > PRODUCED_MAX_RECORDS) throw new ProducedError(`it has ${produce.length} records, and may have ${PRODUCED_MAX_RECORDS}`)
  // Not `map`, which passes over holes.
  return Array.from(produce as unknown[], checked)
}

function checked (given: unknown, index: number): OutgoingRecord {
  const fail = (what: string): never => { throw new ProducedError(`record ${index}: ${what}`) }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return fail(`must be an object, got ${described(given)}`)
  const { topic, partition, key, value, headers, timestamp } = given as { readonly [field in keyof OutgoingRecord]?: unknown }
  if (!isTopicName(topic)) return fail(`'topic' must be the name of a topic, got ${described(topic)}`)
  if (isReservedTopic(topic)) return fail(`the topic ${topic} is reserved`)
  if (value === undefined) return fail('\'value\' is missing; null is a tombstone')
  if (partition != null && !(Number.isInteger(partition) && (partition as number) >= 0 && (partition as number) <= PARTITION_MAX)) {
    return fail(`'partition' must be a whole number from 0 to ${PARTITION_MAX}, got ${described(partition)}`)
  }
  if (timestamp != null && !(Number.isSafeInteger(timestamp) && (timestamp as number) > 0)) {
    return fail(`'timestamp' must be milliseconds since 1970, got ${described(timestamp)}`)
  }
  const bytes = (field: string, what: unknown): Buffer | string | null => {
    if (what === null || typeof what === 'string') return what
    if (what instanceof Uint8Array) return Buffer.isBuffer(what) ? what : Buffer.from(what.buffer, what.byteOffset, what.byteLength)
    return fail(`${field} must be a string, bytes or null, got ${described(what)}`)
  }
  const record: { -readonly [field in keyof OutgoingRecord]: OutgoingRecord[field] } = { topic, value: bytes('\'value\'', value) }
  if (key != null) record.key = bytes('\'key\'', key)
  if (partition != null) record.partition = partition as number
  if (timestamp != null) record.timestamp = timestamp as number
  if (headers != null) {
    if (!Array.isArray(headers)) return fail(`'headers' must be an array of { name, value }, got ${described(headers)}`)
    record.headers = Array.from(headers as unknown[], (header, at) => {
      const { name, value } = (header ?? {}) as { readonly name?: unknown, readonly value?: unknown }
      if (typeof name !== 'string' || name.includes('\0')) return fail(`header ${at}: 'name' must be a string without NUL, got ${described(name)}`)
      const content = value === undefined ? undefined : bytes(`header ${at}: 'value'`, value)
      // Kafka's client has no header without a value.
      if (content == null) return fail(`header ${at}: 'value' must be a string or bytes, got ${described(value)}`)
      return { name, value: content }
    })
  }
  return record
}

/** Never its content, which may be anything. */
function described (value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'string') return `a string of ${value.length} characters`
  if (typeof value === 'number') return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
