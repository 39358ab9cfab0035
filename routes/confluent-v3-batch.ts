import type { FastifyPluginAsync } from 'fastify'
import { Type } from 'typebox'
import { accessErrors, countRecords } from '../src/access.js'
import { confluentErrorSchema, confluentResponses } from '../src/confluent/errors.js'
import { jsonAnswer, jsonBytes, sendAnswer } from '../src/confluent/json-answer.js'
import { decodeV3Batch, type V3Entry } from '../src/confluent/v3-batch.js'
import { v3EntrySchema, v3Receipt, v3ReceiptMembers, type V3Record } from '../src/confluent/v3-record.js'
import { SluiceError } from '../src/errors.js'
import type { Answer } from '../src/idempotency-table.js'
import { jsonBody, takeJson } from '../src/json-body.js'
import type { Outcome } from '../src/kafka/record-producer.js'
import { checkTopicName, produceErrors, produceMany } from '../src/produce.js'
import { queryParameters } from '../src/query-parameters.js'
import { maxBatchRecords } from '../src/record-json.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import { tracer } from '../src/trace-context.js'
import { noteOutcomes } from '../src/unsettled.js'
import { operationSuffix, recordError, v3Params, type ConfluentV3Options } from './confluent-v3.js'
import { requestTimeoutHeader } from './records.js'

const answerSchema = Type.Object({
  successes: Type.Array(Type.Object({ id: Type.String(), ...v3ReceiptMembers })),
  failures: Type.Array(Type.Object({ id: Type.String(), ...confluentErrorSchema.properties }))
}, { title: 'ProduceBatchResponse' })

const schema = (prefix: ConfluentV3Options['prefix']) => ({
  operationId: `produceBatchV3${operationSuffix(prefix)}`,
  summary: 'Produce a batch (Confluent v3)',
  description: 'As API v3 of Confluent\'s REST Proxy has it. Each entry has an id of its own, under which its outcome is told.',
  tags: ['confluent'],
  params: v3Params,
  headers: requestTimeoutHeader,
  body: {
    content: {
      'application/json': {
        schema: Type.Object({
          entries: Type.Array(v3EntrySchema, { minItems: 1, maxItems: maxBatchRecords })
        }, { additionalProperties: false }),
        examples: {
          batch: { value: { entries: [{ id: '1', value: { type: 'STRING', data: 'a' } }, { id: '2', value: { type: 'BINARY', data: 'Yg==' } }] } }
        }
      }
    }
  },
  response: {
    ...confluentResponses('v3', ...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_INVALID_BATCH'),
    207: {
      description: 'The outcome of each entry.',
      content: {
        'application/json': {
          schema: answerSchema,
          examples: {
            mixed: {
              value: {
                successes: [{
                  id: '1',
                  cluster_id: 'cluster-1',
                  topic_name: 'topic-1',
                  partition_id: 1,
                  offset: 0,
                  timestamp: '2021-02-05T19:14:42Z',
                  value: { type: 'STRING', size: 1 }
                }],
                failures: [{ id: '2', error_code: 40403, message: 'The topic topic-1 has no partition 9.' }]
              }
            }
          }
        }
      }
    }
  } as Record<number, object>
})

/** API v3 of Confluent's REST Proxy: producing a batch. */
const confluentV3Batch: FastifyPluginAsync<Pick<ConfluentV3Options, 'prefix' | 'requestTimeoutMs'>> = async (fastify, options) => {
  takeJson(fastify)

  // Two colons are one: a single one would begin a parameter.
  fastify.post('/clusters/:cluster/topics/:topic/records::batch', {
    schema: schema(options.prefix),
    config: { right: 'produce', confluent: 'v3', idempotent: true },
    // The schemas document what `decodeV3Batch` checks.
    validatorCompiler: () => () => true
  }, async (request, reply) => {
    const { cluster, topic } = request.params as { cluster: string, topic: string }
    queryParameters(request, [])
    checkTopicName(topic)
    const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
    if (request.body == null) throw new SluiceError('SLUICE_INVALID_BATCH', 'Request body is empty. Data is required.')
    const entries = decodeV3Batch(topic, jsonBody(request))
    countRecords(request, entries)
    const traced = tracer(request.headers)
    const good = entries.flatMap(({ decoded }) => decoded instanceof SluiceError ? [] : [traced(decoded.record)])
    const outcomes = good.length === 0 ? [] : await produceMany(fastify, topic, good, timeoutMs)
    let next = 0
    const ofEntries = entries.map(({ decoded }) => decoded instanceof SluiceError ? decoded : outcomes[next++] as Outcome)
    const answer = (ends: readonly Outcome[]): Answer => toAnswer(cluster, entries, ends)
    noteOutcomes(request, ofEntries, answer)
    return await sendAnswer(reply, answer(ofEntries))
  })
}

/** @param outcomes one for each entry, in order */
function toAnswer (cluster: string, entries: readonly V3Entry[], outcomes: readonly Outcome[]): Answer {
  const successes: object[] = []
  const failures: object[] = []
  for (const [i, { id, decoded }] of entries.entries()) {
    const outcome = outcomes[i] as Outcome
    if (outcome instanceof SluiceError) failures.push({ id, ...recordError(outcome) })
    else successes.push({ id, ...v3Receipt(cluster, outcome, decoded as V3Record) })
  }
  return jsonAnswer(207, 'application/json', jsonBytes({ successes, failures }))
}

export default confluentV3Batch
