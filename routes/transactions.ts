import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { accessErrors, countRecords, demand } from '../src/access.js'
import { problemResponses, SluiceError } from '../src/errors.js'
import { jsonBody, takeJson } from '../src/json-body.js'
import { receiptsOf } from '../src/kafka/transaction-receipts.js'
import { jsonType } from '../src/media-types.js'
import { produceErrors } from '../src/produce.js'
import { queryParameters } from '../src/query-parameters.js'
import type { Receipt } from '../src/record.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import { tracer } from '../src/trace-context.js'
import { decodeTransaction, transactionSchema } from '../src/transaction-json.js'
import { checkPartitions, topicsOf } from '../src/transaction-topics.js'
import { noteUnsettled } from '../src/unsettled.js'
import { receiptSchema, requestTimeoutHeader } from './records.js'

export interface TransactionsRouteOptions {
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
}

const schema = {
  operationId: 'produceTransaction',
  summary: 'Produce records of any topics, all or none',
  description: 'Writes all records in one transaction of Kafka\'s, and answers once its commit was acknowledged: one receipt a record, in ' +
    'the order of the request. Any problem is one for all of them: readers with the isolation `read_committed` will never see a part. ' +
    '503 means that the transaction was never begun or is aborted; 504 that its commit was sent and not acknowledged in time, so ' +
    'that either all records are written or none is. The right to produce is asked for each topic.',
  tags: ['produce'],
  headers: requestTimeoutHeader,
  body: Type.Unsafe({
    ...transactionSchema,
    'x-examples': {
      transfer: {
        value: {
          records: [
            { topic: 'orders', key: 'order-7', value: { state: 'paid' } },
            { topic: 'payments', key: 'order-7', value: { amount: 12.5 }, headers: { source: 'shop' } }
          ]
        }
      }
    }
  }),
  // Typed loosely: the receipts are written as they are.
  response: {
    ...problemResponses(...accessErrors, ...produceErrors.filter(code => code !== 'SLUICE_DELIVERY_UNKNOWN'), 'SLUICE_MALFORMED_JSON',
      'SLUICE_TRANSACTION_UNKNOWN'),
    200: {
      description: 'Committed.',
      content: {
        'application/json': {
          schema: Type.Object({ records: Type.Array(receiptSchema) }, { title: 'TransactionResult' }),
          examples: {
            committed: {
              value: {
                records: [
                  { topic: 'orders', partition: 2, offset: 4711, timestamp: 1767225600000 },
                  { topic: 'payments', partition: 0, offset: 815, timestamp: 1767225600000 }
                ]
              }
            }
          }
        }
      }
    }
  } as Record<number, object>
}

const transactionsRoute: FastifyPluginAsyncTypebox<TransactionsRouteOptions> = async (fastify, options) => {
  takeJson(fastify)

  fastify.post('/transactions', {
    schema,
    config: {
      right: 'produce',
      idempotent: (receipt: Receipt) => ({ type: jsonType, body: JSON.stringify({ records: receiptsOf(receipt) }) })
    },
    // The schema documents what `decodeTransaction` checks, which tells what is wrong, and where.
    validatorCompiler: () => () => true,
    serializerCompiler: () => JSON.stringify
  }, async (request, reply) => {
    queryParameters(request, [])
    const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
    const deadline = performance.now() + timeoutMs
    const records = decodeTransaction(jsonBody(request)).map(tracer(request.headers))
    countRecords(request, records)
    const byTopic = topicsOf(records, topic => demand(request, 'produce', topic))
    await checkPartitions(fastify.topics, records, byTopic, timeoutMs)
    try {
      const receipts = await fastify.transactions.run(records, Math.max(1, Math.ceil(deadline - performance.now())))
      reply.type(jsonType)
      return { records: receipts }
    } catch (err) {
      if (err instanceof SluiceError) noteUnsettled(request, [err])
      throw err
    }
  })
}

export default transactionsRoute
