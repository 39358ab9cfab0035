import { isIP } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { anyone } from '../src/access.js'
import type { HttpConfig } from '../src/config.js'
import { SluiceError } from '../src/errors.js'

export type AuthPluginOptions = Pick<HttpConfig, 'host' | 'allowedHosts' | 'auth'>

/** How many Host values that were found good are remembered. */
const rememberedHosts = 1_000

/**
 * Keeps web pages away while nobody has to authenticate: a page from anywhere could otherwise post to a gateway on its
 * reader's own machine.
 *
 * - A page that had its own name resolve to this machine (DNS rebinding) sends that name as `Host`. An IP address cannot be
 *   rebound, nor can localhost.
 * - A page that simply posts here has an `Origin` that is not this host, or `Sec-Fetch-Site: cross-site`.
 *
 * Callers that are not browsers send neither `Origin` nor `Sec-Fetch-Site`, and are not affected. Routes with the config
 * `public: true` are open to all. There are no CORS headers.
 */
async function auth (fastify: FastifyInstance, options: AuthPluginOptions): Promise<void> {
  fastify.decorateRequest('principal', { getter: () => anyone })
  const allowed = new Set(options.allowedHosts)
  if (allowed.has('*')) return
  const isAllowedHost = hostCheck(options.host.toLowerCase(), allowed)

  fastify.addHook('onRequest', (request, _reply, done) => {
    if (request.routeOptions.config?.public === true) { done(); return }
    const { host, origin, 'sec-fetch-site': site } = request.headers
    // Without a Host it is HTTP/1.0, which no browser speaks.
    if (host !== undefined && !isAllowedHost(host)) {
      done(new SluiceError('SLUICE_FORBIDDEN_HOST',
        'Requests must name this machine in Host: localhost, an IP address, or a name that ALLOWED_HOSTS lists.'))
    } else if (origin === undefined ? site === 'cross-site' : !isAllowedOrigin(origin, host, allowed)) {
      done(foreignOrigin(request))
    } else {
      done()
    }
  })
}

function foreignOrigin (request: FastifyRequest): SluiceError {
  request.log.debug({ origin: request.headers.origin, site: request.headers['sec-fetch-site'] }, 'a web page from elsewhere was refused')
  return new SluiceError('SLUICE_FORBIDDEN_ORIGIN',
    'Web pages of other origins may not use this gateway while it asks for no authentication, unless ALLOWED_HOSTS lists their host.')
}

/** Whether a Host header names this machine. Remembers the values that do: parsing takes longer than a look-up. */
function hostCheck (own: string, allowed: ReadonlySet<string>): (host: string) => boolean {
  const good = new Set<string>()
  return host => {
    if (good.has(host)) return true
    const name = hostName(host)
    if (name === null) return false
    const isGood = name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0 || name === own || allowed.has(name)
    if (isGood) {
      if (good.size >= rememberedHosts) good.clear()
      good.add(host)
    }
    return isGood
  }
}

/** A browser sends its page's own origin: the same host and port as here, or one that somebody allowed. */
function isAllowedOrigin (origin: string, host: string | undefined, allowed: ReadonlySet<string>): boolean {
  const match = /^https?:\/\/([^/?#@]+)$/i.exec(origin)
  if (match === null) return false
  const authority = match[1] as string
  if (host !== undefined && authority.toLowerCase() === host.toLowerCase()) return true
  const name = hostName(authority)
  return name !== null && allowed.has(name)
}

/** The name in `name`, `name:port` or `[IPv6]:port`, in lower case and without a dot at its end. `null`: it is none of them. */
function hostName (authority: string): string | null {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/@\s]+?)\.?)(?::\d{1,5})?$/i.exec(authority)
  return match === null ? null : (match[1] ?? match[2] as string).toLowerCase()
}

export default fp(auth, { name: 'auth', dependencies: ['errors'], fastify: '5.x' })
