import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config.js'

const secret = 'a-secret-that-nobody-sees'
const load = (json: unknown) => loadConfig({ WEBHOOK_SIGNATURES: typeof json === 'string' ? json : JSON.stringify(json) }).config.webhooks.signatures

t.test('a rule for each topic, with its defaults', async t => {
  t.same(load({ github: { scheme: 'github', secrets: [secret, `${secret}2`] } }), [
    { topic: 'github', scheme: 'github', secrets: [secret, `${secret}2`], toleranceSeconds: 300, authenticates: false }
  ])
  t.same(load({ pay: { scheme: 'stripe', secrets: [secret], toleranceSeconds: 60, authenticates: true } }), [
    { topic: 'pay', scheme: 'stripe', secrets: [secret], toleranceSeconds: 60, authenticates: true }
  ])
  t.same(loadConfig({}).config.webhooks.signatures, [])
})

t.test('the same JSON from a file', async t => {
  const folder = t.testdir({ 'webhooks.json': JSON.stringify({ github: { scheme: 'github', secrets: [secret] } }) })
  t.equal(loadConfig({ WEBHOOK_SIGNATURES_FILE: 'webhooks.json' }, { cwd: folder }).config.webhooks.signatures.length, 1)
  t.throws(() => loadConfig({ WEBHOOK_SIGNATURES_FILE: 'none.json' }, { cwd: folder }), { message: /^WEBHOOK_SIGNATURES_FILE cannot be read: ENOENT/ })
  t.throws(() => loadConfig({ WEBHOOK_SIGNATURES_FILE: 'webhooks.json', WEBHOOK_SIGNATURES: '{}' }, { cwd: folder }), { message: /cannot both be set/ })
  writeFileSync(path.join(folder, 'webhooks.json'), `{"github": "${secret}`)
  t.throws(() => loadConfig({ WEBHOOK_SIGNATURES_FILE: 'webhooks.json' }, { cwd: folder }), { message: /^WEBHOOK_SIGNATURES_FILE must hold JSON, and what it holds is none$/ })
})

t.test('what is wrong is named, and no secret is shown', async t => {
  const good = { scheme: 'github', secrets: [secret] }
  const faults: [unknown, RegExp][] = [
    [`{"a": ${secret}}`, /must hold JSON/],
    [[], /an object with a member for each topic/],
    [{ '': good }, /must name topics/],
    [{ __x: good }, /must name topics, got '__x'/],
    [{ 'a b': good }, /must name topics/],
    [{ a: secret }, /a must be an object/],
    [{ a: { ...good, extra: 1 } }, /got 'extra'/],
    [{ a: { ...good, scheme: 'hub' } }, /a must have a scheme: github, stripe or standard-webhooks/],
    [{ a: { ...good, secrets: [] } }, /1 to 10 texts/],
    [{ a: { ...good, secrets: secret } }, /1 to 10 texts/],
    [{ a: { ...good, secrets: new Array(11).fill(secret) } }, /1 to 10 texts/],
    [{ a: { ...good, secrets: [secret, ''] } }, /at least 8 bytes/],
    [{ a: { ...good, secrets: ['1234567'] } }, /at least 8 bytes/],
    [{ a: { scheme: 'standard-webhooks', secrets: [secret] } }, /base64/],
    [{ a: { ...good, toleranceSeconds: 0 } }, /between 1 and 86400/],
    [{ a: { ...good, toleranceSeconds: 86_401 } }, /between 1 and 86400/],
    [{ a: { ...good, authenticates: 'yes' } }, /true or false/]
  ]
  for (const [json, message] of faults) {
    try {
      load(json)
      t.fail(JSON.stringify(json))
    } catch (error) {
      t.match((error as Error).message, message)
      t.notMatch((error as Error).message, secret)
    }
  }
  t.equal(load({ a: { ...good, secrets: ['12345678'], toleranceSeconds: 86_400 } }).length, 1)
  t.equal(load({ a: { ...good, secrets: new Array(10).fill(secret), toleranceSeconds: 1 } }).length, 1)
})

t.test('RECORD_HEADERS_ALLOWED is a list of names and beginnings of names', async t => {
  const headers = (list?: string) => loadConfig(list === undefined ? {} : { RECORD_HEADERS_ALLOWED: list }).config.webhooks.recordHeaders
  t.same(headers(), ['*'])
  t.same(headers('X-GitHub-*, user-agent'), ['x-github-*', 'user-agent'])
  for (const bad of ['a b', 'x-*-y', '**', 'é', 'a:b']) t.throws(() => headers(bad), { message: /^RECORD_HEADERS_ALLOWED must be names of headers/ }, bad)
})
