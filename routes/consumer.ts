import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors } from '../src/access.js'
import type { Consumer } from '../src/consumer.js'
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

const state = {
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
}

const consumerSchema = Type.Object(state, { title: 'Consumer' })

const namedSchema = Type.Object({
  name: Type.String({ description: 'What tells it from the other consumers of this process; `default` for the one that environment variables describe.' }),
  groupId: Type.String({ description: 'Its consumer group: the label `group` of its metrics.' }),
  topics: Type.Array(Type.String(), { description: 'What it consumes: names, and patterns that begin with `^`.' }),
  ...state
}, { title: 'NamedConsumer' })

const consumersSchema = Type.Object({
  limit: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Handlers that may be in flight at once, of all consumers together. `null`: each has only its own limit.'
  }),
  consumers: Type.Array(namedSchema, { description: 'In the order of the configuration; none where the process only produces.' })
}, { title: 'Consumers' })

const running = {
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

const billing = { name: 'billing', groupId: 'billing', topics: ['orders'], ...running }

const json = (description: string, schema: object, value: object) =>
  ({ description, content: { 'application/json': { schema, examples: { running: { value } } } } })

const onlyOne = {
  operationId: 'getConsumer',
  summary: 'What the consumer is doing',
  description: 'Its phase, its problems, and the window and lag of each partition that it owns. Where the process has several consumers, ' +
    '`/consumers` shows them.',
  tags: ['consume'],
  response: {
    ...problemResponses(...accessErrors, 'SLUICE_NO_CONSUMER', 'SLUICE_SEVERAL_CONSUMERS'),
    200: json('Its state now.', consumerSchema, running)
  }
}

const all = {
  operationId: 'listConsumers',
  summary: 'What all consumers of this process are doing',
  description: 'Each with its name, its group and its state: the one that environment variables describe, or those of `KAFKA_CONSUMERS_FILE`.',
  tags: ['consume'],
  response: {
    ...problemResponses(...accessErrors),
    200: json('Their states now.', consumersSchema, { limit: 100, consumers: [billing] })
  }
}

const byName = {
  operationId: 'getConsumerByName',
  summary: 'What one consumer of this process is doing',
  description: 'As `/consumers` shows it.',
  tags: ['consume'],
  params: Type.Object({ name: Type.String({ description: 'The consumer\'s name.' }) }),
  response: {
    ...problemResponses(...accessErrors, 'SLUICE_UNKNOWN_CONSUMER', 'SLUICE_URI_TOO_LONG'),
    200: json('Its state now.', namedSchema, billing)
  }
}

export interface ConsumerRouteOptions {
  /** Handlers in flight at once, of all consumers together; `null`: there is no such limit. */
  readonly maxInFlightTotal: number | null
}

const consumerRoute: FastifyPluginAsyncTypebox<ConsumerRouteOptions> = async (app, { maxInFlightTotal }) => {
  const config = { right: 'operate' } as const
  const names = () => app.consumers.map(({ name }) => name).join(', ')

  app.get('/consumer', { schema: onlyOne, config }, async () => {
    const [consumer, another] = app.consumers
    if (consumer === undefined) {
      throw new SluiceError('SLUICE_NO_CONSUMER',
        'This process only produces: KAFKA_GROUP_ID and KAFKA_TOPIC are not both set, and KAFKA_CONSUMERS_FILE is not, either.')
    }
    // Whichever was shown, somebody would take it for the whole.
    if (another !== undefined) {
      throw new SluiceError('SLUICE_SEVERAL_CONSUMERS', `This process has several consumers: ${names()}. Ask for /consumers, or for /consumers/ and a name.`)
    }
    return consumer.state
  })

  app.get('/consumers', { schema: all, config }, async () => ({ limit: maxInFlightTotal, consumers: app.consumers.map(named) }))

  app.get('/consumers/:name', { schema: byName, config }, async ({ params }) => {
    const consumer = app.consumers.find(({ name }) => name === params.name)
    if (consumer === undefined) {
      throw new SluiceError('SLUICE_UNKNOWN_CONSUMER',
        app.consumers.length === 0 ? 'This process only produces.' : `This process has no consumer of that name. It has: ${names()}.`)
    }
    return named(consumer)
  })
}

function named ({ name, groupId, topics, state }: Consumer) {
  return { name, groupId, topics: [...topics], ...state }
}

export default consumerRoute
