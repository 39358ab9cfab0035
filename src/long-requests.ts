import type { Socket } from 'node:net'

const requests = new WeakMap<object, (error: Error) => void>()

/**
 * Lets the request that this connection brings take as long as it goes on: the server's limit for whole requests (300 s) does not
 * end it, and whoever reads it watches its progress. What is wrong with its bytes is told to `broken`, since its answer has begun.
 */
export function allowLong (socket: Socket, broken: (error: Error) => void): void {
  requests.set(socket, broken)
}

export function endLong (socket: Socket): void {
  requests.delete(socket)
}

/** Whether the error belongs to such a request: then nothing else is to be done about it. */
export function isOfLong (socket: object, error: NodeJS.ErrnoException): boolean {
  const broken = requests.get(socket)
  if (broken === undefined) return false
  if (error.code !== 'ERR_HTTP_REQUEST_TIMEOUT') broken(error)
  return true
}
