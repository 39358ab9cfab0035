import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors, countRecords } from '../src/access.js'
import { batchAnswer } from '../src/batch-result.js'
import { attributePattern, maxAttributeLength, maxEventAttributes } from '../src/cloud-event-attributes.js'
import { attributePrefix } from '../src/cloud-event-headers.js'
import { decodeEvents, isBinaryMode } from '../src/cloud-events.js'
import { problemResponses, SluiceError } from '../src/errors.js'
import { jsonType } from '../src/media-types.js'
import { prefersAsync } from '../src/prefer.js'
import { produceErrors, produceMany, produceOne } from '../src/produce.js'
import { queryParameters } from '../src/query-parameters.js'
import { bodyBytes, takeBytes } from '../src/raw-body.js'
import { base64Pattern, maxBatchRecords } from '../src/record-json.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import { signedOnly } from '../src/signed-request.js'
import { tracer } from '../src/trace-context.js'
import type { WebhookSignatures } from '../src/webhook-signature.js'
import { requestTimeoutHeader, topicParams, writtenResponses } from './records.js'

export interface CloudEventsRouteOptions {
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
  readonly signatures: WebhookSignatures
}

const attribute = (name: string, example: string) =>
  Type.Optional(Type.String({ description: `Binary mode: the attribute \`${name}\`, percent-encoded.`, examples: [example] }))

/** Text as CloudEvents allow it: no control characters, no noncharacters. */
const text = { maxLength: maxAttributeLength, pattern: attributePattern }
const required = Type.String({ minLength: 1, ...text })
const optional = (options: { description?: string } = {}) =>
  Type.Optional(Type.Union([required, Type.Null()], options))

const event = Type.Object({
  specversion: Type.Literal('1.0'),
  id: required,
  source: required,
  type: required,
  subject: optional(),
  time: Type.Optional(Type.Union([Type.String({ format: 'date-time' }), Type.Null()])),
  datacontenttype: optional(),
  dataschema: optional(),
  partitionkey: optional({ description: 'Becomes the key of the record.' }),
  data: Type.Optional(Type.Unknown({ description: 'Not beside `data_base64`, but where that is null.' })),
  data_base64: Type.Optional(Type.Union([Type.String({ contentEncoding: 'base64', pattern: base64Pattern }), Type.Null()]))
}, {
  title: 'CloudEvent',
  description: 'Any other member is an extension attribute: a name of a-z and 0-9, and a string, an integer of 32 bits, a boolean or null.',
  propertyNames: { pattern: '^(?:[a-z0-9]+|data_base64)$' },
  additionalProperties: {
    anyOf: [{ type: 'string', ...text }, { type: 'integer', minimum: -0x80000000, maximum: 0x7fffffff }, { type: 'boolean' }, { type: 'null' }]
  },
  anyOf: [{ properties: { data_base64: { type: 'null' } } }, { not: { required: ['data'] } }],
  maxProperties: maxEventAttributes
})

const example = { specversion: '1.0', id: 'e-1', source: '/shop', type: 'shop.order.placed', partitionkey: 'customer-7', data: { total: 12.5 } }

const schema = {
  operationId: 'produceCloudEvents',
  summary: 'Produce CloudEvents',
  description: 'Takes CloudEvents 1.0 in any content mode of the HTTP binding, as its `Content-Type` says, and writes them by the Kafka ' +
    'binding. Binary: `ce-` headers become `ce_` record headers, and the body the value. Structured: the event stays as it was ' +
    'written. Batched: one structured record an event, in order, answered like a batch. `partitionkey` becomes the key, and stays an ' +
    'attribute. A fault in an event refuses the whole request.',
  tags: ['produce'],
  params: topicParams,
  headers: Type.Object({
    ...requestTimeoutHeader.properties,
    'ce-specversion': attribute('specversion', '1.0'),
    'ce-id': attribute('id', 'e-1'),
    'ce-source': attribute('source', '/shop'),
    'ce-type': attribute('type', 'shop.order.placed'),
    'ce-subject': attribute('subject', 'order-4711'),
    'ce-time': attribute('time', '2026-01-01T00:00:00Z'),
    'ce-dataschema': attribute('dataschema', 'https://shop.example/schemas/order'),
    'ce-partitionkey': attribute('partitionkey', 'customer-7')
  }),
  body: {
    content: {
      'application/cloudevents+json': { schema: event, examples: { structured: { value: example } } },
      'application/cloudevents-batch+json': {
        schema: Type.Array(event, { maxItems: maxBatchRecords }), examples: { batched: { value: [example, { ...example, id: 'e-2' }] } }
      },
      '*/*': { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary', description: 'Binary mode: the data, beside `ce-` headers.' }) }
    }
  },
  // Typed loosely: which of them it is follows from the outcomes.
  response: {
    ...problemResponses(...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_SIGNATURE_INVALID'),
    ...writtenResponses('events', new SluiceError('SLUICE_RECORD_TOO_LARGE', 'A record may have 1000000 bytes.'))
  } as Record<number, object>
}

const cloudEventsRoute: FastifyPluginAsyncTypebox<CloudEventsRouteOptions> = async (fastify, options) => {
  takeBytes(fastify)

  fastify.post('/topics/:topic/events', {
    schema,
    config: {
      right: 'produce',
      signed: true,
      idempotent: true,
      recordHeaders: request => isBinaryMode(request) ? name => name.startsWith(attributePrefix) : () => false,
      respondAsync: true
    },
    // The schemas document what `checkTopicName` and `decodeEvents` check: they say better what is wrong.
    validatorCompiler: () => () => true,
    serializerCompiler: () => JSON.stringify,
    preHandler: signedOnly(options.signatures)
  }, async (request, reply) => {
    const { topic } = request.params
    queryParameters(request, [])
    const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
    const events = decodeEvents(topic, request, bodyBytes(request))
    countRecords(request, events.records)
    const trace = tracer(request.headers)
    if (prefersAsync(request)) return await fastify.acceptRecords(reply, topic, events.records.map(trace), timeoutMs)
    reply.type(jsonType)
    if (!events.isBatch) return await produceOne(fastify, trace(events.records[0]), timeoutMs)
    return batchAnswer(request, reply, await produceMany(fastify, topic, events.records.map(trace), timeoutMs))
  })
}

export default cloudEventsRoute
