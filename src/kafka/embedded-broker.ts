import { connect, disconnect, newProducer, requestTopic } from './driver.js'

/** How long the embedded broker may take to start, and to make a topic. It is in memory: milliseconds in practice. */
const startTimeoutMs = 5_000

export interface EmbeddedBroker {
  readonly bootstrapServers: string
  /** Ends the broker, and with it everything it holds. */
  close (): Promise<void>
}

const running = new Set<unknown>()

/** Whether an embedded broker of this process listens there: it cannot do everything that a real one can. */
export function isEmbedded (bootstrapServers: unknown): boolean {
  return running.has(bootstrapServers)
}

/**
 * Starts librdkafka's mock cluster in this process, on a free port of 127.0.0.1, with these topics (4 partitions each).
 *
 * It is for trying things out and for tests: one broker, in memory, about 4 MB a partition, nothing is kept. A topic that
 * is asked for by name is made. It reports 1234 as the timestamp of every record that is produced, whatever was sent.
 */
export async function startEmbeddedBroker ({ topics }: { topics: readonly string[] }): Promise<EmbeddedBroker> {
  const host = newProducer({
    // The mock cluster puts its own addresses in place of this one.
    'bootstrap.servers': 'embedded',
    'client.id': 'sluice-embedded-broker',
    'test.mock.num.brokers': 1,
    'allow.auto.create.topics': true
  })

  const { brokers } = await connect(host, startTimeoutMs)
  const bootstrapServers = brokers.map(({ host, port }) => `${host}:${port}`).join(',')
  running.add(bootstrapServers)
  const broker: EmbeddedBroker = {
    bootstrapServers,
    close () {
      running.delete(bootstrapServers)
      return disconnect(host)
    }
  }
  try {
    for (const topic of topics) await requestTopic(host, topic, startTimeoutMs)
  } catch (err) {
    await broker.close()
    throw err
  }
  return broker
}
