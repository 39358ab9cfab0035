import fp from 'fastify-plugin'

/**
 * What browsers are told: every answer is of the type that it says; a page is not to be shown inside of others, and its links
 * do not tell where they were. The pages bring their own Content-Security-Policy.
 *
 * Not `@fastify/helmet`: these are three constant headers. It would bring a dozen for every answer, most of which mean nothing
 * for JSON, and one of which decides over whatever else is on the same host (Strict-Transport-Security).
 */
export default fp(async fastify => {
  fastify.addHook('onSend', (_request, reply, payload, done) => {
    reply.header('x-content-type-options', 'nosniff')
    const type = reply.getHeader('content-type')
    if (typeof type === 'string' && type.startsWith('text/html')) {
      reply.header('x-frame-options', 'DENY').header('referrer-policy', 'no-referrer')
    }
    done(null, payload)
  })
}, { name: 'page-headers', fastify: '5.x' })
