import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { AnswerStream, type AnswerStreamOptions } from '../../src/confluent/answer-stream.js'

const options: AnswerStreamOptions = {
  maxRecordBytes: 100,
  idleTimeoutMs: 30,
  answer: async () => 'a',
  failure: ({ code }) => code,
  oneByOne: () => false,
  spendAndWait: () => 0,
  spendRecordAndWait: () => 0,
  budget: { bytes: 0, maxBytes: 1_000 },
  abort: () => {}
}

test('while its caller has to wait a stream is not idle; afterwards it is, if nothing comes', async t => {
  const source = new PassThrough()
  let waits = 2
  let aborted = 0
  const stream = new AnswerStream(source, {
    ...options, spendRecordAndWait: () => waits-- > 0 ? 150 : 0, abort: () => { aborted++ }
  })
  source.write('{}{}{}')
  const output = await stream.start()
  t.equal(await text(output), 'aaa')
  t.equal(aborted, 1, 'the end did not come')
  t.equal(stream.end, 'SLUICE_STREAM_STALLED')
})

test('a caller that goes away, and a process that closes, end the wait', async t => {
  for (const end of ['gone', 'stopped'] as const) {
    const source = new PassThrough()
    let waits = 0
    const stream = new AnswerStream(source, { ...options, idleTimeoutMs: 60_000, spendRecordAndWait: () => waits++ === 0 ? 0 : 1e12 })
    source.write('{}{}')
    const output = await stream.start()
    setImmediate(() => {
      if (end === 'gone') source.destroy()
      else stream.stop()
    })
    t.equal(await text(output), end === 'gone' ? 'aSLUICE_INVALID_REQUEST' : 'a')
  }
})
