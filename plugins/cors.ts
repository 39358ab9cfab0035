import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'

export interface CorsPluginOptions {
  /** Origins whose pages may call, or `*`. */
  readonly origins: readonly string[]
}

const exposed = 'allow, etag, idempotent-replayed, location, ratelimit, ratelimit-policy, retry-after, www-authenticate, x-request-id'
/** How long a browser remembers the answer to a preflight. */
const maxAgeSeconds = '600'

/**
 * Lets web pages of the configured origins call (CORS of the Fetch standard). Their requests carry a key or a token as any
 * other caller's do: what a browser would add by itself (cookies, certificates, remembered passwords) is not allowed.
 *
 * Preflights are answered before anybody is asked for a key, since browsers send none. Register it before what asks.
 *
 * Not `@fastify/cors`: its route for every OPTIONS would make every unknown path one that exists and takes OPTIONS.
 */
export default fp<CorsPluginOptions>(async (fastify, { origins }) => {
  const any = origins.includes('*')
  const allowed = new Set(origins)

  fastify.addHook('onRequest', (request, reply, done) => {
    const { origin, 'access-control-request-method': method, 'access-control-request-headers': headers } = request.headers
    if (!any) vary(reply, 'Origin')
    if (origin === undefined || !(any || allowed.has(origin))) {
      done()
      return
    }
    reply.header('access-control-allow-origin', any ? '*' : origin)
    if (request.method !== 'OPTIONS' || method === undefined) {
      reply.header('access-control-expose-headers', exposed)
      done()
      return
    }
    vary(reply, 'Access-Control-Request-Headers')
    reply.header('access-control-allow-methods', 'GET, HEAD, POST, PUT, PATCH, DELETE').header('access-control-max-age', maxAgeSeconds)
    if (headers !== undefined) reply.header('access-control-allow-headers', headers)
    reply.code(204).send()
  })
}, { name: 'cors', fastify: '5.x' })

function vary (reply: FastifyReply, name: string): void {
  const before = reply.getHeader('vary')
  reply.header('vary', before === undefined ? name : `${String(before)}, ${name}`)
}
