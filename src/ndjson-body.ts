import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { essenceOf } from './media-types.js'

export const ndjsonType = 'application/x-ndjson'

/** Makes the routes of this scope take lines of JSON as well, unread and of any length: `request.body` is the stream. */
export function takeNdjson (scope: FastifyInstance): void {
  scope.addContentTypeParser(ndjsonType, (_request, payload, done) => { done(null, payload) })
}

export function isNdjson ({ headers }: FastifyRequest): boolean {
  return essenceOf(headers['content-type']) === ndjsonType
}

export const ndjsonBody = (request: FastifyRequest): Readable => request.body as Readable
