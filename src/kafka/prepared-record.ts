import { SluiceError } from '../errors.js'
import type { OutgoingRecord } from '../record.js'
import { isTopicName } from '../topic-name.js'
import { tooLarge } from './delivery-errors.js'

/** A record as the client takes it. */
export interface PreparedRecord {
  readonly topic: string
  /** −1: the partitioner chooses. */
  readonly partition: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly timestamp: number | undefined
  readonly headers: { [name: string]: Buffer }[] | undefined
  /** Bytes of key, value and headers. */
  readonly size: number
}

/** The client takes a Buffer without memory for null. This one has some. */
const emptyBytes = Buffer.allocUnsafe(1).subarray(0, 0)

/**
 * Brings a record into the form that the client takes, checked. The client cuts strings at NUL, makes null of most empty
 * Buffers, sends a record whose header it throws at, and takes a timestamp of 0 for now: none of that can come through.
 *
 * @param maxBytes of key, value and headers together
 * @throws {SluiceError} if the record cannot be produced as it is
 */
export function prepareRecord (record: OutgoingRecord, maxBytes: number): PreparedRecord {
  const { topic, partition, timestamp } = record
  if (!isTopicName(topic)) throw new SluiceError('SLUICE_INVALID_TOPIC_NAME', 'The record\'s topic cannot be the name of a topic.')
  if (partition != null && !(Number.isInteger(partition) && partition >= 0 && partition <= 0x7fffffff)) {
    throw new SluiceError('SLUICE_INVALID_REQUEST', 'A partition is an integer from 0 to 2147483647.')
  }
  if (timestamp != null && !(Number.isSafeInteger(timestamp) && timestamp > 0)) {
    throw new SluiceError('SLUICE_INVALID_REQUEST', 'A timestamp is an integer of at least 1, in milliseconds since 1970.')
  }
  const key = toBytes(record.key)
  const value = toBytes(record.value)
  let size = (key?.length ?? 0) + (value?.length ?? 0)
  let headers: { [name: string]: Buffer }[] | undefined
  if (record.headers !== undefined && record.headers.length > 0) {
    headers = []
    for (const { name, value } of record.headers) {
      const bytes = toBytes(value)
      if (bytes === null || name.includes('\0')) {
        throw new SluiceError('SLUICE_INVALID_REQUEST', 'A header needs a value, and a name without NUL.')
      }
      size += Buffer.byteLength(name) + bytes.length
      // One object a header: of each object the client reads the first member only.
      headers.push({ [name]: bytes })
    }
  }
  if (size > maxBytes) throw tooLarge(maxBytes)
  return { topic, partition: partition ?? -1, key, value, timestamp: timestamp ?? undefined, headers, size }
}

function toBytes (value: Buffer | string | null | undefined): Buffer | null {
  if (value == null) return null
  if (value.length === 0) return emptyBytes
  return typeof value === 'string' ? Buffer.from(value) : value
}
