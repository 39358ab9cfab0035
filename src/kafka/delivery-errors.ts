import { SluiceError } from '../errors.js'
import { codes, type DriverError } from './driver.js'

/**
 * What `produce()` threw, as the caller's error: the record was not taken, so nothing of it will be produced.
 * `null` where the client itself is of no more use.
 */
export function refusedByClient (thrown: unknown, topic: string, limit: number): SluiceError | null {
  const error = thrown as Partial<DriverError>
  switch (error.code) {
    case codes.queueFull:
      return new SluiceError('SLUICE_QUEUE_FULL', 'The client\'s queue is full. Nothing of this record was produced.', { cause: thrown })
    case codes.messageTooLarge:
      return tooLarge(limit)
    case codes.partitionUnknown:
      return new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no such partition.`, { cause: thrown })
    case codes.topicUnknownToClient:
      return unknownTopic(topic)
    case codes.fatal:
    case undefined:
      return null
    default:
      return new SluiceError('SLUICE_NOT_PRODUCED', 'Kafka\'s client did not take the record; it was not produced.', { cause: thrown })
  }
}

/**
 * Whether Kafka refused the batch that the record was in, which may be the fault of others. Where one record of it is not valid, the client
 * says so of all of them; where several are not, it says of the others that another one was not.
 */
export function isOfBatch (error: DriverError): boolean {
  const { code } = error
  return code === codes.invalidRecord || code === codes.invalidTimestamp || code === codes.invalidDifferentRecord || isTooLarge(error)
}

export function isTooLarge ({ code }: DriverError): boolean {
  return code === codes.messageTooLarge || code === codes.recordListTooLarge
}

/** The record was not at fault, as far as anybody knows, and cannot be tried again here. */
export function refusedInCompany (cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_NOT_PRODUCED',
    'Kafka refused the batch that the client had put the record into. The record was not produced; by itself it may be.', { cause })
}

/** What a delivery report says, as the caller's error. Where it leaves open whether the record was written, so does this. */
export function reportedByKafka (error: DriverError, topic: string, limit: number): SluiceError {
  switch (error.code) {
    case codes.unknownTopicOrPartition:
    case codes.topicUnknownToClient:
      return unknownTopic(topic)
    case codes.partitionUnknown:
      return new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no such partition.`, { cause: error })
    case codes.messageTooLarge:
    case codes.recordListTooLarge:
      return new SluiceError('SLUICE_RECORD_TOO_LARGE',
        `Kafka refused the record as too large: the topic allows less than this gateway does (${limit} bytes).`, { cause: error })
    case codes.topicAuthorizationFailed:
      return new SluiceError('SLUICE_NOT_AUTHORIZED', `Kafka does not let this gateway write to the topic ${topic}.`, { cause: error })
    case codes.clusterAuthorizationFailed:
      return notAllowedToWrite(error)
    case codes.invalidTopic:
    case codes.invalidTimestamp:
    case codes.unsupportedForMessageFormat:
    case codes.policyViolation:
    case codes.invalidRecord:
      return new SluiceError('SLUICE_RECORD_REJECTED', `Kafka refused the record: ${error.message}.`, { cause: error })
    default:
      return deliveryUnknown(error)
  }
}

export function tooLarge (limit: number): SluiceError {
  return new SluiceError('SLUICE_RECORD_TOO_LARGE', `Key, value and headers of a record may have ${limit} bytes together.`, { limit })
}

export function unknownTopic (topic: string): SluiceError {
  return new SluiceError('SLUICE_UNKNOWN_TOPIC', `There is no topic ${topic}, or this gateway may not see it.`)
}

export function notAllowedToWrite (cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_NOT_AUTHORIZED',
    'Kafka does not let this gateway write: its user has WRITE on no topic (nor IDEMPOTENT_WRITE on the cluster). Nothing was produced.', { cause })
}

export function deliveryUnknown (cause?: unknown): SluiceError {
  return new SluiceError('SLUICE_DELIVERY_UNKNOWN',
    'The record was handed over, and Kafka did not acknowledge it in time. It may have been written, or may yet be.', { cause })
}
