import { test } from 'tap'
import { until } from '../support/gateway-app.js'
import { produceApp } from '../support/produce-app.js'

const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const traced = [['traceparent', traceparent], ['tracestate', 'a=1']]

test('every route that produces carries the trace context of its request into its records', async t => {
  const { app, kafka } = await produceApp()
  const cases: [url: string, type: string, payload: string, records: number][] = [
    ['/topics/a/records', 'application/json', '{"value":1}', 1],
    ['/topics/a/records', 'application/json', '{"records":[{"value":1},{"value":2}]}', 2],
    ['/topics/a/records', 'application/x-ndjson', '{"value":1}\n{"value":2}\n', 2],
    ['/topics/a/raw', 'text/plain', 'x', 1],
    ['/topics/a/events', 'application/cloudevents+json', '{"specversion":"1.0","id":"1","source":"/s","type":"t"}', 1],
    ['/api/kafka/send-message', 'application/json', '"x"', 1]
  ]
  for (const [url, type, payload, records] of cases) {
    for (const prefer of ['', 'respond-async']) {
      kafka.sent.length = 0
      const headers = { 'content-type': type, traceparent, tracestate: 'a=1', prefer }
      if (type === 'application/x-ndjson' && prefer !== '') continue
      const res = await app.inject({ method: 'POST', url, headers, payload })
      t.ok(res.statusCode < 300, `${url} ${type} ${res.body}`)
      await until(() => kafka.sent.length === records, 'the records of an answer that did not wait')
      const found = kafka.sent.map(({ headers }) => headers?.filter(({ name }) => name.startsWith('trace')).map(({ name, value }) => [name, String(value)]))
      t.same(found, new Array(records).fill(traced), `${url} ${type} ${prefer}`)
    }
  }
})

test('a record that names a trace of its own keeps it', async t => {
  const { app, kafka } = await produceApp()
  await app.inject({
    method: 'POST', url: '/topics/a/records', headers: { traceparent }, payload: { records: [{ value: 1, headers: { traceparent: 'mine' } }, { value: 2 }] }
  })
  t.same(kafka.sent.map(({ headers }) => headers?.map(({ value }) => String(value))), [['mine'], [traceparent]])
})
