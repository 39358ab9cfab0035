import t from 'tap'
import { tracer } from '../src/trace-context.js'

const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const record = { topic: 'a', value: 'x' }
const traced = (headers: Record<string, string>) =>
  tracer(headers)({ ...record, headers: [] as { name: string, value: Buffer | string }[] }).headers
    .map(({ name, value }) => [name, String(value)])

t.test('traceparent and tracestate become headers of the record', async t => {
  t.same(traced({ traceparent: parent, tracestate: 'a=1,b=2' }), [['traceparent', parent], ['tracestate', 'a=1,b=2']])
  t.same(traced({ traceparent: parent }), [['traceparent', parent]])
  t.same(traced({ traceparent: `cc${parent.slice(2)}-what-the-future-holds` }).length, 1, 'a later version')
})

t.test('a record that has a traceparent of its own keeps it', async t => {
  const own = { ...record, headers: [{ name: 'Traceparent', value: 'mine' }] }
  t.equal(tracer({ traceparent: parent, tracestate: 'a=1' })(own), own)
})

t.test('without a valid traceparent nothing is added, and the record is the very same', async t => {
  for (const bad of ['', 'x', parent.toUpperCase(), `ff${parent.slice(2)}`, `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    '00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', `${parent}, ${parent}`, `${parent}-${'x'.repeat(100)}`]) {
    t.equal(tracer({ traceparent: bad, tracestate: 'a=1' })(record), record, bad)
  }
  t.equal(tracer({ tracestate: 'a=1' })(record), record)
})

t.test('a tracestate may have 512 characters', async t => {
  t.equal(traced({ traceparent: parent, tracestate: 'x'.repeat(512) }).length, 2)
  t.equal(traced({ traceparent: parent, tracestate: 'x'.repeat(513) }).length, 1)
})
