import { test } from 'tap'
import { produceApp } from '../support/produce-app.js'

interface Operation {
  operationId?: string
  summary?: string
  description?: string
  tags?: string[]
  requestBody?: { content: Record<string, { schema: object, examples?: object }> }
  responses: Record<string, { description: string, content?: Record<string, { schema: { $ref?: string } }> }>
}

interface OpenApi {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

test('every operation is described, with its errors as problems', async t => {
  const { app } = await produceApp()
  const res = await app.inject('/openapi.json')
  t.equal(res.statusCode, 200)
  t.match(res.headers['content-type'], 'application/json')
  const document = res.json<OpenApi>()
  t.equal(document.openapi, '3.1.0')
  t.same(Object.keys(document.components.schemas), ['Problem'])
  t.same(Object.keys(document.paths).sort(), ['/api/Kafka/send-message', '/api/kafka/send-message', '/openapi.json',
    '/topics/{topic}/events', '/topics/{topic}/raw', '/topics/{topic}/records'])
  const ids = new Set<string | undefined>()
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const name = `${method} ${path}`
      ids.add(operation.operationId)
      t.ok(operation.operationId && operation.summary && operation.description && operation.tags?.length, name)
      if (method === 'post') t.ok(Object.keys(operation.requestBody?.content ?? {}).length > 0, name)
      for (const { schema } of Object.values(operation.requestBody?.content ?? {})) t.type(schema, 'object', name)
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        t.not(description, 'Default Response', `${name} ${status}`)
        if (Number(status) < 400) continue
        t.equal(content?.['application/problem+json']?.schema.$ref, '#/components/schemas/Problem', `${name} ${status}`)
      }
    }
  }
  t.equal(ids.size, Object.keys(document.paths).length, 'operation ids are distinct')
  t.notMatch(res.body, /"\$id"/)
})

test('the page to read it needs nothing from elsewhere', async t => {
  const { app } = await produceApp()
  const page = await app.inject('/docs')
  t.equal(page.statusCode, 200)
  t.match(page.headers['content-type'], 'text/html')
  const policy = String(page.headers['content-security-policy'])
  t.match(policy, "default-src 'none'; script-src 'self'; style-src 'self'")
  t.notMatch(policy, /unsafe|https?:|upgrade|\*/)
  const links = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link as string)
  t.ok(links.length > 3)
  for (const link of links) {
    t.notMatch(link, /^(https?:)?\/\//)
    t.equal((await app.inject(new URL(link, 'http://localhost/docs/').pathname)).statusCode, 200, link)
  }
  t.notMatch((await app.inject('/docs/static/swagger-initializer.js')).body, /validator\.swagger/)
})
