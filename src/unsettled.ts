import type { FastifyRequest } from 'fastify'
import { SluiceError } from './errors.js'
import { lateReport } from './kafka/late-report.js'
import type { Outcome } from './kafka/record-producer.js'

/** How the records of a request ended that was answered before that was known. */
export type Unsettled = Promise<Outcome[]>

const unsettled = new WeakMap<FastifyRequest, Unsettled>()

/**
 * Notes what a request was answered with where the caller's time was up for some of it, so that whoever remembers the answer can
 * put the truth in its place. Costs nothing where all is known.
 */
export function noteUnsettled (request: FastifyRequest, outcomes: readonly Outcome[]): void {
  if (!outcomes.some(outcome => outcome instanceof SluiceError && lateReport(outcome) !== undefined)) return
  unsettled.set(request, Promise.all(outcomes.map(outcome => lateReport(outcome) ?? outcome)))
}

/** Undefined where the answer is all that there is to know, for good. */
export const unsettledOf = (request: FastifyRequest): Unsettled | undefined => unsettled.get(request)
