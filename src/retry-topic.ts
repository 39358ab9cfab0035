import { DEAD_LETTER_HEADERS, errorHeaders } from './engine/dead-letter.js'
import type { Deferral, DeadLetter } from './engine/types.js'
import type { KafkaRecord, OutgoingRecord, RecordHeader } from './record.js'

/** When the next attempt is due, in milliseconds since 1970. Beside it a record of the retry topic has the headers of a dead letter. */
const DUE_HEADER = 'sluice-retry-due-at'

const OWN_HEADERS = new Set<string>([DUE_HEADER, ...Object.values(DEAD_LETTER_HEADERS)])

/**
 * Turns a record whose next attempt is far off into the record for the retry topic: key, value and headers as they are, and
 * headers that say where it came from, how often it was tried, and when it is due. One that comes from there is to be given as
 * what it was at first.
 *
 * @param nowMs milliseconds since 1970
 */
export function retryRecord (letter: DeadLetter, topic: string, groupId: string, nowMs: number): OutgoingRecord {
  const { record, retryInMs } = letter
  return {
    topic,
    key: record.key,
    value: record.value,
    headers: [
      ...record.headers,
      ...errorHeaders(letter, { groupId, nowMs }),
      { name: DUE_HEADER, value: String(nowMs + Math.ceil(retryInMs ?? 0)) }
    ]
  }
}

/**
 * What a record of the retry topic says: `null` where it does not say it in our words. Such a record is handled at once,
 * as any other.
 *
 * @param nowMs milliseconds since 1970
 */
export function deferralOf (record: KafkaRecord, nowMs: number, maxWaitMs: number): Deferral | null {
  const dueAt = numberIn(record, DUE_HEADER)
  const attempts = numberIn(record, DEAD_LETTER_HEADERS.attempts)
  if (dueAt === null || attempts === null) return null
  // Whoever can write to the topic can write any time: none holds its partition for longer than a wait of ours.
  return { attempts, waitMs: Math.min(maxWaitMs, Math.max(0, dueAt - nowMs)) }
}

/**
 * The record that it was in its own topic: what a handler is to see, and a dead letter to speak of.
 *
 * @param consumed whether records of a topic are handled here. Whoever can write to the retry topic can write any name: one that is
 *   not among these is not believed, so that nobody chooses where a dead letter goes
 */
export function originalOf (record: KafkaRecord, consumed: (topic: string) => boolean): KafkaRecord {
  const topic = textIn(record, DEAD_LETTER_HEADERS.topic)
  const partition = numberIn(record, DEAD_LETTER_HEADERS.partition)
  const offset = numberIn(record, DEAD_LETTER_HEADERS.offset)
  if (topic === null || !consumed(topic) || partition === null || offset === null || numberIn(record, DUE_HEADER) === null) return record
  return {
    ...record,
    topic,
    partition,
    offset,
    timestamp: numberIn(record, DEAD_LETTER_HEADERS.timestamp) ?? -1,
    headers: withoutOwn(record.headers)
  }
}

/** Ours are the last of their names: what came before is the record's own, a dead letter's that was sent again, say. */
function withoutOwn (headers: readonly RecordHeader[]): RecordHeader[] {
  const ours = new Set([...OWN_HEADERS].map(wanted => headers.findLastIndex(({ name }) => name === wanted)))
  return headers.filter((_, index) => !ours.has(index))
}

// The last of a name is ours: what came before may have been the record's own.
function headerIn ({ headers }: KafkaRecord, wanted: string): RecordHeader | undefined {
  return headers.findLast(({ name }) => name === wanted)
}

function textIn (record: KafkaRecord, name: string): string | null {
  return headerIn(record, name)?.value.toString() ?? null
}

function numberIn (record: KafkaRecord, name: string): number | null {
  const text = textIn(record, name)
  if (text === null || !/^-?\d{1,16}$/.test(text)) return null
  const number = Number(text)
  return Number.isSafeInteger(number) && number >= -1 ? number : null
}
