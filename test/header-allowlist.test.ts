import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { HeaderAllowlist, headersNamed, isSecretHeader, maxRequestedHeaders } from '../src/header-allowlist.js'

t.test('headers that may hold secrets are known by their names', async t => {
  const secrets = [
    'authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key', 'api-key', 'apikey', 'x-apikey', 'x-goog-api-key', 'x-functions-key',
    'ocp-apim-subscription-key', 'x-hub-signature', 'x-hub-signature-256', 'stripe-signature', 'webhook-signature', 'x-gitlab-token', 'x-auth-request-user',
    'x-vault-token', 'x-amz-security-token', 'x-forwarded-access-token', 'x-telegram-bot-api-secret-token', 'cf-access-jwt-assertion', 'x-csrf-token',
    'x-shopify-hmac-sha256-signature', 'x-sig', 'php-auth-pw', 'www-authenticate', 'x-password', 'x-session-id', 'x-client-key'
  ]
  t.same(secrets.filter(name => !isSecretHeader(name)), [])
  const plain = [
    'x-github-event', 'x-github-delivery', 'content-type', 'traceparent', 'tracestate', 'idempotency-key', 'webhook-id', 'webhook-timestamp', 'x-request-id',
    'user-agent', 'x-author', 'x-authority', 'x-partition-key', 'x-shopify-topic', 'x-design', 'x-keyboard', 'ce-id', 'x-gitlab-event'
  ]
  t.same(plain.filter(isSecretHeader), [])
})

t.test('an operator\'s list bounds what may be asked for, and no list lets secrets through', async t => {
  const some = new HeaderAllowlist(['X-GitHub-*', 'user-agent'])
  t.equal(some.check('X-GitHub-Event'), 'x-github-event')
  t.equal(some.check('User-Agent'), 'user-agent')
  t.throws(() => some.check('x-git'), { code: 'SLUICE_INVALID_REQUEST', message: /"x-git".*RECORD_HEADERS_ALLOWED/ })
  t.throws(() => some.check('user-agent-2'), { message: /RECORD_HEADERS_ALLOWED/ })
  const any = new HeaderAllowlist(['*', 'authorization'])
  t.equal(any.check('x'), 'x')
  t.throws(() => any.check('Authorization'), { message: /"Authorization" may hold a secret/ })
  t.throws(() => new HeaderAllowlist([]).check('x'), { message: /RECORD_HEADERS_ALLOWED/ })
})

t.test('a list of names: the limit from both sides, and what is no name', async t => {
  const any = new HeaderAllowlist(['*'])
  t.same(any.checkList('A, b ,a'), ['a', 'b'])
  const names = (n: number) => Array.from({ length: n }, (_, i) => `h${i}`).join()
  t.equal(any.checkList(names(maxRequestedHeaders)).length, maxRequestedHeaders)
  t.throws(() => any.checkList(names(maxRequestedHeaders + 1)), { message: /At most 64/ })
  for (const bad of ['a,', 'a b', 'é', 'a:b', 'x'.repeat(257)]) t.throws(() => any.checkList(bad), { message: /cannot be the name of a header/ }, bad)
})

t.test('headers keep their bytes, their order and their repetitions', async t => {
  const request = { rawHeaders: ['B', '1', 'A', 'caf\xc3\xa9', 'b', '2', 'C', '3'] } as IncomingMessage
  t.same(headersNamed(request, new Set(['a', 'b'])), [
    { name: 'b', value: Buffer.from('1') }, { name: 'a', value: Buffer.from('café') }, { name: 'b', value: Buffer.from('2') }
  ])
})
