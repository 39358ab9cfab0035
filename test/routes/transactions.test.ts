import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import { anyone, type Principal } from '../../src/access.js'
import { SluiceError } from '../../src/errors.js'
import { outcomeUnknown } from '../../src/kafka/transaction-errors.js'
import { maxBatchRecords } from '../../src/record-json.js'
import { maxTransactionTopics } from '../../src/transaction-topics.js'
import { readerApp } from '../support/reader-app.js'

const post = async (app: FastifyInstance, payload: object | string, headers: Record<string, string> = {}, url = '/transactions') =>
  await app.inject({ method: 'POST', url, payload, headers: { 'content-type': 'application/json', ...headers } })

test('records of several topics are run as one transaction, and the receipts come in the order of the request', async t => {
  const { app, transactions } = await readerApp(anyone)
  const res = await post(app, '{"records":[{"topic":"b","value":1.10,"partition":1},{"topic":"a","key":"k","value":null,"headers":{"h":"x"}}]}')
  t.equal(res.statusCode, 200)
  t.equal(res.headers['content-type'], 'application/json; charset=utf-8')
  t.same(res.json(), {
    records: [
      { topic: 'b', partition: 1, offset: 0, timestamp: 1767225600000 }, { topic: 'a', partition: 0, offset: 1, timestamp: 1767225600000 }
    ]
  })
  t.match(transactions.ran, [[
    { topic: 'b', partition: 1, key: null, value: '1.10' },
    { topic: 'a', partition: null, key: 'k', value: null, headers: [{ name: 'h', value: 'x' }] }
  ]], 'every digit is kept')
  t.ok(transactions.timeouts[0]! > 4_000 && transactions.timeouts[0]! <= 5_000)
  await post(app, { records: [{ topic: 'a', value: 1 }] }, { 'request-timeout': '60' })
  t.ok(transactions.timeouts[1]! > 50_000)
})

test('a fault anywhere refuses all of it, and says where', async t => {
  const { app, transactions } = await readerApp(anyone)
  const good = { topic: 'a', value: 1 }
  const bad: [object | string, number, string, string | undefined][] = [
    ['[]', 400, 'SLUICE_INVALID_REQUEST', '#'],
    ['{}', 400, 'SLUICE_INVALID_REQUEST', '#/records'],
    ['{', 400, 'SLUICE_MALFORMED_JSON', undefined],
    [{ records: [] }, 400, 'SLUICE_INVALID_REQUEST', '#/records'],
    [{ records: [good], more: 1 }, 400, 'SLUICE_INVALID_REQUEST', '#'],
    [{ records: [good, 1] }, 400, 'SLUICE_INVALID_REQUEST', '#/records/1'],
    [{ records: [good, { value: 1 }] }, 400, 'SLUICE_INVALID_REQUEST', '#/records/1'],
    [{ records: [good, { topic: 1, value: 1 }] }, 400, 'SLUICE_INVALID_REQUEST', '#/records/1/topic'],
    [{ records: [good, { topic: 'a' }] }, 400, 'SLUICE_INVALID_REQUEST', '#/records/1'],
    [{ records: [good, { topic: 'a', valu: 1 }] }, 400, 'SLUICE_INVALID_REQUEST', '#/records/1'],
    ['{"records":[{"topic":"a","value":1,"__proto__":{"partition":1}}]}', 400, 'SLUICE_INVALID_REQUEST', '#/records/0'],
    [{ records: [good, { topic: 'a b', value: 1 }] }, 400, 'SLUICE_INVALID_TOPIC_NAME', '#/records/1'],
    [{ records: [good, { topic: '__consumer_offsets', value: 1 }] }, 403, 'SLUICE_TOPIC_NOT_ALLOWED', '#/records/1'],
    [{ records: [good, { topic: 'nothing', value: 1 }] }, 404, 'SLUICE_UNKNOWN_TOPIC', '#/records/1'],
    [{ records: [good, { topic: 'b', value: 1, partition: 1 }, { topic: 'b', value: 1, partition: 2 }] }, 400, 'SLUICE_UNKNOWN_PARTITION', '#/records/2']
  ]
  for (const [payload, status, code, pointer] of bad) {
    const res = await post(app, payload)
    t.match(res.json(), { status, code, ...(pointer !== undefined && { pointer }) }, JSON.stringify(payload))
  }
  t.match((await post(app, { records: [good] }, {}, '/transactions?x=1')).json(), { status: 400, detail: /"x"/ })
  t.match((await post(app, { records: [good] }, { 'request-timeout': '0' })).json(), { status: 400, detail: /Request-Timeout/ })
  t.match((await post(app, 'x', { 'content-type': 'text/plain' })).json(), { status: 415 })
  t.same(transactions.ran, [])
})

test('records and topics: the limits from both sides', async t => {
  const { app, kafka } = await readerApp(anyone)
  const records = (count: number) => ({ records: Array.from({ length: count }, () => ({ topic: 'a', value: 0 })) })
  t.equal((await post(app, records(maxBatchRecords))).statusCode, 200)
  t.match((await post(app, records(maxBatchRecords + 1))).json(), { status: 413, code: 'SLUICE_BATCH_TOO_LARGE', limit: maxBatchRecords })
  for (let i = 0; i <= maxTransactionTopics; i++) kafka.partitions.set(`t${i}`, 1)
  await kafka.refreshTopics()
  const topics = (count: number) => ({ records: Array.from({ length: count }, (_, i) => ({ topic: `t${i}`, value: 0 })) })
  t.equal((await post(app, topics(maxTransactionTopics))).statusCode, 200)
  t.match((await post(app, topics(maxTransactionTopics + 1))).json(), { status: 413, code: 'SLUICE_BATCH_TOO_LARGE', limit: maxTransactionTopics })
})

test('the right to produce is asked for each topic, before anything is looked up', async t => {
  const onlyA: Principal = { name: 'a', may: (right, topic) => right === 'produce' && (topic === undefined || topic === 'a') }
  const { app, transactions } = await readerApp(onlyA)
  t.equal((await post(app, { records: [{ topic: 'a', value: 1 }] })).statusCode, 200)
  for (const topic of ['b', 'nothing']) {
    const res = await post(app, { records: [{ topic: 'a', value: 1 }, { topic, value: 1 }] })
    t.match(res.json(), { status: 403, code: 'SLUICE_FORBIDDEN', pointer: '#/records/1' })
  }
  t.equal(transactions.ran.length, 1)
})

test('errors of the transaction are one problem: 503 with Retry-After, 504 without', async t => {
  const { app, transactions } = await readerApp(anyone)
  transactions.failure = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  const full = await post(app, { records: [{ topic: 'a', value: 1 }] })
  t.equal(full.statusCode, 503)
  t.equal(full.headers['retry-after'], '1')
  transactions.failure = outcomeUnknown()
  const unknown = await post(app, { records: [{ topic: 'a', value: 1 }] })
  t.match(unknown.json(), { status: 504, code: 'SLUICE_TRANSACTION_UNKNOWN', detail: /either all/i })
  t.equal(unknown.headers['retry-after'], undefined)
  t.equal((await app.inject('/transactions')).statusCode, 405)
})
