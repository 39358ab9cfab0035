import type { Attempt, Handler } from '../engine/types.js'
import { SluiceError, type ErrorCode } from '../errors.js'
import type { RecordProducer } from '../kafka/record-producer.js'
import type { OutgoingRecord } from '../record.js'
import { producedBy } from './produced.js'

/** The record is at fault: Kafka would refuse it again. */
const REFUSED = new Set<ErrorCode>([
  'SLUICE_INVALID_REQUEST', 'SLUICE_INVALID_TOPIC_NAME', 'SLUICE_TOPIC_NOT_ALLOWED', 'SLUICE_RECORD_TOO_LARGE', 'SLUICE_RECORD_REJECTED',
  'SLUICE_UNKNOWN_PARTITION'
])

/** Records that a handler answered were not produced, or nobody knows whether they were: the attempt has failed. */
export class NotProducedError extends Error {
  /** `false` where the record itself is refused. */
  readonly retriable: boolean
  /** Kafka, or the way there, is to blame: it uses up no attempt. */
  readonly outage: boolean
  constructor (where: string, cause: unknown) {
    super(`what the handler answered could not be produced${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.name = 'NotProducedError'
    this.retriable = !(cause instanceof SluiceError && REFUSED.has(cause.code))
    this.outage = cause instanceof SluiceError && cause.statusCode >= 500
  }
}

/** The time was over before Kafka had acknowledged what the handler answered. It may be written all the same. */
class NotAcknowledgedError extends Error {
  readonly outage = true
  constructor (reason: unknown) {
    super(`what the handler answered was not acknowledged in time: ${reason instanceof Error ? reason.message : String(reason)}`, { cause: reason })
    this.name = 'NotAcknowledgedError'
  }
}

type Producer = Pick<RecordProducer, 'sendBatch'>

/**
 * A handler whose answered records (`{ produce: [records] }`) are produced before its record counts as handled: what cannot be produced
 * is a failed attempt. An answer without records costs nothing, and stays synchronous where it was.
 */
export function producing (handle: Handler, producer: Producer): Handler {
  const sent = (answer: unknown, attempt: Attempt) => {
    const records = producedBy(answer)
    return records.length === 0 ? undefined : send(records, producer, attempt)
  }
  return (record, attempt) => {
    const answer = handle(record, attempt)
    if (!isThenable(answer)) return sent(answer, attempt)
    // What only looks like a promise may settle twice, or answer no promise: made into a real one, it can't.
    return (answer instanceof Promise ? answer : Promise.resolve(answer)).then(answer => sent(answer, attempt))
  }
}

/** Produces all of them, in their order, and waits for the acknowledgements, as long as the attempt has time. */
async function send (records: readonly OutgoingRecord[], producer: Producer, { signal }: Pick<Attempt, 'signal'>): Promise<void> {
  let outcomes
  try {
    outcomes = await beforeAbort(producer.sendBatch(records), signal)
  } catch (error) {
    throw error instanceof NotAcknowledgedError ? error : new NotProducedError('', error)
  }
  // Of several, one that is refused for good decides: further attempts would only write the others again.
  const failures = outcomes.flatMap((outcome, index) =>
    outcome instanceof Error ? [new NotProducedError(` (record ${index}, topic ${records[index].topic})`, outcome)] : [])
  if (failures.length > 0) throw failures.find(({ retriable }) => !retriable) ?? failures[0]
}

/**
 * 1. The broker is away. 2. The records wait in the client, for minutes maybe. 3. The attempt's time is over. Without this it would
 * be taken for a handler that never settles.
 */
function beforeAbort<Value> (promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new NotAcknowledgedError(signal.reason))
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
    promise.then(resolve, reject).finally(() => { signal.removeEventListener('abort', aborted) })
  })
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}
