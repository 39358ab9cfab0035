import path from 'node:path'
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { newKey } from '../support/access-app.js'
import { FAKE_CLUSTER, gatewayApp, until } from '../support/gateway-app.js'

// The whole gateway, as server.ts builds it, with authentication.

const shop = newKey()
const ops = newKey()
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const AUTH_KEYS = `shop:${shop.digest}:produce:t ops:${ops.digest}:operate,read:*`

t.test('without credentials every path but the probes is 401, whether it exists or not', async t => {
  const { app } = await gatewayApp({ ...FAKE_CLUSTER, AUTH_KEYS })
  t.teardown(() => app.close())
  await app.ready()
  const document = (await app.inject({ url: '/openapi.json', headers: bearer(ops.key) })).json<{
    paths: Record<string, Record<string, { security?: unknown[] }>>, security: unknown[], components: { securitySchemes: object }
  }>()
  t.same(Object.keys(document.components.securitySchemes), ['bearer', 'basic', 'apiKey'])
  t.equal(document.security.length, 3)
  const open = new Set(['/healthz', '/readyz'])
  for (const [url, operations] of Object.entries(document.paths)) {
    for (const [method, { security }] of Object.entries(operations)) {
      const res = await app.inject({ method: method.toUpperCase() as 'GET', url: url.replaceAll(/\{\w+\}/g, '1') })
      if (open.has(url)) t.not(res.statusCode, 401, url)
      else t.equal(res.statusCode, 401, `${method} ${url}`)
      t.strictSame(security, open.has(url) ? [] : undefined, url)
    }
  }
  for (const url of ['/docs', '/docs/', '/docs/static/swagger-ui.css', '/docs/json', '/nothing', '/topics']) t.equal((await app.inject(url)).statusCode, 401, url)
  t.equal((await app.inject({ url: '/docs', headers: bearer(ops.key) })).statusCode, 200)
  t.equal((await app.inject({ url: '/docs', headers: bearer(shop.key) })).statusCode, 403)
})

t.test('probes learn the status, and whoever may operate the details; a broken file is one, and takes nobody out of service', async t => {
  const file = path.join(t.testdir({ 'rules.json': '{"principals":[]}' }), 'rules.json')
  const { app, source } = await gatewayApp({ ...FAKE_CLUSTER, AUTH_KEYS, AUTH_FILE: file })
  t.teardown(() => app.close())
  await app.ready()
  const asOps = async (url: string) => (await app.inject({ url, headers: bearer(ops.key) })).json<{ reasons: string[] }>()
  t.same((await app.inject('/readyz')).json(), { status: 'not ready' })
  t.same((await app.inject('/healthz')).json(), { status: 'ok' })
  t.same(await asOps('/healthz'), { status: 'ok', reasons: [] })
  t.same((await asOps('/readyz')).reasons, ['the consumer is joining'])
  source.event('assigned', [])
  await until(async () => (await app.inject('/readyz')).statusCode === 200, 'the gateway to be ready')
  writeFileSync(file, 'broken')
  await until(async () => (await asOps('/readyz')).reasons.length > 0, 'the reason')
  t.match(await app.inject('/readyz'), { statusCode: 200, body: '{"status":"ready"}' })
  t.same(await asOps('/readyz'), {
    status: 'ready', reasons: ['AUTH_FILE has changed and cannot be used: the rules from before are in force'], assignedPartitions: 0
  })
  const { body } = await app.inject({ url: '/metrics', headers: bearer(ops.key) })
  t.match(body, /^sluice_auth_rules_current 0$/m)
})

t.test('no credential is in anything that comes out: answers, metrics, the document, the log', async t => {
  const [shopKey, opsKey] = [newKey(), newKey()]
  const { app, logged } = await gatewayApp({ ...FAKE_CLUSTER, LOG_LEVEL: 'trace', AUTH_KEYS: `shop:${shopKey.digest}:produce:t ops:${opsKey.digest}:operate,read:*` })
  t.teardown(() => app.close())
  await app.ready()
  const output: string[] = []
  const secrets = [shopKey.key, opsKey.key, shopKey.digest, opsKey.digest, 'marked-secret', Buffer.from('marked-secret:marked-secret').toString('base64')]
  const basic = `Basic ${Buffer.from(`marked-secret:${shopKey.key}`).toString('base64')}`
  secrets.push(basic.slice(6))
  for (const url of ['/topics/t/records', '/topics/marked/records', '/api/kafka/send-message', '/consumer', '/metrics', '/openapi.json', '/readyz', '/nothing', '/topics/%']) {
    for (const headers of [
      bearer(shopKey.key), bearer(opsKey.key), { authorization: basic }, { 'x-api-key': 'marked-secret' }, { authorization: 'marked-secret' },
      bearer('marked-secret'), bearer('marked-secret.marked-secret.marked-secret'), { authorization: 'Basic bWFya2VkLXNlY3JldDptYXJrZWQtc2VjcmV0' }
    ]) {
      for (const method of ['GET', 'POST'] as const) {
        const res = await app.inject({ method, url, headers, ...(method === 'POST' && { payload: { value: '{' } }) })
        output.push(JSON.stringify(res.headers), res.body)
      }
    }
  }
  const metrics = await app.inject({ url: '/metrics', headers: bearer(opsKey.key) })
  t.match(metrics.body, /^sluice_auth_refusals_total\{reason="unknown-key"\} \d+$/m)
  output.push(metrics.body, ...logged.map(line => JSON.stringify(line)))
  const all = output.join('\n')
  for (const secret of secrets) t.notOk(all.includes(secret), secret)
})
