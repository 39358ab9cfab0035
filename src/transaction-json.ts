import { Type } from 'typebox'
import { SluiceError } from './errors.js'
import type { JsonText } from './json-text.js'
import { decodeRecord, elementTexts, fault, maxBatchRecords, quoted, recordRules, recordSchema } from './record-json.js'
import type { OutgoingRecord } from './record.js'
import { topicNamePattern } from './topic-name.js'

// What this schema says is checked by `decodeTransaction`, which says better what is wrong.
export const transactionSchema = Type.Object({
  records: Type.Array(Type.Object({
    topic: Type.String({ pattern: topicNamePattern, description: 'The topic\'s name. Each record has one of its own.' }),
    ...recordSchema.properties
  }, { additionalProperties: false, title: 'TransactionRecord', allOf: recordRules }), { minItems: 1, maxItems: maxBatchRecords })
}, { additionalProperties: false, title: 'Transaction' })

/**
 * Reads a request body: `{ "records": [{ "topic": …, …the members of a record }] }`.
 *
 * Nothing is coerced, defaulted or dropped: a member that is not known is a fault. Whether the names can be those of topics is
 * left to the caller.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST at the first fault, saying what and where; SLUICE_BATCH_TOO_LARGE
 */
export function decodeTransaction ({ value, text }: JsonText): OutgoingRecord[] {
  if (!isObject(value)) throw fault('', 'must be an object: {"records": [...]}')
  for (const name of Object.keys(value)) {
    if (name !== 'records') throw fault('', `has an unknown member ${quoted(name)}`)
  }
  const { records } = value
  if (!Array.isArray(records) || records.length === 0) throw fault('/records', 'must be an array with at least one record')
  if (records.length > maxBatchRecords) {
    throw new SluiceError('SLUICE_BATCH_TOO_LARGE', `A transaction may have ${maxBatchRecords} records.`, { limit: maxBatchRecords })
  }
  const texts = text === null ? null : elementTexts(text)
  return records.map((record: unknown, i) => {
    const at = `/records/${i}`
    if (!isObject(record)) throw fault(at, 'must be an object: a record with its topic')
    const { topic, ...rest } = record
    if (!Object.hasOwn(record, 'topic')) throw fault(at, 'has no topic')
    if (typeof topic !== 'string') throw fault(`${at}/topic`, 'must be a string')
    return decodeRecord(topic, rest, texts?.[i] ?? null, at)
  })
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
