import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors, countRecords } from '../src/access.js'
import { confluentError, confluentResponses, entryErrorCode } from '../src/confluent/errors.js'
import { jsonAnswer, jsonBytes, sendAnswer } from '../src/confluent/json-answer.js'
import { anyV2Type, embeddedFormat, v2BodyTypes, v2Type } from '../src/confluent/media-types.js'
import { decodeV2Records, v2BodySchema } from '../src/confluent/v2-records.js'
import { SluiceError } from '../src/errors.js'
import type { Answer } from '../src/idempotency-table.js'
import { jsonBody, takeJson } from '../src/json-body.js'
import type { Outcome } from '../src/kafka/record-producer.js'
import { checkTopicName, produceErrors, produceMany } from '../src/produce.js'
import { queryParameters } from '../src/query-parameters.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import { tracer } from '../src/trace-context.js'
import { noteOutcomes } from '../src/unsettled.js'
import { requestTimeoutHeader, topicParams } from './records.js'

export interface ConfluentV2Options {
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
}

const orNull = (schema: object) => Type.Union([Type.Unsafe(schema), Type.Null()])

const offsetSchema = Type.Object({
  partition: orNull(Type.Integer()),
  offset: orNull(Type.Integer({ description: '−1 where Kafka acknowledged a repeated delivery without saying where the first one went.' })),
  error_code: orNull(Type.Integer({ description: '50003: may be tried again. 50002: may not. 40101, 40301: Kafka does not let the gateway.' })),
  error: orNull(Type.String())
})

const answerSchema = Type.Object({
  offsets: Type.Array(offsetSchema, { description: 'One for each record, in the order of the request.' }),
  key_schema_id: Type.Null(),
  value_schema_id: Type.Null()
}, { title: 'ProduceResponseV2' })

const written = { offsets: [{ partition: 0, offset: 7, error_code: null, error: null }], key_schema_id: null, value_schema_id: null }
const refused = {
  offsets: [{ partition: null, offset: null, error_code: 40301, error: 'Kafka does not let this gateway write to the topic orders.' }],
  key_schema_id: null,
  value_schema_id: null
}

export const partitionParams = Type.Object({
  ...topicParams.properties,
  partition: Type.String({ pattern: '^(0|[1-9][0-9]{0,9})$', description: 'The partition\'s number.' })
})

const description = 'As API v2 of Confluent\'s REST Proxy has it, for its clients. The status is 200 even if records fail: each has its own ' +
  '`error_code`. Formats that need a schema are answered with 42206: this gateway has no registry.'

function produceSchema (operationId: string, summary: string, params: object, withPartition: boolean) {
  const errors = confluentResponses('v2', ...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_NO_SCHEMA_REGISTRY')
  const denied = errors[403] as { description: string, content: Record<string, { schema: unknown, examples: Record<string, unknown> }> }
  return {
    operationId,
    summary,
    description,
    tags: ['confluent'],
    params,
    headers: requestTimeoutHeader,
    body: {
      content: {
        [v2BodyTypes.binary]: {
          schema: v2BodySchema('binary', withPartition),
          examples: { binary: { value: { records: [{ key: 'a2V5', value: 'Y29uZmx1ZW50' }, { value: 'a2Fma2E=' }] } } }
        },
        [v2BodyTypes.json]: {
          schema: v2BodySchema('json', withPartition),
          examples: { json: { value: { records: [{ value: { foo: 'bar' } }] } } }
        }
      }
    },
    response: {
      ...errors,
      // Where Kafka denied a record, the answer is the ordinary one.
      403: {
        description: denied.description,
        content: {
          [v2Type]: {
            schema: Type.Union([Type.Unsafe(denied.content[v2Type]?.schema as object), answerSchema]),
            examples: { ...denied.content[v2Type]?.examples, records: { value: refused } }
          }
        }
      },
      200: {
        description: 'The outcome of each record.',
        content: { [v2Type]: { schema: answerSchema, examples: { written: { value: written } } } }
      }
    } as Record<number, object>
  }
}

/** API v2 of Confluent's REST Proxy: producing. */
const confluentV2: FastifyPluginAsyncTypebox<ConfluentV2Options> = async (fastify, options) => {
  takeJson(fastify, anyV2Type)
  // The body is not read where its type says that nothing can be made of it.
  fastify.addHook('preParsing', (request, _reply, _payload, done) => {
    try {
      queryParameters(request, [])
      embeddedFormat(request.headers['content-type'])
      done()
    } catch (err) {
      done(err as Error)
    }
  })

  const routes = [
    ['/topics/:topic', produceSchema('produceV2', 'Produce (Confluent v2)', topicParams, true)],
    ['/topics/:topic/partitions/:partition', produceSchema('produceToPartitionV2', 'Produce to a partition (Confluent v2)', partitionParams, false)]
  ] as const
  for (const [path, schema] of routes) {
    fastify.post(path, {
      schema,
      config: { right: 'produce', confluent: 'v2', idempotent: true },
      // The schemas document what `decodeV2Records` checks.
      validatorCompiler: () => () => true
    }, async (request, reply) => {
      const { topic, partition } = request.params as { topic: string, partition?: string }
      checkTopicName(topic)
      const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
      const ofPath = partition === undefined ? null : partitionNumber(topic, partition)
      const records = decodeV2Records(topic, jsonBody(request), embeddedFormat(request.headers['content-type']), ofPath)
      countRecords(request, records)
      const outcomes = await produceMany(fastify, topic, records.map(tracer(request.headers)), timeoutMs)
      noteOutcomes(request, outcomes, toAnswer)
      const [first] = outcomes
      // The partition is the path's, so that this holds for the whole request.
      if (ofPath !== null && first instanceof SluiceError && first.code === 'SLUICE_UNKNOWN_PARTITION') throw first
      return await sendAnswer(reply, toAnswer(outcomes))
    })
  }
}

/** @throws {SluiceError} SLUICE_UNKNOWN_PARTITION: no topic can have such a one */
export function partitionNumber (topic: string, text: string): number {
  const number = /^(0|[1-9]\d{0,9})$/.test(text) ? Number(text) : NaN
  if (!(number <= 0x7fffffff)) throw new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no such partition.`)
  return number
}

function toOffset (outcome: Outcome) {
  return outcome instanceof SluiceError
    ? { partition: null, offset: null, error_code: entryErrorCode(outcome), error: outcome.message }
    : { partition: outcome.partition, offset: outcome.offset, error_code: null, error: null }
}

function toAnswer (outcomes: readonly Outcome[]): Answer {
  const answer = { offsets: outcomes.map(toOffset), key_schema_id: null, value_schema_id: null }
  return jsonAnswer(statusOf(outcomes), v2Type, jsonBytes(answer))
}

/** 200 but where Kafka does not know or not let the gateway. */
function statusOf (outcomes: readonly Outcome[]): number {
  for (const outcome of outcomes) {
    if (!(outcome instanceof SluiceError)) continue
    const answer = confluentError('v2', outcome).status
    if (answer === 401 || answer === 403) return answer
  }
  return 200
}

export default confluentV2
