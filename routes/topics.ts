import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { accessErrors, demand } from '../src/access.js'
import { jsonBytes } from '../src/confluent/json-answer.js'
import { acceptsV2, v2Type } from '../src/confluent/media-types.js'
import { v2Topic, v2TopicSchema } from '../src/confluent/metadata.js'
import { problemResponses, SluiceError, type ErrorCode } from '../src/errors.js'
import { jsonType } from '../src/media-types.js'
import { queryParameters } from '../src/query-parameters.js'
import { defaultReadRecords, defaultReadWaitMs, maxReadRecords, maxReadWaitMs, partitionNumber, readParameterNames, readParameters } from '../src/read-parameters.js'
import { storedRecordJson, storedRecordSchema } from '../src/stored-record-json.js'
import { isReservedTopic, isTopicName } from '../src/topic-name.js'
import { topicParams } from './records.js'

export interface TopicsRouteOptions {
  /** Bytes of keys, values and headers in one answer. */
  readonly readMaxBytes: number
}

const readErrors = ['SLUICE_INVALID_REQUEST', 'SLUICE_BROKER_UNAVAILABLE', 'SLUICE_URI_TOO_LONG'] as const satisfies readonly ErrorCode[]
const topicErrors = [
  ...readErrors, 'SLUICE_INVALID_TOPIC_NAME', 'SLUICE_UNKNOWN_TOPIC', 'SLUICE_READ_BUSY'
] as const satisfies readonly ErrorCode[]

const offset = (description: string) => Type.Union([Type.Integer(), Type.Null()], { description: `${description} \`null\`: it cannot be asked for now.` })

const topicsSchema = Type.Object({
  topics: Type.Array(Type.Object({ name: Type.String(), partitions: Type.Integer({ description: 'How many.' }) }))
}, { title: 'Topics' })

const topicSchema = Type.Object({
  name: Type.String(),
  partitions: Type.Array(Type.Object({
    partition: Type.Integer(),
    leader: Type.Union([Type.Integer(), Type.Null()], { description: 'The id of the broker that leads it. `null`: none, or Kafka does not tell.' }),
    beginOffset: offset('The first offset that is still there.'),
    endOffset: offset('The offset after the last record.'),
    stableOffset: offset('Where readers with the isolation `read_committed` end: before the oldest open transaction.')
  }))
}, { title: 'Topic' })

const pageSchema = Type.Object({
  topic: Type.String(),
  partition: Type.Integer(),
  beginOffset: Type.Integer({ description: 'The first offset that is still there.' }),
  endOffset: Type.Integer({ description: 'Where this isolation level ends.' }),
  records: Type.Array(storedRecordSchema),
  nextOffset: Type.Integer({ description: 'Where the next page begins. Equal to `endOffset`: there is no more.' })
}, { title: 'RecordPage' })

const page = {
  topic: 'orders',
  partition: 0,
  beginOffset: 0,
  endOffset: 4712,
  records: [{
    offset: 4711,
    timestamp: 1767225600000,
    size: 31,
    record: {
      key: 'customer-7',
      keyEncoding: 'utf8',
      value: '{"total":12.5}',
      encoding: 'utf8',
      headers: [{ name: 'source', value: 'shop', encoding: 'utf8' }],
      timestamp: 1767225600000
    }
  }],
  nextOffset: 4712
}

// A query is text. What these schemas say is checked by `readParameters`.
const readQuery = Type.Object({
  offset: Type.Optional(Type.String({
    pattern: '^(beginning|end|-?[1-9][0-9]{0,14}|0)$',
    description: 'Where to begin: an offset, `beginning` (the default), `end`, or `-n` for the last n offsets.',
    examples: ['4711']
  })),
  timestamp: Type.Optional(Type.Integer({
    minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'Instead: the first record of this time or later, in milliseconds since 1970.', examples: [1767225600000]
  })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: maxReadRecords, description: `How many records at most; ${defaultReadRecords} where it is not said.`, examples: [10] })),
  isolation: Type.Optional(Type.Union([Type.Literal('read_committed'), Type.Literal('read_uncommitted')], {
    description: 'Whether records of open and aborted transactions are shown; `read_committed` where it is not said.', examples: ['read_committed']
  })),
  maxWaitMs: Type.Optional(Type.Integer({
    minimum: 1, maximum: maxReadWaitMs, description: `How long to wait for the records at most; ${defaultReadWaitMs} where it is not said. What is there by then is the answer.`, examples: [1000]
  }))
}, { additionalProperties: false })

const json = (description: string, schema: object, value: object) =>
  ({ description, content: { 'application/json': { schema, examples: { example: { value } } } } })

