import path from 'node:path'
import t, { type Test } from 'tap'
import { CommitError, PollError } from '../../src/engine/types.js'
import type { OutgoingRecord } from '../../src/record.js'
import { record } from '../support/fake-source.js'
import { FAKE_CLUSTER, gatewayApp, samplesOf, until, type LogLine } from '../support/gateway-app.js'

const P0 = { topic: 't', partition: 0 }
const QUICK = {
  ...FAKE_CLUSTER, KAFKA_COMMIT_INTERVAL_SECONDS: '0.01', KAFKA_RETRY_BACKOFF_MS: '1', KAFKA_RETRY_BACKOFF_MAX_MS: '1', KAFKA_RETRY_MAX_ATTEMPTS: '2'
}

async function setUp (t: Test, env: Readonly<Record<string, string>>, overrides: Parameters<typeof gatewayApp>[1] = {}) {
  const made = await gatewayApp(env, overrides)
  t.teardown(() => made.app.close())
  await made.app.ready()
  const line = (msg: string) => made.logged.find(one => one.msg === msg)
  return { ...made, line, committed: () => made.app.consumers[0].state.partitions[0]?.committedOffset ?? -1 }
}

const textOf = (sent: OutgoingRecord, name: string) => sent.headers?.find(header => header.name === name)?.value.toString()

t.test('nothing is connected before the process is ready', async t => {
  let connects = 0
  const { app, source } = await gatewayApp(FAKE_CLUSTER, {
    connect: async () => {
      connects++
      return source
    }
  })
  t.equal(connects, 0)
  await app.ready()
  t.equal(connects, 1)
  await app.close()
  t.ok(source.left)
  t.ok(source.closed)
})

t.test('an app that is closed before it was ready connects nothing', async t => {
  let connects = 0
  const { app, source } = await gatewayApp(FAKE_CLUSTER, { connect: async () => { connects++; return source } })
  await app.close()
  t.equal(connects, 0)
})

t.test('without a group or a topic there is no consumer', async t => {
  const { KAFKA_BOOTSTRAP_SERVERS, KAFKA_GROUP_ID, KAFKA_TOPIC } = FAKE_CLUSTER
  const lacking: Record<string, string>[] = [
    { KAFKA_BOOTSTRAP_SERVERS, KAFKA_GROUP_ID }, { KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC }, { KAFKA_BOOTSTRAP_SERVERS }
  ]
  for (const env of lacking) {
    const { app } = await setUp(t, env)
    t.same(app.consumers, [])
  }
})

t.test('dead letters go to the topic with the suffix, to the one topic, or nowhere', async t => {
  for (const [variables, target] of [
    [{}, 'orders.dlq'], [{ KAFKA_DEAD_LETTER_TOPIC: 'failed' }, 'failed'], [{ KAFKA_DEAD_LETTER_TOPIC: 'off' }, null]
  ] as const) {
    const { app } = await setUp(t, { ...FAKE_CLUSTER, ...variables })
    t.equal(app.consumers[0]?.deadLetterTopicOf('orders'), target)
  }
})

t.test('a record that fails is retried, dead-lettered with the producer, counted and logged', async t => {
  const { app, kafka, source, logged, line, committed } = await setUp(t, QUICK, { handler: () => { throw new TypeError('no such customer') } })
  source.append([record({ offset: 0, key: Buffer.from('k'), value: Buffer.from('secret payload') })])
  source.event('assigned', [P0])
  await until(() => committed() === 1, 'the commit')
  t.equal(kafka.sent.length, 1)
  const [letter] = kafka.sent
  t.match(letter, { topic: 't.dlq', key: Buffer.from('k'), value: Buffer.from('secret payload') })
  t.equal(textOf(letter, 'sluice-group'), 'g')
  t.equal(textOf(letter, 'sluice-attempts'), '2')
  t.equal(textOf(letter, 'sluice-error-class'), 'TypeError')
  t.ok(Math.abs(Number(textOf(letter, 'sluice-dead-lettered-at')) - Date.now()) < 60_000)
  const at = { topic: 't', partition: 0, offset: 0, group: 'g' }
  t.match(line('record failed; retrying'), { ...at, level: 40, attempt: 1, err: { message: 'no such customer' } })
  t.match(line('record failed for good; sending it to the dead-letter topic'), { ...at, level: 50, attempt: 2 })
  t.notMatch(JSON.stringify(logged), /secret payload/, 'no payload in the log')
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_consumer_attempts_total{group="g",topic="t",outcome="failed"}'), 2)
  t.equal(samples.get('sluice_consumer_retries_total{group="g",topic="t"}'), 1)
  t.equal(samples.get('sluice_consumer_records_completed_total{group="g",topic="t",outcome="dead-lettered"}'), 1)
})

