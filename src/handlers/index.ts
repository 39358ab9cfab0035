import type { FastifyBaseLogger } from 'fastify'
import type { ConsumerConfig } from '../config/types.js'
import type { Attempt, BatchedHandler, Handler } from '../engine/types.js'
import type { GroupMetrics } from '../group-metrics.js'
import type { KafkaRecord } from '../record.js'
import { ContextOfBatch } from './batch-context.js'
import type { HandlerContext, RecordBatchHandler, RecordHandler } from './handler.js'
import { logBatchHandler, logHandler } from './log.js'
import { loadModule } from './module.js'
import type { ThreadsState } from './workers.js'

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

/** A handler that was made, and how to be rid of what it holds (connections, threads). */
export interface CreatedHandler {
  readonly handle: Handler | BatchedHandler
  /** Called once nothing is in flight any more. */
  close (): Promise<void>
  /** Where it runs in threads: what they are doing. */
  readonly state?: ThreadsState
}

/** What of the configuration decides which handler it is. */
export type HandlerConfig = Pick<ConsumerConfig, 'handler' | 'push' | 'batches' | 'handlerThreads' | 'handlerThreadHeapMb' | 'handlerGraceMs'>

/** What a handler is given beside the record. */
export interface HandlerPorts {
  readonly log: FastifyBaseLogger
  readonly producer: HandlerContext['producer']
  /** Where pushes are measured; absent: nowhere. */
  readonly metrics?: Pick<GroupMetrics, 'pushDuration'>
}

/**
 * Makes the handler that the configuration names: `log`, a module's path, or a URL to push to.
 *
 * @throws {Error} where it cannot be used; the process must not start then
 */
export async function createHandler (
  config: HandlerConfig, { log, producer, metrics }: HandlerPorts
): Promise<CreatedHandler> {
  const { handler: name, push, batches } = config
  // Only where they are wanted: the threads themselves come by here, too.
  if (push !== null) {
    const { HttpPush } = await import('./http.js')
    const target = new HttpPush(push, metrics?.pushDuration)
    return { handle: batches === null ? target.handle : { batches, handle: target.handleBatch }, close: () => target.close() }
  }
  if (config.handlerThreads > 0) return (await import('./workers.js')).Workers.start(config, { log, producer })
  const close = async () => {}
  if (batches === null) {
    const handle: RecordHandler = name === 'log' ? logHandler : await loadModule(name)
    return { handle: (record, attempt) => handle(record, new Context(record, attempt, log, producer)), close }
  }
  const handleBatch = name === 'log' ? logBatchHandler : await loadModule<RecordBatchHandler>(name)
  return {
    handle: { batches, handle: (records, attempt) => handleBatch(records, new ContextOfBatch(records, attempt, log, producer)) },
    close
  }
}
