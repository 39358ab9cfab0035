import type { KafkaRecord } from '../record.js'
import type { HandlerContext } from './handler.js'

const SHOWN_CHARACTERS_MAX = 1024

/** Logs each record, truncated; the logger's JSON escapes it. The default, for seeing what arrives. */
export function logHandler ({ key, value, headers }: KafkaRecord, { log }: HandlerContext): void {
  log.info({ key: shown(key), value: shown(value), headers: headers.length }, 'record received')
}

function shown (bytes: Buffer | null): string | null {
  if (bytes === null) return null
  const text = bytes.toString('utf8', 0, SHOWN_CHARACTERS_MAX)
  return bytes.length > SHOWN_CHARACTERS_MAX ? `${text}… (${bytes.length} bytes)` : text
}
