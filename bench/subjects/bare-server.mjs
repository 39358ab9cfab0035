// What Fastify can do at most: the same route with a schema, and no Kafka behind it.

import Fastify from 'fastify'
import { input, serve } from '../lib/subject.mjs'

const { topic } = await input()
const app = Fastify()
const receipt = {
  type: 'object',
  properties: { topic: { type: 'string' }, partition: { type: 'integer' }, offset: { type: 'integer' }, timestamp: { type: 'integer' } }
}
const record = {
  type: 'object', required: ['value'], additionalProperties: false, properties: { key: { type: 'string' }, value: {} }
}
let offset = 0
app.post('/topics/:topic/records', { schema: { body: record, response: { 200: receipt } } },
  async () => ({ topic, partition: 0, offset: offset++, timestamp: Date.now() }))
serve(await app.listen({ port: 0, host: '127.0.0.1' }), () => app.close())
