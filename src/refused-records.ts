import { SluiceError, type ErrorCode } from './errors.js'

const REFUSED = new Set<ErrorCode>([
  'SLUICE_INVALID_REQUEST', 'SLUICE_INVALID_TOPIC_NAME', 'SLUICE_TOPIC_NOT_ALLOWED', 'SLUICE_RECORD_TOO_LARGE', 'SLUICE_RECORD_REJECTED',
  'SLUICE_UNKNOWN_PARTITION'
])

/** Whether a record is refused for what it is: producing it again would be refused again. */
export function isRefused (error: unknown): boolean {
  return error instanceof SluiceError && REFUSED.has(error.code)
}
