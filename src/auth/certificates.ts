import { X509Certificate } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { TLSSocket } from 'node:tls'
import type { CertificateName } from './principals.js'

/** What a connection's client certificate says: its names, and until when. */
export interface ClientCertificate {
  readonly names: readonly CertificateName[]
  readonly validUntilMs: number
}

/** A connection's certificate is read once. */
const known = new WeakMap<object, ClientCertificate | null>()

/**
 * The certificate that the caller of this request has shown, if it was signed by the configured authority.
 *
 * A connection may outlive its certificate: `validUntilMs` is for whoever asks.
 */
export function clientCertificate (request: FastifyRequest): ClientCertificate | null {
  const { stream } = request.raw as unknown as { stream?: { session?: { socket: TLSSocket } } }
  // Over HTTP/2 each stream sees its own stand-in for the socket of the session.
  const connection = stream?.session ?? request.raw.socket
  let certificate = known.get(connection)
  if (certificate === undefined) {
    certificate = read(stream?.session?.socket ?? request.raw.socket as TLSSocket)
    known.set(connection, certificate)
  }
  return certificate
}

function read (socket: TLSSocket): ClientCertificate | null {
  if (socket.authorized !== true) return null
  const { raw, subject } = socket.getPeerCertificate()
  if (raw === undefined) return null
  const { subjectAltName, validTo } = new X509Certificate(raw)
  const names = alternativeNames(subjectAltName ?? '')
  // Where there are several, nobody can say which of them was meant.
  if (typeof subject?.CN === 'string') names.push(`commonName:${subject.CN}`)
  return { names, validUntilMs: Date.parse(validTo) }
}

const kinds: Readonly<Record<string, 'dns' | 'uri' | 'email' | undefined>> = { DNS: 'dns', URI: 'uri', email: 'email' }

/**
 * The subject alternative names, from the list that Node.js writes: `DNS:a, URI:b`, with quotes around whatever could be
 * mistaken for more of the list. A list that reads otherwise is not guessed at.
 */
export function alternativeNames (list: string): CertificateName[] {
  const names: CertificateName[] = []
  const one = /([A-Za-z][A-Za-z0-9 ]*):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y
  while (one.lastIndex < list.length) {
    const [, kind = '', value = ''] = one.exec(list) ?? []
    if (kind === '') return []
    const known = kinds[kind]
    // What needs quotes is no name that anybody would give a certificate on purpose.
    if (known !== undefined && value !== '' && !value.startsWith('"')) names.push(`${known}:${value}`)
  }
  return names
}
