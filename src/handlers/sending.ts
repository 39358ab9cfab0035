import type { BatchResult } from '../engine/batch-answer.js'
import { SluiceError } from '../errors.js'
import type { Outcome, RecordProducer } from '../kafka/record-producer.js'
import { isRefused } from '../refused-records.js'
import type { Deliver } from './producing.js'

/** Records that a handler answered were not produced, or nobody knows whether they were: the attempt has failed. */
export class NotProducedError extends Error {
  /** `false` where the record itself is refused. */
  readonly retriable: boolean
  /** Kafka, or the way there, is to blame: it uses up no attempt. */
  readonly outage: boolean
  /** @param which of the records, where it is one of them */
  constructor (which: string, cause: unknown) {
    super(`what the handler answered could not be produced${which}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.name = 'NotProducedError'
    this.retriable = !isRefused(cause)
    this.outage = cause instanceof SluiceError && cause.statusCode >= 500
  }
}

/** The time was over before Kafka had answered. What was to be written may be written all the same. */
class NotAcknowledgedError extends Error {
  readonly outage = true
  constructor (reason: unknown) {
    super(`Kafka did not answer in time to what the handler answered: ${reason instanceof Error ? reason.message : String(reason)}`, { cause: reason })
    this.name = 'NotAcknowledgedError'
  }
}

/** Produces all records of a batch at once, in their order, and waits for their acknowledgements, as long as the attempt has time. */
export function sendingWith (producer: Pick<RecordProducer, 'sendBatch'>): Deliver {
  return async (lists, signal) => {
    const records = lists.flat()
    let outcomes: Outcome[]
    try {
      outcomes = await beforeAbort(producer.sendBatch(records), signal)
    } catch (error) {
      const failure = error instanceof NotAcknowledgedError ? error : new NotProducedError('', error)
      return lists.map(() => ({ failed: true, error: failure }))
    }
    let at = 0
    return lists.map(({ length }): BatchResult => {
      const failures: NotProducedError[] = []
      for (let index = 0; index < length; index++, at++) {
        const outcome = outcomes[at]
        if (outcome instanceof Error) failures.push(new NotProducedError(` (record ${index}, topic ${records[at].topic})`, outcome))
      }
      // Of several, one that is refused for good decides: further attempts would only write the others again.
      if (failures.length > 0) return { failed: true, error: failures.find(({ retriable }) => !retriable) ?? failures[0] }
      return { failed: false, value: undefined }
    })
  }
}

/**
 * 1. The broker is away. 2. The records wait in the client, for minutes maybe. 3. The attempt's time is over. Without this it would
 * be taken for a handler that never settles.
 */
export function beforeAbort<Value> (promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new NotAcknowledgedError(signal.reason))
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
    promise.then(resolve, reject).finally(() => { signal.removeEventListener('abort', aborted) })
  })
}
