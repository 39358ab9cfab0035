import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { SecureServerOptions } from 'node:http2'
import type { ServerOptions } from 'node:https'
import type { SecureContextOptions } from 'node:tls'
import { ConfigError } from './config/config-error.js'
import type { HttpConfig, TlsConfig } from './config.js'

/** Streams that one HTTP/2 connection may have open at once. */
const maxConcurrentStreams = 100
/** As much as HTTP/1.1 takes. */
const maxHeaderListSize = 16_384

/** What `Fastify()` is given for HTTPS and HTTP/2, beside the options that do not depend on it; nothing without TLS. */
export function transportOptions (
  { tls, http2 }: Pick<HttpConfig, 'tls' | 'http2'>, http: ServerOptions
): { https?: ServerOptions & SecureServerOptions, http2?: true } {
  if (tls === null) return {}
  const https = { ...http, ...readContext(tls), requestCert: tls.clientCaFile !== null, rejectUnauthorized: tls.clientCertRequired }
  return http2
    ? { http2: true, https: { ...https, allowHTTP1: true, settings: { maxConcurrentStreams, maxHeaderListSize } } }
    : { https }
}

/**
 * The certificate, its key and the authorities of clients, as they are in their files now.
 *
 * @throws {ConfigError} where they cannot be used, or do not belong together
 */
export function readContext ({ certFile, keyFile, clientCaFile }: TlsConfig): SecureContextOptions {
  const cert = read('TLS_CERT_FILE', certFile)
  const key = read('TLS_KEY_FILE', keyFile)
  const certificate = parsed('TLS_CERT_FILE', 'a certificate', () => new X509Certificate(cert))
  const privateKey = parsed('TLS_KEY_FILE', 'a private key without a password', () => createPrivateKey(key))
  if (!certificate.checkPrivateKey(privateKey)) throw new ConfigError('TLS_KEY_FILE is not the key of the first certificate in TLS_CERT_FILE')
  const ca = clientCaFile === null ? undefined : read('TLS_CLIENT_CA_FILE', clientCaFile)
  if (ca !== undefined) parsed('TLS_CLIENT_CA_FILE', 'a certificate', () => new X509Certificate(ca))
  return {
    cert,
    key,
    // A session that is resumed would bring back a client that was verified against authorities of before.
    ...(ca !== undefined && { ca, secureOptions: constants.SSL_OP_NO_TICKET })
  }
}

/** When the server's certificate ends, in seconds since 1970. */
export function certificateEnd ({ cert }: SecureContextOptions): number {
  return Date.parse(new X509Certificate(cert as string).validTo) / 1000
}

function read (variable: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`${variable} cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`)
  }
}

function parsed<Value> (variable: string, what: string, parse: () => Value): Value {
  try {
    return parse()
  } catch {
    // OpenSSL's sentences help nobody, and might show what they are about.
    throw new ConfigError(`${variable} must hold ${what} as PEM`)
  }
}
