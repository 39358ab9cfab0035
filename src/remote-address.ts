import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'

/**
 * The address of whoever sent a request, for logs and limits: that of the connection or, where it comes from one of TRUSTED_PROXIES, the
 * last one in `X-Forwarded-For` that is no such proxy's.
 *
 * What a proxy has written there that is no address (but for a port behind it, which some write) counts as the proxy's own: a limit for
 * each address must not be got around by words.
 */
export function remoteAddress (request: FastifyRequest): string {
  // From the connection to the caller; there is none where no proxy is trusted.
  const { ips } = request
  if (ips === undefined) return request.ip
  for (let i = ips.length - 1; i > 0; i--) {
    const address = withoutPort(ips[i] as string)
    if (isIP(address) !== 0) return address
  }
  return ips[0] as string
}

/** `192.0.2.1:4711` and `[2001:db8::1]:4711` are addresses with a port. */
function withoutPort (text: string): string {
  const [, bracketed, plain] = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+))(?::\d{1,5})?$/i.exec(text) ?? []
  return bracketed ?? plain ?? text
}
