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
