import type { FastifyRequest } from 'fastify'
import type { Principal } from './access.js'
import { bodyBytes } from './raw-body.js'
import { SluiceError } from './errors.js'
import { remoteAddress } from './remote-address.js'
import { checkTopicName } from './produce.js'
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

interface TopicRequest { Params: { topic: string } }

/**
 * The `preHandler` of a route with the topic in its path that takes signed webhooks: before anything else is said of the request,
 * since without a signature it need not be known who asks.
 */
export function signedOnly (signatures: WebhookSignatures): (request: FastifyRequest<TopicRequest>) => Promise<void> {
  return async request => {
    checkTopicName(request.params.topic)
    checkSignature(request, signatures)
  }
}

/**
 * Returns if the topic of this request's path asks for no signature, or the request has a good one. Refusals are counted and logged.
 *
 * @throws {SluiceError} SLUICE_SIGNATURE_INVALID; SLUICE_RATE_LIMITED where too many bad ones came from its network
 */
function checkSignature (request: FastifyRequest<TopicRequest>, signatures: WebhookSignatures): void {
  const { topic } = request.params
  if (!signatures.requires(topic)) return
  const refuse = (error: SluiceError): never => {
    request.server.access.refused(request as FastifyRequest, 'signature', error.message)
    throw error
  }
  let waitMs: number
  try {
    signatures.verify(topic, request.headers, bodyBytes(request as FastifyRequest))
    waitMs = signatures.guesses.right(topic, remoteAddress(request))
  } catch (error) {
    waitMs = signatures.guesses.wrong(remoteAddress(request))
    if (waitMs === 0) refuse(error as SluiceError)
  }
  if (waitMs > 0) refuse(tooManyBadSignatures(waitMs))
}

function tooManyBadSignatures (waitMs: number): SluiceError {
  return new SluiceError('SLUICE_RATE_LIMITED', 'Too many bad signatures came from this network.', { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) })
}