t.test('what a handler answers is produced before its record is committed; what is refused is a failed attempt', async t => {
  const { kafka, source, committed } = await setUp(t, QUICK, {
    handler: ({ offset }: { offset: number }) => ({ produce: offset === 1 ? [{ topic: 'no topic', value: '' }] : [{ topic: 'a', value: `of ${offset}` }] })
  })
  source.append([0, 1].map(offset => record({ offset })))
  source.event('assigned', [P0])
  await until(() => committed() === 2, 'the commit')
  t.match(kafka.sent, [{ topic: 'a', value: 'of 0' }, { topic: 't.dlq' }])
  t.equal(textOf(kafka.sent[1], 'sluice-error-class'), 'ProducedError')
  t.equal(textOf(kafka.sent[1], 'sluice-attempts'), '1')
})

t.test('a dead letter that the producer refuses is counted, logged and tried again', async t => {
  const { app, kafka, source, line, committed } = await setUp(t, QUICK, { handler: () => { throw new Error('poison') } })
  kafka.refusal = new Error('not authorized')
  source.append([record({ offset: 0 })])
  source.event('assigned', [P0])
  await until(() => line('dead letter could not be sent; trying again, its key waits') !== undefined, 'the refusal')
  t.match(app.consumers[0].state.problems, ['dead letters cannot be sent: not authorized'])
  kafka.refusal = null
  await until(() => committed() === 1, 'the commit')
  t.equal((await samplesOf(app)).get('sluice_consumer_dead_letter_refusals_total{group="g",topic="t"}'), 1)
  t.same(app.consumers[0].state.problems, [])
})

t.test('a dead letter fits what the producer takes', async t => {
  const { kafka, source, committed } = await setUp(t, { ...QUICK, KAFKA_MESSAGE_MAX_BYTES: '2000' }, { handler: () => { throw new Error('poison') } })
  kafka.messageMaxBytes = 2000
  source.append([record({ offset: 0, value: Buffer.alloc(1900) })])
  source.event('assigned', [P0])
  await until(() => committed() === 1, 'the commit')
  t.equal(kafka.sent[0].value, null)
  t.equal(textOf(kafka.sent[0], 'sluice-value-omitted-bytes'), '1900')
})

t.test('with dead letters off a record blocks, or is skipped, and the log says so', async t => {
  const off = { ...QUICK, KAFKA_DEAD_LETTER_TOPIC: 'off' }
  const handler = () => { throw new Error('poison') }
  const blocking = await setUp(t, off, { handler })
  blocking.source.append([record({ offset: 0 })])
  blocking.source.event('assigned', [P0])
  await until(() => blocking.app.consumers[0].state.blocked === 1, 'the block')
  t.match(blocking.line('record failed for good; it holds its key, because dead letters are off'), { level: 50 })
  t.equal((await samplesOf(blocking.app)).get('sluice_consumer_blocked_records{group="g"}'), 1)

  const skipping = await setUp(t, { ...off, KAFKA_DEAD_LETTER_OFF_ACTION: 'skip' }, { handler })
  t.match(skipping.line('dead letters are off and failed records are skipped: what fails for good is only in this log'), { level: 40 })
  skipping.source.append([record({ offset: 0 })])
  skipping.source.event('assigned', [P0])
  await until(() => skipping.committed() === 1, 'the commit')
  t.match(skipping.line('record failed for good; skipped'), { level: 50 })
  t.equal((await samplesOf(skipping.app)).get('sluice_consumer_records_completed_total{group="g",topic="t",outcome="skipped"}'), 1)
})

t.test('rebalances, drains and records that come twice are counted and logged', async t => {
  const { app, source, line, committed } = await setUp(t, QUICK, { handler: () => {} })
  source.append([0, 1].map(offset => record({ offset })))
  source.event('assigned', [P0])
  await until(() => committed() === 2, 'the commit')
  source.redeliver(P0, 0)
  await until(() => line('the log goes on below what was read: it was truncated, or the topic was made anew; reading it again from here') !== undefined, 'the rewind')
  source.event('revoked', [P0])
  await until(() => app.consumers[0].state.partitions.length === 0, 'the revoke')
  source.event('assigned', [P0])
  source.event('lost', [P0])
  await until(() => line('partitions lost: others may own them already') !== undefined, 'the loss')
  t.match(line('partitions assigned'), { level: 30, partitions: [P0] })
  t.match(line('partitions revoked'), { level: 30, partitions: [P0] })
  t.match(line('drained'), { level: 30, partitions: 1 })
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_consumer_rebalances_total{group="g",type="assigned"}'), 2)
  t.equal(samples.get('sluice_consumer_rebalances_total{group="g",type="revoked"}'), 1)
  t.equal(samples.get('sluice_consumer_rebalances_total{group="g",type="lost"}'), 1)
  t.equal(samples.get('sluice_consumer_unexpected_records_total{group="g",topic="t",what="rewound"}'), 1)
  t.equal(samples.get('sluice_consumer_drain_duration_seconds_count{group="g"}'), 1)
})

