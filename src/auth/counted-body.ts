import { pipeline, Transform, type Readable, type TransformCallback } from 'node:stream'
import type { FastifyRequest, RequestPayload } from 'fastify'
import { mayBeLongerThan } from '../body-length.js'
import { timerMs } from '../timer-ms.js'
import type { Limiter } from './limiter.js'

/**
 * Whether a body is counted piece by piece: nobody knows its length, or it is so long that counting it at once would mean
 * waiting for its debt long after it has come.
 */
export function isCountedAsItComes (request: FastifyRequest, limiter: Limiter): boolean {
  const { method, headers } = request
  if (method === 'GET' || method === 'HEAD') return false
  if (isCountedByRoute(request)) return true
  return mayBeLongerThan(limiter.bytesAtOnce, headers)
}

/** Whether the route counts what it reads by itself. */
export const isCountedByRoute = (request: FastifyRequest): boolean => request.routeOptions.config?.countsBody?.(request) === true

/** The same body, which comes no faster than its sender may send: whoever reads it reads slower, and so does the network. */
export function countBody (payload: RequestPayload, limiter: Limiter): RequestPayload {
  const counted = new CountedBody(limiter)
  // An end that comes too early destroys both.
  pipeline(payload as Readable, counted, () => {})
  return counted
}

class CountedBody extends Transform {
  readonly #limiter: Limiter
  #timer: NodeJS.Timeout | undefined

  constructor (limiter: Limiter) {
    super()
    this.#limiter = limiter
  }

  override _transform (chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let waitMs: number
    try {
      waitMs = this.#limiter.spendAndWait(chunk.length)
    } catch (error) {
      done(error as Error)
      return
    }
    if (waitMs === 0) done(null, chunk)
    else this.#timer = setTimeout(() => done(null, chunk), timerMs(waitMs))
  }

  override _destroy (error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    done(error)
  }
}
