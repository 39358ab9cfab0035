import type { FastifyRequest } from 'fastify'

/** Whether `Prefer` (RFC 7240) asks not to wait. Other preferences, and what cannot be read, are passed over, as it says there. */
export function prefersAsync ({ headers }: FastifyRequest): boolean {
  const { prefer } = headers
  if (prefer === undefined) return false
  // Repeated headers are joined with commas by then.
  const unquoted = String(prefer).replace(/"[^"]*"/g, '')
  return unquoted.split(',').some(preference => preference.split(/[;=]/, 1)[0]!.trim().toLowerCase() === 'respond-async')
}
