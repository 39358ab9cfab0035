import { resolve } from 'node:path'
import t from 'tap'
import { ConfigError, loadConfig } from '../../src/config.js'
import { CertificateAuthority, noOpenssl } from '../support/certificates.js'

const url = 'https://orders.example/events?tenant=7'
const pushOf = (env: NodeJS.ProcessEnv, cwd?: string) => loadConfig({ KAFKA_HANDLER: url, ...env }, { cwd }).config.consumers[0]?.push
const secret = (bytes: number) => `whsec_${Buffer.alloc(bytes, 7).toString('base64')}`

function refusal (env: NodeJS.ProcessEnv, cwd?: string): string {
  try {
    loadConfig({ KAFKA_HANDLER: url, ...env }, { cwd })
  } catch (error) {
    if (error instanceof ConfigError && !error.message.includes('\n')) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

t.test('a URL alone is enough', async t => {
  const { config, warnings } = loadConfig({ KAFKA_HANDLER: 'HTTP://localhost' })
  t.equal(config.consumers[0]?.handler, 'http://localhost/')
  t.same(config.consumers[0]?.push, {
    url: 'http://localhost/',
    mode: 'binary',
    contentType: 'application/json',
    source: '/clusters/sluice/topics/',
    headers: [],
    authorization: null,
    secrets: [],
    caFile: null,
    connectTimeoutMs: 5000
  })
  t.same(warnings, [])
})

t.test('every variable reaches its place', async t => {
  t.same(pushOf({
    KAFKA_CLUSTER_ID: 'c',
    KAFKA_PUSH_MODE: 'structured',
    KAFKA_PUSH_CONTENT_TYPE: 'text/plain; charset=utf-8',
    KAFKA_PUSH_HEADERS: 'X-Tenant, x-b-*',
    KAFKA_PUSH_AUTHORIZATION: 'Bearer a b',
    KAFKA_PUSH_SECRET: `${secret(24)}, ${secret(64)}`,
    KAFKA_PUSH_CONNECT_TIMEOUT_MS: '7'
  }), {
    url,
    mode: 'structured',
    contentType: 'text/plain; charset=utf-8',
    source: '/clusters/c/topics/',
    headers: ['x-tenant', 'x-b-*'],
    authorization: 'Bearer a b',
    secrets: [secret(24), secret(64)],
    caFile: null,
    connectTimeoutMs: 7
  })
})

t.test('a URL that cannot be meant is refused, and never shown: it may hold a secret', async t => {
  const hidden = 'got a URL that is not shown'
  for (const wrong of ['https://', 'http:orders', 'https:///x', 'https://a b/', 'https://a/\nb', ' https://a ', 'https://[::1', 'https://a:99999/']) {
    t.equal(refusal({ KAFKA_HANDLER: wrong }), `KAFKA_HANDLER must be a URL as in https://orders.example/events, where it begins with http: or https:, ${hidden}`, wrong)
  }
  for (const wrong of ['https://me:hunter2@a/', 'https://hunter2@a/', 'https://:hunter2@a/']) {
    t.equal(refusal({ KAFKA_HANDLER: wrong }), `KAFKA_HANDLER must be a URL without user and password, which belong into KAFKA_PUSH_AUTHORIZATION, ${hidden}`)
  }
  for (const wrong of ['https://a/#', 'https://a/#hunter2']) {
    t.equal(refusal({ KAFKA_HANDLER: wrong }), `KAFKA_HANDLER must be a URL without a fragment (#…), which is never sent, ${hidden}`)
  }
  t.match(refusal({ KAFKA_HANDLER: 'ftp://a/' }), /must be a file, got 'ftp:\/\/a\/'/)
})

t.test('secrets are base64 of at least 24 bytes, at most two, and are never shown', async t => {
  const wants = 'KAFKA_PUSH_SECRET must be base64 of at least 24 bytes, with or without whsec_ before it, got a value that is not shown'
  for (const wrong of [secret(23), 'hunter2 hunter2 hunter2 hunter2 hunter2', 'whsec_', `${secret(24)},short`]) t.equal(refusal({ KAFKA_PUSH_SECRET: wrong }), wants)
  t.equal(refusal({ KAFKA_PUSH_SECRET: [24, 25, 26].map(secret).join() }), 'KAFKA_PUSH_SECRET may hold 2 secrets, got 3')
  t.same(pushOf({ KAFKA_PUSH_SECRET: secret(24).slice('whsec_'.length) })?.secrets, [secret(24).slice('whsec_'.length)])
})

t.test('an Authorization is one line of visible ASCII, and is never shown', async t => {
  for (const wrong of ['Bearer a\r\nx: y', 'Bearer ä', ' Bearer a', 'Bearer a ', '\t', 'a\0']) {
    t.equal(refusal({ KAFKA_PUSH_AUTHORIZATION: wrong }), 'KAFKA_PUSH_AUTHORIZATION must be visible ASCII on one line, got a value that is not shown', JSON.stringify(wrong))
  }
})

t.test('an Authorization over http is warned of, but for this machine', async t => {
  const warnings = (handler: string) => loadConfig({ KAFKA_HANDLER: handler, KAFKA_PUSH_AUTHORIZATION: 'Bearer a' }).warnings
  t.same(warnings('http://orders.example/'), ['KAFKA_PUSH_AUTHORIZATION is sent unencrypted: KAFKA_HANDLER begins with http://'])
  for (const fine of ['https://orders.example/', 'http://127.0.0.1:8080/', 'http://[::1]/', 'http://localhost/']) t.same(warnings(fine), [], fine)
})

t.test('headers that may hold secrets, or are a push\'s own, cannot be allowed', async t => {
  const wants = 'KAFKA_PUSH_HEADERS must'
  for (const wrong of ['authorization', 'X-Api-Key', 'set-cookie', 'x-auth-*']) t.equal(refusal({ KAFKA_PUSH_HEADERS: wrong }), `${wants} not name headers that may hold secrets, got '${wrong.toLowerCase()}'`)
  for (const wrong of ['ce-id', 'ce-*', 'host', 'webhook-id', 'content-type', 'traceparent']) t.equal(refusal({ KAFKA_PUSH_HEADERS: wrong }), `${wants} not name headers that a push has of itself, got '${wrong}'`)
  for (const wrong of ['*', 'a b', 'x*y', 'x:']) t.equal(refusal({ KAFKA_PUSH_HEADERS: wrong }), `${wants} be names of headers, * at the end of one for any that begin so, got '${wrong}'`)
})

t.test('a content type is a media type', async t => {
  for (const wrong of ['json', 'application/', '/json', 'a/b\r\nx: y', 'a/b; ä']) {
    t.match(refusal({ KAFKA_PUSH_CONTENT_TYPE: wrong }), /^KAFKA_PUSH_CONTENT_TYPE must be a media type such as application\/json, got /)
  }
})

t.test('authorities are a file of certificates, for https', { skip: noOpenssl }, async t => {
  const authority = new CertificateAuthority('config')
  t.teardown(() => authority.remove())
  const cwd = t.testdir({ 'none.pem': 'nothing' })
  t.equal(pushOf({ KAFKA_PUSH_CA_FILE: authority.certificateFile })?.caFile, authority.certificateFile)
  t.equal(refusal({ KAFKA_PUSH_CA_FILE: 'none.pem' }, cwd), "KAFKA_PUSH_CA_FILE must hold certificates as PEM, got 'none.pem'")
  t.match(refusal({ KAFKA_PUSH_CA_FILE: 'missing.pem' }, cwd), /KAFKA_PUSH_CA_FILE must be a file, got 'missing.pem', which does not exist/)
  t.equal(refusal({ KAFKA_HANDLER: 'http://a/', KAFKA_PUSH_CA_FILE: resolve(cwd, 'none.pem') }), 'KAFKA_PUSH_CA_FILE is for a KAFKA_HANDLER that begins with https://')
})

t.test('what is set for a push, without one, is warned of by its name alone', async t => {
  t.same(loadConfig({ KAFKA_PUSH_SECRET: secret(24), KAFKA_PUSH_MODE: 'binary', KAFKA_PUSH_CONNECT_TIMEOUT_MS: '6' }).warnings,
    ['KAFKA_PUSH_SECRET', 'KAFKA_PUSH_CONNECT_TIMEOUT_MS'].map(name => `${name} has no effect: it is for a KAFKA_HANDLER that begins with http:// or https://`))
})

t.test('batches are pushed as arrays', async t => {
  const sized = { KAFKA_HANDLER_BATCH_SIZE: '2' }
  t.equal(refusal({ ...sized }), "KAFKA_PUSH_MODE must be batched with KAFKA_HANDLER_BATCH_SIZE above 1, got 'binary': its requests have one event each")
  t.equal(refusal({ ...sized, KAFKA_PUSH_MODE: 'structured' }),
    "KAFKA_PUSH_MODE must be batched with KAFKA_HANDLER_BATCH_SIZE above 1, got 'structured': its requests have one event each")
  t.equal(pushOf({ ...sized, KAFKA_PUSH_MODE: 'batched' })?.mode, 'batched')
  t.equal(pushOf({ KAFKA_PUSH_MODE: 'batched' })?.mode, 'batched', 'with one event each')
})

t.test('threads are for modules', async t => {
  t.equal(refusal({ KAFKA_HANDLER_THREADS: '2' }), 'KAFKA_HANDLER_THREADS needs the path of a module in KAFKA_HANDLER, got a URL')
})
