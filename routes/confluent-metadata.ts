import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { accessErrors } from '../src/access.js'
import { confluentResponses, type Dialect } from '../src/confluent/errors.js'
import { jsonBytes } from '../src/confluent/json-answer.js'
import { v2Type } from '../src/confluent/media-types.js'
import {
  checkReadable, mayRead, partitionOf, v2Partition, v2PartitionSchema, V3Resources, v3Schema, type V3Kind
} from '../src/confluent/metadata.js'
import { SluiceError, type ErrorCode } from '../src/errors.js'
import { queryParameters } from '../src/query-parameters.js'
import { hostOf } from '../src/request-host.js'
import { partitionParams } from './confluent-v2.js'
import { operationSuffix, v3Params } from './confluent-v3.js'
import { topicParams } from './records.js'

export interface ConfluentMetadataOptions {
  /** The only cluster that there is, as v3 calls it. */
  readonly clusterId: string
}

const readErrors = ['SLUICE_INVALID_REQUEST', 'SLUICE_BROKER_UNAVAILABLE', 'SLUICE_URI_TOO_LONG'] as const satisfies readonly ErrorCode[]
const topicErrors = [...readErrors, 'SLUICE_INVALID_TOPIC_NAME', 'SLUICE_UNKNOWN_TOPIC', 'SLUICE_UNKNOWN_PARTITION'] as const

const types: Readonly<Record<Dialect, string>> = { v2: v2Type, v3: 'application/json' }

const responses = (dialect: Dialect, codes: readonly ErrorCode[], schema: object, example: unknown): Record<number, object> => ({
  ...confluentResponses(dialect, ...accessErrors, ...codes),
  200: { description: 'The answer.', content: { [types[dialect]]: { schema, examples: { example: { value: example } } } } }
})

function send (reply: FastifyReply, dialect: Dialect, answer: unknown): FastifyReply {
  return reply.type(types[dialect]).send(jsonBytes(answer))
}

