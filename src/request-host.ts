import type { IncomingHttpHeaders } from 'node:http'

/** The host that a request is for: `Host`, or what HTTP/2 has in its place. */
export function hostOf (headers: IncomingHttpHeaders): string | undefined {
  return headers[':authority'] as string | undefined ?? headers.host
}
