import type { FastifyRequest } from 'fastify'
import type { Principal } from './access.js'
import { bodyBytes } from './raw-body.js'
import type { WebhookSignatures } from './webhook-signature.js'

/** Whoever is to prove by a signature that it may produce. The route sees to that once the body is there. */
export const signer: Principal = { name: 'webhook', may: () => false }

/**
 * Whoever calls while nobody has to say who it is: what takes signed webhooks only is closed to the routes that check no signature,
 * or the signature would keep nobody out.
 */
export function anyoneUnsigned (signatures: WebhookSignatures): Principal {
  return { name: 'anyone', may: (right, topic) => right !== 'produce' || topic === undefined || !signatures.requires(topic) }
}

/**
 * Returns if the topic of this request's path asks for no signature, or the request has a good one; to be called once the body is
 * there, and before anything else is said of the request. Refusals are counted and logged.
 *
 * @throws {SluiceError} SLUICE_SIGNATURE_INVALID
 */
export function checkSignature (request: FastifyRequest<{ Params: { topic: string } }>, signatures: WebhookSignatures): void {
  try {
    signatures.verify(request.params.topic, request.headers, bodyBytes(request as FastifyRequest))
  } catch (error) {
    request.server.access.refused(request as FastifyRequest, 'signature', (error as Error).message)
    throw error
  }
}
