import { SluiceError } from './errors.js'
import type { TopicDirectory } from './kafka/topics.js'
import { atRecord } from './kafka/transaction-errors.js'
import { checkTopicName } from './produce.js'
import type { OutgoingRecord } from './record.js'

/** How many topics one transaction may write to. Each may have to be looked up. */
export const maxTransactionTopics = 100

/**
 * Checks that each topic's name can be one, that there are not too many, and that `allow` has nothing against it.
 *
 * @returns for each topic, its records by their indices
 * @throws {SluiceError} with the place of the first record that it is about
 */
export function topicsOf (records: readonly OutgoingRecord[], allow: (topic: string) => void): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (const [i, { topic }] of records.entries()) {
    const known = found.get(topic)
    if (known !== undefined) {
      known.push(i)
      continue
    }
    if (found.size === maxTransactionTopics) {
      throw new SluiceError('SLUICE_BATCH_TOO_LARGE', `A transaction may write to ${maxTransactionTopics} topics.`, { limit: maxTransactionTopics })
    }
    located(i, () => checkTopicName(topic))
    located(i, () => allow(topic))
    found.set(topic, [i])
  }
  return found
}

/**
 * Checks that the topics, and the partitions that records name, are there. At most `timeoutMs`.
 *
 * @throws {SluiceError} SLUICE_UNKNOWN_TOPIC, SLUICE_UNKNOWN_PARTITION, SLUICE_BROKER_UNAVAILABLE, SLUICE_NOT_PRODUCED
 */
export async function checkPartitions (
  topics: TopicDirectory, records: readonly OutgoingRecord[], byTopic: ReadonlyMap<string, readonly number[]>, timeoutMs: number
): Promise<void> {
  const missing: { topic: string, of: readonly number[], highest: number }[] = []
  for (const [topic, of] of byTopic) {
    const highest = of.reduce((max, i) => Math.max(max, records[i]?.partition ?? -1), -1)
    // The ordinary case: nothing to wait for.
    if ((topics.peek(topic) ?? 0) <= Math.max(highest, 0)) missing.push({ topic, of, highest })
  }
  if (missing.length === 0) return
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new SluiceError('SLUICE_NOT_PRODUCED', 'Kafka did not say in time whether the topics exist. Nothing was produced.'))
    }, timeoutMs)
  })
  try {
    await Promise.race([late, lookUp(topics, records, missing)])
  } finally {
    clearTimeout(timer)
  }
}

async function lookUp (
  topics: TopicDirectory, records: readonly OutgoingRecord[], missing: readonly { topic: string, of: readonly number[], highest: number }[]
): Promise<void> {
  for (const { topic, of, highest } of missing) {
    const count = await topics.partitions(topic, highest + 1).catch((err: unknown) => {
      throw err instanceof SluiceError && err.code === 'SLUICE_UNKNOWN_TOPIC' ? atRecord(err, of[0] as number) : err
    })
    const wrong = of.find(i => (records[i]?.partition ?? -1) >= count)
    if (wrong !== undefined) {
      throw atRecord(new SluiceError('SLUICE_UNKNOWN_PARTITION', `The topic ${topic} has no partition ${records[wrong]?.partition}.`), wrong)
    }
  }
}

function located (i: number, check: () => void): void {
  try {
    check()
  } catch (err) {
    throw err instanceof SluiceError ? atRecord(err, i) : err
  }
}
