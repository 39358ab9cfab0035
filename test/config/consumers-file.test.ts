import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { ConfigError, loadConfig } from '../../src/config.js'
import { consumerMembers, memberOf } from '../../src/config/consumer-members.js'
import { environmentGroups, variableSchemas } from '../../src/config/environment-schema.js'

const CLUSTER = { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092', UV_THREADPOOL_SIZE: '16' }

function load (t: Test, text: string, env: Record<string, string> = {}) {
  const cwd = t.testdir({ 'c.yaml': text, 'handler.mjs': '' })
  return loadConfig({ ...CLUSTER, KAFKA_CONSUMERS_FILE: 'c.yaml', ...env }, { cwd })
}

function refusal (t: Test, text: string, env: Record<string, string> = {}): string {
  try {
    load(t, text, env)
  } catch (error) {
    t.ok(error instanceof ConfigError, String(error))
    return (error as Error).message
  }
  return 'nothing was refused'
}

const A = '{name: a, groupId: g, topic: t'
const only = (members: string) => `consumers: [${A}${members}}]`

t.test('a file declares consumers; what it does not say is as the environment says, or the default', async t => {
  const { config, warnings } = load(t, `
maxProcCount: 30
consumers:
  - name: billing
    groupId: billing-group
    topic: [orders, '^eu\\..*']
    handler: ./handler.mjs
    maxProcCount: 20
    breakerFailureShare: 0.5
    deadLetterTopic: off
  - name: mail
    groupId: mail
    topic: orders, customers
    order: unordered
`, { KAFKA_MAX_PROC_COUNT: '7', KAFKA_GROUP_INSTANCE_ID: 'pod-1' })
  t.same(warnings, [])
  t.equal(config.maxInFlightTotal, 30)
  t.equal(config.producer.topic, null, 'no consumer\'s topic is where the tutorial\'s route sends')
  t.match(config.consumers, [
    {
      name: 'billing',
      groupId: 'billing-group',
      topics: ['orders', '^eu\\..*'],
      maxInFlight: 20,
      breaker: { failureShare: 0.5 },
      deadLetterTopic: { kind: 'off' },
      order: 'key',
      groupInstanceId: 'pod-1',
      handler: /[\\/]handler\.mjs$/
    },
    {
      name: 'mail',
      groupId: 'mail',
      topics: ['orders', 'customers'],
      maxInFlight: 7,
      breaker: { failureShare: 0.8 },
      deadLetterTopic: { kind: 'suffix' },
      order: 'unordered',
      groupInstanceId: 'pod-1',
      handler: 'log'
    }
  ])
})

t.test('each consumer wants a thread of libuv\'s pool: with too few there is a warning', async t => {
  const text = 'consumers: [{name: a, groupId: g, topic: t}, {name: b, groupId: h, topic: t}]'
  t.same(load(t, text, { UV_THREADPOOL_SIZE: '10' }).warnings, [])
  for (const [size, is] of [['9', 9], ['', 4], ['many', 4]] as const) {
    t.same(load(t, text, { UV_THREADPOOL_SIZE: size }).warnings,
      [`UV_THREADPOOL_SIZE is ${is}, and 2 consumers want 10: each holds one of these threads while it waits for records`])
  }
})

t.test('JSON is read as well, and one consumer is enough', async t => {
  const { config } = load(t, JSON.stringify({ consumers: [{ name: 'a', groupId: 'g', topic: ['t'] }] }))
  t.match(config.consumers, [{ name: 'a', groupId: 'g', topics: ['t'] }])
  t.equal(config.consumers.length, 1)
  t.equal(config.maxInFlightTotal, null)
})

t.test('with the embedded broker, too, nothing is consumed but what the file says', async t => {
  const { config } = load(t, only(''), { KAFKA_BOOTSTRAP_SERVERS: '' })
  t.ok(config.kafka.embedded)
  t.match(config.consumers, [{ groupId: 'g', topics: ['t'] }])
})

t.test('every variable of a consumer is a member, by the rule, and none of the whole process\'s', async t => {
  t.equal(memberOf('KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT'), 'maxMsgCountBeforeCommit')
  t.equal(memberOf('KAFKA_TOPIC'), 'topic')
  const processWide = environmentGroups.filter(group => 'processWide' in group).flatMap(({ variables }) => Object.keys(variables))
  const theirs = Object.keys(variableSchemas).filter(variable => !processWide.includes(variable))
  t.same([...consumerMembers.values()], theirs)
  t.equal(consumerMembers.size, theirs.length, 'no two variables are the same member')
  t.notOk(consumerMembers.has('name'))
  for (const variable of ['KAFKA_BOOTSTRAP_SERVERS', 'KAFKA_SASL_PASSWORD', 'KAFKA_CONSUMERS_FILE', 'KAFKA_QUEUE_MAX_RECORDS', 'PORT']) {
    t.ok(processWide.includes(variable), variable)
  }
  for (const variable of ['KAFKA_GROUP_ID', 'KAFKA_HANDLER', 'KAFKA_ORDER', 'KAFKA_DEAD_LETTER_TOPIC']) t.ok(theirs.includes(variable), variable)
})

t.test('what is a comma list may be a list', async t => {
  for (const variable of consumerMembers.values()) {
    const { description, list = false } = variableSchemas[variable]
    t.equal(list, description.includes('a comma list'), variable)
  }
})

t.test('for any consumer, the file makes what its variables make', async t => {
  const written = fc.record({
    maxProcCount: fc.integer({ min: 1, max: 10_000 }),
    order: fc.constantFrom('unordered', 'key', 'partition'),
    commitIntervalSeconds: fc.integer({ min: 1, max: 360_000 }).map(n => n / 100),
    breakerFailureShare: fc.integer({ min: 0, max: 100 }).map(n => n / 100),
    deadLetterTopic: fc.constantFrom('off', 'dead', 'off.dlq'),
    topic: fc.array(fc.stringMatching(/^[a-z][a-z0-9._-]{0,20}$/), { minLength: 1, maxLength: 4 }),
    retryBackoffMs: fc.nat({ max: 1000 })
  }, { requiredKeys: ['topic'] })
  const cwd = t.testdir({})
  fc.assert(fc.property(written, fc.boolean(), (members, asJson) => {
    const consumer = { name: 'default', groupId: 'g', ...members }
    writeFileSync(join(cwd, 'c.yaml'), (asJson ? JSON.stringify : stringify)({ consumers: [consumer] }))
    const env = Object.fromEntries(Object.entries(members).map(([member, value]) => [consumerMembers.get(member)!, String(value)]))
    let expected
    try {
      expected = loadConfig({ ...CLUSTER, ...env, KAFKA_GROUP_ID: 'g' }, { cwd }).config.consumers
    } catch {
      t.throws(() => loadConfig({ ...CLUSTER, KAFKA_CONSUMERS_FILE: 'c.yaml' }, { cwd }), ConfigError)
      return
    }
    t.same(loadConfig({ ...CLUSTER, KAFKA_CONSUMERS_FILE: 'c.yaml' }, { cwd }).config.consumers, expected)
  }), { numRuns: 30 })
})

t.test('what is wrong stops the start with one line: file, line, member, what it got and what it wants', async t => {
  const wrong: [text: string, message: string | RegExp][] = [
    ['', 'c.yaml: the file must be an object with consumers, got nothing'],
    ['[]', 'c.yaml: the file must be an object with consumers, got a list'],
    ['\n\nconsumers: []', 'c.yaml:3: consumers must be a list of 1 to 64 consumers, got none'],
    [`consumers: [${'{}, '.repeat(65)}]`, 'c.yaml:1: consumers must be a list of 1 to 64 consumers, got 65'],
    ['maxProcCount: 5', 'c.yaml: consumers must be a list of 1 to 64 consumers, got nothing'],
    ['consumer: []', 'c.yaml:1: the file has no member \'consumer\'; did you mean consumers?'],
    ['consumers: [[]]', 'c.yaml:1: consumers[0] must be an object, got a list'],
    ['consumers: [{groupId: g, topic: t}]', 'c.yaml:1: consumers[0].name must be set'],
    ['consumers: [{name: a, topic: t}]', 'c.yaml:1: consumers[0].groupId must be set'],
    ['consumers: [{name: a, groupId: g}]', 'c.yaml:1: consumers[0].topic must be set'],
    ['consumers: [{name: a/b, groupId: g, topic: t}]', /consumers\[0\]\.name must be 1 to 64 of .*, got 'a\/b'$/],
    [only(',\n maxProcCount: 0'), 'c.yaml:2: consumers[0].maxProcCount must be between 1 and 10000, got \'0\''],
    [only(',\n maxProcCount: 10001'), 'c.yaml:2: consumers[0].maxProcCount must be between 1 and 10000, got \'10001\''],
    [only(', maxProcCount: "5"'), 'c.yaml:1: consumers[0].maxProcCount must be a whole number, between 1 and 10000, got \'5\''],
    [only(', maxProcCount: 1.5'), 'c.yaml:1: consumers[0].maxProcCount must be between 1 and 10000, got \'1.5\''],
    [only(', maxProcCount: .inf'), 'c.yaml:1: consumers[0].maxProcCount must be between 1 and 10000, got \'Infinity\''],
    [only(', maxProcCount: '), 'c.yaml:1: consumers[0].maxProcCount must be a whole number, between 1 and 10000, got nothing'],
    [only(', maxProcCount: [5]'), 'c.yaml:1: consumers[0].maxProcCount must be a whole number, between 1 and 10000, got a list'],
    [only(', order: sideways'), 'c.yaml:1: consumers[0].order must be unordered, key or partition, got \'sideways\''],
    [only(', order: 5'), /^c\.yaml:1: consumers\[0\]\.order must be a text, unordered, key or partition, got 5$/],
    [only(', handler: ""'), 'c.yaml:1: consumers[0].handler must be a text that is not empty, got \'\''],
    [only(', handler: "a\\0"'), /consumers\[0\]\.handler must be a text that is not empty/],
    [only(', handler: ./none.mjs'), 'c.yaml:1: consumers[0].handler must be a file, got \'./none.mjs\', which does not exist'],
    [only(', bootstrapServers: x'), 'c.yaml:1: consumers[0] has no member \'bootstrapServers\': KAFKA_BOOTSTRAP_SERVERS is the whole process\'s'],
    [only(', KAFKA_ORDER: key'), 'c.yaml:1: consumers[0] has no member \'KAFKA_ORDER\'; did you mean order?'],
    [only(', maxProcCoun: 5'), 'c.yaml:1: consumers[0] has no member \'maxProcCoun\'; did you mean maxProcCount?'],
    [only(', __proto__: {}'), /has no member '__proto__'/],
    [only(', 5: 5'), 'c.yaml:1: consumers[0] has no member whose name is not a text'],
    [only(', order: !!str key'), /got a value with a tag$/],
    [only(', order: !mine key'), 'c.yaml:1: tags (!…) mean nothing here'],
    [only(', topic: u'), 'c.yaml:1: a member is there twice'],
    ['consumers: [{name: a, groupId: g, topic: [t, "u,v"]}]', 'c.yaml:1: consumers[0].topic must be a list of texts without commas, got \'u,v\''],
    ['consumers: [{name: a, groupId: g, topic: [t, 5]}]', /consumers\[0\]\.topic\[1\] must be a text.*, got 5$/],
    ['consumers: [{name: a, groupId: g, topic: []}]', /consumers\[0\]\.topic must name at least one topic/],
    ['consumers: [{name: a, groupId: [g], topic: t}]', /consumers\[0\]\.groupId must be a text, .*, got a list$/],
    [`consumers: [${A}},\n ${A}}]`, /^c\.yaml:2: consumers\[1\]\.name must not be that of consumers\[0\], got 'a'/],
    [`consumers: [${A}},\n {name: b, groupId: g, topic: u}]`, /^c\.yaml:2: consumers\[1\]\.groupId must not be that of consumers\[0\], got 'g': the records/],
    [`consumers: [${A}, retryTopic: r, retryOrder: loose}, {name: b, groupId: h, topic: r}]`, /consumers\[0\]\.retryTopic must be a topic of this consumer's own, got 'r', which 'b' reads/],
    [`maxProcCount: 1\nconsumers: [${A}}, {name: b, groupId: h, topic: t}]`, /^c\.yaml:1: maxProcCount must be a whole number from 1 to 100000, 2 at least.*, got 1$/],
    [`maxProcCount: 100001\n${only('')}`, /^c\.yaml:1: maxProcCount must be a whole number from 1 to 100000, got 100001$/],
    [only(',\n retryTopic: r'), /^c\.yaml:2: consumers\[0\]\.retryTopic lets later records pass one that failed, which KAFKA_ORDER=key rules out/],
    [only(',\n deadLetterTopic: t'), /^c\.yaml:2: consumers\[0\]\.deadLetterTopic must not be among consumers\[0\]\.topic, got 't'/],
    ['a: [', /^c\.yaml:1: it is neither YAML nor JSON/],
    [`${only('')}\n---\n{}`, 'c.yaml:2: it holds more than one document'],
    ['['.repeat(200_000), /^c\.yaml:?1?: (it )?is neither YAML nor JSON/]
  ]
  for (const [text, message] of wrong) {
    const got = refusal(t, text)
    if (typeof message === 'string') t.equal(got, message)
    else t.match(got, message)
    t.notMatch(got, /\n/)
  }
})

t.test('a file that is missing, no file, or too large is refused', async t => {
  const cwd = t.testdir({ 'large.yaml': `# ${'x'.repeat(1_048_576)}\n${only('')}` })
  const of = (file: string) => () => loadConfig({ ...CLUSTER, KAFKA_CONSUMERS_FILE: file }, { cwd })
  t.throws(of('none.yaml'), { message: 'KAFKA_CONSUMERS_FILE must be a readable file, got \'none.yaml\' (ENOENT)' })
  t.throws(of('.'), { message: /KAFKA_CONSUMERS_FILE must be a readable file/ })
  t.throws(of('large.yaml'), { message: /of at most 1048576 bytes/ })
})

t.test('what the environment says wrong of all consumers is named so, with the consumer that it is wrong for', async t => {
  t.equal(refusal(t, only(''), { KAFKA_DRAIN_TIMEOUT_MS: '200000' }),
    'c.yaml: consumers[0]: KAFKA_DRAIN_TIMEOUT_MS must be at most half of KAFKA_MAX_POLL_INTERVAL_MS (150000), got \'200000\'')
  t.match(load(t, only(', maxPollIntervalMs: 400000'), { KAFKA_DRAIN_TIMEOUT_MS: '200000', SHUTDOWN_TIMEOUT_MS: '300000' }).warnings, [])
  t.equal(refusal(t, only(',\n maxPollIntervalMs: 50000'), { KAFKA_DRAIN_TIMEOUT_MS: '30000' }),
    'c.yaml:2: KAFKA_DRAIN_TIMEOUT_MS must be at most half of consumers[0].maxPollIntervalMs (25000), got \'30000\'')
  t.same(load(t, only(', autoOffsetReset: latest')).warnings.map(warning => warning.split(':')[1]), ['1'])
})

t.test('group and topics of the environment have no place beside the file', async t => {
  t.equal(refusal(t, only(''), { KAFKA_TOPIC: 'x' }), 'KAFKA_TOPIC and KAFKA_CONSUMERS_FILE cannot both be set: each consumer in the file says its own')
  t.match(refusal(t, only(''), { KAFKA_GROUP_ID: 'x' }), /^KAFKA_GROUP_ID and KAFKA_CONSUMERS_FILE cannot both be set/)
})

t.test('an error never shows a secret, nor a passage of a file that is none', async t => {
  const secret = 'hunter2hunter2'
  const secrets = [...consumerMembers].filter(([, variable]) => variableSchemas[variable].secret).map(([member]) => member)
  for (const member of secrets) {
    for (const value of [`[[${secret}]]`, `{a: ${secret}}`, '12345678901']) {
      t.notMatch(refusal(t, only(`, ${member}: ${value}`)), /hunter2|12345678901/, member)
    }
  }
  for (const text of [`consumers: [${A}, handler: "${secret}]`, `- ${secret}\nx: 1`, `consumers: *${secret}`, `? ${secret}\n? [`]) {
    t.notMatch(refusal(t, text), /hunter2/)
  }
})

t.test('aliases stand for what they name, and are not expanded any further', async t => {
  const { config } = load(t, 'consumers:\n' +
    '  - {name: a, groupId: g, topic: &topics [t, u], maxProcCount: &n 5}\n' +
    '  - {name: b, groupId: h, topic: *topics, maxProcCount: *n}')
  t.match(config.consumers, [{ topics: ['t', 'u'], maxInFlight: 5 }, { topics: ['t', 'u'], maxInFlight: 5 }])
  t.match(refusal(t, 'consumers: &x [*x]'), /consumers\[0\] must be an object, got a list/)
  const bomb = Array.from({ length: 30 }, (_, n) => `- &a${n + 1} [${Array(10).fill(n === 0 ? 'lol' : `*a${n}`).join()}]`).join('\n')
  t.match(refusal(t, `consumers:\n${bomb}`), /consumers\[0\] must be an object, got a list/)
})

t.test('whatever the file holds, the start goes on or is stopped with one line', async t => {
  const cwd = t.testdir({})
  const value: fc.Arbitrary<unknown> =
    fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.array(fc.string(), { maxLength: 3 }))
  const consumer = fc.dictionary(fc.constantFrom('name', 'groupId', 'topic', 'order', 'maxProcCount', 'handler', 'retryTopic', 'x'), value)
  const file = fc.oneof(fc.string(),
    fc.record({ maxProcCount: value, consumers: fc.array(consumer, { maxLength: 3 }) }).map(made => stringify(made)))
  fc.assert(fc.property(file, text => {
    writeFileSync(join(cwd, 'c.yaml'), text)
    try {
      loadConfig({ ...CLUSTER, KAFKA_CONSUMERS_FILE: 'c.yaml' }, { cwd })
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      if (error.message.includes('\n')) throw new Error(error.message)
    }
  }), { numRuns: 150 })
  t.pass()
})
