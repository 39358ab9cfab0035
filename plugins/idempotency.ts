import { createHash, type Hash } from 'node:crypto'
import { pipeline, Transform, type Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { batchStatus, toResult } from '../src/batch-result.js'
import { confluentResponses } from '../src/confluent/errors.js'
import { problemResponses, SluiceError, toProblem } from '../src/errors.js'
import { isNdjson } from '../src/ndjson-body.js'
import { idempotencyKey, idempotencyKeyPattern } from '../src/idempotency-key.js'
import { IdempotencyTable, type Answer, type Entry, type IdempotencyLimits } from '../src/idempotency-table.js'
import type { Outcome } from '../src/kafka/record-producer.js'
import { jsonType, problemJsonType } from '../src/media-types.js'
import type { Receipt } from '../src/record.js'
import { describe } from '../src/route-schema.js'
import { notedOf } from '../src/unsettled.js'

/** How a route that does not answer with a receipt says that its one record was written. */
export type Written = (receipt: Receipt) => { readonly type: string, readonly body: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The route takes `Idempotency-Key`. What was answered after the caller's time was up is put right by what its outcomes are in
     * the end: a receipt, or for a batch (a request whose answer `batchAnswer` made) `{ "records": [...] }`; a route with another
     * form calls `noteOutcomes`.
     */
    idempotent?: true | Written
    /**
     * Which request headers become part of what the route produces, beside its body and what its query says: for a request, whether
     * a name (in lower case) is one of them. Absent: none. With another value of such a header it is another request.
     */
    recordHeaders?: (request: FastifyRequest) => (name: string) => boolean
  }
}

const receiptAnswer: Written = receipt => ({ type: jsonType, body: JSON.stringify(receipt) })

/** What is known of a request that has a key. */
interface Keyed {
  readonly key: string
  readonly body: Hash
  entry: Entry | null
}

/** The headers of an answer that belong to it, and not to the moment at which it was given. */
const rememberedHeaders = ['content-type', 'preference-applied'] as const

/** Nothing was done, and the same request may do something next time. */
const forgotten = new Set([401, 403, 408, 429, 503])

const headers = {
  'idempotency-key': Type.String({
    pattern: idempotencyKeyPattern,
    description: 'Makes the request safe to repeat: the same key, from the same caller, to the same path, with the same body gets the first ' +
      'answer again, and nothing is produced twice. Per process, and for a bounded time.',
    examples: ['"order-4711"']
  })
}
const successHeaders = {
  'Idempotency-Replayed': Type.String({ description: '`true` where the answer is that of an earlier request with the same key.' })
}
const refusals = ['SLUICE_IDEMPOTENCY_KEY_IN_FLIGHT', 'SLUICE_IDEMPOTENCY_KEY_REUSED', 'SLUICE_IDEMPOTENCY_FULL'] as const
const responses = problemResponses('SLUICE_INVALID_REQUEST', ...refusals)

/**
 * `Idempotency-Key` for routes with `config: { idempotent: true }`. What comes without a key passes no hook of it but one that looks.
 *
 * 1. While the body comes its bytes are hashed. 2. Once it is there, the key is claimed: that, and what is to be produced, happens in
 * one turn of the event loop for whoever is first. 3. The answer is remembered as it goes out, whether anybody is there to read it
 * or not. Where it says 504 the key stays in flight until the report comes.
 */
