import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { limitsOf } from './access.js'
import { SluiceError } from './errors.js'
import { lingeringClose } from './lingering-close.js'
import { allowLong, endLong } from './long-requests.js'
import { ndjsonBody, ndjsonType } from './ndjson-body.js'
import { NdjsonStream } from './ndjson-stream.js'
import { findTopic } from './produce.js'
import { StreamShares, type StreamLimits } from './stream-shares.js'
import { tracer } from './trace-context.js'

export interface StreamSettings extends StreamLimits {
  readonly idleTimeoutMs: number
  /** Shared with the streams of other routes; absent: they have their own. */
  readonly shares?: StreamShares
}

/** How long a client may take to read the last line of a stream that failed. */
const lastLineMs = 2_000

/** Streams of records for a route: each as it is asked for, all of them ended when the process closes. */
export class NdjsonAnswers {
  readonly #fastify: FastifyInstance
  readonly #idleTimeoutMs: number
  readonly #shares: StreamShares
  readonly #streams = new Set<NdjsonStream>()
  #closing = false

  constructor (fastify: FastifyInstance, { idleTimeoutMs, shares, ...limits }: StreamSettings) {
    this.#fastify = fastify
    this.#idleTimeoutMs = idleTimeoutMs
    this.#shares = shares ?? new StreamShares(limits)
    const { metrics } = fastify
    metrics.onScrape(() => { metrics.producer.streams.set(this.#shares.open) })
    // A client that has said all may say so by closing its half of the connection: what it asked for still has to reach it.
    ;(fastify.server as { httpAllowHalfOpen?: boolean }).httpAllowHalfOpen = true
    fastify.addHook('preClose', async () => {
      this.#closing = true
      for (const stream of this.#streams) stream.fail(closing())
    })
  }

  /**
   * Answers with a line for each record of the request, as they are acknowledged.
   *
   * @param timeoutMs how long to wait for Kafka to say whether the topic exists
   * @param receipts whether a record that was written gets a line
   * @throws {SluiceError} before anything is read or answered
   */
  async answer (
    request: FastifyRequest, reply: FastifyReply, topic: string, { timeoutMs, receipts }: { timeoutMs: number, receipts: boolean }
  ): Promise<FastifyReply> {
    await findTopic(this.#fastify, topic, timeoutMs)
    this.#shares.enter()
    const { raw } = request
    const stream = new NdjsonStream({
      context: this.#fastify,
      topic,
      source: ndjsonBody(request),
      shares: this.#shares,
      maxLineBytes: request.routeOptions.bodyLimit,
      idleTimeoutMs: this.#idleTimeoutMs,
      receipts,
      limits: limitsOf(request),
      trace: tracer(request.headers)
    })
    this.#streams.add(stream)
    if (this.#closing) stream.fail(closing())
    allowLong(raw.socket, () => { stream.fail(malformed()) })
    // It never rejects.
    stream.run().then(failure => { this.#ended(request, reply, stream, failure) }, () => {})
    reply.type(ndjsonType).header('cache-control', 'no-store').header('x-accel-buffering', 'no')
    // Whoever waits for the head of the answer before it sends its lines gets it now.
    stream.results.once('resume', () => { reply.raw.flushHeaders() })
    return reply.send(stream.results)
  }

  #ended ({ raw, log }: FastifyRequest, reply: FastifyReply, stream: NdjsonStream, failure: SluiceError | null): void {
    this.#streams.delete(stream)
    this.#shares.leave()
    endLong(raw.socket)
    this.#fastify.metrics.producer.streamsEnded.inc({ end: failure?.code ?? 'done' })
    if (failure === null) return
    if (failure.code === 'SLUICE_INTERNAL') log.error({ err: failure.cause }, 'a stream of records failed')
    else log.info({ code: failure.code, detail: failure.message }, 'a stream of records ended early')
    // What the client still sends belongs to no request that anybody reads.
    const close = () => { raw.httpVersionMajor === 1 ? lingeringClose(raw) : raw.destroy() }
    if (reply.raw.writableFinished) { close(); return }
    const limit = setTimeout(() => { raw.socket.destroy() }, lastLineMs)
    reply.raw.once('close', () => { clearTimeout(limit) })
    reply.raw.once('finish', () => { clearTimeout(limit); close() })
  }
}

const closing = (): SluiceError =>
  new SluiceError('SLUICE_CLOSING', 'This process is about to end and reads no more of the stream. What has a receipt is written; send the rest again.')

const malformed = (): SluiceError => new SluiceError('SLUICE_MALFORMED_HTTP', 'The body could not be parsed as HTTP/1.1.')
