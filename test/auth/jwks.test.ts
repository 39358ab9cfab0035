import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type FlattenedJWSInput } from 'jose'
import t, { type Test } from 'tap'
import { Jwks } from '../../src/auth/jwks.js'
import { until } from '../support/gateway-app.js'

const MINUTE = 60_000
const { publicKey } = await generateKeyPair('ES256')
const jwk = await exportJWK(publicKey)
const flattened = {} as FlattenedJWSInput

async function setUp (t: Test) {
  const state = { nowMs: 0, fetches: 0, failures: 0, answers: true, kids: ['a'] }
  const server = createServer((_request, response) => {
    state.fetches++
    response.writeHead(state.answers ? 200 : 500).end(JSON.stringify({ keys: state.kids.map(kid => ({ ...jwk, kid, alg: 'ES256' })) }))
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const jwks = new Jwks({
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`),
    onFailure: () => { state.failures++ },
    onFetched: () => {},
    now: () => state.nowMs
  })
  return { state, ask: async (kid: string) => await jwks.key({ alg: 'ES256', kid }, flattened) }
}

t.test('keys are fetched once for many who ask at once, and again behind their backs when they are old', async t => {
  const { state, ask } = await setUp(t)
  await Promise.all(Array.from({ length: 20 }, async () => await ask('a')))
  t.equal(state.fetches, 1)
  state.nowMs = 10 * MINUTE
  await ask('a')
  t.equal(state.fetches, 1)
  state.nowMs++
  await ask('a')
  await until(() => state.fetches === 2, 'the second fetch')
})

t.test('a key that is not known causes a fetch, at most every half minute', async t => {
  const { state, ask } = await setUp(t)
  await ask('a')
  state.kids = ['a', 'b']
  await t.rejects(ask('b'), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
  state.nowMs = 29_999
  await t.rejects(ask('b'), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
  t.equal(state.fetches, 1)
  state.nowMs = 30_000
  await ask('b')
  t.equal(state.fetches, 2)
  await t.rejects(ask('c'), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
  t.equal(state.fetches, 2)
})

t.test('while they cannot be fetched, keys go on for a day, and are tried for again after five seconds', async t => {
  const { state, ask } = await setUp(t)
  state.answers = false
  for (let i = 0; i < 3; i++) await t.rejects(ask('a'), { name: 'KeysUnavailableError' })
  t.equal(state.fetches, 1)
  state.nowMs = 4_999
  await t.rejects(ask('a'), { name: 'KeysUnavailableError' })
  t.equal(state.fetches, 1)
  state.nowMs = 5_000
  state.answers = true
  await ask('a')
  t.equal(state.fetches, 2)
  state.answers = false
  state.nowMs += 24 * 60 * MINUTE
  await ask('a')
  await until(() => state.failures === 2, 'the failed fetch')
  state.nowMs += 5_001
  await t.rejects(ask('a'), { name: 'KeysUnavailableError' }, 'older than a day')
})
