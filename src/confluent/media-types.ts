import type { FastifyRequest } from 'fastify'
import { SluiceError } from '../errors.js'
import { essenceOf } from '../media-types.js'

/** How v2 answers. */
export const v2Type = 'application/vnd.kafka.v2+json'

/** What v2 takes: a format for keys and values, or none, which means binary. */
export const v2BodyTypes = {
  binary: 'application/vnd.kafka.binary.v2+json',
  json: 'application/vnd.kafka.json.v2+json'
} as const

/** Those that a schema registry would be needed for. */
export const v2SchemaTypes = [
  'application/vnd.kafka.avro.v2+json', 'application/vnd.kafka.jsonschema.v2+json', 'application/vnd.kafka.protobuf.v2+json'
] as const

export type EmbeddedFormat = keyof typeof v2BodyTypes

/** What a body may say that it is, so that its parser is found. The format is looked at by `embeddedFormat`. */
export const anyV2Type = /^application\/vnd\.kafka(\.[a-z0-9.]+)?\+json/i

const named = /^application\/vnd\.kafka(?:\.(binary|json|avro|jsonschema|protobuf))?(?:\.v2)?\+json$/

/**
 * The format that a request's Content-Type names.
 *
 * @throws {SluiceError} SLUICE_UNSUPPORTED_MEDIA_TYPE; SLUICE_NO_SCHEMA_REGISTRY for the formats that need one
 */
export function embeddedFormat (contentType: string | undefined): EmbeddedFormat {
  const match = named.exec(essenceOf(contentType))
  if (match === null) throw unsupportedV2Type()
  const format = match[1] ?? 'binary'
  if (format !== 'binary' && format !== 'json') throw noSchemaRegistry()
  return format
}

export function unsupportedV2Type (): SluiceError {
  return new SluiceError('SLUICE_UNSUPPORTED_MEDIA_TYPE',
    `HTTP 415 Unsupported Media Type: this route takes ${v2BodyTypes.binary} and ${v2BodyTypes.json}. Sluice's own form is taken by POST /topics/{topic}/records.`)
}

export function noSchemaRegistry (): SluiceError {
  return new SluiceError('SLUICE_NO_SCHEMA_REGISTRY',
    'Payload error. Schema Registry must be configured when using schemas. This gateway has none: send BINARY, JSON or (v3) STRING.')
}

const asked = /(?:^|,)\s*application\/vnd\.kafka(?:\.v2)?\+json\s*(?:;|,|$)/i

/** Whether a caller asks for v2's shape where Sluice has one of its own: `GET /topics`. Plain `application/json` asks for ours. */
export function acceptsV2 ({ headers }: FastifyRequest): boolean {
  return headers.accept !== undefined && asked.test(headers.accept)
}
