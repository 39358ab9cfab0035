import type { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors, countRecords } from '../src/access.js'
import { batchAnswer } from '../src/batch-result.js'
import { problemResponses, SluiceError, toProblem, type Problem } from '../src/errors.js'
import { jsonBody, takeJson } from '../src/json-body.js'
import { jsonType } from '../src/media-types.js'
import { NdjsonAnswers, type StreamSettings } from '../src/ndjson-answer.js'
import { isNdjson, ndjsonType, takeNdjson } from '../src/ndjson-body.js'
import { prefersAsync } from '../src/prefer.js'
import { checkTopicName, produceErrors, produceMany, produceOne } from '../src/produce.js'
import { queryParameters } from '../src/query-parameters.js'
import { batchSchema, decodeRecords, recordSchema } from '../src/record-json.js'
import { requestTimeoutMs, requestTimeoutPattern } from '../src/request-timeout.js'
import { topicNamePattern } from '../src/topic-name.js'
import { tracer } from '../src/trace-context.js'

export interface RecordsRouteOptions {
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
  /** Absent: streams are not taken. */
  readonly streams?: StreamSettings
}

export const receiptSchema = Type.Object({
  topic: Type.String(),
  partition: Type.Integer(),
  offset: Type.Integer({ description: '−1 where Kafka acknowledged a repeated delivery without saying where the first one went.' }),
  timestamp: Type.Integer({ description: 'Milliseconds since 1970.' })
}, { title: 'Receipt' })

const batchResult = Type.Object({
  records: Type.Array(Type.Union([receiptSchema, Type.Unsafe<Problem>({ $ref: 'Problem#' })]))
}, { title: 'BatchResult', description: 'A receipt or a problem for each record, in the order of the request.' })

export const topicParams = Type.Object({
  topic: Type.String({ pattern: topicNamePattern, description: 'The topic\'s name.' })
})

export const requestTimeoutHeader = Type.Object({
  'request-timeout': Type.Optional(Type.String({
    pattern: requestTimeoutPattern,
    description: 'How many seconds to wait for Kafka\'s acknowledgement, as a decimal number.',
    examples: ['2.5']
  }))
})

const receipt = { topic: 'orders', partition: 2, offset: 4711, timestamp: 1767225600000 }

/**
 * The good answers of a route that takes one of something, or many.
 *
 * @param problem what may be wrong with one of many, for the example
 * @param more further forms of the 200
 */
export const writtenResponses = (what: 'records' | 'events', problem: SluiceError, more: Readonly<Record<string, object>> = {}) => ({
  200: {
    description: 'Written: a receipt, or for a batch the receipts.',
    content: {
      'application/json': {
        schema: Type.Union([receiptSchema, batchResult]),
        examples: { receipt: { value: receipt }, batch: { value: { records: [receipt] } } }
      },
      ...more
    }
  },
  207: {
    description: `A batch whose ${what} did not all end alike.`,
    content: {
      'application/json': { schema: batchResult, examples: { mixed: { value: { records: [receipt, toProblem(problem)] } } } }
    }
  }
})

const streamResult = Type.Union([
  Type.Object({ line: Type.Integer({ description: 'The line of the request, from 1.' }), ...receiptSchema.properties }, { title: 'LineReceipt' }),
  Type.Unsafe<Problem>({
    allOf: [{ $ref: 'Problem#' }, Type.Object({
      line: Type.Optional(Type.Integer({ description: 'Absent where the stream itself failed.' })),
      retryAfter: Type.Optional(Type.Integer({ description: 'Seconds, where trying again is worth while: what `Retry-After` says of an answer.' }))
    })]
  }),
  Type.Object({ done: Type.Literal(true), succeeded: Type.Integer(), failed: Type.Integer() }, { title: 'StreamEnd' })
], { title: 'StreamResult' })

const resultsQuery = Type.Object({
  results: Type.Optional(Type.Union([Type.Literal('all'), Type.Literal('errors')], {
    description: 'For streams: `errors` leaves the receipts out. A JSON body is answered in full either way.', examples: ['errors']
  }))
}, { additionalProperties: false })

