import { pipeline, Transform, type Readable, type TransformCallback } from 'node:stream'
import fp from 'fastify-plugin'
import { isCountedByRoute } from '../src/auth/counted-body.js'
import { mayBeLongerThan } from '../src/body-length.js'
import { SluiceError } from '../src/errors.js'

export interface BodyBudgetOptions {
  /** Bytes of all bodies together that are longer than `uncountedBytes`. */
  readonly maxBytes: number
}

/** A body that is known to be no longer than this is not counted: the number of connections bounds them all. */
const uncountedBytes = 16_384

/**
 * Bounds what the bodies of all requests hold together, from their first byte until their answers: many callers that send a part of
 * a long body and stop would fill the memory otherwise. Whose body finds no more room is answered 503; those that came before go on.
 *
 * What counts are the bytes that have come, not those that are announced: a header alone takes nothing away from others.
 */
export default fp<BodyBudgetOptions>(async (app, { maxBytes }) => {
  let held = 0
  app.metrics.onScrape(() => app.metrics.http.bodyBytes.set(held))
  const take = (bytes: number): boolean => {
    if (held + bytes > maxBytes) return false
    held += bytes
    return true
  }

  app.addHook('preParsing', (request, reply, payload, done) => {
    // Streams have limits of their own, and are not gathered.
    if (!mayBeLongerThan(uncountedBytes, request.headers) || isCountedByRoute(request)) { done(null, payload); return }
    const body = new BudgetedBody(take, maxBytes)
    reply.raw.once('close', () => { held -= body.giveBack() })
    // An end that comes too early destroys both.
    pipeline(payload as Readable, body, () => {})
    done(null, body)
  })
}, { name: 'body-budget', dependencies: ['metrics'], fastify: '5.x' })

class BudgetedBody extends Transform {
  readonly #take: (bytes: number) => boolean
  readonly #maxBytes: number
  #held = 0
  #over = false

  constructor (take: (bytes: number) => boolean, maxBytes: number) {
    super()
    this.#take = take
    this.#maxBytes = maxBytes
  }

  /** It takes no more; answers what it had taken. */
  giveBack (): number {
    const held = this.#held
    this.#held = 0
    this.#over = true
    return held
  }

  override _transform (chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    if (this.#over) { done(); return }
    if (!this.#take(chunk.length)) {
      done(new SluiceError('SLUICE_BODIES_FULL', `The bodies of all requests may have ${this.#maxBytes} bytes together, and have. Nothing was produced.`,
        { limit: this.#maxBytes }))
      return
    }
    this.#held += chunk.length
    done(null, chunk)
  }
}
