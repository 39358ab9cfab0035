import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors, demand } from '../src/access.js'
import { problemResponses, SluiceError } from '../src/errors.js'
import { jsonBody, takeJson } from '../src/json-body.js'
import { prefersAsync } from '../src/prefer.js'
import { checkTopicName, produceErrors, produceOne } from '../src/produce.js'
import { decodeRecord } from '../src/record-json.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import { tracer } from '../src/trace-context.js'
import { requestTimeoutHeader } from './records.js'

export interface SendMessageRouteOptions {
  /** Where the messages go; `null` where nothing is configured. */
  readonly topic: string | null
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
}

const schema = {
  summary: 'Send a text to the configured topic',
  description: 'The body is a JSON string; its UTF-8 bytes become the value of a record without a key. ' +
    'Answers once Kafka has acknowledged with acks=all.',
  tags: ['produce'],
  headers: requestTimeoutHeader,
  body: Type.String({ 'x-examples': { text: { value: 'Hello, Kafka!' } } }),
  // Typed loosely: not waited for, the answer is JSON.
  response: {
    ...problemResponses(...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_NO_PRODUCE_TOPIC'),
    200: {
      description: 'Written.',
      content: { 'text/plain': { schema: Type.String(), examples: { sent: { value: 'Message sent to Kafka.' } } } }
    }
  } as Record<number, object>
}

const sent = { type: 'text/plain; charset=utf-8', body: 'Message sent to Kafka.' }
const config = { right: 'produce', respondAsync: true, idempotent: () => sent } as const

/** Both spellings: the tutorial that this route comes from has the second one. */
const paths = [['/api/kafka/send-message', 'sendMessage'], ['/api/Kafka/send-message', 'sendMessageTutorial']] as const

const sendMessageRoute: FastifyPluginAsyncTypebox<SendMessageRouteOptions> = async (fastify, options) => {
  takeJson(fastify)

  for (const [path, operationId] of paths) {
    fastify.post(path, {
      schema: { ...schema, operationId },
      config,
      validatorCompiler: () => () => true,
      serializerCompiler: () => JSON.stringify
    }, async (request, reply) => {
      const { topic } = options
      if (topic === null) {
        throw new SluiceError('SLUICE_NO_PRODUCE_TOPIC',
          'This route sends to the topic that KAFKA_PRODUCE_TOPIC names, and it is not set. POST /topics/{topic}/records takes any topic.')
      }
      checkTopicName(topic)
      demand(request, 'produce', topic)
      const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
      const { value } = jsonBody(request)
      if (typeof value !== 'string') {
        throw new SluiceError('SLUICE_INVALID_REQUEST', 'The body must be a JSON string, such as "Hello".', { pointer: '#' })
      }
      const record = tracer(request.headers)(decodeRecord(topic, { value }, null, ''))
      if (prefersAsync(request)) return await fastify.acceptRecords(reply, topic, [record], timeoutMs)
      const { partition, offset } = await produceOne(fastify, record, timeoutMs)
      request.log.info({ topic, partition, offset }, 'message sent to Kafka')
      reply.type(sent.type)
      return sent.body
    })
  }
}

export default sendMessageRoute
