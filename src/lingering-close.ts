import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'

/** How long a client may go on sending what nobody wants. */
const lingerMs = 2_000

/**
 * Ends the connection of a request that is answered and not read to its end, so that the client still gets the answer: says that
 * no more will come, and throws away what does come, for a while. Closing at once would make the system answer what the client
 * is still sending with a reset, and a reset takes the answer from it.
 */
export function lingeringClose (request: IncomingMessage): void {
  const { socket } = request
  // `inject` has none.
  if (!(socket instanceof Socket) || socket.destroyed) return
  const timer = setTimeout(() => { socket.destroy() }, lingerMs)
  socket.once('close', () => { clearTimeout(timer) })
  socket.once('end', () => { socket.destroy() })
  socket.end()
  // While somebody listens for it to be readable, or it is piped into what nobody reads, it does not flow.
  request.removeAllListeners('readable')
  request.unpipe()
  // Taking the last of those listeners away stops it, a turn later, unless somebody listens for data.
  request.on('data', () => {})
  request.resume()
  socket.resume()
}
