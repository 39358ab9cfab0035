import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { errorTable, SluiceError, type ErrorCode } from '../errors.js'
import { jsonBytes } from './json-answer.js'
import { anyV2Type, acceptsV2, v2Type } from './media-types.js'

/** Whose form an error takes: that of Confluent's REST Proxy, API v2 or v3. */
export type Dialect = 'v2' | 'v3'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** This route speaks as Confluent's REST Proxy does, in its errors as well. */
    confluent?: Dialect
  }
}

/** The HTTP status, and the proxy's own code: its status times a hundred and something, or the status itself. */
type Meaning = readonly [status: number, errorCode: number]

const retriable = 50003
const denied: Meaning = [403, 40301]
const unavailable: Meaning = [503, retriable]

/** What differs from "the same status, and the status as the code". Confluent's codes: "API Reference for Confluent REST Proxy". */
const meanings: Readonly<Record<Dialect, Partial<Record<ErrorCode, Meaning>>>> = {
  v2: {
    SLUICE_INVALID_TOPIC_NAME: [404, 40401],
    SLUICE_UNKNOWN_TOPIC: [404, 40401],
    SLUICE_UNKNOWN_PARTITION: [404, 40402],
    SLUICE_RECORD_REJECTED: [422, 50002]
  },
  v3: {
    SLUICE_INVALID_TOPIC_NAME: [400, 40002],
    SLUICE_UNKNOWN_TOPIC: [404, 40403],
    SLUICE_UNKNOWN_PARTITION: [404, 40403],
    SLUICE_RECORD_REJECTED: [400, 40002],
    SLUICE_BATCH_TOO_LARGE: [422, 42208]
  }
}

const shared: Partial<Record<ErrorCode, Meaning>> = {
  SLUICE_UNAUTHENTICATED: [401, 40101],
  SLUICE_FORBIDDEN: denied,
  SLUICE_TOPIC_NOT_ALLOWED: denied,
  SLUICE_NOT_AUTHORIZED: denied,
  SLUICE_NO_SCHEMA_REGISTRY: [422, 42206],
  SLUICE_EMPTY_BODY: [422, 42206],
  SLUICE_INVALID_BATCH: [422, 42208],
  SLUICE_BODIES_FULL: unavailable,
  SLUICE_IDEMPOTENCY_FULL: unavailable,
  SLUICE_QUEUE_FULL: unavailable,
  SLUICE_BROKER_UNAVAILABLE: unavailable,
  SLUICE_NOT_PRODUCED: unavailable,
  SLUICE_CLOSING: unavailable,
  // The proxy counts a time limit among what may be tried again; whether the record was written is as open there.
  SLUICE_DELIVERY_UNKNOWN: [504, retriable]
}

function meaningOf (dialect: Dialect, code: ErrorCode, status: number, inBody: boolean): Meaning {
  // v2 answers what is wrong in a body that is JSON with 422, v3 with 400.
  if (code === 'SLUICE_INVALID_REQUEST' && inBody && dialect === 'v2') return [422, 422]
  return meanings[dialect][code] ?? shared[code] ?? [status, status]
}

export interface ConfluentError { readonly error_code: number, readonly message: string }

/** An error as v3 puts it in the place of a record's receipt, and both put it in a body. */
export function confluentError (dialect: Dialect, error: SluiceError): ConfluentError & { readonly status: number } {
  const [status, code] = meaningOf(dialect, error.code, error.statusCode, error.details.pointer !== undefined)
  return { status, error_code: code, message: error.message }
}

/** The code of a failed entry in v2's answer: these four, whatever the reason. */
export function entryErrorCode (error: SluiceError): 40101 | 40301 | 50002 | 50003 {
  switch (confluentError('v2', error).error_code) {
    case 40101: return 40101
    case 40301: return 40301
    case retriable: return retriable
    default: return 50002
  }
}

const v3Path = /^\/(?:kafka\/)?v3(?:\/|\?|$)/
const v2Path = /^\/(?:topics|consumers|brokers)(?:\/|\?|$)/

/**
 * Whose form the errors of a request take, or `null` for Sluice's own. By the route where there is one; else, for what is not found
 * or malformed, by the path, which v2 shares with Sluice: there the media types tell.
 */
export function dialectOf (request: FastifyRequest): Dialect | null {
  const route = request.routeOptions?.config?.confluent
  if (route !== undefined) return route
  const url = request.raw.url ?? ''
  if (v3Path.test(url)) return 'v3'
  if (v2Path.test(url) && (acceptsV2(request) || anyV2Type.test(request.headers['content-type'] ?? ''))) return 'v2'
  return null
}

/** Sends an error in Confluent's form, with the headers that belong to it. */
export function sendConfluentError (reply: FastifyReply, request: FastifyRequest, error: SluiceError, dialect: Dialect): void {
  const { status, ...body } = confluentError(dialect, error)
  reply.code(status)
    .header('content-type', dialect === 'v2' ? v2Type : 'application/json')
    .header('cache-control', 'no-store')
    .header('x-request-id', request.id)
  const { allow } = error.details
  if (allow !== undefined) reply.header('allow', allow.join(', '))
  const retryAfter = error.retryAfterSeconds
  if (retryAfter !== undefined) reply.header('retry-after', String(retryAfter))
  reply.send(jsonBytes(body))
}

export const confluentErrorSchema = Type.Object({
  error_code: Type.Integer({ description: 'The HTTP status, or that times a hundred and something.' }),
  message: Type.String()
}, { title: 'ConfluentError' })

interface Response { description: string, content: Record<string, { schema: unknown, examples: Record<string, unknown> }> }

/** The `response` part of a route's schema for the errors that it may answer with, one entry a status. */
export function confluentResponses (dialect: Dialect, ...codes: readonly ErrorCode[]): Record<number, Response> {
  const responses: Record<number, Response> = {}
  const type = dialect === 'v2' ? v2Type : 'application/json'
  for (const code of new Set(codes)) {
    const { title } = errorTable[code]
    // What concerns the request itself and what concerns its body may differ.
    for (const inBody of code === 'SLUICE_INVALID_REQUEST' ? [false, true] : [false]) {
      const [status, errorCode] = meaningOf(dialect, code, errorTable[code].status, inBody)
      const response = responses[status] ??= { description: '', content: { [type]: { schema: confluentErrorSchema, examples: {} } } }
      const line = `${errorCode}: ${title}.`
      if (!response.description.includes(line)) response.description += (response.description === '' ? '' : ' · ') + line
      const content = response.content[type]
      if (content !== undefined) content.examples[code] = { value: { error_code: errorCode, message: `${title}.` } }
    }
  }
  return responses
}
