import { loadConfig } from '../../src/config.js'
import type { HandlerConfig } from '../../src/handlers/index.js'

/** What the configuration says about the handler, but for what a test says otherwise. */
export function handlerConfig (otherwise: Partial<HandlerConfig>): HandlerConfig {
  const { config } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092', KAFKA_GROUP_ID: 'g', KAFKA_TOPIC: 't' })
  return { ...config.consumers[0], ...otherwise }
}
