import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors } from '../src/access.js'
import { problemResponses } from '../src/errors.js'
import type { HeaderAllowlist } from '../src/header-allowlist.js'
import { jsonType } from '../src/media-types.js'
import { prefersAsync } from '../src/prefer.js'
import { produceErrors, produceOne } from '../src/produce.js'
import { bodyBytes, takeBytes } from '../src/raw-body.js'
import { rawHeaderNames, rawQuerySchema, rawRecord, readRawQuery } from '../src/raw-record.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import { signedOnly } from '../src/signed-request.js'
import { tracer } from '../src/trace-context.js'
import type { WebhookSignatures } from '../src/webhook-signature.js'
import { receiptSchema, requestTimeoutHeader, topicParams } from './records.js'

export interface RawRouteOptions {
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
  /** What `headers` and `keyHeader` may name. */
  readonly allowlist: HeaderAllowlist
  readonly signatures: WebhookSignatures
}

const schema = {
  operationId: 'produceRaw',
  summary: 'Produce the body as it is',
  description: 'The bytes of the body, of any type, become the value of one record: for webhooks and files. An empty body is an empty ' +
    'value, not a tombstone. `Content-Type` and `Content-Encoding` become the record headers `content-type` and `content-encoding`; ' +
    'a compressed body stays compressed. Answers once Kafka has acknowledged with acks=all. Where the topic asks for signed webhooks ' +
    '(GitHub, Stripe, Standard Webhooks), a request without a good signature is 403 and nothing is produced.',
  tags: ['produce'],
  params: topicParams,
  querystring: rawQuerySchema,
  headers: requestTimeoutHeader,
  body: { content: { '*/*': { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) } } },
  // Typed loosely: the handler answers with a receipt.
  response: {
    ...problemResponses(...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_SIGNATURE_INVALID'),
    200: {
      description: 'Written.',
      content: {
        'application/json': {
          schema: receiptSchema,
          examples: { receipt: { value: { topic: 'github', partition: 2, offset: 4711, timestamp: 1767225600000 } } }
        }
      }
    }
  } as Record<number, object>
}

const rawRoute: FastifyPluginAsyncTypebox<RawRouteOptions> = async (fastify, options) => {
  const { allowlist, signatures } = options
  takeBytes(fastify)

  fastify.post('/topics/:topic/raw', {
    schema,
    config: {
      right: 'produce',
      signed: true,
      idempotent: true,
      recordHeaders: request => rawHeaderNames(request, allowlist),
      respondAsync: true
    },
    // The schemas document what `checkTopicName` and `readRawQuery` check: they say better what is wrong.
    validatorCompiler: () => () => true,
    serializerCompiler: () => JSON.stringify,
    preHandler: signedOnly(signatures)
  }, async (request, reply) => {
    const { topic } = request.params
    const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
    const record = tracer(request.headers)(rawRecord(topic, request, readRawQuery(request, allowlist), bodyBytes(request)))
    if (prefersAsync(request)) return await fastify.acceptRecords(reply, topic, [record], timeoutMs)
    reply.type(jsonType)
    return await produceOne(fastify, record, timeoutMs)
  })
}

export default rawRoute
