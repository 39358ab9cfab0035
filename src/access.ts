import type { FastifyRequest } from 'fastify'
import type { RefusalReason } from './auth/refusals.js'
import { SluiceError, type ErrorCode } from './errors.js'

/** What a route asks of its caller: to write records, to read what there is, to run the gateway. */
export type Right = 'produce' | 'read' | 'operate'

/** Who calls, and what it may do. */
export interface Principal {
  /** From the configuration or a verified token: fit for logs, and as a metric's label where the configuration bounds it. */
  readonly name: string
  /** Whether it may do this to this topic; without one, whether there is anything that it may do this to. */
  may (right: Right, topic?: string): boolean
  /** Absent: it has none. */
  readonly limits?: Limits
}

/** A caller's limits, for routes with `countsBody`; what others read was counted already. */
export interface Limits {
  /**
   * Counts bytes that have come.
   *
   * @throws {SluiceError} SLUICE_RATE_LIMITED where the caller has used up what it may send
   */
  spend (bytes: number): void
  /**
   * Counts bytes that have come, and says how many milliseconds to wait before the next are read. 0: none.
   *
   * @throws {SluiceError} SLUICE_RATE_LIMITED where the limit of the day is used up
   */
  spendAndWait (bytes: number): number
  /** Counts records of a request beyond its first, which was counted with it. They may pass the limit; then the next request waits. */
  countRecords (records: number): void
  /**
   * Counts records of a stream, and says how many milliseconds to wait before they are handed over. 0: none.
   *
   * @throws {SluiceError} SLUICE_RATE_LIMITED where the limit of the day is used up; then nothing is counted
   */
  spendRecordsAndWait (records: number): number
  /** How many records of a stream may be handed over at once, 1 at least. */
  readonly recordsAtOnce: number
}

const unlimited: Limits = {
  spend: () => {}, spendAndWait: () => 0, countRecords: () => {}, spendRecordsAndWait: () => 0, recordsAtOnce: Infinity
}

/** The limits of whoever sent a request. */
export const limitsOf = ({ principal }: FastifyRequest): Limits => principal.limits ?? unlimited

/** Counts the records that came in one request for its caller's limits. */
export function countRecords (request: FastifyRequest, records: readonly unknown[]): void {
  if (records.length > 1) limitsOf(request).countRecords(records.length - 1)
}

/** Whoever calls while nobody has to say who it is. */
export const anyone: Principal = { name: 'anyone', may: () => true }

/** Whoever calls a route that is open to all, and has not said who it is. */
export const nobody: Principal = { name: 'nobody', may: () => false }

/** What others need to know of who may do what. */
export interface Access {
  /** What is wrong, in sentences for an operator; nothing of it keeps the gateway from working. */
  readonly problems: readonly string[]
  /** Counts and logs that a caller was turned away. */
  refused (request: FastifyRequest, reason: RefusalReason, detail: string): void
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Known from the first hook on, also where the route is public. */
    principal: Principal
    readonly limits: Limits
  }
  interface FastifyContextConfig {
    /** What a caller needs for this route; with a parameter `topic` in its path, for that topic. Every route that is not public has one. */
    right?: Right
    /**
     * The route checks the signature of a webhook, before it produces anything. Where a topic's signature stands in for an API key,
     * a request without credentials is let through to it.
     */
    signed?: boolean
    /** Whether the route counts the body of a request by itself as it reads it, with `limitsOf`; all others are counted before it. */
    countsBody?: (request: FastifyRequest) => boolean
    /** Open to all because the configuration says so (AUTH_PUBLIC). */
    opened?: boolean
  }
}

/** What any route that asks for a right may answer before it is reached. */
export const accessErrors = [
  'SLUICE_UNAUTHENTICATED', 'SLUICE_FORBIDDEN', 'SLUICE_FORBIDDEN_HOST', 'SLUICE_FORBIDDEN_ORIGIN', 'SLUICE_RATE_LIMITED', 'SLUICE_AUTH_UNAVAILABLE',
  'SLUICE_CLOSING', 'SLUICE_INTERNAL'
] as const satisfies readonly ErrorCode[]

/**
 * For topics that the path does not name: those in a body, or of the configuration.
 *
 * @throws {SluiceError} SLUICE_FORBIDDEN
 */
export function demand (request: FastifyRequest, right: Right, topic?: string): void {
  if (request.principal.may(right, topic)) return
  const error = forbidden(right, topic)
  request.server.access.refused(request, 'right', error.message)
  throw error
}

export function forbidden (right: Right, topic?: string): SluiceError {
  return new SluiceError('SLUICE_FORBIDDEN', `This caller has no right to ${right}${topic === undefined ? '' : ` with the topic ${topic}`}.`)
}
