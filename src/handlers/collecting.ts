import type { BatchResult } from '../engine/batch-answer.js'
import { Collected } from '../engine/outputs.js'
import { SluiceError } from '../errors.js'
import type { OutgoingRecord } from '../record.js'
import type { HandlerContext } from './handler.js'
import type { Deliver } from './producing.js'
import { beforeAbort, NotProducedError } from './sending.js'

/** What is known of topics. */
export interface KnownTopics {
  /** The number of partitions, from a list at hand. Undefined: not in it. */
  peek (topic: string): number | undefined
  /** @throws {SluiceError} SLUICE_UNKNOWN_TOPIC; SLUICE_BROKER_UNAVAILABLE */
  partitions (topic: string, hoped?: number): Promise<number>
}

/**
 * Exactly once: the records wait for the transaction in which their record's offset is committed. What Kafka would refuse there is
 * refused here, as far as that can be known: here it is a failed attempt, there a whole transaction.
 *
 * @param bytesOf key, value and headers of a record; throws a SluiceError where it cannot be produced
 */
export function collecting (topics: KnownTopics, bytesOf: (record: OutgoingRecord) => number): Deliver {
  return (lists, signal) => Promise.all(lists.map(async (records): Promise<BatchResult> => {
    let bytes = 0
    for (const [index, record] of records.entries()) {
      try {
        bytes += bytesOf(record)
        const needed = (record.partition ?? 0) + 1
        if ((topics.peek(record.topic) ?? 0) < needed) await beforeAbort(checkPartition(topics, record.topic, needed), signal)
      } catch (error) {
        return { failed: true, error: new NotProducedError(` (record ${index}, topic ${record.topic})`, error) }
      }
    }
    return { failed: false, value: new Collected(records, bytes) }
  }))
}

/** @throws {SluiceError} where there is no such topic, or it has fewer partitions */
export async function checkPartition (topics: KnownTopics, topic: string, needed = 1): Promise<void> {
  if (await topics.partitions(topic, needed) < needed) {
    throw new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no partition ${needed - 1}.`)
  }
}

/** What `context.producer` is with exactly once. */
export const outsideTheTransaction: HandlerContext['producer'] = {
  async send () {
    throw Object.assign(new Error('with KAFKA_DELIVERY=exactly-once context.producer.send would be outside of the transaction: ' +
      'answer { produce: [record] } instead'), { retriable: false })
  }
}
