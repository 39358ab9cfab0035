import { adviceOf } from './retry.js'

/** The reason of a handler's aborted signal once its time limit has passed. */
export class HandlerTimeoutError extends Error {
  constructor (limitMs: number) {
    super(`the handler did not finish within ${limitMs} ms`)
    this.name = 'HandlerTimeoutError'
  }
}

/** What a dead letter says of a record whose handler ignored its signal. */
export class HandlerNeverSettledError extends Error {
  constructor (attempt: number, seconds: number) {
    super(`attempt ${attempt} of the handler had not settled ${seconds.toFixed(1)} s after it began, and did not react to its signal`)
    this.name = 'HandlerNeverSettledError'
  }
}

/**
 * What is said of each record of a batch whose handler failed as a whole. Which of them is at fault is not known, so what the
 * error says of a record (`retriable`, `drop`) does not hold; when to try again, and that there is an outage, does.
 */
export class BatchFailedError extends Error {
  declare readonly cause: Error
  readonly retryAfterMs: unknown
  readonly outage: unknown

  constructor (count: number, cause: Error) {
    super(`the handler failed for a batch of ${count} records as a whole: ${cause.message}`, { cause })
    this.name = 'BatchFailedError'
    const { retryAfterMs, outage } = adviceOf(cause)
    this.retryAfterMs = retryAfterMs
    this.outage = outage
  }
}

/** What a dead letter says of a record whose attempts were used up by processes that ended before they could tell why. */
export class AttemptsUsedUpError extends Error {
  constructor (attempts: number) {
    super(`${attempts} attempts were begun by processes that ended before the record was done`)
    this.name = 'AttemptsUsedUpError'
  }
}

/** The reason of a signal that is aborted because the record holds up its partition. */
export class DivertedError extends Error {
  constructor () {
    super('the record held up its partition: the window behind it was nearly full and nearly all done')
    this.name = 'DivertedError'
  }
}

/** The reason of a signal that is aborted because the partition goes to somebody else, or to another place in its log. */
export class PartitionGivenUpError extends Error {
  constructor (why: string) {
    super(why)
    this.name = 'PartitionGivenUpError'
  }
}

/** What a handler threw, as an Error. An object may still say whether and when it is worth another attempt. */
export function asError (thrown: unknown): Error {
  if (thrown instanceof Error) return thrown
  return Object.assign(new Error(`the handler threw what is not an Error: ${textOf(thrown).slice(0, 200)}`), adviceOf(thrown))
}

function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return typeof value
  }
}