t.test('a duplicate is counted and logged', async t => {
  let finish = () => {}
  const { app, source, line } = await setUp(t, QUICK, { handler: () => new Promise<void>(resolve => { finish = resolve }) })
  source.append([record({ offset: 0 })])
  source.event('assigned', [P0])
  await until(() => app.consumers[0].state.inFlight === 1, 'the handler')
  source.redeliver(P0, 0)
  await until(() => line('record delivered twice; dropped') !== undefined, 'the duplicate')
  t.equal((await samplesOf(app)).get('sluice_consumer_unexpected_records_total{group="g",topic="t",what="duplicate"}'), 1)
  finish()
})

t.test('a drain that is cut off says how many handlers it left', async t => {
  let finish = () => {}
  const { app, source, line } = await setUp(t, { ...QUICK, KAFKA_DRAIN_TIMEOUT_MS: '1' }, { handler: () => new Promise<void>(resolve => { finish = resolve }) })
  source.append([record({ offset: 0 })])
  source.event('assigned', [P0])
  await until(() => app.consumers[0].state.inFlight === 1, 'the handler')
  source.event('revoked', [P0])
  await until(() => line('drain ended before all handlers did; their records are delivered again') !== undefined, 'the end of the drain')
  t.match(line('drain ended before all handlers did; their records are delivered again'), { level: 40, partitions: 1, abandoned: 1 })
  finish()
})

t.test('failed commits and polls are counted and logged', async t => {
  const { app, source, line, committed } = await setUp(t, QUICK, { handler: () => {} })
  source.onCommit = () => { throw new CommitError('retriable', 'the coordinator is away') }
  source.append([record({ offset: 0 })])
  source.event('assigned', [P0])
  await until(() => line('commit failed; it stays due') !== undefined, 'the failure')
  source.onCommit = () => {}
  await until(() => committed() === 1, 'the commit')
  const { poll } = source
  source.poll = async () => {
    source.poll = poll
    throw new PollError('passing', 'all brokers are down')
  }
  await until(() => line('the consumer reports a failure') !== undefined, 'the failure of the poll')
  const samples = await samplesOf(app)
  t.ok(samples.get('sluice_consumer_commits_total{group="g",result="failed"}')! >= 1)
  t.equal(samples.get('sluice_consumer_commits_total{group="g",result="acknowledged"}'), 1)
  t.equal(samples.get('sluice_consumer_poll_failures_total{group="g"}'), 1)
})

t.test('handlers that run out of time are counted, and those that never settle', async t => {
  const { app, source, committed } = await setUp(t, {
    ...QUICK, KAFKA_RETRY_MAX_ATTEMPTS: '1', KAFKA_HANDLER_TIMEOUT_MS: '10', KAFKA_HANDLER_GRACE_MS: '10'
  }, {
    handler: ({ offset }, { signal }) => new Promise<void>((resolve, reject) => {
      if (offset === 0) signal.addEventListener('abort', () => reject(new Error('aborted')))
    })
  })
  source.append([0, 1].map(offset => record({ offset })))
  source.event('assigned', [P0])
  await until(() => committed() === 2, 'the commit')
  const samples = await samplesOf(app)
  t.equal(samples.get('sluice_consumer_attempts_total{group="g",topic="t",outcome="timed-out"}'), 1)
  t.equal(samples.get('sluice_consumer_attempts_total{group="g",topic="t",outcome="abandoned"}'), 1)
  t.equal(samples.get('sluice_consumer_abandoned_handlers{group="g"}'), 1)
})

t.test('a member that fails for good is made anew, counted and logged', async t => {
  let connects = 0
  const { app, line } = await setUp(t, QUICK, {
    connect: async () => {
      if (++connects === 1) throw new Error('no broker')
      const { LocalSource } = await import('../support/gateway-app.js')
      return new LocalSource()
    }
  })
  await until(() => connects === 2, 'the second connect')
  t.match(line('the consumer failed; making it anew'), { level: 50, delayMs: 500, err: { message: 'no broker' } })
  t.equal((await samplesOf(app)).get('sluice_consumer_restarts_total{group="g"}'), 1)
})

t.test('the built-in handler says at the start that it does nothing but log', async t => {
  const { source, line, logged } = await setUp(t, QUICK)
  t.match(line('KAFKA_HANDLER is not set: records are logged, and that is all that is done with them'), { level: 30 })
  source.append([record({ offset: 0, value: Buffer.from('hello') })])
  source.event('assigned', [P0])
  const received = () => logged.find((one: LogLine) => one.msg === 'record received')
  await until(() => received() !== undefined, 'the record')
  t.match(received(), { topic: 't', partition: 0, offset: 0, attempt: 1, value: 'hello', group: 'g' })
})

t.test('a handler module that cannot be used stops the start', async t => {
  const handler = path.join(t.testdir({ 'handler.mjs': 'export default 1' }), 'handler.mjs')
  await t.rejects(gatewayApp({ ...FAKE_CLUSTER, KAFKA_HANDLER: handler }), /KAFKA_HANDLER: the default export of .* must be a function/)
})