const schema = {
  operationId: 'produceRecords',
  summary: 'Produce one record, a batch, or a stream',
  description: 'Answers once Kafka has acknowledged with acks=all. A batch has one outcome a record, in the order of the request: ' +
    '200 if all are written, 207 if they differ, and the one status if all failed alike. A fault in the body refuses the whole request. ' +
    '504 means that nobody knows whether the record was written; 503 means that it was not and will not be.\n\n' +
    'A stream (`application/x-ndjson`: a record a line, of any length) is produced as it comes, and answered with a line a record, in the ' +
    'order of acknowledgement: a receipt or a problem, with `line`. The last line says `done`; where it is a problem without `line`, ' +
    'the stream itself failed. A stream takes no `Idempotency-Key`, and is always waited for.',
  tags: ['produce'],
  params: topicParams,
  querystring: resultsQuery,
  headers: requestTimeoutHeader,
  body: {
    content: {
      'application/json': {
        schema: Type.Union([recordSchema, batchSchema]),
        examples: {
          record: { value: { key: 'customer-7', value: { total: 12.5 }, headers: { source: 'shop' } } },
          tombstone: { value: { key: 'customer-7', value: null } },
          batch: { value: { records: [{ value: 'one' }, { value: 'AAEC', encoding: 'base64', partition: 0 }] } }
        }
      },
      [ndjsonType]: {
        schema: Type.Unsafe<Readable>({ type: 'string', description: 'A record a line; blank lines are passed over.' }),
        examples: { stream: { value: '{"key":"a","value":1}\n{"key":"b","value":2}\n' } }
      }
    }
  },
  // Typed loosely: which of them it is follows from the outcomes.
  response: {
    ...problemResponses(...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_TOO_MANY_STREAMS'),
    ...writtenResponses('records', new SluiceError('SLUICE_UNKNOWN_PARTITION', 'The topic orders has no partition 9.'), {
      [ndjsonType]: {
        schema: streamResult,
        examples: { receipt: { value: { line: 1, ...receipt } }, end: { value: { done: true, succeeded: 1, failed: 0 } } }
      }
    })
  } as Record<number, object>
}

const recordsRoute: FastifyPluginAsyncTypebox<RecordsRouteOptions> = async (fastify, options) => {
  takeJson(fastify)
  const streams = options.streams === undefined ? null : new NdjsonAnswers(fastify, options.streams)
  if (streams !== null) takeNdjson(fastify)

  fastify.post('/topics/:topic/records', {
    schema,
    config: { right: 'produce', idempotent: true, respondAsync: true, countsBody: isNdjson },
    // The schemas document what `checkTopicName` and `decodeRecords` check: they tell what is wrong, and where, for streams too.
    validatorCompiler: () => () => true,
    // Receipts and problems are small flat objects, and the union would be validated again to be written.
    serializerCompiler: () => JSON.stringify
  }, async (request, reply) => {
    const { topic } = request.params
    checkTopicName(topic)
    const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
    const { results = 'all' } = queryParameters(request, ['results'])
    if (results !== 'all' && results !== 'errors') {
      throw new SluiceError('SLUICE_INVALID_REQUEST', 'The query parameter results must be all or errors.')
    }
    if (streams !== null && isNdjson(request)) return await streams.answer(request, reply, topic, { timeoutMs, receipts: results === 'all' })
    const decoded = decodeRecords(topic, jsonBody(request))
    const records = decoded.records.map(tracer(request.headers))
    if (decoded.isBatch) countRecords(request, records)
    if (prefersAsync(request)) return await fastify.acceptRecords(reply, topic, records, timeoutMs)
    reply.type(jsonType)
    // A string goes out as it is: Fastify looks for a serializer otherwise.
    if (!decoded.isBatch) return JSON.stringify(await produceOne(fastify, records[0]!, timeoutMs))
    return JSON.stringify(batchAnswer(request, reply, await produceMany(fastify, topic, records, timeoutMs)))
  })
}

export default recordsRoute
