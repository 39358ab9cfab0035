import type { FastifyInstance, FastifyRequest } from 'fastify'
import { SluiceError } from './errors.js'
import { parseJsonText, type JsonText } from './json-text.js'

/**
 * Makes the routes of this scope take application/json (or JSON under another name), and nothing else. The text stays at hand for
 * numbers that JavaScript would write differently: read the body with `jsonBody`.
 */
export function takeJson (scope: FastifyInstance, contentType: string | RegExp = 'application/json'): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser(contentType, { parseAs: 'buffer' }, (request, body, done) => {
    try {
      checkCharset(request.headers['content-type'])
      done(null, parseJsonText(body as Buffer))
    } catch (err) {
      done(err as Error)
    }
  })
  refuseEncoded(scope)
}

/** Makes the routes of this scope refuse a body with a Content-Encoding. */
export function refuseEncoded (scope: FastifyInstance): void {
  scope.addHook('onRequest', (request, _reply, done) => {
    const encoding = request.headers['content-encoding']
    if (encoding === undefined || encoding.toLowerCase() === 'identity') done()
    else done(new SluiceError('SLUICE_UNSUPPORTED_MEDIA_TYPE', 'The body must come without a Content-Encoding.'))
  })
}

/** @throws {SluiceError} if there was no body */
export function jsonBody (request: FastifyRequest): JsonText {
  const body = request.body as JsonText | null | undefined
  if (body == null) throw new SluiceError('SLUICE_MALFORMED_JSON', 'The body is empty.')
  return body
}

/** @throws {SluiceError} for another charset than UTF-8 */
export function checkCharset (contentType: string | undefined): void {
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(contentType ?? '')?.[1]
  if (charset !== undefined && charset.toLowerCase() !== 'utf-8' && charset.toLowerCase() !== 'utf8') {
    throw new SluiceError('SLUICE_UNSUPPORTED_MEDIA_TYPE', 'JSON is UTF-8 (RFC 8259); another charset is not supported.')
  }
}
