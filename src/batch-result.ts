import type { FastifyReply, FastifyRequest } from 'fastify'
import { SluiceError, toProblem, type Problem } from './errors.js'
import type { Outcome } from './kafka/record-producer.js'
import { jsonType } from './media-types.js'
import type { Receipt } from './record.js'
import { noteUnsettled } from './unsettled.js'

/** The answer to a batch, with its status and headers. */
export function batchAnswer (
  request: FastifyRequest, reply: FastifyReply, outcomes: readonly Outcome[]
): { records: (Receipt | Problem)[] } {
  noteUnsettled(request, outcomes)
  const retryAfter = longestRetry(outcomes)
  if (retryAfter > 0) reply.header('retry-after', String(retryAfter))
  reply.code(batchStatus(outcomes)).type(jsonType)
  return { records: outcomes.map(toResult) }
}

/** What the answer to a batch holds for a record. */
export const toResult = (outcome: Outcome): Receipt | Problem => outcome instanceof SluiceError ? toProblem(outcome) : outcome

/** 200 if all are well, their status if all failed with the same one, else 207. Of none, all are well. */
export function batchStatus (outcomes: readonly Outcome[]): number {
  const statuses = new Set(outcomes.map(outcome => outcome instanceof SluiceError ? outcome.statusCode : 200))
  const [only = 200] = statuses
  return statuses.size > 1 ? 207 : only
}

/** After how many seconds all that may be tried again may be; 0 where nothing may. */
export function longestRetry (outcomes: readonly Outcome[]): number {
  return outcomes.reduce((max, outcome) => Math.max(max, outcome instanceof SluiceError ? outcome.retryAfterSeconds ?? 0 : 0), 0)
}
