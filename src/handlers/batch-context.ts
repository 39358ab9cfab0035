import type { FastifyBaseLogger } from 'fastify'
import type { BatchAttempt } from '../engine/types.js'
import type { KafkaRecord } from '../record.js'
import type { BatchContext, HandlerContext } from './handler.js'

/** Made on demand, as that of single records. */
export class ContextOfBatch implements BatchContext {
  readonly #records: readonly KafkaRecord[]
  readonly #attempt: BatchAttempt
  readonly #log: FastifyBaseLogger
  readonly producer: HandlerContext['producer']

  constructor (records: readonly KafkaRecord[], attempt: BatchAttempt, log: FastifyBaseLogger, producer: HandlerContext['producer']) {
    this.#records = records
    this.#attempt = attempt
    this.#log = log
    this.producer = producer
  }

  get attempts (): readonly number[] { return this.#attempt.attempts }
  get signal (): AbortSignal { return this.#attempt.signal }
  get log (): FastifyBaseLogger {
    const [{ topic, partition, offset }] = this.#records
    return this.#log.child({ topic, partition, firstOffset: offset, records: this.#records.length })
  }
}
