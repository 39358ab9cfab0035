import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { finished, type Readable } from 'node:stream'
import { Type } from 'typebox'
import { accessErrors, limitsOf } from '../src/access.js'
import { AnswerStream } from '../src/confluent/answer-stream.js'
import type { Piece } from '../src/confluent/concatenated-json.js'
import { confluentError, confluentErrorSchema, confluentResponses } from '../src/confluent/errors.js'
import { jsonAnswer, sendAnswer } from '../src/confluent/json-answer.js'
import { emptyBody, gather, onlyPiece } from '../src/confluent/one-record.js'
import { decodeV3Text, v3Receipt, v3ReceiptMembers, v3RecordSchema, type V3Record } from '../src/confluent/v3-record.js'
import { internalError, SluiceError } from '../src/errors.js'
import type { Answer } from '../src/idempotency-table.js'
import { checkCharset, refuseEncoded } from '../src/json-body.js'
import { parseJsonText } from '../src/json-text.js'
import type { Outcome } from '../src/kafka/record-producer.js'
import { lingeringClose } from '../src/lingering-close.js'
import { allowLong, endLong } from '../src/long-requests.js'
import { checkTopicName, produceErrors, produceOne } from '../src/produce.js'
import { queryParameters } from '../src/query-parameters.js'
import { requestTimeoutMs } from '../src/request-timeout.js'
import type { StreamShares } from '../src/stream-shares.js'
import { tracer } from '../src/trace-context.js'
import { noteOutcomes } from '../src/unsettled.js'
import { requestTimeoutHeader, topicParams } from './records.js'

export interface ConfluentV3Options {
  /** `/v3` as at the proxy, or `/kafka/v3` as at Confluent Server and Confluent Cloud. */
  readonly prefix: '/v3' | '/kafka/v3'
  /** How long a caller waits that does not say so itself. */
  readonly requestTimeoutMs: number
  /** Largest record, in bytes of JSON. */
  readonly bodyLimitBytes: number
  /** A stream in which nothing moves for so long is given up; longer where the caller lets a record take longer. */
  readonly idleTimeoutMs: number
  /** Which streams count against, those of other routes included; absent: they are not counted. */
  readonly shares?: StreamShares
}

/** What all streams hold together of records without an answer. */
const budget = { bytes: 0, maxBytes: 64 * 1024 * 1024 }

export const v3Params = Type.Object({
  cluster: Type.String({ minLength: 1, description: 'The cluster\'s id. For producing any will do.' }),
  ...topicParams.properties
})

const receiptSchema = Type.Object({ error_code: Type.Literal(200), ...v3ReceiptMembers }, { title: 'ProduceResponseV3' })

const receipt = {
  error_code: 200,
  cluster_id: 'cluster-1',
  topic_name: 'topic-1',
  partition_id: 1,
  offset: 0,
  timestamp: '2021-02-05T19:14:42Z',
  key: { type: 'BINARY', size: 3 },
  value: { type: 'JSON', size: 13 }
}

/** To tell the two places where v3 is mounted apart in the OpenAPI document. */
export const operationSuffix = (prefix: ConfluentV3Options['prefix']): string => prefix === '/v3' ? '' : 'Cloud'

const schema = (prefix: ConfluentV3Options['prefix']) => ({
  operationId: `produceV3${operationSuffix(prefix)}`,
  summary: 'Produce, one record or a stream (Confluent v3)',
  description: 'As API v3 of Confluent\'s REST Proxy has it, for its clients. The body is one record, or any number of them one after ' +
    'the other (concatenated JSON, never an array), read as it comes. Each is answered by one object, in the order of the request and as ' +
    'soon as Kafka has acknowledged it. The status is 200 even if records fail: each answer has its own `error_code`. With an ' +
    '`Idempotency-Key` the body is one record.',
  tags: ['confluent'],
  params: v3Params,
  headers: requestTimeoutHeader,
  body: {
    content: {
      'application/json': {
        schema: v3RecordSchema,
        examples: {
          record: {
            value: {
              partition_id: 0,
              headers: [{ name: 'Header-1', value: 'SGVhZGVyLTE=' }],
              key: { type: 'BINARY', data: 'Zm9v' },
              value: { type: 'JSON', data: { foo: 'bar' } },
              timestamp: '2021-02-05T19:14:42Z'
            }
          }
        }
      }
    }
  },
  response: {
    ...confluentResponses('v3', ...accessErrors, ...produceErrors, 'SLUICE_MALFORMED_JSON', 'SLUICE_EMPTY_BODY',
      'SLUICE_TOO_MANY_STREAMS'),
    200: {
      description: 'For each record its receipt, or what went wrong.',
      content: {
        'application/json': {
          schema: Type.Union([receiptSchema, confluentErrorSchema]),
          examples: {
            written: { value: receipt },
            failed: { value: { error_code: 40403, message: 'There is no topic topic-1, or this gateway may not see it.' } }
          }
        }
      }
    }
  } as Record<number, object>
})

