import fp from 'fastify-plugin'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { createMetrics, type Metrics } from '../src/metrics.js'
import type { Tally } from '../src/tally-histogram.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** Sluice's own metrics; a scrape adds those of the process and its event loop. */
    metrics: Metrics & Scraping
  }
}

export interface Scraping {
  /** Calls `set` before each scrape, to set the gauges that are read rather than kept. */
  onScrape (set: () => void): void
  /** Everything, in Prometheus' text format. */
  scrape (): Promise<string>
  readonly contentType: string
}

/** Makes the metrics, and measures every request by its route as declared. */
export default fp(async app => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const metrics = createMetrics(registry)
  const setters: (() => void)[] = []
  app.decorate('metrics', {
    ...metrics,
    contentType: registry.contentType,
    onScrape (set) { setters.push(set) },
    scrape () {
      for (const set of setters) set()
      return registry.metrics()
    }
  })

  // Looking the labels up costs more than the observation itself.
  const children = new Map<string, Tally>()
  app.addHook('onResponse', (request, reply, done) => {
    // What no route answers has no route: the path is the caller's, and would be a label without bound.
    const route = request.routeOptions.url ?? 'none'
    const id = `${request.method} ${reply.statusCode} ${route}`
    let child = children.get(id)
    if (child === undefined) {
      child = metrics.http.requests.of(request.method, route, String(reply.statusCode))
      children.set(id, child)
    }
    child.observe(reply.elapsedTime / 1000)
    done()
  })
}, { name: 'metrics', fastify: '5.x' })
