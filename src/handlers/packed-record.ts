import type { KafkaRecord, RecordHeader } from '../record.js'

/** A record whose bytes lie one behind the other in memory of its own, which can be handed over without another copy. */
export interface PackedRecord extends Omit<KafkaRecord, 'key' | 'value' | 'headers'> {
  /** Key, value and the headers' values. */
  readonly bytes: ArrayBuffer
  /** −1: there is none. */
  readonly keyBytes: number
  /** −1: there is none. */
  readonly valueBytes: number
  readonly headers: readonly (readonly [name: string, bytes: number])[]
}

/**
 * Copies a record into memory of its own: one copy, and the record stays as it is, for retries and dead letters. Put
 * `bytes` into the list of what is transferred.
 */
export function packRecord ({ key, value, headers, ...rest }: KafkaRecord): PackedRecord {
  let size = (key?.length ?? 0) + (value?.length ?? 0)
  for (const header of headers) size += header.value.length
  // Not of Buffer's pool, which others use as well.
  const bytes = new ArrayBuffer(size)
  const target = new Uint8Array(bytes)
  let at = 0
  const add = (source: Buffer | null): number => {
    if (source === null) return -1
    target.set(source, at)
    at += source.length
    return source.length
  }
  // In this order they lie in the memory.
  const keyBytes = add(key)
  const valueBytes = add(value)
  return { ...rest, bytes, keyBytes, valueBytes, headers: headers.map(header => [header.name, add(header.value)] as const) }
}

/** The record again, its Buffers views of the one memory. */
export function unpackRecord ({ bytes, keyBytes, valueBytes, headers, ...rest }: PackedRecord): KafkaRecord {
  let at = 0
  const take = (length: number): Buffer => {
    const taken = Buffer.from(bytes, at, length)
    at += length
    return taken
  }
  const key = keyBytes < 0 ? null : take(keyBytes)
  const value = valueBytes < 0 ? null : take(valueBytes)
  return { ...rest, key, value, headers: headers.map(([name, length]): RecordHeader => ({ name, value: take(length) })) }
}
