import { parseKeysVariable } from '../auth/rules-file.js'
import { ConfigError, quoted } from './config-error.js'
import type { Environment, Variable } from './environment-schema.js'
import { commaList, isLoopback } from './names.js'
import { readable } from './security.js'
import type { AccessConfig, HttpConfig, TlsConfig, TokenConfig } from './types.js'

type AccessPart = Pick<HttpConfig, 'access' | 'openPages' | 'tls' | 'http2' | 'corsOrigins'>

/**
 * Who may call, and over what: `access` is `null` where nobody has to say who it is.
 *
 * @throws {ConfigError} for what cannot work together, and for files that are not there
 */
export function accessConfig (values: Environment, cwd: string): AccessPart {
  const access = callers(values, cwd)
  const tls = tlsConfig(values, cwd)
  if (values.HTTP2 && tls === null) {
    throw new ConfigError('HTTP2 needs TLS_CERT_FILE and TLS_KEY_FILE: clients that cannot speak HTTP/2 are told so while the connection is encrypted')
  }
  if (tls?.clientCaFile != null && !tls.clientCertRequired && access?.file == null) {
    throw new ConfigError('TLS_CLIENT_CA_FILE needs AUTH_FILE, which says what each certificate may do, or TLS_CLIENT_CERT=required')
  }
  const corsOrigins = origins(values.CORS_ORIGINS, access !== null)
  return { access, openPages: openPages(values.AUTH_PUBLIC), tls, http2: values.HTTP2, corsOrigins }
}

function callers (values: Environment, cwd: string): AccessConfig | null {
  const ways = (['AUTH_FILE', 'AUTH_KEYS', 'AUTH_JWT_JWKS_URL', 'AUTH_JWT_ISSUER', 'AUTH_JWT_AUDIENCE'] as const)
    .filter(variable => values[variable] !== undefined)
  if (ways.length === 0) return null
  if (values.AUTH === 'off') throw new ConfigError(`AUTH must not be off where ${ways[0]} is set: that says who may call`)
  return {
    file: values.AUTH_FILE === undefined ? null : readable(values.AUTH_FILE, 'AUTH_FILE', cwd, false),
    keys: values.AUTH_KEYS === undefined ? [] : parseKeysVariable(values.AUTH_KEYS),
    tokens: tokenConfig(values)
  }
}

function tokenConfig (values: Environment): TokenConfig | null {
  const needed = ['AUTH_JWT_JWKS_URL', 'AUTH_JWT_ISSUER', 'AUTH_JWT_AUDIENCE'] as const
  const missing = needed.filter(variable => values[variable] === undefined)
  if (missing.length === needed.length) return null
  if (missing.length > 0) {
    throw new ConfigError(`${missing.join(' and ')} must be set for tokens: without all of ${needed.join(', ')} tokens that were made for others would be accepted`)
  }
  return {
    jwksUrl: jwksUrl(values.AUTH_JWT_JWKS_URL!),
    issuer: values.AUTH_JWT_ISSUER!,
    audience: commaList(values.AUTH_JWT_AUDIENCE),
    nameClaim: values.AUTH_JWT_NAME_CLAIM,
    scopeClaim: values.AUTH_JWT_SCOPE_CLAIM,
    clockToleranceSeconds: values.AUTH_JWT_CLOCK_TOLERANCE_SECONDS
  }
}

function jwksUrl (written: string): string {
  const url = URL.canParse(written) ? new URL(written) : null
  const encrypted = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname.replace(/^\[|\]$/g, '')))
  // It may hold a password.
  if (url === null || !encrypted || url.username !== '' || url.password !== '') {
    throw new ConfigError('AUTH_JWT_JWKS_URL must be an https URL without a user (http only on this machine): whoever can change the answer can sign tokens')
  }
  return url.href
}

function openPages (written: string | undefined): HttpConfig['openPages'] {
  return commaList(written).map(page => {
    if (page !== 'metrics' && page !== 'docs') throw new ConfigError(`AUTH_PUBLIC must be metrics, docs or both, got ${quoted(page)}`)
    return page
  })
}

function tlsConfig (values: Environment, cwd: string): TlsConfig | null {
  const file = (variable: Variable & `TLS_${string}_FILE`) => {
    const path = values[variable]
    return path === undefined ? null : readable(path, variable, cwd, false)
  }
  const [certFile, keyFile, clientCaFile] = [file('TLS_CERT_FILE'), file('TLS_KEY_FILE'), file('TLS_CLIENT_CA_FILE')]
  if ((certFile === null) !== (keyFile === null)) {
    throw new ConfigError(`${certFile === null ? 'TLS_CERT_FILE' : 'TLS_KEY_FILE'} must be set where ${certFile === null ? 'TLS_KEY_FILE' : 'TLS_CERT_FILE'} is`)
  }
  const clientCertRequired = values.TLS_CLIENT_CERT === 'required'
  if (clientCertRequired && clientCaFile === null) throw new ConfigError('TLS_CLIENT_CA_FILE must be set where TLS_CLIENT_CERT is required')
  if (certFile !== null && keyFile !== null) return { certFile, keyFile, clientCaFile, clientCertRequired }
  if (clientCaFile !== null) throw new ConfigError('TLS_CERT_FILE and TLS_KEY_FILE must be set where TLS_CLIENT_CA_FILE is')
  return null
}

function origins (written: string | undefined, authenticated: boolean): string[] {
  const list = commaList(written)
  const wrong = list.find(origin => origin !== '*' && !(/^https?:/.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin))
  if (wrong !== undefined) throw new ConfigError(`CORS_ORIGINS must be origins such as https://app.example (no path), or *, got ${quoted(wrong)}`)
  if (list.includes('*') && !authenticated) {
    throw new ConfigError('CORS_ORIGINS must not be * while nobody has to authenticate: every web page could post to this gateway')
  }
  return list
}