const topicsRoute: FastifyPluginAsyncTypebox<TopicsRouteOptions> = async (fastify, { readMaxBytes }) => {
  // The schemas document what the handlers check, who say better what is wrong. Flat objects need no schema to be written.
  const documented = { validatorCompiler: () => () => true, serializerCompiler: () => JSON.stringify }

  fastify.get('/topics', {
    schema: {
      operationId: 'listTopics',
      summary: 'The topics that the caller may read',
      description: 'By name, from a list that is a few seconds old at most. Topics that belong to Kafka and its tools are shown to those who may ' +
        `operate. With \`Accept: ${v2Type}\` the answer has the form of Confluent's REST Proxy: an array of names.`,
      tags: ['consume'],
      response: {
        ...problemResponses(...accessErrors, ...readErrors),
        200: {
          description: 'The topics.',
          headers: { Vary: Type.String({ description: '`Accept`.' }) },
          content: {
            'application/json': { schema: topicsSchema, examples: { topics: { value: { topics: [{ name: 'orders', partitions: 6 }] } } } },
            [v2Type]: { schema: Type.Array(Type.String()), examples: { topics: { value: ['orders'] } } }
          }
        }
      } as Record<number, object>
    },
    config: { right: 'read' },
    ...documented
  }, async (request, reply) => {
    queryParameters(request, [])
    const all = await fastify.topics.all().catch(forReaders)
    const shown = [...all].filter(([name]) => mayRead(request, name)).map(([name, partitions]) => ({ name, partitions }))
      .sort((a, b) => a.name < b.name ? -1 : 1)
    reply.header('vary', 'Accept')
    if (acceptsV2(request)) return reply.type(v2Type).send(jsonBytes(shown.map(({ name }) => name)))
    return reply.type(jsonType).send({ topics: shown })
  })

  fastify.get('/topics/:topic', {
    schema: {
      operationId: 'getTopic',
      summary: 'A topic, with the bounds of its partitions',
      description: `Where each partition begins and ends, and which broker leads it. With \`Accept: ${v2Type}\` the answer has the form of ` +
        'Confluent\'s REST Proxy: leaders and replicas.',
      tags: ['consume'],
      params: topicParams,
      response: {
        ...problemResponses(...accessErrors, ...topicErrors),
        200: {
          description: 'The topic.',
          headers: { Vary: Type.String({ description: '`Accept`.' }) },
          content: {
            'application/json': {
              schema: topicSchema,
              examples: {
                topic: { value: { name: 'orders', partitions: [{ partition: 0, leader: 1, beginOffset: 0, endOffset: 4712, stableOffset: 4712 }] } }
              }
            },
            [v2Type]: {
              schema: v2TopicSchema,
              examples: { topic: { value: v2Topic('orders', [{ id: 0, leader: 1, replicas: [1], isrs: [1] }]) } }
            }
          }
        }
      } as Record<number, object>
    },
    config: { right: 'read' },
    ...documented
  }, async (request, reply) => {
    queryParameters(request, [])
    const name = readable(request, request.params.topic)
    reply.header('vary', 'Accept')
    if (acceptsV2(request)) {
      const topic = v2Topic(name, await fastify.topics.layout(name).catch(forReaders))
      return reply.type(v2Type).send(Buffer.from(JSON.stringify(topic)))
    }
    const partitions = await fastify.topics.partitions(name).catch(forReaders)
    return reply.type(jsonType).send({ name, partitions: await fastify.reader.bounds(name, partitions) })
  })

  fastify.get('/topics/:topic/partitions/:partition/records', {
    schema: {
      operationId: 'readRecords',
      summary: 'Look at stored records of a partition',
      description: 'Read-only and outside any group: nothing is committed, and no consumer notices. `record` is what ' +
        'POST /topics/{topic}/records takes: posted again it is the same byte for byte. A page ends at `limit` records or ' +
        `${readMaxBytes} bytes of keys, values and headers; a single record that is larger comes truncated, and says so. Go on at \`nextOffset\`.`,
      tags: ['consume'],
      params: Type.Object({
        ...topicParams.properties,
        partition: Type.Integer({ minimum: 0, maximum: 0x7fffffff, description: 'The partition\'s number.', examples: [0] })
      }),
      querystring: readQuery,
      response: {
        ...problemResponses(...accessErrors, ...topicErrors, 'SLUICE_UNKNOWN_PARTITION', 'SLUICE_OFFSET_OUT_OF_RANGE', 'SLUICE_NOT_AUTHORIZED'),
        200: json('A page. It may be empty: at the end, or where the wait was over.', pageSchema, page)
      } as Record<number, object>
    },
    config: { right: 'read' },
    ...documented
  }, async (request, reply) => {
    const parameters = readParameters(queryParameters(request, readParameterNames))
    const topic = readable(request, request.params.topic)
    // Not a number yet: nothing is coerced.
    const partition = partitionNumber(String(request.params.partition))
    const count = await fastify.topics.partitions(topic, partition + 1).catch(forReaders)
    if (partition >= count) throw new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no partition ${partition}.`)
    const { records, ...rest } = await fastify.reader.read({ topic, partition, ...parameters })
    if (fastify.hasDecorator('metrics')) fastify.metrics.reader.records.inc(records.length)
    reply.type(jsonType)
    const { beginOffset, endOffset, nextOffset } = rest
    return { topic, partition, beginOffset, endOffset, records: records.map(record => storedRecordJson(record, readMaxBytes)), nextOffset }
  })
}

function mayRead ({ principal }: FastifyRequest, topic: string): boolean {
  return principal.may('read', topic) && (!isReservedTopic(topic) || principal.may('operate'))
}

/** @throws {SluiceError} SLUICE_INVALID_TOPIC_NAME; SLUICE_FORBIDDEN, also for what belongs to Kafka where the caller may not operate */
function readable (request: FastifyRequest, topic: string): string {
  if (!isTopicName(topic)) {
    throw new SluiceError('SLUICE_INVALID_TOPIC_NAME',
      'The name of a topic has 1 to 249 characters out of letters, digits, ".", "_" and "-", and is neither "." nor "..".')
  }
  demand(request, 'read', topic)
  if (isReservedTopic(topic)) demand(request, 'operate')
  return topic
}

/** Nobody asked for anything to be produced. */
function forReaders (err: unknown): never {
  throw err instanceof SluiceError && err.code === 'SLUICE_BROKER_UNAVAILABLE'
    ? new SluiceError(err.code, err.message.replace(' Nothing was produced.', ''), err.details)
    : err
}

export default topicsRoute
