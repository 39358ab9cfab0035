import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { anyone, forbidden, limitsOf, nobody, type Access, type Principal } from '../src/access.js'
import { Authenticator, type AuthenticatorObserver, type Refusal } from '../src/auth/authenticator.js'
import { clientCertificate } from '../src/auth/certificates.js'
import { countBody, isCountedAsItComes, isCountedByRoute } from '../src/auth/counted-body.js'
import { limiterOf } from '../src/auth/principals.js'
import { Refusals, type RefusalReason } from '../src/auth/refusals.js'
import { hostCheck, isForeignPage, type AllowedPages } from '../src/auth/same-machine.js'
import { announcedLength } from '../src/body-length.js'
import type { HttpConfig } from '../src/config.js'
import { SluiceError } from '../src/errors.js'
import { hostOf } from '../src/request-host.js'
import { anyoneUnsigned, signer } from '../src/signed-request.js'
import { WebhookSignatures } from '../src/webhook-signature.js'

export interface AuthObserver extends AuthenticatorObserver {
  readonly refused: (reason: RefusalReason) => void
}

export interface AuthPluginOptions extends Pick<HttpConfig, 'host' | 'allowedHosts' | 'auth'>, Partial<Pick<HttpConfig, 'access' | 'openPages' | 'corsOrigins'>> {
  readonly observer?: AuthObserver
  /** Absent: no topic takes signed webhooks only. */
  readonly signatures?: WebhookSignatures
  /** How often AUTH_FILE is looked at. */
  readonly lookEveryMs?: number
}

const LOOK_EVERY_MS = 2_000

declare module 'fastify' {
  interface FastifyInstance {
    access: Access
  }
}

/**
 * Decides who may do what, before anything else of a request is looked at.
 *
 * Every route that is registered after this one has a right, or is public; a route that has neither stops the start. While
 * callers have to say who they are, whoever does not learns nothing, not even which paths exist. While nobody has to, web
 * pages of elsewhere are kept away: `keepPagesAway`.
 */
async function auth (fastify: FastifyInstance, options: AuthPluginOptions): Promise<void> {
  const { access = null, openPages = [], corsOrigins = [], observer = ignored, signatures = new WebhookSignatures([]) } = options
  const refusals = new Refusals(observer.refused)
  const pages = { hosts: new Set(options.allowedHosts), origins: new Set(corsOrigins) }
  let problems = (): string[] => []
  fastify.decorate('access', {
    get problems () { return problems() },
    refused (request, reason, detail) { refusals.add(request, reason, detail) }
  })
  fastify.decorateRequest('limits', { getter () { return limitsOf(this) } })
  checkRoutes(fastify, openPages)

  if (access === null) {
    const caller = signatures.isEmpty ? anyone : anyoneUnsigned(signatures)
    fastify.decorateRequest('principal', { getter: () => caller })
    if (!signatures.isEmpty) keepUnsignedAway(fastify, refusals)
    if (!pages.hosts.has('*')) keepPagesAway(fastify, options.host, pages, refusals)
    return
  }

  const authenticator = new Authenticator({ access, log: fastify.log, observer, lookEveryMs: options.lookEveryMs ?? LOOK_EVERY_MS })
  await authenticator.start()
  fastify.addHook('onClose', async () => authenticator.close())
  problems = () => authenticator.problems
  fastify.decorateRequest('principal', null as unknown as Principal)
  askWhoTheyAre(fastify, authenticator, pages, refusals, signatures)
}

/** Every request that is not for an open route says who sent it, and may do what it asks for. */
function askWhoTheyAre (
  fastify: FastifyInstance, authenticator: Authenticator, pages: AllowedPages, refusals: Refusals, signatures: WebhookSignatures
): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    const { config } = request.routeOptions
    const isOpen = config?.public === true || config?.opened === true
    // Senders of webhooks cannot send a key. The route lets nobody through whose signature is not good.
    const isSigned = config?.signed === true && signatures.authenticates(topicOf(request))
    request.principal = isSigned ? signer : nobody
    if ((isOpen || isSigned) && !saysWhoItIs(request)) {
      done()
      return
    }
    authenticator.identify(request, (refusal, caller) => {
      // To an open route a wrong key is worth as much as none; it counts as a guess all the same.
      if (refusal !== null || caller === undefined) {
        done(isOpen ? undefined : refused(request, reply, refusal!, refusals))
        return
      }
      request.principal = caller.principal
      const foreign = caller.ambient && !isOpen && isForeign(request, pages)
      done(foreign ? refused(request, reply, foreignPage, refusals) : isOpen ? undefined : mayNot(request, reply, refusals))
    })
  })

  fastify.addHook('preParsing', (request, _reply, payload, done) => {
    const limiter = limiterOf(request.principal)
    if (limiter !== undefined && isCountedAsItComes(request, limiter) && !isCountedByRoute(request)) done(null, countBody(payload, limiter))
    else done(null, payload)
  })
}

/** What takes signed webhooks only is closed to routes that check no signature, while nobody has to say who it is. */
function keepUnsignedAway (fastify: FastifyInstance, refusals: Refusals): void {
  fastify.addHook('onRequest', (request, reply, done) => {
    const { right, signed } = request.routeOptions.config ?? {}
    const topic = topicOf(request)
    if (right === undefined || signed === true || request.principal.may(right, topic)) done()
    else {
      done(refused(request, reply, {
        reason: 'right',
        error: new SluiceError('SLUICE_FORBIDDEN',
          `The topic ${topic} takes signed webhooks only (WEBHOOK_SIGNATURES): post to /topics/${topic}/raw or /topics/${topic}/events.`)
      }, refusals))
    }
  })
}

