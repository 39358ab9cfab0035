import type { FastifyInstance, FastifyRequest } from 'fastify'

/**
 * Makes the routes of this scope take any body, of any type or none, as the bytes that it is: read it with `bodyBytes`.
 *
 * What stands in `Content-Type` need not even be a media type; where it is none, `request.headers` has no such header.
 */
export function takeBytes (scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
  scope.addHook('onRequest', (request, _reply, done) => {
    // Fastify would refuse it before any parser is asked. It is still among the raw headers.
    if (request.headers['content-type'] !== undefined && request.mediaType === undefined) delete request.raw.headers['content-type']
    done()
  })
}

const none = Buffer.alloc(0)

/** The body; empty where there is none. */
export function bodyBytes (request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : none
}
