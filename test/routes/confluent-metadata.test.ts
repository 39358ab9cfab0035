import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import { confluentApp } from '../support/confluent-app.js'
import { gatewayApp } from '../support/gateway-app.js'

const get = async (app: FastifyInstance, url: string, headers: Record<string, string> = {}) =>
  await app.inject({ url, headers: { host: 'localhost:3000', ...headers } })

test('v2: partitions, with their leaders and replicas', async t => {
  const { app } = await confluentApp()
  const all = await get(app, '/topics/a/partitions')
  t.equal(all.headers['content-type'], 'application/vnd.kafka.v2+json')
  t.equal(all.json<unknown[]>().length, 4)
  const second = {
    partition: 1, leader: 2, replicas: [{ broker: 1, leader: false, in_sync: false }, { broker: 2, leader: true, in_sync: true }]
  }
  t.same(all.json<unknown[]>()[1], second)
  t.same((await get(app, '/topics/a/partitions/1')).json(), second)
  const failing: [string, number, number][] = [
    ['/topics/a/partitions/4', 404, 40402], ['/topics/a/partitions/x', 404, 40402], ['/topics/none/partitions', 404, 40401],
    ['/topics/none/partitions/0', 404, 40401], ['/topics/a%20b/partitions', 404, 40401], ['/topics/a/partitions?x=1', 400, 400]
  ]
  for (const [url, status, code] of failing) {
    const res = await get(app, url)
    t.same([res.statusCode, res.json<{ error_code: number }>().error_code], [status, code], url)
    t.equal(res.headers['content-type'], 'application/vnd.kafka.v2+json')
  }
})

test('v2: topics, for whoever asks for that form', async t => {
  const { app, kafka } = await gatewayApp()
  t.teardown(() => app.close())
  await app.ready()
  await kafka.refreshTopics()
  for (const accept of ['application/vnd.kafka.v2+json', 'application/vnd.kafka+json', 'application/vnd.kafka.v2+json, application/vnd.kafka+json, application/json']) {
    const names = await get(app, '/topics', { accept })
    t.same(names.json(), ['__consumer_offsets', '_schemas', 'a', 't', 't.dlq'])
    t.same([names.headers['content-type'], names.headers.vary], ['application/vnd.kafka.v2+json', 'Accept'])
    const topic = await get(app, '/topics/t', { accept })
    t.same([topic.headers['content-type'], topic.headers.vary], ['application/vnd.kafka.v2+json', 'Accept'])
    t.match(topic.json(), { name: 't', configs: {}, partitions: [{ partition: 0, leader: 1 }, { partition: 1, leader: 2 }] })
    t.match((await get(app, '/topics/none', { accept })).json(), { error_code: 40401, message: /none/ })
  }
  for (const accept of ['application/json', '*/*']) t.match((await get(app, '/topics', { accept })).json(), { topics: Array }, 'ours')
})

test('v3: the cluster, topics and partitions, with their names and links', async t => {
  const { app } = await confluentApp()
  for (const prefix of ['/v3', '/kafka/v3']) {
    const base = `http://localhost:3000${prefix}/clusters`
    const clusters = await get(app, `${prefix}/clusters`)
    t.equal(clusters.headers['content-type'], 'application/json')
    const cluster = {
      kind: 'KafkaCluster',
      metadata: { self: `${base}/cluster-1`, resource_name: 'crn:///kafka=cluster-1' },
      cluster_id: 'cluster-1',
      acls: { related: `${base}/cluster-1/acls` },
      brokers: { related: `${base}/cluster-1/brokers` },
      broker_configs: { related: `${base}/cluster-1/broker-configs` },
      consumer_groups: { related: `${base}/cluster-1/consumer-groups` },
      topics: { related: `${base}/cluster-1/topics` },
      partition_reassignments: { related: `${base}/cluster-1/topics/-/partitions/-/reassignment` }
    }
    t.same(clusters.json(), { kind: 'KafkaClusterList', metadata: { self: base, next: null }, data: [cluster] })
    t.same((await get(app, `${prefix}/clusters/cluster-1`)).json(), cluster)
    const at = `${base}/cluster-1/topics/a`
    const topic = {
      kind: 'KafkaTopic',
      metadata: { self: at, resource_name: 'crn:///kafka=cluster-1/topic=a' },
      cluster_id: 'cluster-1',
      topic_name: 'a',
      is_internal: false,
      replication_factor: 2,
      partitions_count: 4,
      partitions: { related: `${at}/partitions` },
      configs: { related: `${at}/configs` },
      partition_reassignments: { related: `${at}/partitions/-/reassignments` }
    }
    t.same((await get(app, `${prefix}/clusters/cluster-1/topics/a`)).json(), topic)
    const topics = (await get(app, `${prefix}/clusters/cluster-1/topics`)).json<{ kind: string, data: { topic_name: string, is_internal: boolean }[] }>()
    t.equal(topics.kind, 'KafkaTopicList')
    t.same(topics.data.map(({ topic_name: name, is_internal: internal }) => [name, internal]), [['__consumer_offsets', true], ['_schemas', false], ['a', false]])
    t.same(topics.data[2], topic)
    const partition = {
      kind: 'KafkaPartition',
      metadata: { self: `${at}/partitions/1`, resource_name: 'crn:///kafka=cluster-1/topic=a/partition=1' },
      cluster_id: 'cluster-1',
      topic_name: 'a',
      partition_id: 1,
      leader: { related: `${at}/partitions/1/replicas/2` },
      replicas: { related: `${at}/partitions/1/replicas` },
      reassignment: { related: `${at}/partitions/1/reassignment` }
    }
    const partitions = (await get(app, `${prefix}/clusters/cluster-1/topics/a/partitions`)).json<{ metadata: object, data: unknown[] }>()
    t.same(partitions.metadata, { self: `${at}/partitions`, next: null })
    t.same(partitions.data[1], partition)
    t.same((await get(app, `${prefix}/clusters/cluster-1/topics/a/partitions/1`)).json(), partition)
  }
  const failing: [string, number, number][] = [
    ['/v3/clusters/other', 404, 404], ['/v3/clusters/other/topics', 404, 404], ['/v3/clusters/cluster-1/topics/none', 404, 40403],
    ['/v3/clusters/cluster-1/topics/a/partitions/9', 404, 40403], ['/v3/clusters?x=1', 400, 400], ['/v3/clusters/cluster-1/brokers', 404, 404],
    ['/v3/clusters/cluster-1/topics/a/records', 405, 405]
  ]
  for (const [url, status, code] of failing) {
    const res = await get(app, url)
    t.same([res.statusCode, res.json<{ error_code: number }>().error_code], [status, code], url)
    t.equal(res.headers['content-type'], 'application/json')
  }
})

test('asking for a topic that does not exist does not make it', async t => {
  const { app, kafka } = await confluentApp()
  await get(app, '/topics/none/partitions')
  await get(app, '/v3/clusters/cluster-1/topics/none')
  t.same(kafka.asked, [])
})
