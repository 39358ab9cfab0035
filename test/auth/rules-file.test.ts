import t from 'tap'
import { parseKeysVariable, parseRulesFile } from '../../src/auth/rules-file.js'

const digest = 'ab'.repeat(32)
const one = { name: 'a', keys: [digest], rules: [{ rights: ['produce'], topics: ['t'] }] }
const file = (...principals: object[]) => JSON.stringify({ principals })

t.test('what a file may say', async t => {
  t.same(parseRulesFile(file(one)), { principals: [one] })
  const all = {
    name: 'a.b-c_d@e',
    keys: [],
    certificates: [{ commonName: 'x' }, { dns: 'x' }, { uri: 'x' }, { email: 'x' }],
    tokens: [{ claim: 'a', value: 'b' }],
    rules: [],
    limits: {
      requestsPerSecond: 0.1,
      requestsBurst: 1,
      bytesPerSecond: 1,
      bytesBurst: 1,
      recordsPerSecond: 0.1,
      recordsBurst: 1,
      requestsPerDay: 1,
      bytesPerDay: 1,
      recordsPerDay: 1
    }
  }
  t.same(parseRulesFile(JSON.stringify({ principals: [all], defaultLimits: all.limits })).principals, [all])
})

t.test('whatever is wrong is told by its place, and not by its value', async t => {
  for (const [written, message] of [
    ['{', 'AUTH_FILE is not JSON'],
    ['[]', 'AUTH_FILE must be an object'],
    ['{}', 'AUTH_FILE needs principals'],
    ['{"principals":[],"secret":1}', "AUTH_FILE has an unknown member 'secret'"],
    [file({ ...one, keys: ['secret'] }), /^AUTH_FILE principals\/0\/keys\/0 must be the SHA-256 of a key/],
    [file({ ...one, keys: [digest.toUpperCase()] }), /keys\/0 must be/],
    [file(one, { ...one, name: 'jwt:a' }), 'AUTH_FILE principals/1/name must be 1 to 100 of A-Z a-z 0-9 . _ @ -'],
    [file({ ...one, rules: [{ rights: ['write'], topics: ['t'] }] }), 'AUTH_FILE principals/0/rules/0/rights/0 must be produce, read or operate'],
    [file({ ...one, rules: [{ rights: ['read'], topics: ['^t'] }] }), /topics\/0 must be a topic's name/],
    [file({ ...one, rules: [{ rights: ['read'], topics: [] }] }), /topics must be a list of topics/],
    [file({ ...one, rules: [{ rights: ['read'] }] }), 'AUTH_FILE principals/0/rules/0 needs topics'],
    [file({ ...one, certificates: [{ dns: 'a', uri: 'b' }] }), /certificates\/0 must be one of commonName, dns, uri and email/],
    [file({ ...one, certificates: [{}] }), /certificates\/0 must be one of/],
    [file({ ...one, limits: { requestsPerSecond: 0 } }), /limits\/requestsPerSecond must be a number above 0/],
    [file({ ...one, limits: { requestsPerMinute: 1 } }), "AUTH_FILE principals/0/limits has an unknown member 'requestsPerMinute'"],
    [file({ ...one, limits: { requestsPerDay: 1.5 } }), /requestsPerDay must be a whole number above 0/]
  ] as const) t.throws(() => parseRulesFile(written), { name: 'ConfigError', message }, written)
})

t.test('AUTH_KEYS: entries with white space between them', async t => {
  t.same(parseKeysVariable(` a:${digest}:produce:t \n b:${digest}:read,operate:x,y-* `), [
    one, { name: 'b', keys: [digest], rules: [{ rights: ['read', 'operate'], topics: ['x', 'y-*'] }] }
  ])
  for (const entry of ['secret', 'a:secret:produce:t', `a:${digest}:write:t`, `a:${digest}:produce:`, `a:${digest}:produce`, `:${digest}:produce:t`, `a:${digest}:produce:t:x`]) {
    t.throws(() => parseKeysVariable(`ok:${digest}:read:t ${entry}`), { name: 'ConfigError', message: /^AUTH_KEYS: entry 2 must be name:sha256:rights:topics/ }, entry)
    try { parseKeysVariable(entry) } catch (error) { t.notMatch((error as Error).message, /secret/) }
  }
})
