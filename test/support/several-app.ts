import path from 'node:path'
import type { Test } from 'tap'
import type { ConsumerConfig } from '../../src/config.js'
import { gatewayApp, LocalSource } from './gateway-app.js'

/** What two consumers are declared as, where a test does not say otherwise. */
export const TWO = { consumers: [{ name: 'one', groupId: 'g1', topic: 't' }, { name: 'two', groupId: 'g2', topic: ['u'], order: 'unordered' }] }

/** A gateway with several consumers, each over a fake source of its own, by name. Not ready yet. */
export async function severalApp (
  t: Test, file: object = TWO, overrides: Parameters<typeof gatewayApp>[1] = {}, env: Record<string, string> = {}
) {
  const location = path.join(t.testdir({ 'consumers.json': JSON.stringify(file) }), 'consumers.json')
  const sources = new Map<string, LocalSource>()
  const made = await gatewayApp({
    KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092', KAFKA_CONSUMERS_FILE: location, KAFKA_COMMIT_INTERVAL_SECONDS: '0.01', ...env
  }, {
    connect: async ({ name }: ConsumerConfig) => {
      const source = new LocalSource()
      sources.set(name, source)
      return source
    },
    ...overrides
  })
  t.teardown(() => made.app.close())
  for (const topic of ['u', 'u.dlq']) made.kafka.partitions.set(topic, 2)
  return { ...made, source: (name: string) => sources.get(name)! }
}
