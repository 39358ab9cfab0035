import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import { announcedLength, mayBeLongerThan } from '../src/body-length.js'
import { lingeringClose } from '../src/lingering-close.js'
import { isNdjson } from '../src/ndjson-body.js'

/** What Node.js may read and throw away so that the connection can be kept; beyond that it is closed. */
const thrownAwayBytes = 65_536

/**
 * What happens to bodies that nobody reads, since the request was answered before.
 *
 * - `Expect: 100-continue`: the client is told to go on when its body is about to be read, and not before. Refused by then (who it
 *   is, what it asks for, how long its body is), it sends none. Node.js would tell it at once.
 * - Where the rest of a body is long, or of unknown length, the connection is closed in such a way that the client gets its answer
 *   though it is still sending.
 */
export default fp(async app => {
  const server = app.server as Server
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => { server.emit('request', request, response) })

  app.addHook('preParsing', (request, reply, payload, done) => {
    // A body that is announced as too long is refused by Fastify, which does not read it either.
    const fits = () => announcedLength(request.headers) <= request.routeOptions.bodyLimit || isNdjson(request)
    if (request.headers.expect !== undefined && !request.is404 && fits()) {
      reply.raw.writeContinue()
    }
    done(null, payload)
  })
  app.addHook('onSend', (request, reply, payload, done) => {
    const { raw } = request
    if (reply.statusCode >= 400 && raw.httpVersionMajor === 1 && !raw.complete && mayBeLongerThan(thrownAwayBytes, raw.headers)) {
      reply.header('connection', 'close')
      closeGently(raw)
    }
    done(null, payload)
  })
}, { name: 'unread-bodies', fastify: '5.x' })

/** Node.js ends the connection when the answer has gone out, by this method of its socket; this one does not take the answer back. */
function closeGently (raw: IncomingMessage): void {
  const socket: Socket | undefined = raw.socket
  if (typeof socket?.destroySoon === 'function') socket.destroySoon = () => { lingeringClose(raw) }
}
