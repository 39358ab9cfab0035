import { createError } from '@fastify/error'
import { Type, type Static } from 'typebox'

interface ErrorKind {
  readonly status: number
  readonly title: string
  /** Where the caller may try again: after how long that is worth while, unless the error knows better. */
  readonly retryAfterSeconds?: number
}

/**
 * Every error a caller can meet. The code and its status are API; the sentences are not.
 *
 * 503 is only for what was not produced and will not be. What was handed to Kafka's client and got no answer in time is 504.
 */
export const errorTable = {
  SLUICE_INVALID_REQUEST: { status: 400, title: 'The request is not valid' },
  SLUICE_MALFORMED_JSON: { status: 400, title: 'The body is not JSON' },
  SLUICE_MALFORMED_HTTP: { status: 400, title: 'The request is not HTTP' },
  SLUICE_BAD_URL: { status: 400, title: 'The URL is malformed' },
  SLUICE_INVALID_TOPIC_NAME: { status: 400, title: 'This cannot be the name of a topic' },
  SLUICE_OFFSET_OUT_OF_RANGE: { status: 400, title: 'The partition has no such offset' },
  SLUICE_UNKNOWN_PARTITION: { status: 400, title: 'The topic has no such partition' },
  SLUICE_RECORD_REJECTED: { status: 400, title: 'Kafka refused the record' },
  SLUICE_NO_PRODUCE_TOPIC: { status: 404, title: 'No topic is configured for this route' },
  SLUICE_UNAUTHENTICATED: { status: 401, title: 'The caller must say who it is' },
  SLUICE_FORBIDDEN: { status: 403, title: 'The caller may not do this' },
  SLUICE_SIGNATURE_INVALID: { status: 403, title: 'The signature is missing or wrong' },
  SLUICE_FORBIDDEN_HOST: { status: 403, title: 'This Host is not allowed' },
  SLUICE_FORBIDDEN_ORIGIN: { status: 403, title: 'This Origin is not allowed' },
  SLUICE_TOPIC_NOT_ALLOWED: { status: 403, title: 'This topic is reserved' },
  SLUICE_NOT_AUTHORIZED: { status: 403, title: 'Kafka does not allow this' },
  SLUICE_NO_CONSUMER: { status: 404, title: 'This process does not consume' },
  SLUICE_UNKNOWN_CONSUMER: { status: 404, title: 'There is no such consumer' },
  SLUICE_NOT_FOUND: { status: 404, title: 'There is nothing here' },
  SLUICE_UNKNOWN_TOPIC: { status: 404, title: 'The topic does not exist' },
  SLUICE_METHOD_NOT_ALLOWED: { status: 405, title: 'The method is not allowed here' },
  SLUICE_REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive in time' },
  SLUICE_IDEMPOTENCY_KEY_IN_FLIGHT: { status: 409, title: 'A request with this key is under way', retryAfterSeconds: 1 },
  SLUICE_SEVERAL_CONSUMERS: { status: 409, title: 'This process has several consumers' },
  SLUICE_BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  SLUICE_RECORD_TOO_LARGE: { status: 413, title: 'The record is too large' },
  SLUICE_BATCH_TOO_LARGE: { status: 413, title: 'The batch is too large' },
  SLUICE_URI_TOO_LONG: { status: 414, title: 'The URL is too long' },
  SLUICE_UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The media type is not supported' },
  SLUICE_NO_SCHEMA_REGISTRY: { status: 422, title: 'No schema registry is configured' },
  SLUICE_EMPTY_BODY: { status: 422, title: 'There is no record in the body' },
  SLUICE_INVALID_BATCH: { status: 422, title: 'The batch as a whole cannot be taken' },
  SLUICE_IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The key was used for another request' },
  SLUICE_RATE_LIMITED: { status: 429, title: 'The caller\'s limit is reached', retryAfterSeconds: 1 },
  SLUICE_HEADERS_TOO_LARGE: { status: 431, title: 'The request headers are too large' },
  SLUICE_INTERNAL: { status: 500, title: 'Something went wrong in the gateway' },
  SLUICE_READ_BUSY: { status: 503, title: 'Too many reads are under way', retryAfterSeconds: 1 },
  SLUICE_BODIES_FULL: { status: 503, title: 'The bodies of all requests are too large', retryAfterSeconds: 5 },
  SLUICE_QUEUE_FULL: { status: 503, title: 'The queue is full', retryAfterSeconds: 1 },
  SLUICE_IDEMPOTENCY_FULL: { status: 503, title: 'No more keys can be remembered', retryAfterSeconds: 5 },
  SLUICE_TOO_MANY_STREAMS: { status: 503, title: 'Too many streams are under way', retryAfterSeconds: 5 },
  SLUICE_STREAM_STALLED: { status: 408, title: 'The stream made no progress' },
  SLUICE_BROKER_UNAVAILABLE: { status: 503, title: 'Kafka cannot be reached', retryAfterSeconds: 2 },
  SLUICE_NOT_PRODUCED: { status: 503, title: 'The record was not produced', retryAfterSeconds: 1 },
  SLUICE_AUTH_UNAVAILABLE: { status: 503, title: 'Tokens cannot be verified', retryAfterSeconds: 5 },
  SLUICE_CLOSING: { status: 503, title: 'The gateway is closing', retryAfterSeconds: 5 },
  SLUICE_DELIVERY_UNKNOWN: { status: 504, title: 'Kafka did not answer in time' },
  SLUICE_TRANSACTION_UNKNOWN: { status: 504, title: 'Kafka did not acknowledge the commit in time' }
} as const satisfies Record<`SLUICE_${string}`, ErrorKind>

