import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { ClientProperties, ReaderConfig } from '../src/config.js'
import { RecordReaderPool } from '../src/kafka/record-reader-pool.js'
import type { RecordReader } from '../src/kafka/record-reader.js'

declare module 'fastify' {
  interface FastifyInstance {
    reader: RecordReader
  }
}

export interface ReaderPluginOptions {
  /** librdkafka properties of any client, `bootstrap.servers` among them. */
  readonly client: ClientProperties
  readonly settings: ReaderConfig
  /** How long the close may wait for reads that are under way. */
  readonly closeTimeoutMs: number
  /** Used in place of Kafka's, and not closed. */
  readonly reader?: RecordReader
}

/** Decorates `fastify.reader`. Nothing connects before the first read, and what is not needed for a minute is let go. */
async function reader (fastify: FastifyInstance, options: ReaderPluginOptions): Promise<void> {
  const used = options.reader ?? ownReader(fastify, options)
  fastify.decorate('reader', used)
  if (!fastify.hasDecorator('metrics')) return
  const { reading, waiting, clients } = fastify.metrics.reader
  fastify.metrics.onScrape(() => {
    reading.set(used.state.reading)
    waiting.set(used.state.waiting)
    clients.set(used.state.clients)
  })
}

function ownReader (fastify: FastifyInstance, { client, settings, closeTimeoutMs }: ReaderPluginOptions): RecordReaderPool {
  const pool = new RecordReaderPool({
    client, settings, log: fastify.log.child({ component: 'reader' }), isReachable: () => fastify.producer.state.reachable
  })
  fastify.addHook('onClose', async () => { await pool.close(closeTimeoutMs) })
  return pool
}

export default fp(reader, { name: 'reader', dependencies: ['errors', 'producer'], fastify: '5.x' })
