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

/** What a handler may answer: these records are produced before its record counts as handled. Any other answer is ignored. */
export interface HandlerAnswer {
  /** At most 10,000, produced in their order. They are the gateway's from here on: do not change what they hold. */
  readonly produce: readonly OutgoingRecord[]
}

/**
 * The default export of a handler module. Returning (or resolving) completes the record; throwing is a failed attempt.
 * What it answers may be `{ produce: [records] }` (HandlerAnswer); what of that cannot be produced is a failed attempt as well.
 * An error with `retriable: false` goes to the dead-letter topic at once; one with `retryAfterMs` waits that long, a day at
 * most; one with `drop: true` passes the record over, without a dead letter; one with `outage: true` blames what the handler
 * depends on and not the record: it uses up no attempt, unless other records succeed meanwhile, and the circuit breaker counts it.
 */
export type RecordHandler = (record: KafkaRecord, context: HandlerContext) => Promise<unknown> | unknown

/** What a module gets beside the records of a batch. */
export interface BatchContext {
  /** The number of this attempt at each of the records, in their order; 1 for the first. */
  readonly attempts: readonly number[]
  /** Aborted when the time limit has passed, when the partition must be given up, or when one of the records is to make way. */
  readonly signal: AbortSignal
  /** The process's logger, with topic, partition, the first record's offset and the number of records bound. */
  readonly log: FastifyBaseLogger
  /** Resolves once the broker has acknowledged the record with acks=all. */
  readonly producer: { send (record: OutgoingRecord): Promise<Receipt> }
}

/** How one record of a batch ended: done, or a failed attempt with an error as `RecordHandler` may throw it. */
export type BatchEntry =
  | undefined | null | Error
  | { readonly status: 'fulfilled', readonly value?: unknown }
  | { readonly status: 'rejected', readonly reason: unknown }
  | { readonly produce: readonly OutgoingRecord[] }

/**
 * The default export of a handler module with KAFKA_HANDLER_BATCH_SIZE above 1. It gets records of one partition, in offset order.
 * Answering nothing completes them all; an array has one entry for each record. Throwing, or any other answer, is a failed
 * attempt at all of them, and each is tried again alone.
 */
export type RecordBatchHandler = (records: readonly KafkaRecord[], context: BatchContext) =>
  Promise<readonly BatchEntry[] | null | undefined | void> | readonly BatchEntry[] | null | undefined | void
