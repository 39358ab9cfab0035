import type { Server } from 'node:http'
import type { ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'

export interface ClosingPluginOptions {
  /** How long requests that are under way may take once the process closes. */
  readonly requestsTimeoutMs: number
}

/** A connection that has just become idle ends within this. */
const LOOK_INTERVAL_MS = 50

/**
 * Lets the HTTP server end soon after the last request that was under way.
 *
 * Node.js ends the connections that are idle when the close begins, and then waits for all others, which stay open for
 * `keepAliveTimeout` (72 s) after their response. The plugins close only after that. HTTP/2 sessions are told that nothing
 * new is taken, and end with their last stream.
 */
export default fp<ClosingPluginOptions>(async (app, { requestsTimeoutMs }) => {
  let closing = false
  const server = app.server as Server | Omit<Server, 'closeAllConnections'>
  const sessions = new Set<ServerHttp2Session>()
  const sockets = new Set<Socket>()
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    // It may have begun while the server was closing already.
    if (closing) session.close()
  })
  const canCutAll = 'closeAllConnections' in server
  if (!canCutAll) {
    // Servers for HTTP/2 cannot do it themselves.
    server.on('secureConnection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
  }

  app.addHook('onSend', (request, reply, payload, done) => {
    // So that the client does not send its next request into a connection that ends. HTTP/2 has another way of saying it.
    if (closing && request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
    done(null, payload)
  })
  app.addHook('preClose', async () => {
    closing = true
    if (!server.listening) return
    for (const session of sessions) session.close()
    const look = setInterval(() => server.closeIdleConnections(), LOOK_INTERVAL_MS)
    const limit = setTimeout(() => {
      app.log.warn({ limitMs: requestsTimeoutMs }, 'requests are still under way: their connections are cut')
      if (canCutAll) server.closeAllConnections()
      for (const session of sessions) session.destroy()
      for (const socket of sockets) socket.destroy()
    }, requestsTimeoutMs)
    server.once('close', () => {
      clearInterval(look)
      clearTimeout(limit)
    })
  })
}, { name: 'closing', fastify: '5.x' })
