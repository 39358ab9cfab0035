import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { BoundedLog } from '../src/bounded-log.js'
import { SluiceError, toProblem, type Problem } from '../src/errors.js'
import { jsonType } from '../src/media-types.js'
import { enqueueMany } from '../src/produce.js'
import type { OutgoingRecord } from '../src/record.js'
import { describe } from '../src/route-schema.js'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Hands records of one topic over and answers 202 without waiting for Kafka, for a route whose caller prefers that:
     *
     *     if (prefersAsync(request)) return await fastify.acceptRecords(reply, topic, records, timeoutMs)
     *
     * Room is found for all or none; a record that is wrong by itself stops no other, and the answer says so. What becomes of the
     * rest is told to nobody: failures are counted and logged.
     *
     * @param timeoutMs how long to wait for Kafka to say whether the topic exists, where that is not known
     * @throws {SluiceError} if nothing was handed over
     */
    acceptRecords (reply: FastifyReply, topic: string, records: readonly OutgoingRecord[], timeoutMs: number): Promise<Accepted>
  }
  interface FastifyContextConfig {
    /** The route calls `acceptRecords` where `Prefer: respond-async` asks for it. */
    respondAsync?: boolean
  }
}

export interface Accepted {
  /** How many records were handed over. */
  readonly accepted: number
  /** Those that were wrong by themselves, where there are any beside others: their place in the request, from 0, and what is wrong. */
  readonly refused?: readonly (Problem & { readonly index: number })[]
}

const prefer = Type.String({
  description: '`respond-async`: answer 202 once the records are in the gateway\'s queue, without waiting for Kafka. Nobody tells the ' +
    'caller then whether they were written; they are lost where Kafka refuses them or the process ends too soon. Other preferences ' +
    'are passed over (RFC 7240).',
  examples: ['respond-async']
})

const responses = {
  202: {
    description: 'In the queue, not in Kafka yet.',
    headers: { 'Preference-Applied': Type.String({ description: '`respond-async`.' }) },
    content: {
      'application/json': {
        schema: Type.Object({
          accepted: Type.Integer({ description: 'How many records.' }),
          refused: Type.Optional(Type.Array(Type.Unsafe<Problem>({
            allOf: [{ $ref: 'Problem#' }, Type.Object({ index: Type.Integer({ description: 'Its place in the request, from 0.' }) })]
          }), { description: 'What was wrong with the others, and not handed over.' }))
        }, { title: 'Accepted' }),
        examples: { accepted: { value: { accepted: 1 } } }
      }
    }
  }
}

/** For the routes that can answer before Kafka does. Their description gets what belongs to it. */
export default fp(async fastify => {
  const log = new BoundedLog()
  const failed = (topic: string, error: SluiceError): void => {
    fastify.metrics.producer.asyncFailures.inc({ code: error.code })
    log.line(unsaid => {
      fastify.log.warn({ topic, code: error.code, detail: error.message, unsaid }, 'a record that was answered with 202 was not written, or nobody knows')
    })
  }
  fastify.addHook('onRoute', route => {
    if (route.config?.respondAsync === true) describe(route, { headers: { prefer }, responses })
  })
  fastify.decorate('acceptRecords', async (reply, topic, records, timeoutMs) => {
    const refused: [number, SluiceError][] = []
    let answered = false
    await enqueueMany(fastify, topic, records, timeoutMs, (index, outcome) => {
      if (!(outcome instanceof SluiceError)) return
      // What is told before the answer goes into it; what comes later is told to no caller.
      if (answered) failed(topic, outcome)
      else refused.push([index, outcome])
    })
    answered = true
    refused.sort(([one], [other]) => one - other)
    const [first] = refused
    if (first !== undefined && refused.length === records.length) throw first[1]
    reply.code(202).type(jsonType).header('preference-applied', 'respond-async')
    return {
      accepted: records.length - refused.length,
      ...(refused.length > 0 && { refused: refused.map(([index, error]) => ({ index, ...toProblem(error) })) })
    }
  })
}, { name: 'respond-async', dependencies: ['metrics', 'producer'], fastify: '5.x' })
