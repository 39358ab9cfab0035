import Fastify, { type FastifyInstance } from 'fastify'
import { test } from 'tap'
import errors from '../../plugins/errors.js'
import producer, { type ProducerPluginOptions } from '../../plugins/producer.js'
import { startEmbeddedBroker } from '../../src/kafka/embedded-broker.js'
import { FakeProducer } from '../support/fake-producer.js'
import { producerSettings } from '../support/produce-app.js'

async function build (options: Partial<ProducerPluginOptions>): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(errors)
  await app.register(producer, { client: {}, settings: producerSettings, closeTimeoutMs: 1_000, ...options })
  await app.ready()
  return app
}

test('it produces, and the close waits for what is pending', async t => {
  const broker = await startEmbeddedBroker({ topics: ['a'] })
  t.teardown(() => broker.close())
  const acknowledged: string[] = []
  const app = await build({
    client: { 'bootstrap.servers': broker.bootstrapServers },
    embedded: true,
    observer: { acknowledged (topic) { acknowledged.push(topic) }, failed () {} }
  })
  t.match(app.producer.state, { connected: true, reachable: true }, 'the embedded broker is waited for')
  const pending = app.producer.send({ topic: 'a', value: 'x' })
  await app.close()
  t.match(await pending, { topic: 'a', offset: 0 })
  t.same(acknowledged, ['a'])
  await t.rejects(app.producer.send({ topic: 'a', value: 'x' }), { code: 'SLUICE_CLOSING' })
})

test('a producer that was given is used, and not closed', async t => {
  const kafka = new FakeProducer()
  const app = await build({ producer: kafka })
  t.equal(app.producer, kafka)
  t.equal(await app.topics.partitions('a'), 4)
  await app.close()
  t.match(await app.producer.send({ topic: 'a', value: 'x' }), { offset: 0 })
})

test('the start does not wait for Kafka; a configuration that is wrong stops it', async t => {
  const app = await build({ client: { 'bootstrap.servers': '127.0.0.1:1' }, closeTimeoutMs: 100 })
  t.match(app.producer.state, { connected: false, reachable: false })
  await app.close()
  await t.rejects(build({ client: { 'no.such.property': 1 } }), /no\.such\.property/)
})
