import type { FastifyBaseLogger } from 'fastify'
import type { Attempt, Handler } from '../engine/types.js'
import type { KafkaRecord } from '../record.js'
import type { HandlerContext, RecordHandler } from './handler.js'
import { logHandler } from './log.js'
import { loadModule } from './module.js'

/** Everything here is made on demand: most handlers use little of it, and it is made for every attempt. */
class Context implements HandlerContext {
  readonly #attempt: Attempt
  readonly #record: KafkaRecord
  readonly #log: FastifyBaseLogger
  readonly producer: HandlerContext['producer']

  constructor (record: KafkaRecord, attempt: Attempt, log: FastifyBaseLogger, producer: HandlerContext['producer']) {
    this.#record = record
    this.#attempt = attempt
    this.#log = log
    this.producer = producer
  }

  get attempt (): number { return this.#attempt.attempt }
  get signal (): AbortSignal { return this.#attempt.signal }
  get log (): FastifyBaseLogger {
    const { topic, partition, offset } = this.#record
    return this.#log.child({ topic, partition, offset, attempt: this.attempt })
  }
}

/**
 * Makes the handler that the configuration names: `log`, or a module's path.
 *
 * @throws {Error} where the module cannot be used; the process must not start then
 */
export async function createHandler (
  name: string,
  { log, producer }: { readonly log: FastifyBaseLogger, readonly producer: HandlerContext['producer'] }
): Promise<Handler> {
  const handle: RecordHandler = name === 'log' ? logHandler : await loadModule(name)
  return (record, attempt) => handle(record, new Context(record, attempt, log, producer))
}
