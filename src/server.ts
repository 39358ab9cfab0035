import { constants } from 'node:os'
import { buildApp } from './app.js'
import { ConfigError, loadConfig, type Config } from './config.js'
import { isDisconnecting } from './kafka/disconnecting.js'
import type { FastifyInstance } from 'fastify'

/** How much longer than configured a close may take before the process ends without it. */
const CLOSE_SLACK_MS = 5_000
/** What was started gets this long to close where the start fails after all. */
const FAILED_START_CLOSE_MS = 5_000
/** After a close nothing should keep the process alive; if something does, it gets this long. */
const LINGER_MS = 2_000

let app!: FastifyInstance
let config: Config
let closing = false
let endCode = 0
try {
  const loaded = loadConfig()
  config = loaded.config
  app = await buildApp(config, { onFenced: () => end('another process has this KAFKA_GROUP_INSTANCE_ID', 1) })
  for (const warning of loaded.warnings) app.log.warn(warning)
  await app.listen({ host: config.http.host, port: config.http.port })
} catch (error) {
  // One line for whoever starts it; a stack only where it is no mistake in the configuration.
  const { code, message } = error as NodeJS.ErrnoException
  console.error(error instanceof ConfigError ? message : code === 'EADDRINUSE' ? `PORT: ${message}` : error)
  // Listening comes last: the consumer may be a member of its group by then, which would wait for it until its session ends.
  setTimeout(() => process.exit(1), FAILED_START_CLOSE_MS).unref()
  await app?.close().catch(() => {})
  process.exit(1)
}

process.on('SIGTERM', close)
process.on('SIGINT', close)
// A handler that forgets a promise, or throws from a timer, must not take the process, and everybody's records, with it.
// Should that have stopped the consumer's loop as well, /healthz tells, and whoever watches it starts the process anew.
process.on('unhandledRejection', err => {
  app.log.error({ err }, 'a promise was rejected and nobody handled it: a handler module should await, or catch, what it starts')
})
process.on('uncaughtException', err => {
  app.log.fatal({ err }, 'an exception was thrown where nobody could catch it: a handler module should await, or catch, what it starts')
})
greet()

function close (signal: NodeJS.Signals): void {
  if (closing) {
    app.log.warn({ signal }, 'second signal: ending at once, what is not committed is delivered again')
    leave(128 + constants.signals[signal])
  }
  end(signal, 0)
}

/** Closes what can be closed in good order. An exit code other than 0 tells whoever watches the process to start it anew. */
function end (reason: string, exitCode: number): void {
  endCode = Math.max(endCode, exitCode)
  if (closing) return
  closing = true
  app.log.info({ reason }, 'closing: no new requests, the consumer drains')
  setTimeout(() => {
    app.log.error({ limitMs: config.shutdownTimeoutMs }, 'not closed in time: ending all the same, what is not committed is delivered again')
    leave(1)
  }, config.shutdownTimeoutMs + CLOSE_SLACK_MS).unref()
  app.close().then(() => {
    app.log.info('closed')
    process.exitCode = endCode
    setTimeout(() => leave(endCode), LINGER_MS).unref()
  }, err => {
    app.log.error({ err }, 'closing failed')
    leave(1)
  })
}

function leave (exitCode: number): void {
  // exit() would wait for it, for ever if need be.
  if (isDisconnecting()) {
    app.log.error('a client of Kafka does not end: the process kills itself')
    process.kill(process.pid, 'SIGKILL')
  }
  process.exit(exitCode)
}

/** `npm start` is a person who wants to know where to go; otherwise the log has it in fields. */
function greet (): void {
  const address = app.server.address()
  if (address === null || typeof address === 'string') return
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address
  const url = `${config.http.tls === null ? 'http' : 'https'}://${host === '0.0.0.0' ? '127.0.0.1' : host}:${address.port}`
  const embedded = config.kafka.embedded
  app.log.info({
    url,
    docs: `${url}/docs`,
    produceTopic: config.producer.topic,
    consumers: config.consumers.map(({ groupId, topics }) => ({ group: groupId, topics })),
    broker: embedded ? 'embedded, in memory' : config.kafka.client['bootstrap.servers']
  }, 'Sluice is ready for requests')
  if (process.env.npm_lifecycle_event !== 'start') return
  console.error(`
  Sluice      ${url}
  API         ${url}/docs
  Metrics     ${url}/metrics
  Kafka       ${embedded ? 'embedded broker in this process: in memory, for trying things out, it keeps nothing' : config.kafka.client['bootstrap.servers']}

  Try         curl${config.http.auth === 'on' ? ' -H "Authorization: Bearer $KEY"' : ''} -H 'content-type: application/json' -d '"Hello, Kafka!"' ${url}/api/kafka/send-message

  Ctrl-C drains and stops.
`)
}
