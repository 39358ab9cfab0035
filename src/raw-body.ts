import type { FastifyInstance, FastifyRequest } from 'fastify'

/** Makes the routes of this scope take any body, of any type or none, as the bytes that it is: read it with `bodyBytes`. */
export function takeBytes (scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
}

const none = Buffer.alloc(0)

/** The body; empty where there is none. */
export function bodyBytes (request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : none
}
