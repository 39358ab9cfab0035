import { SluiceError } from '../errors.js'
import { reportedByKafka } from './delivery-errors.js'
import { codes, type DriverError, type TransactionError } from './driver.js'

/** Whether another producer has taken this one's transactional id. */
export function isFenced ({ code }: Pick<DriverError, 'code'>): boolean {
  return code === codes.fenced || code === codes.producerFenced || code === codes.invalidProducerEpoch
}

export function notCommitted (why: string, cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_NOT_PRODUCED', `${why} The transaction is aborted: nothing of it was produced.`, { cause })
}

export function withdrawn (): SluiceError {
  return new SluiceError('SLUICE_NOT_PRODUCED', 'The time was over before the transaction could begin. Nothing was produced.')
}

export function outcomeUnknown (cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_TRANSACTION_UNKNOWN',
    'The commit was sent, and Kafka did not acknowledge it in time. Either all records are written, or none is.', { cause })
}

export function notAllowedTransactions (cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_NOT_AUTHORIZED',
    'Kafka does not let this gateway use its transactional ids: its user needs WRITE and DESCRIBE on them. Nothing was produced.', { cause })
}

/** Why a producer for transactions could not be made, as the caller's error. */
export function notOpened (error: Partial<TransactionError>): SluiceError {
  return error.code === codes.transactionalIdAuthorizationFailed
    ? notAllowedTransactions(error)
    : new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'Kafka has not made a producer for transactions ready. Nothing was produced.', { cause: error })
}

/**
 * What the report of a record says, for the transaction that it was part of: none of its records will be seen, whatever
 * became of this one.
 *
 * @param reason the name of the error in the client's log, for records that it gave up because of it
 */
export function failedRecord (error: DriverError, topic: string, limit: number, reason: string | null): SluiceError {
  if (isGivenUp(error)) {
    return reason === 'TOPIC_AUTHORIZATION_FAILED'
      ? new SluiceError('SLUICE_NOT_AUTHORIZED', 'Kafka does not let this gateway write to a topic of the transaction. Nothing was produced.', { cause: error })
      : notCommitted('Kafka did not take the records.', error)
  }
  const reported = reportedByKafka(error, topic, limit)
  return reported.code === 'SLUICE_DELIVERY_UNKNOWN' ? notCommitted('Kafka did not acknowledge a record.', error) : reported
}

/** Whether the client gave the record up because of another one, or of the transaction. */
export function isGivenUp ({ code }: DriverError): boolean {
  return code === codes.purgedInQueue || code === codes.purgedInFlight || code === codes.fatal || code === codes.invalidDifferentRecord
}

/** Whether Kafka refused the batch that a record was in, for whichever of its records: the client sends many as one. */
export function isRefusedAsBatch (error: unknown): boolean {
  return error instanceof SluiceError && (error.code === 'SLUICE_RECORD_TOO_LARGE' || error.code === 'SLUICE_RECORD_REJECTED')
}

/** The same error, with the place of its record in the body. */
export function atRecord (error: SluiceError, i: number): SluiceError {
  return new SluiceError(error.code, error.message, { ...error.details, pointer: `#/records/${i}` })
}
