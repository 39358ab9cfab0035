/** How one record of a batch ended. */
export type BatchResult =
  /** `value`: what the handler answered for it, as a handler of single records does. */
  | { readonly failed: false, readonly value: unknown }
  | { readonly failed: true, readonly error: unknown }

/** What a handler of batches answered is not understood: nobody knows what it did. */
export class BatchAnswerError extends Error {
  constructor (what: string) {
    super(`the handler's answer is not understood: ${what}; it must be nothing, or an array with one entry for each record: undefined or ` +
      'null, an Error, { status: \'fulfilled\', value }, { status: \'rejected\', reason } or { produce: [records] }')
    this.name = 'BatchAnswerError'
  }
}

export const DONE: BatchResult = { failed: false, value: undefined }

/**
 * Reads what a handler of batches answered: how each of its records ended, in their order, or `null` where all are done and
 * there is no more to say.
 *
 * Nothing (`undefined` or `null`) is: all are done. An array has one entry for each record: nothing, `{ status: 'fulfilled', value }` or
 * `{ produce }` is done; an Error, or `{ status: 'rejected', reason }`, is a failed attempt. So what `Promise.allSettled` answers is
 * an answer.
 *
 * @param count how many records there were
 * @throws {BatchAnswerError} for anything else, and for what cannot even be read: what is not understood is never taken for done
 */
export function readAnswer (answer: unknown, count: number): BatchResult[] | null {
  if (answer === undefined || answer === null) return null
  try {
    if (!Array.isArray(answer)) throw new BatchAnswerError(`got ${described(answer)}`)
    if (answer.length !== count) throw new BatchAnswerError(`got ${answer.length} entries for ${count} records`)
    // Not `map`, which passes over holes.
    return Array.from(answer as unknown[], resultOf)
  } catch (error) {
    throw error instanceof BatchAnswerError ? error : new BatchAnswerError('it cannot be read')
  }
}

function resultOf (entry: unknown, index: number): BatchResult {
  if (entry === undefined || entry === null) return DONE
  if (entry instanceof Error) return { failed: true, error: entry }
  if (typeof entry === 'object') {
    const { status, reason, value, produce } = entry as { status?: unknown, reason?: unknown, value?: unknown, produce?: unknown }
    if (status === 'rejected') return { failed: true, error: reason }
    if (status === 'fulfilled') return { failed: false, value }
    if (status === undefined && Array.isArray(produce)) return { failed: false, value: entry }
  }
  throw new BatchAnswerError(`entry ${index} is ${described(entry)}`)
}

function described (value: unknown): string {
  if (typeof value !== 'object' || value === null) return typeof value === 'string' ? 'a string' : String(value).slice(0, 100)
  if (typeof (value as { then?: unknown }).then === 'function') return 'a promise that nobody awaited'
  return `an object with ${Object.keys(value).slice(0, 5).join(', ').slice(0, 100) || 'nothing in it'}`
}