export type ErrorCode = keyof typeof errorTable

/** What an error says beside its code and its sentence. */
export interface ErrorDetails {
  /** A JSON Pointer, as a URI fragment, to what is wrong in the body. */
  readonly pointer?: string
  /** The limit that was passed, in the unit that `detail` names. */
  readonly limit?: number
  /** What `Allow` answers. */
  readonly allow?: readonly string[]
  /** For 429 and 503, where the table's own value is not the truth. */
  readonly retryAfterSeconds?: number
  /** For an answer of a plugin that Sluice does not know by its code. */
  readonly status?: number
  readonly cause?: unknown
}

// These answers are expected, and under overload there are many: they take no stack.
const StacklessError = createError<string, number>('SLUICE_ERROR', '%s', 500, Error, false)

/** An error that is meant for the caller: `message` goes into the answer, so it holds no internals and no secret. */
export class SluiceError extends StacklessError {
  declare readonly code: ErrorCode
  declare readonly statusCode: number
  readonly details: ErrorDetails

  constructor (code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message)
    this.code = code
    this.name = 'SluiceError'
    this.statusCode = details.status ?? errorTable[code].status
    this.details = details
    if (details.cause !== undefined) this.cause = details.cause
  }

  /** Seconds for `Retry-After`, or undefined where trying again is no use or not known to be safe. */
  get retryAfterSeconds (): number | undefined {
    const kind: ErrorKind = errorTable[this.code]
    return this.details.retryAfterSeconds ?? kind.retryAfterSeconds
  }
}

/** RFC 9457. */
export const problemSchema = Type.Object({
  type: Type.String({ description: 'A URI for this kind of problem.' }),
  title: Type.String({ description: 'The same for every problem of this type.' }),
  status: Type.Integer({ description: 'The HTTP status.' }),
  detail: Type.String({ description: 'What is wrong this time, and what to change.' }),
  code: Type.String({ description: 'The same as `type`, as a word that programs can compare.' }),
  pointer: Type.Optional(Type.String({ description: 'Where in the body: a JSON Pointer as a URI fragment.' })),
  limit: Type.Optional(Type.Integer({ description: 'The limit that was passed.' }))
}, { $id: 'Problem', title: 'Problem', description: 'RFC 9457 `application/problem+json`.' })

export type Problem = Static<typeof problemSchema>

const problemType = (code: ErrorCode): string => 'urn:sluice:problem:' + code.slice('SLUICE_'.length).toLowerCase().replaceAll('_', '-')

export function toProblem (error: SluiceError): Problem {
  const { pointer, limit } = error.details
  return {
    type: problemType(error.code),
    title: errorTable[error.code].title,
    status: error.statusCode,
    detail: error.message,
    code: error.code,
    ...(pointer === undefined ? null : { pointer }),
    ...(limit === undefined ? null : { limit })
  }
}

/** What a caller learns of an unexpected error: nothing of the inside. */
export function internalError (cause: unknown): SluiceError {
  return new SluiceError('SLUICE_INTERNAL', 'An unexpected error; the log has the details.', { cause })
}

interface ProblemResponse {
  description: string
  content: { 'application/problem+json': { schema: unknown, examples: Record<string, unknown> } }
}

/** The `response` part of a route's schema for the errors it may answer with, one entry a status. */
export function problemResponses (...codes: readonly ErrorCode[]): Record<number, ProblemResponse> {
  const responses: Record<number, ProblemResponse> = {}
  for (const code of codes) {
    const { status, title } = errorTable[code]
    const response = responses[status] ??= {
      description: '',
      content: { 'application/problem+json': { schema: { $ref: 'Problem#' }, examples: {} } }
    }
    response.description += (response.description === '' ? '' : ' · ') + `${code}: ${title}.`
    response.content['application/problem+json'].examples[code] = {
      value: { type: problemType(code), title, status, detail: `${title}.`, code }
    }
  }
  return responses
}
