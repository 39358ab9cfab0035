import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { problemResponses } from '../src/errors.js'

const schema = {
  operationId: 'getMetrics',
  summary: 'Metrics, for Prometheus',
  description: 'In Prometheus\' text format: requests, producing, the consumer with its window and lag per partition, the process.',
  tags: ['operate'],
  response: {
    ...problemResponses('SLUICE_FORBIDDEN_HOST', 'SLUICE_FORBIDDEN_ORIGIN', 'SLUICE_INTERNAL'),
    200: {
      description: 'The metrics.',
      content: {
        'text/plain': {
          schema: Type.String(),
          examples: { lag: { value: 'sluice_consumer_lag_records{topic="orders",partition="0"} 0\n' } }
        }
      }
    }
  }
}

const metricsRoute: FastifyPluginAsyncTypebox = async app => {
  app.get('/metrics', { schema }, async (request, reply) => {
    reply.type(app.metrics.contentType)
    return await app.metrics.scrape()
  })
}

export default metricsRoute
