import type { Server } from 'node:tls'
import fp from 'fastify-plugin'
import { WatchedFile } from '../src/auth/watched-file.js'
import type { TlsConfig } from '../src/config.js'
import { certificateEnd, readContext } from '../src/tls.js'

export interface TlsPluginOptions {
  readonly tls: TlsConfig
  /** How often the files are looked at. */
  readonly lookEveryMs?: number
  /** When the certificate in use ends, in seconds since 1970. */
  readonly onCertificate?: (endSeconds: number) => void
}

const LOOK_EVERY_MS = 10_000
/** Of a file with certificates or a key. */
const MAX_BYTES = 4_194_304

/** Takes a new certificate, key or list of authorities as soon as their files hold one; open connections go on as they are. */
export default fp<TlsPluginOptions>(async (fastify, { tls, lookEveryMs = LOOK_EVERY_MS, onCertificate = () => {} }) => {
  const server = fastify.server as unknown as Server
  let isFirst = true
  const use = () => {
    const context = readContext(tls)
    server.setSecureContext(context)
    onCertificate(certificateEnd(context))
    if (!isFirst) fastify.log.info('a new certificate, key or list of authorities is in use')
  }
  const files = [tls.certFile, tls.keyFile, tls.clientCaFile].filter(path => path !== null).map(path => new WatchedFile({
    path,
    maxBytes: MAX_BYTES,
    everyMs: lookEveryMs,
    onChange: use,
    // A certificate that is there before its key is the usual case, and over once the key is there, too.
    onError: error => fastify.log.warn({ path, reason: error.message }, 'the new certificate or key cannot be used: those from before are')
  }))
  fastify.addHook('onClose', async () => { for (const file of files) file.close() })
  for (const file of files) await file.start()
  isFirst = false
}, { name: 'tls', fastify: '5.x' })
