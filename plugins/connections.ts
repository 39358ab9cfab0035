import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import { BoundedLog } from '../src/bounded-log.js'

export interface ConnectionsPluginOptions {
  /** Connections at once. */
  readonly max: number
}

/**
 * Bounds how many clients are connected at once, and with that what bodies that have not come to their end can take.
 *
 * A connection beyond the limit is closed without an answer: to say anything over HTTP it would have to be accepted. Those
 * that are there are not touched.
 */
export default fp<ConnectionsPluginOptions>(async (app, { max }) => {
  const { connections, connectionsRefused } = app.metrics.http
  const log = new BoundedLog()
  app.server.maxConnections = max
  app.server.on('drop', () => {
    connectionsRefused.inc()
    log.line(unsaid => app.log.warn({ max, unsaid }, 'a connection was refused: there are as many as MAX_CONNECTIONS allows'))
  })
  let connected = 0
  app.server.on('connection', (socket: Socket) => {
    connected++
    socket.once('close', () => { connected-- })
  })
  app.metrics.onScrape(() => connections.set(connected))
}, { name: 'connections', dependencies: ['metrics'], fastify: '5.x' })
