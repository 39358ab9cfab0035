import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'

export interface SwaggerPluginOptions {
  /** The version that the document states. */
  readonly version: string
  /** Whether callers have to say who they are. */
  readonly authenticated?: boolean
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An API key, or a token of the configured issuer.' },
  basic: { type: 'http', scheme: 'basic', description: 'An API key as the password, with any user name.' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key.' }
} as const

const description = `An HTTP gateway for Apache Kafka.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems; programs compare their \`code\`. **503** means that nothing was
produced and nothing will be, and comes with a true \`Retry-After\`. **504** means that nobody knows: the record was handed over, and Kafka
did not acknowledge it in time.`

/**
 * Describes the routes: `/openapi.json`, and `/docs` to read and try them, with nothing fetched from elsewhere. Only routes that
 * are registered later are described.
 */
async function docs (fastify: FastifyInstance, { version, authenticated = false }: SwaggerPluginOptions): Promise<void> {
  await fastify.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Sluice', version, description, license: { name: 'MIT', identifier: 'MIT' } },
      ...(authenticated && { components: { securitySchemes }, security: Object.keys(securitySchemes).map(name => ({ [name]: [] })) }),
      tags: [
        { name: 'produce', description: 'Into Kafka' },
        { name: 'consume', description: 'Out of Kafka' },
        { name: 'confluent', description: 'As Confluent\'s REST Proxy, for its clients' },
        { name: 'operate', description: 'What the gateway is doing' }
      ]
    },
    transform: ({ schema, url, route }) => {
      const isOpen = route.config?.public === true || route.config?.opened === true
      return { schema: authenticated && isOpen ? { ...schema, security: [] } : schema, url }
    },
    transformObject: document => {
      if (!('openapiObject' in document)) return document.swaggerObject
      leaveBytesOptional(document.openapiObject as Described)
      return document.openapiObject
    },
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, i) => typeof json.$id === 'string' ? json.$id : `schema-${i}`
    }
  })

  await fastify.register(async scope => {
    // The plugin's routes take no config of ours.
    scope.addHook('onRoute', route => { route.config = { ...route.config, right: 'read' } })
    await scope.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      transformStaticCSP: strictPolicy,
      // The badge of an online validator would send the document's address there.
      uiConfig: { docExpansion: 'list', tryItOutEnabled: true, validatorUrl: null }
    })
  })

  fastify.get('/openapi.json', {
    schema: {
      operationId: 'getOpenApi',
      summary: 'This document',
      description: 'OpenAPI 3.1.',
      tags: ['operate'],
      response: { 200: { description: 'The document.', content: { 'application/json': { schema: Type.Object({}, { additionalProperties: true }) } } } }
    },
    serializerCompiler: () => JSON.stringify,
    config: { right: 'read' }
  }, async () => fastify.swagger())
}

interface Described {
  readonly paths?: Readonly<Record<string, { readonly post?: { requestBody?: { required?: boolean, content: object } } } | undefined>>
}

/** The plugin has it that every body is required. Where any bytes are taken, none at all are as good as others. */
function leaveBytesOptional ({ paths = {} }: Described): void {
  for (const path of Object.values(paths)) {
    const body = path?.post?.requestBody
    if (body !== undefined && Object.hasOwn(body.content, '*/*')) body.required = false
  }
}

/**
 * The page's own policy lets styles and fonts come from anywhere, pictures from a validator elsewhere, and has every address
 * rewritten to https. Of it only the hashes of the inline styles stay.
 */
function strictPolicy (written: string): string {
  const hashes = written.match(/'sha256-[^']+'/g) ?? []
  return `default-src 'none'; script-src 'self'; style-src ${["'self'", ...hashes].join(' ')}; img-src 'self' data:; font-src 'self' data:; ` +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

export default fp(docs, { name: 'swagger', dependencies: ['errors'], fastify: '5.x' })
