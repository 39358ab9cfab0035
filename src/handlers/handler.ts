import type { FastifyBaseLogger } from 'fastify'
import type { KafkaRecord, OutgoingRecord, Receipt } from '../record.js'

/** What a handler module gets beside the record. */
export interface HandlerContext {
  /** 1 for the first attempt. */
  readonly attempt: number
  /** Aborted when the time limit has passed, or when the partition must be given up: pass it on to what you call. */
  readonly signal: AbortSignal
  /** The process's logger, with the record's topic, partition and offset bound. */
  readonly log: FastifyBaseLogger
  /** Resolves once the broker has acknowledged the record with acks=all. */
  readonly producer: { send (record: OutgoingRecord): Promise<Receipt> }
}

/**
 * The default export of a handler module. Returning (or resolving) completes the record; throwing is a failed attempt.
 * An error with `retriable: false` goes to the dead-letter topic at once; one with `retryAfterMs` waits that long, a day at
 * most; one with `drop: true` passes the record over, without a dead letter; one with `outage: true` blames what the handler
 * depends on and not the record: it uses up no attempt, unless other records succeed meanwhile, and the circuit breaker counts it.
 */
export type RecordHandler = (record: KafkaRecord, context: HandlerContext) => Promise<unknown> | unknown
