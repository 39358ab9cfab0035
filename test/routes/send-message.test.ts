import { test } from 'tap'
import { SluiceError } from '../../src/errors.js'
import { produceApp } from '../support/produce-app.js'

const headers = { 'content-type': 'application/json' }

for (const url of ['/api/kafka/send-message', '/api/Kafka/send-message']) {
  test(`${url} sends a text and says so`, async t => {
    const { app, kafka, logged } = await produceApp()
    const text = 'héllo "wörld" \0 𝄞'
    const res = await app.inject({ method: 'POST', url, headers, payload: JSON.stringify(text) })
    t.equal(res.statusCode, 200)
    t.equal(res.headers['content-type'], 'text/plain; charset=utf-8')
    t.equal(res.body, 'Message sent to Kafka.')
    t.match(kafka.sent, [{ topic: 'a', value: text, key: null, partition: null }])
    t.match(logged.at(-1), { level: 30, msg: 'message sent to Kafka', topic: 'a', partition: 0, offset: 0 })
    t.notMatch(JSON.stringify(logged), 'héllo')
  })
}

test('an empty text is sent as it is', async t => {
  const { app, kafka } = await produceApp()
  t.equal((await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers, payload: '""' })).statusCode, 200)
  t.equal(kafka.sent[0]?.value, '')
})

test('what is not a JSON string is refused', async t => {
  const { app, kafka } = await produceApp()
  for (const [payload, code] of [
    ['1', 'SLUICE_INVALID_REQUEST'], ['null', 'SLUICE_INVALID_REQUEST'], ['{"a":1}', 'SLUICE_INVALID_REQUEST'], ['["a"]', 'SLUICE_INVALID_REQUEST'],
    ['"\\ud800"', 'SLUICE_INVALID_REQUEST'], ['hello', 'SLUICE_MALFORMED_JSON'], ['"hello', 'SLUICE_MALFORMED_JSON'], ['', 'SLUICE_MALFORMED_JSON']
  ] as const) {
    const res = await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers, payload })
    t.equal(res.statusCode, 400, payload)
    t.equal(res.headers['content-type'], 'application/problem+json; charset=utf-8')
    t.equal(res.json<{ code: string }>().code, code)
  }
  const plain = await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers: { 'content-type': 'text/plain' }, payload: 'hello' })
  t.equal(plain.statusCode, 415)
  t.same(kafka.sent, [])
})

test('without a topic it says what to set', async t => {
  const { app } = await produceApp({ topic: null })
  const res = await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers, payload: '"hello"' })
  t.equal(res.statusCode, 404)
  t.match(res.json(), { code: 'SLUICE_NO_PRODUCE_TOPIC', detail: /KAFKA_PRODUCE_TOPIC/ })
})

test('a topic that does not exist is 404; Kafka away is 503 with Retry-After', async t => {
  const { app, kafka } = await produceApp({ topic: 'missing' })
  const missing = await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers, payload: '"hello"' })
  t.equal(missing.statusCode, 404)
  t.match(missing.json(), { code: 'SLUICE_UNKNOWN_TOPIC', detail: /missing/ })

  kafka.partitions.set('missing', 1)
  kafka.topicList = null
  kafka.refusal = new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'away')
  const away = await app.inject({ method: 'POST', url: '/api/kafka/send-message', headers, payload: '"hello"' })
  t.equal(away.statusCode, 503)
  t.equal(away.headers['retry-after'], '2')
})

test('Request-Timeout holds here as well', async t => {
  const { app, kafka } = await produceApp()
  const url = '/api/kafka/send-message'
  await app.inject({ method: 'POST', url, headers: { ...headers, 'request-timeout': '1.5' }, payload: '"hello"' })
  t.same(kafka.timeouts, [1_500])
  t.equal((await app.inject({ method: 'POST', url, headers: { ...headers, 'request-timeout': 'x' }, payload: '"hello"' })).statusCode, 400)
})
