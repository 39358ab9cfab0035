import { DONE, readAnswer, type BatchResult } from '../engine/batch-answer.js'
import { withRealPromise } from '../engine/real-promise.js'
import type { BatchedHandler, Handler } from '../engine/types.js'
import type { OutgoingRecord } from '../record.js'
import { producedBy } from './produced.js'

/**
 * Sees to the records that were answered for one or more records of a batch: a list for each, none of them empty, in their order.
 * Answers how each of them ends. Must not throw.
 */
export type Deliver = (lists: readonly (readonly OutgoingRecord[])[], signal: AbortSignal) => Promise<readonly BatchResult[]>

/**
 * A handler whose answered records (`{ produce: [records] }`) are delivered before its record counts as handled: what is no record, or
 * cannot be delivered, is a failed attempt. An answer without records costs nothing, and stays synchronous where it was.
 */
export function producing<Given extends Handler | BatchedHandler> (handler: Given, deliver: Deliver): Given
export function producing (handler: Handler | BatchedHandler, deliver: Deliver): Handler | BatchedHandler {
  if (typeof handler === 'function') {
    return (record, attempt) => after(handler(record, attempt), answer => {
      const records = producedBy(answer)
      return records.length === 0 ? undefined : deliverOne(records, attempt.signal, deliver)
    })
  }
  const { handle, batches } = handler
  return {
    batches,
    handle: (records, attempt) => after(handle(records, attempt), answer => {
      const results = readAnswer(answer, records.length)
      return results === null ? undefined : deliverBatch(results, () => attempt.signal, deliver)
    })
  }
}

async function deliverOne (records: readonly OutgoingRecord[], signal: AbortSignal, deliver: Deliver): Promise<unknown> {
  const [result] = await deliver([records], signal)
  if (result.failed) throw result.error
  return result.value
}

/** Answers what `readAnswer` reads. */
async function deliverBatch (results: readonly BatchResult[], signal: () => AbortSignal, deliver: Deliver): Promise<unknown> {
  const ended = [...results]
  const lists = new Map<number, readonly OutgoingRecord[]>()
  for (const [index, result] of results.entries()) {
    if (result.failed) continue
    try {
      const records = producedBy(result.value)
      if (records.length > 0) lists.set(index, records)
      ended[index] = DONE
    } catch (error) {
      ended[index] = { failed: true, error }
    }
  }
  if (lists.size > 0) {
    const delivered = await deliver([...lists.values()], signal())
    for (const [nth, index] of [...lists.keys()].entries()) ended[index] = delivered[nth]
  }
  return ended.map(result => result.failed ? { status: 'rejected', reason: result.error } : { status: 'fulfilled', value: result.value })
}

function after (answer: unknown, then: (answer: unknown) => unknown): unknown {
  const real = withRealPromise(answer)
  return real instanceof Promise ? real.then(then) : then(real)
}
