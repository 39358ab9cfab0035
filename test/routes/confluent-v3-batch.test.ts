import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import { SluiceError } from '../../src/errors.js'
import { maxBatchRecords } from '../../src/record-json.js'
import { confluentApp } from '../support/confluent-app.js'

async function post (app: FastifyInstance, payload: string | object | undefined, prefix = '/v3') {
  return await app.inject({
    method: 'POST',
    url: `${prefix}/clusters/cluster-1/topics/a/records:batch`,
    ...(payload !== undefined && {
      headers: { 'content-type': 'application/json' }, payload: typeof payload === 'string' ? payload : JSON.stringify(payload)
    })
  })
}

test('a batch answers 207 with successes and failures, by id', async t => {
  const { app, kafka } = await confluentApp()
  for (const prefix of ['/v3', '/kafka/v3']) {
    kafka.outcomes.push(undefined, new SluiceError('SLUICE_RECORD_TOO_LARGE', 'large'))
    const res = await post(app, '{"entries":[{"id":"1","partition_id":1,"value":{"type":"JSON","data":1.50},"timestamp":"2021-02-05T19:14:42Z"},' +
      '{"id":"2","value":{"type":"STRING","data":"b"}},{"id":"3","value":{"type":"BINARY","data":"?"}},{"id":"4","partition_id":9},{"id":"5","key":{"data":1}}]}', prefix)
    t.equal(res.statusCode, 207)
    t.equal(res.headers['content-type'], 'application/json')
    t.match(res.json(), {
      successes: [{
        id: '1',
        cluster_id: 'cluster-1',
        topic_name: 'a',
        partition_id: 1,
        offset: Number,
        timestamp: '2021-02-05T19:14:42Z',
        value: { type: 'JSON', size: 4 }
      }],
      failures: [
        { id: '2', error_code: 413, message: 'large' }, { id: '3', error_code: 400, message: /entries\/2/ },
        { id: '4', error_code: 40403 }, { id: '5', error_code: 42206 }
      ]
    })
    t.equal(kafka.sent.at(-1)?.value, '1.50')
  }
  t.same((await post(app, { entries: [{ id: 'x' }] })).json<{ failures: unknown[] }>().failures, [])
  t.match((await post(app, { entries: [{ id: 'x', a: 1 }] })).json(), { successes: [], failures: [{ id: 'x', error_code: 400 }] })
})

test('a batch whose outcomes could not be told is refused as a whole', async t => {
  const { app, kafka } = await confluentApp()
  const refused = async (payload: string | object | undefined) => {
    const res = await post(app, payload)
    return [res.statusCode, res.json<{ error_code: number }>().error_code]
  }
  const entries = (count: number) => Array.from({ length: count }, (_, i) => ({ id: String(i) }))
  for (const body of [undefined, [], {}, { entries: [] }, { entries: [1] }, { entries: [{}] }, { entries: [{ id: 1 }] }, { entries: [{ id: '' }] },
    { entries: [{ id: 'x'.repeat(81) }] }, { entries: [{ id: '1' }, { id: '1' }] }, { entries: [{ id: '1' }], x: 1 }, { entries: entries(maxBatchRecords + 1) }]) {
    t.same(await refused(body), [422, 42208], JSON.stringify(body)?.slice(0, 60))
  }
  t.same(await refused('{'), [400, 400])
  kafka.refusal = new SluiceError('SLUICE_QUEUE_FULL', 'full')
  t.same(await refused({ entries: [{ id: '1' }] }), [503, 50003])
  kafka.refusal = null
  t.same(kafka.sent, [])
  t.equal((await post(app, { entries: [{ id: 'x'.repeat(80) }] })).statusCode, 207)
  t.equal((await post(app, { entries: entries(maxBatchRecords) })).statusCode, 207)
})
