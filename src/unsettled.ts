import type { FastifyRequest } from 'fastify'
import type { Answer } from './idempotency-table.js'
import { SluiceError } from './errors.js'
import { lateReport } from './kafka/late-report.js'
import type { Outcome } from './kafka/record-producer.js'

/** What is known of the records behind an answer, for whoever remembers it. */
export interface Noted {
  readonly outcomes: readonly Outcome[]
  /** How they ended, where the caller's time was up for some of them; `null` where all is known. Never rejects. */
  readonly late: Promise<Outcome[]> | null
  /** The answer for other outcomes, where the route has a form of its own. Then its status need not say whether anything was written. */
  readonly answer: ((outcomes: readonly Outcome[]) => Answer) | null
}

const noted = new WeakMap<FastifyRequest, Noted>()

/**
 * Notes what a request was answered with where the caller's time was up for some of it, so that whoever remembers the answer can
 * put the truth in its place. Costs nothing where all is known.
 */
export function noteUnsettled (request: FastifyRequest, outcomes: readonly Outcome[]): void {
  const late = lateOutcomes(outcomes)
  if (late !== null) noted.set(request, { outcomes, late, answer: null })
}

/** The same for a route whose answers have a form of their own. Costs nothing where nobody remembers the answer. */
export function noteOutcomes (request: FastifyRequest, outcomes: readonly Outcome[], answer: NonNullable<Noted['answer']>): void {
  if (request.headers['idempotency-key'] === undefined) return
  noted.set(request, { outcomes, late: lateOutcomes(outcomes), answer })
}

/** Undefined where the answer is all that there is to know, for good. */
export const notedOf = (request: FastifyRequest): Noted | undefined => noted.get(request)

function lateOutcomes (outcomes: readonly Outcome[]): Promise<Outcome[]> | null {
  if (!outcomes.some(outcome => outcome instanceof SluiceError && lateReport(outcome) !== undefined)) return null
  return Promise.all(outcomes.map(outcome => lateReport(outcome) ?? outcome))
}