/** API v3 of Confluent's REST Proxy: producing records, as a stream. */
const confluentV3: FastifyPluginAsync<ConfluentV3Options> = async (fastify, options) => {
  fastify.removeAllContentTypeParsers()
  refuseEncoded(fastify)
  // As it comes: nothing of it is gathered.
  // With a key, by which an answer is found again, the whole request is compared.
  fastify.addContentTypeParser('application/json', async (request: FastifyRequest, payload: Readable) => {
    checkCharset(request.headers['content-type'])
    return hasKey(request) ? await gather(payload, options.bodyLimitBytes) : payload
  })

  const open = new Set<AnswerStream>()
  // Records that were taken are answered; whoever sends more finds them unanswered.
  fastify.addHook('preClose', async () => { for (const stream of open) stream.stop() })

  fastify.post('/clusters/:cluster/topics/:topic/records', {
    schema: schema(options.prefix),
    config: { right: 'produce', confluent: 'v3', idempotent: true, countsBody: request => isStream(request, options.bodyLimitBytes) },
    // The schemas document what `decodeV3Text` checks.
    validatorCompiler: () => () => true
  }, async (request, reply) => {
    const { cluster, topic } = request.params as { cluster: string, topic: string }
    queryParameters(request, [])
    checkTopicName(topic)
    const timeoutMs = requestTimeoutMs(request.headers['request-timeout'], options.requestTimeoutMs)
    if (request.body == null) throw emptyBody()
    const produce = producing(fastify, request, cluster, topic, timeoutMs)
    if (Buffer.isBuffer(request.body)) {
      const { outcome, answer } = await produce(onlyPiece(request.body))
      noteOutcomes(request, [outcome], ([end]) => asAnswer(answer(end as Outcome)))
      return await sendAnswer(reply, asAnswer(answer(outcome)))
    }
    const isLong = isStream(request, options.bodyLimitBytes)
    const limits = limitsOf(request)
    // The first record of a request that is none was counted with it.
    let counted = isLong ? 0 : 1
    const shares = isLong ? options.shares : undefined
    shares?.enter()
    const stream = new AnswerStream(request.body as Readable, {
      maxRecordBytes: options.bodyLimitBytes,
      idleTimeoutMs: Math.max(options.idleTimeoutMs, timeoutMs + 10_000),
      answer: async piece => {
        const { outcome, answer } = await produce(piece)
        return answer(outcome)
      },
      failure: errorText,
      // Until the topic is known, records would wait for that each by itself, and could overtake one another.
      oneByOne: () => fastify.topics.peek(topic) === undefined,
      spendAndWait: bytes => isLong ? limits.spendAndWait(bytes) : 0,
      spendRecordAndWait: () => counted-- > 0 ? 0 : limits.spendRecordsAndWait(1),
      budget,
      ...(shares && { share: () => shares.records }),
      abort: () => { request.raw.destroy() }
    })
    open.add(stream)
    // Also where its client has gone before this: then no event would tell.
    finished(reply.raw, () => {
      open.delete(stream)
      if (shares === undefined) return
      shares.leave()
      fastify.metrics.producer.streamsEnded.inc({ end: stream.end })
    })
    letItTakeLong(request, reply, stream)
    return await reply.type('application/json').send(await stream.start())
  })
}

const hasKey = ({ headers }: FastifyRequest): boolean => headers['idempotency-key'] !== undefined

/**
 * Whether a body may be of any length. One that says that it is no longer than a record may be is an ordinary request, and so is one
 * with a key, which is gathered first.
 */
function isStream (request: FastifyRequest, bodyLimitBytes: number): boolean {
  const length = request.headers['content-length']
  return !hasKey(request) && (length === undefined || Number(length) > bodyLimitBytes)
}

interface Produced {
  readonly outcome: Outcome
  /** The answer, for this outcome or for what is known later. */
  readonly answer: (outcome: Outcome) => string
}

/** What produces a piece of a body, and says what came of it. It never rejects. */
function producing (
  fastify: FastifyInstance, request: FastifyRequest, cluster: string, topic: string, timeoutMs: number
): (piece: Piece) => Promise<Produced> {
  const traced = tracer(request.headers)
  return async ({ bytes, fault }) => {
    let decoded: V3Record | undefined
    const answer = (outcome: Outcome): string => outcome instanceof SluiceError
      ? errorText(outcome)
      : JSON.stringify({ error_code: 200, ...v3Receipt(cluster, outcome, decoded as V3Record) }) + '\n'
    try {
      if (fault !== undefined) throw fault
      decoded = decodeV3Text(topic, parseJsonText(bytes))
      return { outcome: await produceOne(fastify, traced(decoded.record), timeoutMs), answer }
    } catch (err) {
      if (err instanceof SluiceError) return { outcome: err, answer }
      request.log.error({ err }, 'a record of a stream failed')
      return { outcome: internalError(err), answer }
    }
  }
}

const asAnswer = (text: string): Answer => jsonAnswer(200, 'application/json', Buffer.from(text))

/** An error in the place of a receipt. */
export function recordError (error: SluiceError): { error_code: number, message: string } {
  const { error_code: code, message } = confluentError('v3', error)
  return { error_code: code, message }
}

const errorText = (error: SluiceError): string => JSON.stringify(recordError(error)) + '\n'

/**
 * Lets a request take as long as it goes on. Where it is answered before all of it has come, its sender gets some time to read that;
 * then the connection ends, since what comes is read by nobody.
 */
function letItTakeLong ({ raw }: FastifyRequest, reply: FastifyReply, stream: AnswerStream): void {
  if (raw.httpVersionMajor === 1) {
    allowLong(raw.socket, () => { stream.fail(new SluiceError('SLUICE_MALFORMED_HTTP', 'The rest of the body is not HTTP/1.1.')) })
  }
  reply.raw.once('finish', () => {
    endLong(raw.socket)
    if (raw.complete) return
    if (raw.httpVersionMajor === 1) lingeringClose(raw)
    else raw.destroy()
  })
  reply.raw.once('close', () => { endLong(raw.socket) })
}

export default confluentV3
