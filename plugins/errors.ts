import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { internalError, problemSchema, SluiceError } from '../src/errors.js'
import { fromRouter, sendProblem } from '../src/server-options.js'
import { noteUnsettled } from '../src/unsettled.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Open to everyone, and answered even while the gateway is closing: /healthz and /readyz. */
    public?: boolean
  }
}

/**
 * Makes every error an RFC 9457 problem: those that handlers throw, Fastify's own, unknown paths and methods, and what
 * arrives while closing. Unexpected ones are logged with their stack and answered without internals.
 *
 * Register it first: only routes that are added later are known to it when it answers 405.
 */
async function errors (fastify: FastifyInstance): Promise<void> {
  const routes: RouteEntry[] = []
  let closing = false

  fastify.addSchema(problemSchema)
  fastify.addHook('onRoute', route => {
    routes.push({ pattern: pathPattern(route.url), methods: [route.method].flat() })
  })
  fastify.addHook('preClose', async () => { closing = true })

  // With callbacks, as every hook that each request passes: with promises a produced record cost a quarter more CPU.
  fastify.addHook('onRequest', (request, reply, done) => {
    if (closing && request.routeOptions.config?.public !== true) {
      if (request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
      done(new SluiceError('SLUICE_CLOSING', 'This process is about to end and takes no new requests. Nothing was produced.'))
    } else if (request.headers.host === undefined && request.raw.httpVersionMinor === 1) {
      done(new SluiceError('SLUICE_INVALID_REQUEST', 'An HTTP/1.1 request needs a Host header.'))
    } else {
      done()
    }
  })

  // After all onRequest hooks, and before the body is parsed: a bad body must not hide that there is nothing here.
  fastify.addHook('preParsing', (request, _reply, _payload, done) => {
    if (request.is404) done(notFound(request, routes))
    else done()
  })

  fastify.setNotFoundHandler(request => { throw notFound(request, routes) })
  fastify.setErrorHandler(answerError)
}

function answerError (thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const error = toSluiceError(thrown, request)
  const fields = { code: error.code, method: request.method, route: request.routeOptions.url }
  if (error.code === 'SLUICE_INTERNAL') {
    request.log.error({ err: error.cause, ...fields }, 'request failed')
  } else if (error.code === 'SLUICE_DELIVERY_UNKNOWN') {
    noteUnsettled(request, [error])
    request.log.warn(fields, 'no acknowledgement in time; the outcome is unknown')
  } else {
    // Refusals can come by the thousand, and the producer logs what is behind those of 503.
    request.log.debug({ detail: error.message, ...fields }, 'request refused')
  }
  sendProblem(reply, request, error)
}

interface RouteEntry {
  readonly pattern: RegExp
  readonly methods: readonly string[]
}

/** What a route's URL matches, as an expression: `/topics/:topic/records`, `/docs/*`. */
function pathPattern (url: string): RegExp {
  const parts = url.split(/(::|:[A-Za-z0-9_]+|\*)/).map(part => {
    if (part === '::') return ':'
    if (part === '*') return '.*'
    if (part.startsWith(':')) return '[^/]+'
    return part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('')}$`)
}

function notFound (request: FastifyRequest, routes: readonly RouteEntry[]): SluiceError {
  const path = request.raw.url?.split('?', 1)[0] ?? ''
  const allow = new Set<string>()
  for (const { pattern, methods } of routes) {
    if (pattern.test(path)) for (const method of methods) allow.add(method)
  }
  if (allow.size === 0) {
    return new SluiceError('SLUICE_NOT_FOUND', 'No route has this path. GET /openapi.json lists those that exist.')
  }
  const methods = [...allow].sort()
  return new SluiceError('SLUICE_METHOD_NOT_ALLOWED', `This path takes ${methods.join(', ')}.`, { allow: methods })
}

function toSluiceError (thrown: unknown, request: FastifyRequest): SluiceError {
  if (thrown instanceof SluiceError) return thrown
  if (!(thrown instanceof Error)) return internalError(thrown)
  const error = thrown as FastifyError
  // 1. The answer is a stream that has not begun. 2. Its caller goes away. 3. Fastify ends the stream, and calls that its error.
  if (error.code as string === 'ERR_STREAM_PREMATURE_CLOSE' && request.raw.socket?.destroyed) {
    return new SluiceError('SLUICE_INVALID_REQUEST', 'The caller has gone before its answer had begun.', { cause: error })
  }
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE': {
      const limit = request.routeOptions.bodyLimit
      return new SluiceError('SLUICE_BODY_TOO_LARGE', `The body may have ${limit} bytes (BODY_LIMIT_BYTES).`, { limit })
    }
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new SluiceError('SLUICE_UNSUPPORTED_MEDIA_TYPE', unsupportedMediaType(request))
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new SluiceError('SLUICE_MALFORMED_JSON', 'The body is empty.')
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return new SluiceError('SLUICE_MALFORMED_JSON', 'The body is not JSON.')
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new SluiceError('SLUICE_INVALID_REQUEST', 'The body does not have the length that Content-Length says.')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return fromRouter(error)
  }
  if (error.validation !== undefined) return invalid(error)
  const status = error.statusCode
  if (status === 404) return new SluiceError('SLUICE_NOT_FOUND', 'There is nothing here.', { cause: error })
  // A plugin refused the request. Its sentence is written for callers, as Fastify's own are.
  if (status !== undefined && status >= 400 && status < 500) {
    return new SluiceError('SLUICE_INVALID_REQUEST', error.message, { status, cause: error })
  }
  return internalError(error)
}

function unsupportedMediaType (request: FastifyRequest): string {
  const given = request.headers['content-type']
  return given === undefined
    ? 'The body has no Content-Type. This route takes application/json.'
    : 'This route does not take that Content-Type. It takes application/json.'
}

/** Says what the validator found, and where. */
function invalid (error: FastifyError): SluiceError {
  const [first] = error.validation ?? []
  const where = error.validationContext ?? 'request'
  if (first === undefined) return new SluiceError('SLUICE_INVALID_REQUEST', `The ${where} is not valid.`)
  const path = first.instancePath === '' ? where : `${where}${first.instancePath}`
  const named = first.params.additionalProperty
  const detail = typeof named === 'string' ? `${path} has an unknown member ${JSON.stringify(named)}.` : `${path} ${first.message ?? 'is not valid'}.`
  return new SluiceError('SLUICE_INVALID_REQUEST', detail, where === 'body' ? { pointer: `#${first.instancePath}` } : {})
}

export default fp(errors, { name: 'errors', fastify: '5.x' })
