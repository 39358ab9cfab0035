import { createHash, randomBytes } from 'node:crypto'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import Fastify, { type FastifyHttpOptions, type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import auth from '../../plugins/auth.js'
import closing from '../../plugins/closing.js'
import cors from '../../plugins/cors.js'
import errors from '../../plugins/errors.js'
import pageHeaders from '../../plugins/page-headers.js'
import tlsFiles from '../../plugins/tls.js'
import { demand } from '../../src/access.js'
import { loadConfig } from '../../src/config.js'
import { isNdjson } from '../../src/ndjson-body.js'
import { serverOptions } from '../../src/server-options.js'
import { transportOptions } from '../../src/tls.js'

/** A key, and what the rules hold of it. */
export function newKey (): { key: string, digest: string } {
  const key = randomBytes(32).toString('base64url')
  return { key, digest: digestOf(key) }
}

export const digestOf = (key: string): string => createHash('sha256').update(key).digest('hex')

export interface AccessAppOptions {
  readonly lookEveryMs?: number
  readonly requestsTimeoutMs?: number
}

/**
 * What stands in front of the routes, configured by variables as it is in the gateway, and routes that say who called:
 * one for each right, one that names its topic in the body, and a public one.
 */
export async function accessApp (
  t: Test, env: Readonly<Record<string, string>>, { lookEveryMs = 10, requestsTimeoutMs = 10_000 }: AccessAppOptions = {}
) {
  const { config } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092', ...env })
  const { http } = config
  const logged: Record<string, unknown>[] = []
  const events: string[] = []
  const server = serverOptions(http)
  const app = Fastify({
    ...server,
    ...transportOptions(http, server.http),
    logger: { level: 'trace', stream: { write (line: string) { logged.push(JSON.parse(line) as Record<string, unknown>) } } }
  } as FastifyHttpOptions<Server>) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(errors)
  await app.register(closing, { requestsTimeoutMs })
  await app.register(pageHeaders)
  if (http.tls !== null) await app.register(tlsFiles, { tls: http.tls, lookEveryMs })
  if (http.corsOrigins.length > 0) await app.register(cors, { origins: http.corsOrigins })
  await app.register(auth, {
    ...http,
    lookEveryMs,
    observer: {
      refused: reason => events.push(reason),
      rulesRead: current => events.push(current ? 'rules read' : 'rules refused'),
      keysFetched: fetched => events.push(fetched ? 'keys fetched' : 'keys not fetched')
    }
  })
  app.post('/topics/:topic/records', { config: { right: 'produce' } }, async request => ({ caller: request.principal.name }))
  app.addContentTypeParser('application/x-ndjson', (_request, payload, done) => { done(null, payload) })
  app.post('/lines/:topic', { config: { right: 'produce', countsBody: isNdjson } }, async request => {
    let bytes = 0
    for await (const chunk of request.body as Readable) bytes += (chunk as Buffer).length
    return { bytes }
  })
  app.post('/transactions', { config: { right: 'produce' } }, async request => {
    for (const topic of (request.body as { topics: string[] }).topics) demand(request, 'produce', topic)
    return { caller: request.principal.name }
  })
  app.get('/topics/:topic', { config: { right: 'read' } }, async request => ({ caller: request.principal.name }))
  app.get('/consumer', { config: { right: 'operate' } }, async request => ({ caller: request.principal.name }))
  app.get('/metrics', { config: { right: 'operate' } }, async () => 'metrics')
  app.get('/docs/', { config: { right: 'read' } }, async (_request, reply) => reply.type('text/html').send('<!doctype html>'))
  app.get('/healthz', { config: { public: true } }, async request => ({ details: request.principal.may('operate'), caller: request.principal.name }))
  const listen = async (): Promise<number> => {
    await app.listen({ host: '127.0.0.1', port: 0 })
    return (app.server.address() as AddressInfo).port
  }
  return { app, logged, events, listen, config }
}
