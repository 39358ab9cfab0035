import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'tap'
import { FAKE_CLUSTER, gatewayApp, until } from '../support/gateway-app.js'

const url = '/v3/clusters/c/topics/t/records'
const headers = { 'content-type': 'application/json' }

test('a body without a bounded length is a stream, counted with all others; one that is no longer than a record may be is not', async t => {
  const { app, kafka } = await gatewayApp({ ...FAKE_CLUSTER, KAFKA_PRODUCE_TOPIC: 't', STREAM_MAX_COUNT: '1', BODY_LIMIT_BYTES: '1000' })
  t.teardown(() => app.close())
  await app.ready()
  await kafka.refreshTopics()
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const metric = async (name: string) => (await app.inject('/metrics')).body.split('\n').find(line => line.startsWith(name))
  const open = async () => {
    const req = request({ port, method: 'POST', path: url, headers })
    req.on('error', () => {})
    req.write('{}')
    const [res] = await once(req, 'response') as [IncomingMessage]
    res.on('error', () => {}).resume()
    return { req, res }
  }
  const { req, res } = await open()
  t.equal(res.statusCode, 200)
  t.equal(await metric('sluice_produce_streams '), 'sluice_produce_streams 1')

  const refused = await app.inject({ method: 'POST', url, headers, payload: '{}'.repeat(501) })
  t.equal(refused.statusCode, 503, refused.body)
  const ndjson = await app.inject({ method: 'POST', url: '/topics/t/records', headers: { 'content-type': 'application/x-ndjson' }, payload: '{"value":1}' })
  t.equal(ndjson.statusCode, 503, ndjson.body)
  t.equal((await app.inject({ method: 'POST', url, headers, payload: '{}'.repeat(500) })).statusCode, 200)
  t.equal(kafka.sent.length, 501)

  req.end()
  await once(res, 'end')
  await until(() => true, 'a turn')
  t.equal(await metric('sluice_produce_streams '), 'sluice_produce_streams 0')
  t.equal(await metric('sluice_produce_streams_total{end="done"'), 'sluice_produce_streams_total{end="done"} 1')
  const next = await open()
  next.req.destroy()
  await until(async () => await metric('sluice_produce_streams ') === 'sluice_produce_streams 0', 'the place of a caller that has gone')
  t.equal(await metric('sluice_produce_streams_total{end="SLUICE_MALFORMED_HTTP"'), 'sluice_produce_streams_total{end="SLUICE_MALFORMED_HTTP"} 1')
})
