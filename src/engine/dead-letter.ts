import type { OutgoingRecord } from '../record.js'
import type { DeadLetter } from './types.js'

/** Headers that a dead letter carries beside the record's own. */
export const DEAD_LETTER_HEADERS = {
  topic: 'sluice-original-topic',
  partition: 'sluice-original-partition',
  offset: 'sluice-original-offset',
  timestamp: 'sluice-original-timestamp',
  group: 'sluice-group',
  attempts: 'sluice-attempts',
  errorClass: 'sluice-error-class',
  errorMessage: 'sluice-error-message',
  time: 'sluice-dead-lettered-at',
  /** Present, with the value's size, where the value had to be left out for size. */
  valueOmitted: 'sluice-value-omitted-bytes'
} as const

const ERROR_MESSAGE_MAX_CHARACTERS = 2048
const ERROR_MESSAGE_SHORT_CHARACTERS = 128
/** What Kafka adds around a record, rounded up: batch header, lengths, timestamps. */
const OVERHEAD_BYTES = 512

/** What a dead letter is made with. */
export interface DeadLetterOptions {
  readonly topic: string
  readonly groupId: string
  /** The largest record that may be sent, in bytes. */
  readonly maxBytes: number
  /** Milliseconds since 1970. */
  readonly nowMs: number
}

/**
 * Turns a record that used up its attempts into the record for the dead-letter topic.
 *
 * Key, value and headers stay as they are; what happened is told in further headers. Its timestamp is now (an old one
 * would meet the topic's retention at once) and its partition follows from the key, since the topics may differ in
 * their number. Where it would be too large, the error's text is cut first, then the value is left out and its size
 * noted: the original can still be read at its offset.
 */
export function deadLetterRecord (letter: DeadLetter, options: DeadLetterOptions): OutgoingRecord {
  const { record } = letter
  const whole = build(letter, options, ERROR_MESSAGE_MAX_CHARACTERS, true)
  if (bytesOf(whole) <= options.maxBytes) return whole
  const short = build(letter, options, ERROR_MESSAGE_SHORT_CHARACTERS, true)
  if (bytesOf(short) <= options.maxBytes || record.value === null) return short
  return build(letter, options, ERROR_MESSAGE_SHORT_CHARACTERS, false)
}

/** Headers that say where a record was, how often it was tried, and what became of that. */
export function errorHeaders (
  { record, attempts, error }: DeadLetter, { groupId, nowMs }: Pick<DeadLetterOptions, 'groupId' | 'nowMs'>, messageMax = ERROR_MESSAGE_MAX_CHARACTERS
): { name: string, value: string }[] {
  const headers: { name: string, value: string }[] = []
  const add = (name: string, value: string | number) => headers.push({ name, value: String(value) })
  add(DEAD_LETTER_HEADERS.topic, record.topic)
  add(DEAD_LETTER_HEADERS.partition, record.partition)
  add(DEAD_LETTER_HEADERS.offset, record.offset)
  add(DEAD_LETTER_HEADERS.timestamp, record.timestamp)
  add(DEAD_LETTER_HEADERS.group, groupId)
  add(DEAD_LETTER_HEADERS.attempts, attempts)
  // Handlers may throw errors whose name or message is no string.
  add(DEAD_LETTER_HEADERS.errorClass, `${error.name}`.slice(0, ERROR_MESSAGE_SHORT_CHARACTERS))
  add(DEAD_LETTER_HEADERS.errorMessage, `${error.message}`.slice(0, messageMax))
  add(DEAD_LETTER_HEADERS.time, nowMs)
  return headers
}

function build (letter: DeadLetter, options: DeadLetterOptions, messageMax: number, withValue: boolean): OutgoingRecord {
  const { record } = letter
  const headers: { name: string, value: Buffer | string }[] = [...record.headers, ...errorHeaders(letter, options, messageMax)]
  if (!withValue) headers.push({ name: DEAD_LETTER_HEADERS.valueOmitted, value: String(record.value?.length ?? 0) })
  return { topic: options.topic, key: record.key, value: withValue ? record.value : null, headers }
}

function bytesOf (record: OutgoingRecord): number {
  let bytes = OVERHEAD_BYTES + (record.key?.length ?? 0) + (record.value?.length ?? 0)
  for (const { name, value } of record.headers ?? []) bytes += Buffer.byteLength(name) + Buffer.byteLength(value) + 10
  return bytes
}
