// Sluice as it ships: metrics, validation and logging on, producing only.

import { buildApp } from '../../dist/src/app.js'
import { loadConfig } from '../../dist/src/config.js'
import { input, serve } from '../lib/subject.mjs'

const { bootstrapServers, topic, env = {} } = await input()
const { config } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: bootstrapServers, KAFKA_PRODUCE_TOPIC: topic, ...env })
const app = await buildApp(config)
serve(await app.listen({ port: 0, host: '127.0.0.1' }), () => app.close())
