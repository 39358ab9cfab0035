import type { IncomingHttpHeaders } from 'node:http'

/** What a request brings to say who sent it. */
export type Credentials =
  /** A key, or a token where it has a token's form. `ambient`: a browser adds it by itself, to requests of any page. */
  | { readonly kind: 'secret', readonly secret: string, readonly ambient: boolean }
  | { readonly kind: 'none' }
  | { readonly kind: 'malformed', readonly why: string }

const none: Credentials = { kind: 'none' }
const base64 = /^[A-Za-z0-9+/_-]+={0,2}$/

/**
 * Reads `Authorization: Bearer <key or token>`, `Authorization: Basic` with the key as the password and any user name, or
 * `X-API-Key`. Where there is an Authorization, nothing else counts.
 */
export function credentialsOf ({ authorization, 'x-api-key': apiKey }: IncomingHttpHeaders): Credentials {
  if (authorization === undefined) {
    return typeof apiKey === 'string' ? { kind: 'secret', secret: apiKey, ambient: false } : none
  }
  const space = authorization.indexOf(' ')
  const scheme = authorization.slice(0, space === -1 ? undefined : space).toLowerCase()
  const given = space === -1 ? '' : authorization.slice(space + 1).trim()
  if (scheme === 'bearer') {
    return given === '' ? malformed('there is nothing after Bearer') : { kind: 'secret', secret: given, ambient: false }
  }
  if (scheme !== 'basic') return malformed('its scheme is neither Bearer nor Basic')
  if (!base64.test(given)) return malformed('what follows Basic is not Base64')
  const decoded = Buffer.from(given, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  return colon === -1
    ? malformed('what follows Basic has no colon between name and key')
    : { kind: 'secret', secret: decoded.slice(colon + 1), ambient: true }
}

const malformed = (why: string): Credentials => ({ kind: 'malformed', why })

/** Three parts of base64url: RFC 7515's compact form. */
export const isToken = (secret: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(secret)
