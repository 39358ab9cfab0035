import path from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config.js'

const digest = 'ab'.repeat(32)
const AUTH_KEYS = `shop:${digest}:produce:orders`

t.test('any way to say who one is turns authentication on', async t => {
  const dir = t.testdir({ 'rules.json': '' })
  t.match(loadConfig({ AUTH_KEYS }).config.http, { auth: 'on', access: { file: null, keys: [{ name: 'shop' }], tokens: null } })
  t.match(loadConfig({ AUTH_FILE: 'rules.json' }, { cwd: dir }).config.http, { auth: 'on', access: { file: path.join(dir, 'rules.json'), keys: [] } })
  t.match(loadConfig({ AUTH_JWT_JWKS_URL: 'https://a.example/keys', AUTH_JWT_ISSUER: 'i', AUTH_JWT_AUDIENCE: 'a, b', HOST: '0.0.0.0' }).config.http, {
    auth: 'on',
    access: { tokens: { jwksUrl: 'https://a.example/keys', issuer: 'i', audience: ['a', 'b'], nameClaim: 'sub', scopeClaim: 'scope', clockToleranceSeconds: 30 } }
  })
})

t.test('what contradicts itself, or is not there, is refused without showing it', async t => {
  for (const [env, message] of [
    [{ AUTH: 'off', AUTH_KEYS }, 'AUTH must not be off where AUTH_KEYS is set: that says who may call'],
    [{ AUTH_KEYS: 'marked-secret' }, /^AUTH_KEYS: entry 1 must be name:sha256:rights:topics/],
    [{ AUTH_FILE: 'nowhere.json' }, /^AUTH_FILE must be a file, got 'nowhere.json', which does not exist/],
    [{ AUTH_PUBLIC: 'metrics,marked' }, "AUTH_PUBLIC must be metrics, docs or both, got 'marked'"],
    [{ AUTH_JWT_ISSUER: 'i' }, /^AUTH_JWT_JWKS_URL and AUTH_JWT_AUDIENCE must be set for tokens/],
    [{ TLS_CLIENT_CERT: 'required' }, 'TLS_CLIENT_CA_FILE must be set where TLS_CLIENT_CERT is required']
  ] as const) {
    t.throws(() => loadConfig(env), { name: 'ConfigError', message })
    try { loadConfig(env) } catch (error) { t.notMatch((error as Error).message, /marked-secret/) }
  }
})

t.test('a misspelt name is told: it may leave a door open', async t => {
  t.same(loadConfig({ AUTH_FILES: 'x', TLS_CERTFILE: 'x', CORS_ORIGIN: 'x' }).warnings, [
    'AUTH_FILES is not a setting of Sluice; did you mean AUTH_FILE?',
    'TLS_CERTFILE is not a setting of Sluice; did you mean TLS_CERT_FILE?',
    'CORS_ORIGIN is not a setting of Sluice; did you mean CORS_ORIGINS?'
  ])
})
