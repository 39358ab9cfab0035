import { createHmac } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { newKey } from './support/access-app.js'
import { FAKE_CLUSTER, gatewayApp } from './support/gateway-app.js'

const secret = 'a-secret-of-the-sender'
const rules = (authenticates: boolean) => JSON.stringify({ t: { scheme: 'github', secrets: [secret], authenticates } })
const body = '{"zen":"Design for failure."}'
const signed = { 'content-type': 'application/json', 'x-hub-signature-256': 'sha256=' + createHmac('sha256', secret).update(body).digest('hex') }
const unsigned = { 'content-type': 'application/json' }

const shopKey = newKey()
const readerKey = newKey()
const principals = [
  { name: 'shop', keys: [shopKey.digest], rules: [{ rights: ['produce'], topics: ['t'] }] },
  { name: 'reader', keys: [readerKey.digest], rules: [{ rights: ['read'], topics: ['*'] }] }
]
const shop = { authorization: `Bearer ${shopKey.key}` }
const reader = { authorization: `Bearer ${readerKey.key}` }

async function gateway (t: Test, { authenticates, keys }: { authenticates: boolean, keys: boolean }) {
  const env: Record<string, string> = { ...FAKE_CLUSTER, KAFKA_PRODUCE_TOPIC: 't', WEBHOOK_SIGNATURES: rules(authenticates) }
  if (keys) env['AUTH_FILE'] = path.join(t.testdir({ 'auth.json': JSON.stringify({ principals }) }), 'auth.json')
  const { app, kafka } = await gatewayApp(env)
  t.teardown(() => app.close())
  await app.ready()
  await kafka.refreshTopics()
  const post = async (url: string, headers: Record<string, string>, payload = body) => {
    const res = await app.inject({ method: 'POST', url, headers, payload })
    return res.statusCode === 200 ? 'produced' : `${res.statusCode} ${res.json<{ code: string }>().code}`
  }
  return { app, kafka, post }
}

t.test('where a signature stands in for a key, it lets its request in, and nothing else', async t => {
  const { app, kafka, post } = await gateway(t, { authenticates: true, keys: true })
  t.equal(await post('/topics/t/raw', signed), 'produced')
  t.equal(await post('/topics/t/raw', signed, body + ' '), '403 SLUICE_SIGNATURE_INVALID')
  t.equal(await post('/topics/t/raw', unsigned), '403 SLUICE_SIGNATURE_INVALID')
  t.equal(await post('/topics/t/events', { ...signed, 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 't' }), 'produced')
  t.equal(await post('/topics/t/records', signed, '{"value":1}'), '401 SLUICE_UNAUTHENTICATED')
  t.equal(await post('/topics/t.dlq/raw', signed), '401 SLUICE_UNAUTHENTICATED')
  t.equal(await post('/topics/t/nothing', signed), '401 SLUICE_UNAUTHENTICATED')
  t.equal((await app.inject({ url: '/topics/t/raw', headers: signed })).statusCode, 401)
  t.equal(await post('/topics/t/raw', { ...signed, ...shop }), 'produced', 'a key besides')
  t.equal(await post('/topics/t/raw', { ...unsigned, ...shop }), '403 SLUICE_SIGNATURE_INVALID', 'a key is not a signature')
  t.equal(await post('/topics/t/raw', { ...signed, authorization: 'Bearer wrong' }), '401 SLUICE_UNAUTHENTICATED', 'a wrong key is worth less than none')
  t.equal(await post('/topics/t/raw', { ...signed, ...reader }), '403 SLUICE_FORBIDDEN', 'nor does a signature give a right to whom it was refused')
  t.equal(kafka.sent.length, 3)
})

t.test('where it does not, both are needed; a key alone opens the routes that check no signature', async t => {
  const { kafka, post } = await gateway(t, { authenticates: false, keys: true })
  t.equal(await post('/topics/t/raw', signed), '401 SLUICE_UNAUTHENTICATED')
  t.equal(await post('/topics/t/raw', { ...unsigned, ...shop }), '403 SLUICE_SIGNATURE_INVALID')
  t.equal(await post('/topics/t/raw', { ...signed, ...shop }), 'produced')
  t.equal(await post('/topics/t/records', { ...unsigned, ...shop }, '{"value":1}'), 'produced')
  t.equal(kafka.sent.length, 2)
})

t.test('while nobody has to say who it is, a signed topic is closed to routes that check no signature', async t => {
  const { app, kafka, post } = await gateway(t, { authenticates: false, keys: false })
  t.equal(await post('/topics/t/raw', signed), 'produced')
  t.equal(await post('/topics/t/raw', unsigned), '403 SLUICE_SIGNATURE_INVALID')
  t.equal(await post('/topics/t/records', unsigned, '{"value":1}'), '403 SLUICE_FORBIDDEN')
  t.equal(await post('/topics/%74/records', unsigned, '{"value":1}'), '403 SLUICE_FORBIDDEN')
  t.equal(await post('/api/kafka/send-message', unsigned, '"x"'), '403 SLUICE_FORBIDDEN')
  t.equal(await post('/transactions', unsigned, '{"records":[{"topic":"t","value":1}]}'), '403 SLUICE_FORBIDDEN')
  t.equal(await post('/topics/t.dlq/records', unsigned, '{"value":1}'), 'produced', 'others are open')
  t.equal(kafka.sent.length, 2)
  t.match((await app.inject({ method: 'POST', url: '/topics/t/records', headers: unsigned, payload: '{"value":1}' })).json(),
    { detail: /signed webhooks only \(WEBHOOK_SIGNATURES\): post to \/topics\/t\/raw/ })
})

t.test('a repeated webhook with an Idempotency-Key is answered again only where its signature is good', async t => {
  const { kafka, post } = await gateway(t, { authenticates: true, keys: true })
  const key = { 'idempotency-key': '"delivery-1"' }
  t.equal(await post('/topics/t/raw', { ...signed, ...key }), 'produced')
  t.equal(await post('/topics/t/raw', { ...signed, ...key }), 'produced')
  t.equal(kafka.sent.length, 1, 'once')
  t.equal(await post('/topics/t/raw', { ...unsigned, ...key }), '403 SLUICE_SIGNATURE_INVALID')
})
