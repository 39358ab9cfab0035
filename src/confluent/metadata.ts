import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { demand } from '../access.js'
import { SluiceError } from '../errors.js'
import type { PartitionLayout } from '../kafka/topics.js'
import { isReservedTopic, isTopicName } from '../topic-name.js'

/** What a caller may see: topics that belong to Kafka and its tools only where it may operate. */
export function mayRead ({ principal }: FastifyRequest, topic: string): boolean {
  return principal.may('read', topic) && (!isReservedTopic(topic) || principal.may('operate'))
}

/** @throws {SluiceError} SLUICE_INVALID_TOPIC_NAME; SLUICE_FORBIDDEN */
export function checkReadable (request: FastifyRequest, topic: string): void {
  if (!isTopicName(topic)) {
    throw new SluiceError('SLUICE_INVALID_TOPIC_NAME',
      'The name of a topic has 1 to 249 characters out of letters, digits, ".", "_" and "-", and is neither "." nor "..".')
  }
  demand(request, 'read', topic)
  if (isReservedTopic(topic)) demand(request, 'operate')
}

/** The partition of this number. @throws {SluiceError} SLUICE_UNKNOWN_PARTITION */
export function partitionOf (topic: string, layout: readonly PartitionLayout[], text: string): PartitionLayout {
  const found = /^(0|[1-9]\d{0,9})$/.test(text) ? layout.find(({ id }) => id === Number(text)) : undefined
  if (found === undefined) throw new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no such partition.`)
  return found
}

/** A partition as v2 tells it. */
export function v2Partition ({ id, leader, replicas, isrs }: PartitionLayout) {
  return {
    partition: id,
    leader,
    replicas: replicas.map(broker => ({ broker, leader: broker === leader, in_sync: isrs.includes(broker) }))
  }
}

/** A topic as v2 tells it. Kafka's client does not tell a topic's configuration: `configs` is empty. */
export function v2Topic (name: string, layout: readonly PartitionLayout[]) {
  return { name, configs: {}, partitions: layout.map(v2Partition) }
}

export const v2PartitionSchema = Type.Object({
  partition: Type.Integer(),
  leader: Type.Integer({ description: 'The broker\'s id; −1: none.' }),
  replicas: Type.Array(Type.Object({ broker: Type.Integer(), leader: Type.Boolean(), in_sync: Type.Boolean() }))
}, { title: 'PartitionV2' })

export const v2TopicSchema = Type.Object({
  name: Type.String(),
  configs: Type.Object({}, { additionalProperties: Type.String(), description: 'Always empty: Kafka\'s client does not tell.' }),
  partitions: Type.Array(v2PartitionSchema)
}, { title: 'TopicV2' })

/** The resources of v3, with their links, under one address. */
export class V3Resources {
  readonly #base: string
  readonly #cluster: string

  /** @param base where v3 is mounted, as the caller addressed it: `http://localhost:3000/v3` */
  constructor (base: string, cluster: string) {
    this.#base = `${base}/clusters`
    this.#cluster = cluster
  }

  list (kind: string, path: string, data: readonly object[]) {
    return { kind: `${kind}List`, metadata: { self: `${this.#base}${path}`, next: null }, data }
  }

  cluster () {
    return {
      ...this.#resource('KafkaCluster', ''),
      cluster_id: this.#cluster,
      acls: this.#link('/acls'),
      brokers: this.#link('/brokers'),
      broker_configs: this.#link('/broker-configs'),
      consumer_groups: this.#link('/consumer-groups'),
      topics: this.#link('/topics'),
      partition_reassignments: this.#link('/topics/-/partitions/-/reassignment')
    }
  }

  topic (name: string, layout: readonly PartitionLayout[]) {
    const path = `/topics/${name}`
    return {
      ...this.#resource('KafkaTopic', path, `/topic=${name}`),
      cluster_id: this.#cluster,
      topic_name: name,
      is_internal: name.startsWith('__'),
      replication_factor: layout[0]?.replicas.length ?? 0,
      partitions_count: layout.length,
      partitions: this.#link(`${path}/partitions`),
      configs: this.#link(`${path}/configs`),
      partition_reassignments: this.#link(`${path}/partitions/-/reassignments`)
    }
  }

  partition (topic: string, { id, leader }: PartitionLayout) {
    const path = `/topics/${topic}/partitions/${id}`
    return {
      ...this.#resource('KafkaPartition', path, `/topic=${topic}/partition=${id}`),
      cluster_id: this.#cluster,
      topic_name: topic,
      partition_id: id,
      ...(leader >= 0 && { leader: this.#link(`${path}/replicas/${leader}`) }),
      replicas: this.#link(`${path}/replicas`),
      reassignment: this.#link(`${path}/reassignment`)
    }
  }

  #resource (kind: string, path: string, name = '') {
    return { kind, metadata: { self: this.#url(path), resource_name: `crn:///kafka=${this.#cluster}${name}` } }
  }

  #link (path: string) {
    return { related: this.#url(path) }
  }

  #url (path: string): string {
    return `${this.#base}/${this.#cluster}${path}`
  }
}

const link = Type.Object({ related: Type.String({ description: 'A link, of which not all lead somewhere here: see docs/confluent.md.' }) })
const resource = (kind: string) => ({
  kind: Type.Literal(kind),
  metadata: Type.Object({ self: Type.String(), resource_name: Type.String() }),
  cluster_id: Type.String()
})

const schemas = {
  KafkaCluster: Type.Object({
    ...resource('KafkaCluster'),
    acls: link,
    brokers: link,
    broker_configs: link,
    consumer_groups: link,
    topics: link,
    partition_reassignments: link
  }),
  KafkaTopic: Type.Object({
    ...resource('KafkaTopic'),
    topic_name: Type.String(),
    is_internal: Type.Boolean(),
    replication_factor: Type.Integer(),
    partitions_count: Type.Integer(),
    partitions: link,
    configs: link,
    partition_reassignments: link
  }),
  KafkaPartition: Type.Object({
    ...resource('KafkaPartition'),
    topic_name: Type.String(),
    partition_id: Type.Integer(),
    leader: Type.Optional(link),
    replicas: link,
    reassignment: link
  })
}

export type V3Kind = keyof typeof schemas

/** What a route answers with: one resource, or the list of them. */
export const v3Schema = (kind: V3Kind, isList: boolean): object => isList
  ? Type.Object({
    kind: Type.Literal(`${kind}List`),
    metadata: Type.Object({ self: Type.String(), next: Type.Null() }),
    data: Type.Array(Type.Unsafe(schemas[kind]))
  })
  : schemas[kind]
