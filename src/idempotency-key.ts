import { SluiceError } from './errors.js'

/** As a JSON Schema has it: 1 to 255 visible ASCII characters, bare, or quoted as a string of RFC 8941. */
export const idempotencyKeyPattern = '^(?:"(?:[!#-\\[\\]-~]|\\\\["\\\\]){1,255}"|[!#-~][!-~]{0,254})$'

const quotedKey = /^"(?:[!#-[\]-~]|\\["\\]){1,255}"$/
const bareKey = /^[!#-~][!-~]{0,254}$/

/**
 * Reads `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): 1 to 255 visible ASCII characters. The draft has them quoted; a
 * bare key is taken as well, and is the same key.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST
 */
export function idempotencyKey (header: string | string[]): string {
  const given = String(header)
  if (quotedKey.test(given)) return given.slice(1, -1).replace(/\\(.)/g, '$1')
  if (bareKey.test(given)) return given
  throw new SluiceError('SLUICE_INVALID_REQUEST',
    'Idempotency-Key must be one key of 1 to 255 visible ASCII characters, bare or in double quotes (with \\" and \\\\ for those two).')
}