export default fp<IdempotencyLimits>(async (fastify, limits) => {
  const table = new IdempotencyTable(limits)
  const { idempotencyKeys, idempotencyBytes, idempotencyClaims } = fastify.metrics.producer
  fastify.metrics.onScrape(() => {
    idempotencyKeys.set(table.size)
    idempotencyBytes.set(table.bytes)
  })
  const requests = new WeakMap<FastifyRequest, Keyed>()

  fastify.addHook('onRoute', route => {
    const written = route.config?.idempotent
    if (written === undefined) return
    const dialect = route.config?.confluent
    describe(route, { headers, responses: dialect === undefined ? responses : confluentResponses(dialect, ...refusals), successHeaders })
    add(route, 'preParsing', (request: FastifyRequest, _reply: FastifyReply, payload: Readable, done: (err: Error | null, payload?: Readable) => void) => {
      const header = request.headers['idempotency-key']
      if (header === undefined) { done(null, payload); return }
      try {
        if (isNdjson(request)) {
          throw new SluiceError('SLUICE_INVALID_REQUEST',
            'A stream of records takes no Idempotency-Key: it would have to be kept whole. Send batches, or give the records keys of their own.')
        }
        const keyed: Keyed = { key: idempotencyKey(header), body: createHash('sha256'), entry: null }
        requests.set(request, keyed)
        done(null, hashed(payload, keyed.body))
      } catch (err) {
        done(err as Error)
      }
    })
    // After the route's own: what they refuse was not this caller's to ask.
    add(route, 'preHandler', (request: FastifyRequest, reply: FastifyReply, done: (err?: Error) => void) => {
      const keyed = requests.get(request)
      if (keyed === undefined) { done(); return }
      const { path, query } = parts(request)
      const claim = table.claim(
        digest(request.principal.name, request.method, path, keyed.key), request.principal.name,
        digest(query, keyed.body.digest('base64'), ...decidingHeaders(request)))
      idempotencyClaims.inc({ result: claim.kind })
      switch (claim.kind) {
        case 'new':
          keyed.entry = claim.entry
          done()
          return
        case 'replayed':
          reply.code(claim.answer.status).headers(claim.answer.headers).header('idempotency-replayed', 'true').send(claim.answer.body)
          return
        case 'in-flight':
          done(new SluiceError('SLUICE_IDEMPOTENCY_KEY_IN_FLIGHT',
            'A request with this Idempotency-Key has not ended, or Kafka has not said yet how it ended. Try again for its answer.'))
          return
        case 'reused':
          done(new SluiceError('SLUICE_IDEMPOTENCY_KEY_REUSED',
            'This Idempotency-Key came with another query or body before, or with other headers that the record is made of. Take a new key for a new request.'))
          return
        case 'full':
          done(new SluiceError('SLUICE_IDEMPOTENCY_FULL', 'No more keys can be remembered. Nothing was produced.',
            { retryAfterSeconds: claim.retryAfterSeconds }))
      }
    })
    add(route, 'onSend', (request: FastifyRequest, reply: FastifyReply, payload: unknown, done: (err: Error | null, payload: unknown) => void) => {
      const entry = requests.get(request)?.entry
      if (entry != null) end(request, reply, payload, entry, written === true ? receiptAnswer : written)
      done(null, payload)
    })
  })

  function end (request: FastifyRequest, reply: FastifyReply, payload: unknown, entry: Entry, written: Written): void {
    const answer = answerOf(reply, payload)
    const noted = notedOf(request)
    if (noted === undefined) { settle(entry, answer); return }
    const { outcomes, late, answer: ofOutcomes } = noted
    if (late === null) { settle(entry, answer, batchStatus(outcomes)); return }
    const isBatch = String(reply.getHeader('content-type')).startsWith('application/json')
    late.then(outcomes => {
      if (ofOutcomes !== null) settle(entry, ofOutcomes(outcomes), batchStatus(outcomes))
      else settle(entry, isBatch ? batchAnswer(outcomes) : oneAnswer(outcomes[0]!, written))
    }, () => {
      // It never rejects; should it, the key keeps the answer that left the outcome open.
      settle(entry, answer)
    })
  }

  /** @param status what the records as a whole came to, where the answer's own status does not say */
  function settle (entry: Entry, answer: Answer, status = answer.status): void {
    table.settle(entry, forgotten.has(status) ? null : answer)
  }
}, { name: 'idempotency', dependencies: ['metrics'], fastify: '5.x' })

type Hook = 'preParsing' | 'preHandler' | 'onSend'

/** Adds a hook behind those that a route has of its own. */
function add (route: RouteOptions, name: Hook, hook: unknown): void {
  const hooks = route as { [name in Hook]?: unknown }
  const own = hooks[name] ?? []
  hooks[name] = [...Array.isArray(own) ? own as unknown[] : [own], hook]
}

/** The same bytes, hashed on their way. */
function hashed (payload: Readable, hash: Hash): Readable {
  const through = new Transform({
    transform (chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      done(null, chunk)
    }
  })
  // An error comes out of `through` as well, where Fastify's parser meets it.
  return pipeline(payload, through, () => {})
}

function answerOf (reply: FastifyReply, payload: unknown): Answer {
  const kept: Record<string, string> = {}
  for (const name of rememberedHeaders) {
    const value = reply.getHeader(name)
    if (value !== undefined) kept[name] = String(value)
  }
  return { status: reply.statusCode, headers: kept, body: typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : '' }
}

function oneAnswer (outcome: Outcome, written: Written): Answer {
  if (outcome instanceof SluiceError) {
    return { status: outcome.statusCode, headers: { 'content-type': problemJsonType }, body: JSON.stringify(toProblem(outcome)) }
  }
  const { type, body } = written(outcome)
  return { status: 200, headers: { 'content-type': type }, body }
}

function batchAnswer (outcomes: readonly Outcome[]): Answer {
  return { status: batchStatus(outcomes), headers: { 'content-type': jsonType }, body: JSON.stringify({ records: outcomes.map(toResult) }) }
}

function parts ({ raw }: FastifyRequest): { path: string, query: string } {
  const url = raw.url ?? ''
  const mark = url.indexOf('?')
  return mark === -1 ? { path: url, query: '' } : { path: url.slice(0, mark), query: url.slice(mark) }
}

/**
 * The headers that decide what is produced, in the order of their names, since HTTP gives the order in which different ones come no
 * meaning. As they arrived: what stands in Content-Type need not be a media type. The trace context is not among them, though
 * records carry it: whoever tries again does so in a span of its own.
 */
function decidingHeaders (request: FastifyRequest): string[] {
  const { rawHeaders } = request.raw
  const ofRecord = request.routeOptions.config.recordHeaders?.(request)
  const found: [name: string, value: string][] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    if (name === 'content-type' || name === 'content-encoding' || ofRecord?.(name) === true) found.push([name, rawHeaders[i + 1]!])
  }
  return found.sort(([one], [other]) => one < other ? -1 : one > other ? 1 : 0).flat()
}

/** Of fixed length, whatever callers send. No part can be mistaken for two: each is preceded by its length. */
function digest (...texts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(`${text.length}:${text}`)
  return hash.digest('base64')
}
