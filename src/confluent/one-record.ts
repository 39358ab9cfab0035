import type { Readable } from 'node:stream'
import { SluiceError } from '../errors.js'
import { ConcatenatedJson, type Piece } from './concatenated-json.js'

/**
 * The whole of a body that has no more than `maxBytes`.
 *
 * @throws {SluiceError} SLUICE_BODY_TOO_LARGE; the rest is left unread
 */
export async function gather (body: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  // Not destroyed where it is too long: its sender is to get the answer.
  for await (const chunk of body.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length
    if (bytes > maxBytes) throw new SluiceError('SLUICE_BODY_TOO_LARGE', `The body may have ${maxBytes} bytes (BODY_LIMIT_BYTES).`, { limit: maxBytes })
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

/**
 * The record in a body that holds one, and not the beginning of a stream.
 *
 * @throws {SluiceError} SLUICE_EMPTY_BODY, SLUICE_MALFORMED_JSON; SLUICE_INVALID_REQUEST where there are more
 */
export function onlyPiece (body: Buffer): Piece {
  const pieces = new ConcatenatedJson(body.length)
  let only: Piece | null = null
  for (const piece of pieces.push(body)) {
    if (only !== null) {
      throw new SluiceError('SLUICE_INVALID_REQUEST',
        'With an Idempotency-Key the body is one record: the answers to a stream are not kept. Send the others as records:batch, or each by itself.')
    }
    only = piece
  }
  pieces.end()
  if (only === null) throw emptyBody()
  return only
}

export const emptyBody = (): SluiceError => new SluiceError('SLUICE_EMPTY_BODY', 'Payload error. Request body is empty. Data is required.')
