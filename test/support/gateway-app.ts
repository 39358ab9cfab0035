import type { FastifyInstance } from 'fastify'
import { buildApp, type Overrides } from '../../src/app.js'
import { systemClock } from '../../src/clock.js'
import { loadConfig } from '../../src/config.js'
import type { PartitionEnd, TopicPartition } from '../../src/engine/types.js'
import type { ConnectedSource } from '../../src/group-member.js'
import type { FakeClock } from './fake-clock.js'
import { FakeProducer } from './fake-producer.js'
import { FakeSource } from './fake-source.js'

/** The fake source in real time, as something that was connected. */
export class LocalSource extends FakeSource implements ConnectedSource {
  closed = false
  problems: string[] = []
  readonly endOffsets = new Map<string, number>()

  constructor () {
    // All that a source asks of its clock is to schedule.
    super(systemClock as unknown as FakeClock)
  }

  async ends (partitions: readonly TopicPartition[]): Promise<PartitionEnd[]> {
    return partitions.flatMap(({ topic, partition }) => {
      const offset = this.endOffsets.get(`${topic}/${partition}`)
      return offset === undefined ? [] : [{ topic, partition, offset }]
    })
  }

  async close (): Promise<void> { this.closed = true }
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: number, readonly msg: string }

/** Resolves when `holds` does; it is looked at again and again, for some seconds. */
export async function until (holds: () => boolean | Promise<boolean>, what: string, limitMs = 15_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!await holds()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise(resolve => { setTimeout(resolve, 5) })
  }
}

/** Against a cluster that nobody talks to: producer and source are fakes. */
export const FAKE_CLUSTER = { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092', KAFKA_GROUP_ID: 'g', KAFKA_TOPIC: 't' }

/** The whole gateway as `server.ts` builds it, with fakes for Kafka where `env` names a cluster. Not ready yet. */
export async function gatewayApp (
  env: Readonly<Record<string, string>> = FAKE_CLUSTER, overrides: Overrides = {}
): Promise<{ app: FastifyInstance, kafka: FakeProducer, source: LocalSource, logged: LogLine[] }> {
  const kafka = new FakeProducer()
  for (const topic of ['t', 't.dlq']) kafka.partitions.set(topic, 2)
  const source = new LocalSource()
  const logged: LogLine[] = []
  const stream = { write (line: string) { logged.push(JSON.parse(line) as LogLine) } }
  const { config } = loadConfig(env)
  const fakes = config.kafka.embedded ? {} : { producer: kafka, connect: async () => source }
  const app = await buildApp(config, { logger: { level: 'debug', stream }, ...fakes, ...overrides })
  return { app, kafka, source, logged }
}

/** Every sample of a scrape by its name with labels. */
export async function samplesOf (app: FastifyInstance): Promise<Map<string, number>> {
  const { body } = await app.inject('/metrics')
  return new Map(body.split('\n').filter(line => line !== '' && !line.startsWith('#')).map(line => {
    const at = line.lastIndexOf(' ')
    return [line.slice(0, at), Number(line.slice(at + 1))]
  }))
}
