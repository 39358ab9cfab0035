import type { SluiceError } from '../errors.js'
import { deliveryUnknown } from './delivery-errors.js'
import type { Outcome } from './record-producer.js'

const reports = new WeakMap<SluiceError, Promise<Outcome>>()

/** The outcome of a record that nobody waits for any longer, and what is to be called when its report comes after all. */
export function awaitingReport (error = deliveryUnknown()): { error: SluiceError, reported: (outcome: Outcome) => void } {
  let reported!: (outcome: Outcome) => void
  reports.set(error, new Promise(resolve => { reported = resolve }))
  return { error, reported }
}

/**
 * For a SLUICE_DELIVERY_UNKNOWN that only says that the caller waited no longer: how the record ended. Resolves when its report
 * comes, at the latest when Kafka's client gives the record up (KAFKA_DELIVERY_TIMEOUT_MS) or is closed; then with
 * SLUICE_DELIVERY_UNKNOWN once more, and for good. Never rejects. Undefined for every other error.
 */
export function lateReport (error: unknown): Promise<Outcome> | undefined {
  return reports.get(error as SluiceError)
}
