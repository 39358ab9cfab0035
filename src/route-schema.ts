import type { FastifySchema, RouteOptions } from 'fastify'

interface ResponseEntry {
  description?: string
  headers?: Record<string, object>
  content?: Record<string, { schema?: unknown, examples?: Record<string, unknown> }>
}

type Responses = Readonly<Record<string | number, object>>

/**
 * Adds to what a route's schema says: for plugins that a route opts into by its `config`, so that the document is true without
 * the route repeating it. The schema that the route gave is left as it is, since routes may share it.
 */
export function describe (
  route: RouteOptions, { headers = {}, responses = {}, successHeaders = {} }: {
    /** Request headers, each with its schema. */
    readonly headers?: Readonly<Record<string, object>>
    readonly responses?: Responses
    /** Response headers of what succeeds. */
    readonly successHeaders?: Readonly<Record<string, object>>
  }
): void {
  const { schema = {} } = route
  const given = (schema.headers ?? { type: 'object', properties: {} }) as { properties?: Record<string, object> }
  const response: Record<string, ResponseEntry> = { ...schema.response as Record<string, ResponseEntry> | undefined }
  for (const [status, added] of Object.entries(responses)) response[status] = merged(response[status], added as ResponseEntry)
  for (const [status, entry] of Object.entries(response)) {
    if (status.startsWith('2')) response[status] = { ...entry, headers: { ...entry.headers, ...successHeaders } }
  }
  route.schema = { ...schema, headers: { ...given, properties: { ...given.properties, ...headers } }, response } as FastifySchema
}

function merged (one: ResponseEntry | undefined, other: ResponseEntry): ResponseEntry {
  if (one === undefined) return other
  const content = { ...one.content }
  for (const [type, added] of Object.entries(other.content ?? {})) {
    content[type] = { ...added, ...content[type], examples: { ...content[type]?.examples, ...added.examples } }
  }
  return { ...one, description: [one.description, other.description].filter(text => text !== undefined).join(' · '), content }
}
