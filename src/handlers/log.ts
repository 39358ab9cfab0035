import type { KafkaRecord } from '../record.js'
import type { BatchContext, HandlerContext } from './handler.js'

const SHOWN_CHARACTERS_MAX = 1024

/** Logs each record, truncated; the logger's JSON escapes it. The default, for seeing what arrives. */
export function logHandler ({ key, value, headers }: KafkaRecord, { log }: Pick<HandlerContext, 'log'>): void {
  log.info({ key: shown(key), value: shown(value), headers: headers.length }, 'record received')
}

/** The same for each record of a batch, with the offset of its own. */
export function logBatchHandler (records: readonly KafkaRecord[], { log, attempts }: BatchContext): void {
  for (const [index, record] of records.entries()) {
    logHandler(record, { log: log.child({ offset: record.offset, attempt: attempts[index] }) })
  }
}

function shown (bytes: Buffer | null): string | null {
  if (bytes === null) return null
  const text = bytes.toString('utf8', 0, SHOWN_CHARACTERS_MAX)
  return bytes.length > SHOWN_CHARACTERS_MAX ? `${text}… (${bytes.length} bytes)` : text
}
