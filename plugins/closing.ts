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
 * `keepAliveTimeout` (72 s) after their response. The plugins close only after that.
 */
export default fp<ClosingPluginOptions>(async (app, { requestsTimeoutMs }) => {
  let closing = false

  app.addHook('onSend', (_request, reply, payload, done) => {
    // So that the client does not send its next request into a connection that ends.
    if (closing) reply.header('connection', 'close')
    done(null, payload)
  })
  app.addHook('preClose', async () => {
    closing = true
    const { server } = app
    if (!server.listening) return
    const look = setInterval(() => server.closeIdleConnections(), LOOK_INTERVAL_MS)
    const limit = setTimeout(() => {
      app.log.warn({ limitMs: requestsTimeoutMs }, 'requests are still under way: their connections are cut')
      server.closeAllConnections()
    }, requestsTimeoutMs)
    server.once('close', () => {
      clearInterval(look)
      clearTimeout(limit)
    })
  })
}, { name: 'closing', fastify: '5.x' })
