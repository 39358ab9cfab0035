import { SluiceError } from '../errors.js'
import type { JsonText } from '../json-text.js'
import { elementTexts, isObject, maxBatchRecords, quoted } from '../record-json.js'
import { decodeV3Record, type V3Record } from './v3-record.js'

export interface V3Entry {
  readonly id: string
  /** The record, or what is wrong with it: that stops no other. */
  readonly decoded: V3Record | SluiceError
}

const maxIdLength = 80

/**
 * Reads `{"entries":[{"id":"1","value":{…}}]}`.
 *
 * @throws {SluiceError} SLUICE_INVALID_BATCH, where there are no entries or too many, or an id is missing, too long or there twice: then
 * no outcome could be told
 */
export function decodeV3Batch (topic: string, { value: body, text }: JsonText): V3Entry[] {
  if (!isObject(body)) throw invalid('The body must be an object: {"entries": [...]}.')
  for (const name of Object.keys(body)) if (name !== 'entries') throw invalid(`The body has an unknown member ${quoted(name)}.`)
  const { entries } = body
  if (!Array.isArray(entries) || entries.length === 0) throw invalid('Empty batch: entries must be an array with at least one entry.')
  if (entries.length > maxBatchRecords) throw invalid(`A batch may have ${maxBatchRecords} entries.`)
  const texts = text === null ? null : elementTexts(text, 'entries')
  const ids = new Set<string>()
  for (const [i, entry] of entries.entries()) {
    const id: unknown = isObject(entry) ? entry['id'] : undefined
    if (typeof id !== 'string' || id.length === 0 || id.length > maxIdLength) {
      throw invalid(`/entries/${i}/id must be a string of 1 to ${maxIdLength} characters.`)
    }
    if (ids.has(id)) throw invalid(`The id ${quoted(id)} is there more than once.`)
    ids.add(id)
  }
  return (entries as { id: string }[]).map((entry, i) => {
    try {
      return { id: entry.id, decoded: decodeV3Record(topic, entry, texts?.[i] ?? null, `/entries/${i}`, true) }
    } catch (err) {
      if (!(err instanceof SluiceError)) throw err
      return { id: entry.id, decoded: err }
    }
  })
}

const invalid = (message: string): SluiceError => new SluiceError('SLUICE_INVALID_BATCH', message)
