import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors } from '../src/access.js'
import { problemResponses, SluiceError } from '../src/errors.js'

const partitionSchema = Type.Object({
  topic: Type.String(),
  partition: Type.Integer(),
  inFlight: Type.Integer({ description: 'Handlers running now.' }),
  windowRecords: Type.Integer({ description: 'Admitted records that the commit offset has not passed.' }),
  windowSpan: Type.Integer({ description: 'From the commit offset to the last admitted record, in offsets.' }),
  windowBytes: Type.Integer({ description: 'Bytes of records that are admitted and not completed.' }),
  commitOffset: Type.Integer({ description: 'Everything below it is completed. −1: not known yet.' }),
  committedOffset: Type.Integer({ description: 'The commit offset that the broker last acknowledged. −1: none.' }),
  lastAdmitted: Type.Integer({ description: 'The highest offset read. −1: none.' }),
  paused: Type.Boolean({ description: 'Fetching is paused, for want of room or by an operator.' }),
  suspended: Type.Boolean({ description: 'An operator has paused it: nothing of it is fetched or started.' }),
  lag: Type.Union([Type.Integer(), Type.Null()], { description: 'From the commit offset to the end that can be read. `null`: not known yet.' })
}, { title: 'PartitionStatus' })

const consumerSchema = Type.Object({
  phase: Type.String({ description: '`connecting`, `joining`, `running`, `draining` or `stopped`.' }),
  inFlight: Type.Integer({ description: 'Handlers running now.' }),
  waiting: Type.Integer({ description: 'Admitted records that have not started.' }),
  retrying: Type.Integer({ description: 'Records that wait for their next attempt.' }),
  deadLettering: Type.Integer({ description: 'Dead letters on their way.' }),
  abandoned: Type.Integer({ description: 'Handlers that ignored their time limit and still run.' }),
  blocked: Type.Integer({ description: 'Failed records that hold their keys because dead letters are off.' }),
  limit: Type.Integer({ description: 'Handlers that may be in flight at once.' }),
  breaker: Type.String({
    description: '`closed`; `open`: handling is paused, because hardly anything succeeds; `probing`: one record at a time is tried.'
  }),
  problems: Type.Array(Type.String(), { description: 'What keeps it from doing its work. Empty when all is well.' }),
  partitions: Type.Array(partitionSchema)
}, { title: 'Consumer' })

const schema = {
  operationId: 'getConsumer',
  summary: 'What the consumer is doing',
  description: 'Its phase, its problems, and the window and lag of each partition that it owns.',
  tags: ['consume'],
  response: {
    ...problemResponses(...accessErrors, 'SLUICE_NO_CONSUMER'),
    200: {
      description: 'Its state now.',
      content: {
        'application/json': {
          schema: consumerSchema,
          examples: {
            running: {
              value: {
                phase: 'running',
                inFlight: 2,
                waiting: 0,
                retrying: 0,
                deadLettering: 0,
                abandoned: 0,
                blocked: 0,
                limit: 50,
                breaker: 'closed',
                problems: [],
                partitions: [{
                  topic: 'orders',
                  partition: 0,
                  inFlight: 2,
                  windowRecords: 3,
                  windowSpan: 3,
                  windowBytes: 412,
                  commitOffset: 4711,
                  committedOffset: 4700,
                  lastAdmitted: 4713,
                  paused: false,
                  suspended: false,
                  lag: 3
                }]
              }
            }
          }
        }
      }
    }
  }
}

const consumerRoute: FastifyPluginAsyncTypebox = async app => {
  app.get('/consumer', { schema, config: { right: 'operate' } }, async () => {
    const [consumer] = app.consumers
    if (consumer === undefined) {
      throw new SluiceError('SLUICE_NO_CONSUMER', 'This process only produces: KAFKA_GROUP_ID and KAFKA_TOPIC are not both set.')
    }
    return consumer.state
  })
}

export default consumerRoute