/** The topic that a path names; "", which is none, where it names none. */
const topicOf = ({ params }: FastifyRequest): string => (params as { topic?: string } | undefined)?.topic ?? ''

/** Why a caller that is known may not do this, if so; else the request is counted. */
function mayNot (request: FastifyRequest, reply: FastifyReply, refusals: Refusals): SluiceError | undefined {
  const { principal } = request
  const limiter = limiterOf(principal)
  if (limiter !== undefined) {
    try {
      const records = request.routeOptions.config?.right !== 'produce' ? 0 : isCountedByRoute(request) ? null : 1
      limiter.admit(isCountedAsItComes(request, limiter) ? null : announcedLength(request.headers), records)
    } catch (error) {
      return refused(request, reply, { reason: 'limit', error: error as SluiceError }, refusals)
    } finally {
      reply.header('ratelimit-policy', limiter.policy).header('ratelimit', limiter.remaining)
    }
  }
  const { right } = request.routeOptions.config ?? {}
  const { topic } = request.params as { topic?: string }
  if (right === undefined || principal.may(right, topic)) return undefined
  return refused(request, reply, { reason: 'right', error: forbidden(right, topic) }, refusals)
}

function refused (request: FastifyRequest, reply: FastifyReply, { reason, error }: Refusal, refusals: Refusals): SluiceError {
  refusals.add(request, reason, error.message)
  if (error.statusCode === 401) {
    const wrong = reason === 'missing' ? '' : ', error="invalid_token"'
    reply.header('www-authenticate', [`Bearer realm="sluice"${wrong}`, 'Basic realm="sluice", charset="UTF-8"'])
  }
  return error
}

const saysWhoItIs = (request: FastifyRequest): boolean =>
  request.headers.authorization !== undefined || request.headers['x-api-key'] !== undefined || clientCertificate(request) !== null

/**
 * Keeps web pages away while nobody has to authenticate: a page from anywhere could otherwise post to a gateway on its
 * reader's own machine.
 *
 * - A page that had its own name resolve to this machine (DNS rebinding) sends that name as `Host`. An IP address cannot be
 *   rebound, nor can localhost.
 * - A page that simply posts here has an `Origin` that is not this host, or `Sec-Fetch-Site: cross-site`.
 *
 * Callers that are not browsers send neither `Origin` nor `Sec-Fetch-Site`, and are not affected. Public routes are open to
 * all.
 */
function keepPagesAway (fastify: FastifyInstance, host: string, pages: AllowedPages, refusals: Refusals): void {
  const isAllowedHost = hostCheck(host.toLowerCase(), pages.hosts)
  fastify.addHook('onRequest', (request, reply, done) => {
    if (request.routeOptions.config?.public === true) { done(); return }
    const host = hostOf(request.headers)
    // Without a Host it is HTTP/1.0, which no browser speaks.
    if (host !== undefined && !isAllowedHost(host)) done(refused(request, reply, foreignHost, refusals))
    else if (isForeign(request, pages)) done(refused(request, reply, foreignPage, refusals))
    else done()
  })
}

function isForeign ({ headers }: FastifyRequest, pages: AllowedPages): boolean {
  return isForeignPage({ origin: headers.origin, site: headers['sec-fetch-site'], host: hostOf(headers) }, pages)
}

const foreignHost: Refusal = {
  reason: 'host',
  error: new SluiceError('SLUICE_FORBIDDEN_HOST', 'Requests must name this machine in Host: localhost, an IP address, or a name that ALLOWED_HOSTS lists.')
}

const foreignPage: Refusal = {
  reason: 'origin',
  error: new SluiceError('SLUICE_FORBIDDEN_ORIGIN',
    'Web pages of other origins may not use this gateway without a key of their own, unless ALLOWED_HOSTS lists their host or CORS_ORIGINS their origin.')
}

/** @throws at the start, for a route that is neither public nor has a right, or whose topic would not be looked at */
function checkRoutes (fastify: FastifyInstance, openPages: HttpConfig['openPages']): void {
  const routes: RouteOptions[] = []
  fastify.addHook('onRoute', route => { routes.push(route) })
  // Only now: another plugin's onRoute hook may have given the route its right.
  fastify.addHook('onReady', async () => {
    for (const { url, config } of routes) {
      if (config?.public === true) continue
      if (config?.right === undefined) throw new Error(`the route ${url} has no right, and is not public either: see src/access.ts`)
      if (/:(?!topic\b)\w*topic/i.test(url)) throw new Error(`the route ${url} must call its parameter "topic", or nobody's rules for it are looked at`)
    }
  })
  fastify.addHook('onRoute', route => {
    const page = pageOf(route.url)
    if (page !== undefined && openPages.includes(page)) route.config = { ...route.config, opened: true }
  })
}

function pageOf (url: string): HttpConfig['openPages'][number] | undefined {
  if (url === '/metrics') return 'metrics'
  return url === '/openapi.json' || url === '/docs' || url.startsWith('/docs/') ? 'docs' : undefined
}

const ignored: AuthObserver = { refused: () => {}, rulesRead: () => {}, keysFetched: () => {} }

export default fp(auth, { name: 'auth', dependencies: ['errors'], fastify: '5.x' })
