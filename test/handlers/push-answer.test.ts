import fc from 'fast-check'
import t from 'tap'
import { failureOf, PushError, type Answer } from '../../src/handlers/push-answer.js'

const now = () => 0
const answer = (status: number, body: string | null = null, retryAfter?: string): Answer =>
  ({ status, retryAfter, date: undefined, body: body === null ? null : Buffer.from(body) })
const advice = (status: number, body?: string, retryAfter?: string) => {
  const failure = failureOf(answer(status, body ?? null, retryAfter), now)
  if (failure === null) return 'done'
  const { name, message, stack, ...rest } = failure
  return rest
}

t.test('2xx completes the record, whatever the body says but RETRY and DROP', async t => {
  for (const status of [200, 201, 202, 204, 206, 299]) t.equal(advice(status), 'done', String(status))
  for (const body of ['', 'ok', '{}', '{"status":"SUCCESS"}', '{"status":"ok"}', '{"status":""}', '{"status":200}', '{"status":null}', '{"statuses":[]}',
    '{"status":"RETRY"', '["RETRY"]', '"RETRY"', 'null', '{"status":{"status":"RETRY"}}', '\ufeff{']) {
    t.equal(advice(200, body), 'done', body)
  }
})

t.test('RETRY and DROP are honoured in any case, and RETRY with its Retry-After', async t => {
  for (const word of ['RETRY', 'retry', 'Retry']) t.same(advice(200, `{"status":"${word}"}`), {}, word)
  t.same(advice(200, ' \n{"message":"later","status":"RETRY"}', '3'), { retryAfterMs: 3000 })
  t.same(advice(202, '{"status":"DROP"}'), { drop: true })
  t.same(advice(500, '{"status":"SUCCESS"}'), {}, 'an answer that is no 2xx is judged by its status alone')
  t.same(advice(400, '{"status":"RETRY"}'), { retriable: false })
})

t.test('what is tried again', async t => {
  for (const status of [408, 409, 429, 500, 501, 502, 503, 504, 507, 599, 600, 999]) {
    t.same(advice(status), {}, String(status))
    t.same(advice(status, '', '5'), { retryAfterMs: 5000 }, String(status))
    t.same(advice(status, '', 'soon'), {}, String(status))
  }
})

t.test('an address or rights that are wrong are an outage, and so are redirects', async t => {
  for (const status of [300, 301, 302, 303, 304, 307, 308, 399, 401, 403, 404]) {
    t.same(advice(status), { outage: true }, String(status))
    t.same(advice(status, '', '5'), { outage: true, retryAfterMs: 5000 }, String(status))
  }
})

t.test('any other 4xx is the end of the record\'s attempts', async t => {
  for (let status = 400; status < 500; status++) {
    if ([401, 403, 404, 408, 409, 429].includes(status)) continue
    t.same(advice(status), { retriable: false }, String(status))
    t.same(advice(status, '', '5'), { retriable: false }, String(status))
  }
})

t.test('for any status and body there is one decision, and a message without the body', async () => {
  const maybe = fc.option(fc.string(), { nil: undefined })
  fc.assert(fc.property(fc.integer({ min: 200, max: 999 }), fc.string({ minLength: 8 }), maybe, (status, body, retryAfter) => {
    const failure = failureOf(answer(status, body, retryAfter), now)
    return failure === null ? status < 300 : failure instanceof PushError && !failure.message.includes(body) && !failure.message.includes('\n')
  }))
})
