import type { IncomingHttpHeaders } from 'node:http'

/** How long a request says that its body is; 0 where it does not say. */
export const announcedLength = (headers: IncomingHttpHeaders): number => Number(headers['content-length'] ?? 0)

/** Whether a request's body is longer than this, or nobody knows. */
export function mayBeLongerThan (bytes: number, headers: IncomingHttpHeaders): boolean {
  if (headers['content-length'] !== undefined) return announcedLength(headers) > bytes
  // Over HTTP/1.1 there is no body without either of them; over HTTP/2 there may be.
  return headers['transfer-encoding'] !== undefined || ':authority' in headers
}
