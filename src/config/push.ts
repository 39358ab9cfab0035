import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isSecretHeader } from '../header-allowlist.js'
import { isOwnPushHeader } from '../handlers/push-headers.js'
import { signingKey } from '../webhook-signature.js'
import { ConfigError, quoted } from './config-error.js'
import type { Environment, Variable } from './environment-schema.js'
import { variableSchemas } from './environment-schema.js'
import type { RawVariables } from './environment.js'
import { commaList, isLoopback } from './names.js'
import { readable } from './security.js'
import type { PushConfig } from './types.js'

/** As Standard Webhooks has it: a shorter one could be found by trying. */
const secretBytesMin = 24
const secretsMax = 2

// With white space before it, too: as a path it would be shown, and may hold a password.
export const isPushUrl = (handler: string): boolean => /^\s*https?:/i.test(handler)

/**
 * What is needed to push records to a URL; `null` where KAFKA_HANDLER is none.
 *
 * @throws {ConfigError} never with a secret, nor with what of the URL may hold one
 */
export function pushConfig (values: Environment, cwd: string): PushConfig | null {
  if (!isPushUrl(values.KAFKA_HANDLER)) return null
  const url = pushUrl(values.KAFKA_HANDLER)
  return {
    url: url.href,
    mode: values.KAFKA_PUSH_MODE,
    contentType: values.KAFKA_PUSH_CONTENT_TYPE,
    source: `/clusters/${values.KAFKA_CLUSTER_ID}/topics/`,
    headers: pushHeaders(values.KAFKA_PUSH_HEADERS),
    authorization: values.KAFKA_PUSH_AUTHORIZATION ?? null,
    secrets: secrets(values.KAFKA_PUSH_SECRET),
    caFile: values.KAFKA_PUSH_CA_FILE === undefined ? null : authorities(values.KAFKA_PUSH_CA_FILE, url, cwd),
    connectTimeoutMs: values.KAFKA_PUSH_CONNECT_TIMEOUT_MS
  }
}

/** What is set for nothing, and an Authorization that anybody on the way can read. */
export function pushWarnings (values: Environment, raw: RawVariables): string[] {
  if (!isPushUrl(values.KAFKA_HANDLER)) {
    return (Object.keys(variableSchemas) as Variable[])
      .filter(variable => variable.startsWith('KAFKA_PUSH_') && raw[variable] !== undefined && values[variable] !== variableSchemas[variable]!.default)
      .map(variable => `${variable} has no effect: it is for a KAFKA_HANDLER that begins with http:// or https://`)
  }
  const url = new URL(values.KAFKA_HANDLER)
  const readableByOthers = url.protocol === 'http:' && !isLoopback(url.hostname.replace(/^\[|\]$/g, ''))
  return readableByOthers && values.KAFKA_PUSH_AUTHORIZATION !== undefined
    ? ['KAFKA_PUSH_AUTHORIZATION is sent unencrypted: KAFKA_HANDLER begins with http://']
    : []
}

/** Neither here nor elsewhere is the URL shown: a path or a query may be what lets one in. */
function pushUrl (written: string): URL {
  const wants = (what: string) => new ConfigError(`KAFKA_HANDLER must be ${what}, got a URL that is not shown`)
  // White space at the ends and line breaks within are what URLs are read without.
  if (/[\s\p{Cc}]/u.test(written) || !/^https?:\/\/[^/]/i.test(written) || !URL.canParse(written)) {
    throw wants('a URL as in https://orders.example/events, where it begins with http: or https:')
  }
  const url = new URL(written)
  if (url.username !== '' || url.password !== '') throw wants('a URL without user and password, which belong into KAFKA_PUSH_AUTHORIZATION')
  if (written.includes('#')) throw wants('a URL without a fragment (#…), which is never sent')
  return url
}

function pushHeaders (written: string | undefined): string[] {
  const entries = commaList(written?.toLowerCase())
  for (const entry of entries) {
    if (!/^[!#$%&'+.^_`|~0-9a-z-]{1,256}\*?$/.test(entry)) {
      throw new ConfigError(`KAFKA_PUSH_HEADERS must be names of headers, * at the end of one for any that begin so, got ${quoted(entry)}`)
    }
    if (isSecretHeader(entry)) throw new ConfigError(`KAFKA_PUSH_HEADERS must not name headers that may hold secrets, got ${quoted(entry)}`)
    if (isOwnPushHeader(entry)) throw new ConfigError(`KAFKA_PUSH_HEADERS must not name headers that a push has of itself, got ${quoted(entry)}`)
  }
  return entries
}

function secrets (written: string | undefined): string[] {
  const list = commaList(written)
  if (list.length > secretsMax) throw new ConfigError(`KAFKA_PUSH_SECRET may hold ${secretsMax} secrets, got ${list.length}`)
  for (const secret of list) {
    const key = signingKey('standard-webhooks', secret)
    if (key === null || key.length < secretBytesMin) {
      throw new ConfigError(`KAFKA_PUSH_SECRET must be base64 of at least ${secretBytesMin} bytes, with or without whsec_ before it, got a value that is not shown`)
    }
  }
  return list
}

function authorities (path: string, url: URL, cwd: string): string {
  if (url.protocol !== 'https:') throw new ConfigError('KAFKA_PUSH_CA_FILE is for a KAFKA_HANDLER that begins with https://')
  const file = readable(path, 'KAFKA_PUSH_CA_FILE', cwd, false)
  try {
    // TLS itself would pass over what it cannot read, and trust nobody.
    return new X509Certificate(readFileSync(file)) && file
  } catch {
    throw new ConfigError(`KAFKA_PUSH_CA_FILE must hold certificates as PEM, got ${quoted(path)}`)
  }
}
