import { randomUUID } from 'node:crypto'
import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { LogController, type FastifyError, type FastifyHttpOptions, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { HttpConfig } from './config.js'
import { dialectOf, sendConfluentError } from './confluent/errors.js'
import { internalError, SluiceError, toProblem } from './errors.js'
import { isOfLong } from './long-requests.js'
import { problemJsonType } from './media-types.js'
import { childLoggerFactory } from './request-log.js'

/** How long a client may take over its request headers. */
const headersTimeoutMs = 15_000
/** How long a client may take over a whole request. */
const requestTimeoutMs = 300_000
/** A topic's name has at most 249 characters, each of which may arrive percent-encoded as three. */
const maxParamLength = 1024

/** What the server is made with: `Fastify({ ...serverOptions(config.http), logger })`. */
export function serverOptions (
  { bodyLimitBytes, trustedProxies = [] }: Pick<HttpConfig, 'bodyLimitBytes'> & Partial<Pick<HttpConfig, 'trustedProxies'>>
) {
  return {
    // Of what it changes only the address is used: see `remoteAddress`. Without any, no header is looked at.
    trustProxy: trustedProxies.length > 0 && [...trustedProxies],
    bodyLimit: bodyLimitBytes,
    // Nothing that a caller sends is coerced, defaulted or dropped.
    ajv: { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false, allErrors: false } },
    // `__proto__` inside a value is data; parsed objects are never merged into others.
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
    routerOptions: { maxParamLength },
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestId,
    childLoggerFactory,
    // The errors plugin answers what arrives while closing, as a problem.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: requestTimeoutMs,
    // A missing Host is answered by the errors plugin: Node's own answer has no body.
    http: { headersTimeout: headersTimeoutMs, requireHostHeader: false },
    clientErrorHandler: answerMalformedHttp,
    frameworkErrors: answerFrameworkError
  } satisfies FastifyHttpOptions<Server>
}

/** Tells the requests of this process from those of others, and of its earlier lives; the number behind it does the rest. */
const processId = randomUUID().slice(0, 8)
let requests = 0

const acceptableRequestId = /^[\w.:/+=-]{1,128}$/

/** The caller's own `X-Request-Id` where it is fit for a log line, else a new one. */
function requestId (request: { headers: IncomingMessage['headers'] }): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && acceptableRequestId.test(given) ? given : `${processId}-${(++requests).toString(36)}`
}

/** Errors that come up before there is a route: a bad URL, a parameter that is too long. */
function answerFrameworkError (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  sendProblem(reply, request, fromRouter(error))
}

/** Sends an error as a problem (to Confluent's clients: in their form), with the headers that belong to it. */
export function sendProblem (reply: FastifyReply, request: FastifyRequest, error: SluiceError): void {
  const dialect = dialectOf(request)
  if (dialect !== null) {
    sendConfluentError(reply, request, error, dialect)
    return
  }
  const { allow } = error.details
  reply.code(error.statusCode)
    .header('content-type', problemJsonType)
    .header('cache-control', 'no-store')
    .header('x-request-id', request.id)
  if (allow !== undefined) reply.header('allow', allow.join(', '))
  const retryAfter = error.retryAfterSeconds
  if (retryAfter !== undefined) reply.header('retry-after', String(retryAfter))
  // A string goes out as it is: no response schema gets to drop a member.
  reply.send(JSON.stringify(toProblem(error)))
}

/** The router's errors, as Sluice's own. */
export function fromRouter (error: FastifyError): SluiceError {
  if (error.code === 'FST_ERR_MAX_PARAM_LENGTH') {
    return new SluiceError('SLUICE_URI_TOO_LONG', `A part of the path is longer than ${maxParamLength} characters.`, { limit: maxParamLength })
  }
  if (error.code === 'FST_ERR_BAD_URL') {
    return new SluiceError('SLUICE_BAD_URL', 'The path holds a percent sign that is not followed by the two digits of a UTF-8 byte.')
  }
  return internalError(error)
}

/** Answers what is not HTTP, or came too slowly, and closes the connection: there is no request to reply to. */
function answerMalformedHttp (this: FastifyInstance, error: NodeJS.ErrnoException, socket: Socket): void {
  if (isOfLong(socket, error) || error.code === 'ECONNRESET' || socket.destroyed) return
  this.log.debug({ err: error }, 'a client sent what is not HTTP')
  if (socket.writable) {
    const problem = toProblem(malformedHttp(error.code))
    const body = JSON.stringify(problem)
    socket.write(
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\nContent-Type: ${problemJsonType}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`)
  }
  socket.destroySoon()
}

function malformedHttp (code: string | undefined): SluiceError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new SluiceError('SLUICE_HEADERS_TOO_LARGE', 'The URL and the headers are larger than the server takes (16 KiB together).')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new SluiceError('SLUICE_REQUEST_TIMEOUT',
        `The headers must arrive within ${headersTimeoutMs / 1000} s, the whole request within ${requestTimeoutMs / 1000} s.`)
    default:
      return new SluiceError('SLUICE_MALFORMED_HTTP', 'This could not be parsed as an HTTP/1.1 request.')
  }
}