/** What Confluent's REST Proxy tells of topics and partitions: v2's routes that Sluice has none of its own for, and v3's. */
const confluentMetadata: FastifyPluginAsync<ConfluentMetadataOptions> = async (fastify, { clusterId }) => {
  // The schemas document what the handlers check.
  const documented = { validatorCompiler: () => () => true }

  const partition = { partition: 0, leader: 1, replicas: [{ broker: 1, leader: true, in_sync: true }] }
  const layoutOf = async (request: FastifyRequest) => {
    queryParameters(request, [])
    const { topic } = request.params as { topic: string }
    checkReadable(request, topic)
    return { topic, layout: await fastify.topics.layout(topic) }
  }
  fastify.get('/topics/:topic/partitions', {
    schema: {
      operationId: 'listPartitionsV2',
      summary: 'The partitions of a topic (Confluent v2)',
      tags: ['confluent'],
      params: topicParams,
      response: responses('v2', topicErrors, Type.Array(v2PartitionSchema), [partition])
    },
    config: { right: 'read', confluent: 'v2' },
    ...documented
  }, async (request, reply) => await send(reply, 'v2', (await layoutOf(request)).layout.map(v2Partition)))

  fastify.get('/topics/:topic/partitions/:partition', {
    schema: {
      operationId: 'getPartitionV2',
      summary: 'A partition (Confluent v2)',
      tags: ['confluent'],
      params: partitionParams,
      response: responses('v2', topicErrors, v2PartitionSchema, partition)
    },
    config: { right: 'read', confluent: 'v2' },
    ...documented
  }, async (request, reply) => {
    const { topic, layout } = await layoutOf(request)
    return await send(reply, 'v2', v2Partition(partitionOf(topic, layout, (request.params as { partition: string }).partition)))
  })

  const example = new V3Resources('http://localhost:3000/v3', 'sluice')
  const place = { id: 0, leader: 1, replicas: [1], isrs: [1] }
  const topic = example.topic('orders', [place])

  for (const prefix of ['/v3', '/kafka/v3'] as const) {
    const suffix = operationSuffix(prefix)
    const resources = (request: FastifyRequest): V3Resources => {
      queryParameters(request, [])
      const { cluster = clusterId } = request.params as { cluster?: string }
      if (cluster !== clusterId) {
        throw new SluiceError('SLUICE_NOT_FOUND', `Cluster ${cluster.slice(0, 128)} cannot be found. This one is ${clusterId} (KAFKA_CLUSTER_ID).`)
      }
      return new V3Resources(`${request.protocol}://${hostOf(request.headers) ?? 'localhost'}${prefix}`, clusterId)
    }
    const route = (
      path: string, operationId: string, summary: string, params: object | null, codes: readonly ErrorCode[], kind: V3Kind, isList: boolean,
      shown: object, answer: (request: FastifyRequest, resources: V3Resources) => unknown
    ): void => {
      fastify.get(`${prefix}/clusters${path}`, {
        schema: {
          operationId: `${operationId}V3${suffix}`,
          summary: `${summary} (Confluent v3)`,
          tags: ['confluent'],
          ...(params && { params }),
          response: responses('v3', params === null ? codes : [...codes, 'SLUICE_NOT_FOUND'], v3Schema(kind, isList), shown)
        },
        config: { right: 'read', confluent: 'v3' },
        ...documented
      }, async (request, reply) => await send(reply, 'v3', await answer(request, resources(request))))
    }

    const { cluster: clusterParam } = v3Params.properties
    const clusterParams = Type.Object({ cluster: clusterParam })
    const v3PartitionParams = Type.Object({ cluster: clusterParam, ...partitionParams.properties })
    const readTopic = async (request: FastifyRequest) => await layoutOf(request)

    route('', 'listClusters', 'The cluster\'s id', null, readErrors, 'KafkaCluster', true,
      example.list('KafkaCluster', '', [example.cluster()]), (_request, at) => at.list('KafkaCluster', '', [at.cluster()]))
    route('/:cluster', 'getCluster', 'The cluster', clusterParams, readErrors, 'KafkaCluster', false,
      example.cluster(), (_request, at) => at.cluster())
    route('/:cluster/topics', 'listTopics', 'The topics that the caller may read', clusterParams, readErrors, 'KafkaTopic', true,
      example.list('KafkaTopic', '/sluice/topics', [topic]), async (request, at) => {
        const names = [...(await fastify.topics.all()).keys()].filter(name => mayRead(request, name)).sort()
        const topics: object[] = []
        for (const name of names) topics.push(at.topic(name, await fastify.topics.layout(name)))
        return at.list('KafkaTopic', `/${clusterId}/topics`, topics)
      })
    route('/:cluster/topics/:topic', 'getTopic', 'A topic', v3Params, topicErrors, 'KafkaTopic', false, topic, async (request, at) => {
      const read = await readTopic(request)
      return at.topic(read.topic, read.layout)
    })
    route('/:cluster/topics/:topic/partitions', 'listPartitions', 'The partitions of a topic', v3Params, topicErrors, 'KafkaPartition', true,
      example.list('KafkaPartition', '/sluice/topics/orders/partitions', [example.partition('orders', place)]), async (request, at) => {
        const read = await readTopic(request)
        return at.list('KafkaPartition', `/${clusterId}/topics/${read.topic}/partitions`, read.layout.map(one => at.partition(read.topic, one)))
      })
    route('/:cluster/topics/:topic/partitions/:partition', 'getPartition', 'A partition', v3PartitionParams, topicErrors, 'KafkaPartition', false,
      example.partition('orders', place), async (request, at) => {
        const read = await readTopic(request)
        return at.partition(read.topic, partitionOf(read.topic, read.layout, (request.params as { partition: string }).partition))
      })
  }
}

export default confluentMetadata
