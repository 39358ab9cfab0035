import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { SluiceError } from '../../src/errors.js'
import { produceApp } from '../support/produce-app.js'

const post = (app: FastifyInstance, body: string, headers: Record<string, string> = { prefer: 'respond-async' }, url = '/topics/a/records') =>
  app.inject({ method: 'POST', url, payload: body, headers: { 'content-type': 'application/json', ...headers } })

t.test('202 comes before Kafka\'s acknowledgement, on every route, and says what was applied', async t => {
  const { app, kafka } = await produceApp()
  const held: (() => void)[] = []
  kafka.hold = settle => { held.push(settle) }
  for (const [body, url, accepted] of [
    ['{"value":1}', '/topics/a/records', 1], ['{"records":[{"value":1},{"value":2}]}', '/topics/a/records', 2], ['x', '/topics/a/raw', 1],
    ['"x"', '/api/kafka/send-message', 1]
  ] as const) {
    const res = await post(app, body, { prefer: 'wait=5, Respond-Async' }, url)
    t.equal(res.statusCode, 202, res.body)
    t.equal(res.headers['preference-applied'], 'respond-async')
    t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
    t.same(res.json(), { accepted })
  }
  t.same(kafka.sent, [])
  for (const settle of held) settle()
  t.same(kafka.sent.map(({ value }) => String(value)), ['1', '1', '2', 'x', 'x'])
})

t.test('other preferences are passed over', async t => {
  const { app } = await produceApp()
  for (const prefer of ['', 'return=minimal', 'x="respond-async"', 'x="a, respond-async"', 'respond-asynchronously', ',,;=']) {
    const res = await post(app, '{"value":1}', { prefer })
    t.equal(res.statusCode, 200, prefer)
    t.equal(res.headers['preference-applied'], undefined)
  }
})

t.test('what is not admitted is refused as always', async t => {
  const { app, kafka } = await produceApp()
  t.match((await post(app, '{"valu":1}')).json(), { status: 400 })
  t.match((await post(app, '{"value":1}', { prefer: 'respond-async' }, '/topics/nope/records')).json(), { status: 404, code: 'SLUICE_UNKNOWN_TOPIC' })
  t.match((await post(app, '{"value":1,"partition":9}')).json(), { status: 400, code: 'SLUICE_UNKNOWN_PARTITION' })
  kafka.messageMaxBytes = 5
  t.match((await post(app, '{"value":"123456"}')).json(), { status: 413, code: 'SLUICE_RECORD_TOO_LARGE' })
  const some = await post(app, '{"records":[{"value":"1"},{"value":"123456"},{"value":"2","partition":9},{"value":"3"}]}')
  t.equal(some.statusCode, 202)
  t.match(some.json(), {
    accepted: 2, refused: [{ index: 1, code: 'SLUICE_RECORD_TOO_LARGE' }, { index: 2, code: 'SLUICE_UNKNOWN_PARTITION' }]
  })
  kafka.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  const full = await post(app, '{"value":1}')
  t.equal(full.statusCode, 503)
  t.equal(full.headers['preference-applied'], undefined)
})

t.test('what fails later is counted by its code, and logged once a second however often it happens', async t => {
  const { app, kafka, logged } = await produceApp()
  for (let i = 0; i < 50; i++) kafka.outcomes.push(new SluiceError('SLUICE_RECORD_REJECTED', 'refused'))
  for (let i = 0; i < 50; i++) t.equal((await post(app, '{"value":1}')).statusCode, 202)
  while (kafka.outcomes.length > 0) await new Promise(resolve => { setImmediate(resolve) })
  await new Promise(resolve => { setImmediate(resolve) })
  t.match(await app.metrics.scrape(), /sluice_produce_async_failures_total\{code="SLUICE_RECORD_REJECTED"\} 50/)
  const lines = logged.filter(({ msg }) => /202/.test(String(msg)))
  t.ok(lines.length >= 1 && lines.length < 10, `${lines.length} lines`)
  t.match(lines[0], { level: 40, topic: 'a', code: 'SLUICE_RECORD_REJECTED', unsaid: 0 })
})
