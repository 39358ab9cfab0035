import type { Test } from 'tap'
import { startGateway, type Gateway, type GatewayOptions } from './gateway.js'
import { sharedKafka, uniqueName, type Kafka, type NewRecord, type StoredRecord } from './kafka.js'
import { Ledger } from './ledger.js'

export interface Setting {
  readonly kafka: Kafka
  readonly gateway: Gateway
  readonly ledger: Ledger
  readonly topic: string
  readonly group: string
  /** Starts another gateway of the same kind. */
  readonly again: (env?: GatewayOptions['env']) => Promise<Gateway>
}

interface Topics { readonly partitions?: number, readonly deadLetterPartitions?: number, readonly retryPartitions?: number }

/** A gateway whose handler does what the records say, on a topic of its own. */
export async function obedient (
  t: Test, env: GatewayOptions['env'], { partitions = 1, deadLetterPartitions = 1, retryPartitions = 0 }: Topics = {}
): Promise<Setting> {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('failures'), { partitions })
  if (deadLetterPartitions > 0) await kafka.createTopic(`${topic}.dlq`, { partitions: deadLetterPartitions })
  if (retryPartitions > 0) await kafka.createTopic(`${topic}.retry`, { partitions: retryPartitions })
  const ledger = new Ledger()
  t.teardown(() => ledger.remove())
  const group = uniqueName('failures')
  const again = async (more: GatewayOptions['env'] = {}) => {
    const gateway = await startGateway({
      kafka,
      handler: 'obedient.js',
      env: {
        KAFKA_GROUP_ID: group,
        KAFKA_TOPIC: topic,
        KAFKA_COMMIT_INTERVAL_SECONDS: 0.1,
        KAFKA_RETRY_BACKOFF_MS: 100,
        ...(retryPartitions > 0 && { KAFKA_RETRY_TOPIC: `${topic}.retry` }),
        LEDGER_FILE: ledger.file,
        ...env,
        ...more
      }
    })
    t.teardown(() => gateway.kill())
    return gateway
  }
  return { kafka, gateway: await again(), ledger, topic, group, again }
}

export function order (key: string | null, does: string, more: object = {}): NewRecord {
  return { key, value: JSON.stringify({ do: does, ...more }) }
}

export function headersOf (record: StoredRecord | undefined): Record<string, string> {
  return Object.fromEntries((record?.headers ?? []).map(([name, value]) => [name, String(value)]))
}

/** What the ledger says of one key: `start`, `fail` and `end` in order. */
export function historyOf (ledger: Ledger, key: string): string[] {
  return ledger.entries.filter(entry => entry.key === key).map(({ what, attempt }) => `${what} ${attempt}`)
}
