import type { FastifyRequest } from 'fastify'
import { SluiceError, type ErrorCode } from './errors.js'

/** What a route asks of its caller: to write records, to read what there is, to run the gateway. */
export type Right = 'produce' | 'read' | 'operate'

/** Who calls, and what it may do. */
export interface Principal {
  /** From the configuration or a verified token: fit for logs, and as a metric's label where the configuration bounds it. */
  readonly name: string
  /** Whether it may do this to this topic; without one, whether there is anything that it may do this to. */
  may (right: Right, topic?: string): boolean
}

/** Whoever calls while nobody has to say who it is. */
export const anyone: Principal = { name: 'anyone', may: () => true }

declare module 'fastify' {
  interface FastifyRequest {
    /** Known from the first hook on, also where the route is public. */
    principal: Principal
  }
  interface FastifyContextConfig {
    /** What a caller needs for this route; with a parameter `topic` in its path, for that topic. Every route that is not public has one. */
    right?: Right
  }
}

/** What any route that asks for a right may answer before it is reached. */
export const accessErrors = [
  'SLUICE_UNAUTHENTICATED', 'SLUICE_FORBIDDEN', 'SLUICE_FORBIDDEN_HOST', 'SLUICE_FORBIDDEN_ORIGIN', 'SLUICE_RATE_LIMITED', 'SLUICE_CLOSING',
  'SLUICE_INTERNAL'
] as const satisfies readonly ErrorCode[]

/**
 * For topics that the path does not name: those in a body, or of the configuration.
 *
 * @throws {SluiceError} SLUICE_FORBIDDEN
 */
export function demand ({ principal }: FastifyRequest, right: Right, topic?: string): void {
  if (!principal.may(right, topic)) throw forbidden(right, topic)
}

export function forbidden (right: Right, topic?: string): SluiceError {
  return new SluiceError('SLUICE_FORBIDDEN', `This caller has no right to ${right}${topic === undefined ? '' : ` with the topic ${topic}`}.`)
}
