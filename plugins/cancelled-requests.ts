import type { Http2SecureServer, ServerHttp2Stream } from 'node:http2'
import fp from 'fastify-plugin'

/**
 * For a server that speaks HTTP/2: lets go of requests that their senders cancel.
 *
 * 1. A body is read through another stream (it is counted, or hashed). 2. Its sender cancels the request, which ends both. 3. Nobody
 * reads the request any longer, and Node.js waits for that before it closes the HTTP/2 stream: it would be there as long as its
 * connection, and the close of the process would wait for it.
 */
export default fp(async app => {
  const server = app.server as unknown as Http2SecureServer
  server.on('stream', (stream: ServerHttp2Stream) => {
    // Nobody is there for an answer. Whoever listens for it to be aborted comes first.
    stream.once('aborted', () => { setImmediate(() => { stream.destroy() }) })
  })
}, { name: 'cancelled-requests', fastify: '5.x' })
