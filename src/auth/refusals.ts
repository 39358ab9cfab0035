import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { remoteAddress } from '../remote-address.js'
import { TokenBucket } from './token-bucket.js'

/** Why a caller was turned away, as a metric's label. */
export const refusalReasons = [
  'missing', 'malformed', 'unknown-key', 'unknown-certificate', 'bad-token', 'keys-unavailable', 'too-many-wrong-keys', 'right', 'limit', 'host', 'origin', 'signature'
] as const

export type RefusalReason = typeof refusalReasons[number]

/** Refusals of one kind that are logged at once, and how many more each second; callers decide how many there are. */
const linesAtOnce = 10
const linesPerSecond = 0.2

/** Counts and logs who was turned away, without what they brought. */
export class Refusals {
  readonly #count: (reason: RefusalReason) => void
  readonly #lines = new Map<RefusalReason, { budget: TokenBucket, silent: number }>()

  constructor (count: (reason: RefusalReason) => void) { this.#count = count }

  add (request: FastifyRequest, reason: RefusalReason, detail: string): void {
    this.#count(reason)
    const now = performance.now()
    let line = this.#lines.get(reason)
    if (line === undefined) this.#lines.set(reason, line = { budget: new TokenBucket(linesPerSecond, linesAtOnce, now), silent: 0 })
    if (line.budget.waitMs(now) > 0) {
      line.silent++
      return
    }
    line.budget.spend(1)
    const fields = {
      reason,
      detail,
      principal: request.principal?.name,
      address: remoteAddress(request),
      method: request.method,
      route: request.routeOptions.url ?? null,
      ...(line.silent > 0 && { unreported: line.silent })
    }
    line.silent = 0
    log(request.log, reason)(fields, 'a caller was refused')
  }
}

/** What may be an attack, or a mistake that somebody has to mend, is a warning. */
function log (logger: FastifyBaseLogger, reason: RefusalReason): (fields: object, msg: string) => void {
  const isOrdinary = reason === 'missing' || reason === 'limit' || reason === 'host' || reason === 'origin'
  return isOrdinary ? (fields, msg) => logger.info(fields, msg) : (fields, msg) => logger.warn(fields, msg)
}
