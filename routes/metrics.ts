import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors } from '../src/access.js'
import { problemResponses } from '../src/errors.js'

const schema = {
  operationId: 'getMetrics',
  summary: 'Metrics, for Prometheus',
  description: 'In Prometheus\' text format: requests, producing, the consumer with its window and lag per partition, the process.',
  tags: ['operate'],
  response: {
    ...problemResponses(...accessErrors),
    200: {
      description: 'The metrics.',
      content: {
        'text/plain': {
          schema: Type.String(),
          examples: { lag: { value: 'sluice_consumer_lag_records{group="billing",topic="orders",partition="0"} 0\n' } }
        }
      }
    }
  }
}

const metricsRoute: FastifyPluginAsyncTypebox = async app => {
  app.get('/metrics', { schema, config: { right: 'operate' } }, async (request, reply) => {
    reply.type(app.metrics.contentType)
    return await app.metrics.scrape()
  })
}

export default metricsRoute
