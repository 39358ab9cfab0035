import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { SluiceError } from './errors.js'
import { headersNamed, type HeaderAllowlist } from './header-allowlist.js'
import { parsePointer, textAt } from './json-pointer.js'
import { parseJsonText } from './json-text.js'
import { queryParameters } from './query-parameters.js'
import type { OutgoingRecord } from './record.js'
import { fromBase64, isWellFormed, wholeNumber } from './strict-text.js'

// What this says is checked by `rawRecord`; a test holds the two together.
export const rawQuerySchema = Type.Object({
  key: Type.Optional(Type.String({ description: 'The key. Empty: an empty key, which is not the same as none.', examples: ['customer-7'] })),
  keyEncoding: Type.Optional(Type.Union([Type.Literal('utf8'), Type.Literal('base64')], {
    description: 'How `key`, the header or the member of the body writes the key; `utf8` where absent.'
  })),
  keyHeader: Type.Optional(Type.String({ description: 'The request header that holds the key.', examples: ['x-github-delivery'] })),
  keyPointer: Type.Optional(Type.String({
    description: 'Where in a JSON body the key is: a JSON Pointer (RFC 6901) to a string, a number or a boolean.', examples: ['/groupKey']
  })),
  partition: Type.Optional(Type.Integer({ minimum: 0, maximum: 0x7fffffff, description: 'Absent: the key decides, as in Java\'s clients.' })),
  timestamp: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Milliseconds since 1970. Absent: now.' })),
  headers: Type.Optional(Type.String({
    description: 'Request headers that become record headers: a comma list of names. What the request does not have is passed over.',
    examples: ['x-github-event,x-github-delivery']
  }))
}, { additionalProperties: false })

const parameters = ['key', 'keyEncoding', 'keyHeader', 'keyPointer', 'partition', 'timestamp', 'headers'] as const
type Query = { readonly [name in typeof parameters[number]]?: string }

/** What the query of a request asks for, checked. */
export interface RawRequest {
  readonly query: Query
  readonly partition: number | null
  readonly timestamp: number | null
  /** Lower case, `content-type` and `content-encoding` among them. */
  readonly headerNames: ReadonlySet<string>
  /** The parts of `keyPointer`. */
  readonly pointer: readonly string[]
}

/**
 * Reads the query of `POST /topics/{topic}/raw`, which needs no body.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST, naming the parameter
 */
export function readRawQuery (request: FastifyRequest, allowlist: HeaderAllowlist): RawRequest {
  const query = queryParameters(request, parameters)
  const { keyEncoding, keyHeader, keyPointer } = query
  const sources = (['key', 'keyHeader', 'keyPointer'] as const).filter(name => query[name] !== undefined)
  if (sources.length > 1) throw fault(`The key can come from one place only: ${sources.join(' and ')} are both there`)
  if (keyEncoding !== undefined) {
    if (keyEncoding !== 'utf8' && keyEncoding !== 'base64') throw fault('keyEncoding must be "utf8" or "base64"')
    if (sources.length === 0) throw fault('keyEncoding needs a key: key, keyHeader or keyPointer')
  }
  if (keyHeader !== undefined) allowlist.check(keyHeader)
  const asked = query.headers === undefined || query.headers === '' ? [] : allowlist.checkList(query.headers)
  return {
    query,
    partition: integer(query.partition, 0, 0x7fffffff, 'partition'),
    timestamp: integer(query.timestamp, 1, Number.MAX_SAFE_INTEGER, 'timestamp'),
    headerNames: new Set(['content-type', 'content-encoding', ...asked]),
    pointer: keyPointer === undefined ? [] : parsePointer(keyPointer, 'keyPointer')
  }
}

/** Which headers of a request to that route become part of its record; none where its query is one that `readRawQuery` refuses. */
export function rawHeaderNames (request: FastifyRequest, allowlist: HeaderAllowlist): (name: string) => boolean {
  try {
    const { headerNames, query: { keyHeader } } = readRawQuery(request, allowlist)
    return name => headerNames.has(name) || name === keyHeader?.toLowerCase()
  } catch {
    return () => false
  }
}

/**
 * The record that a request to `POST /topics/{topic}/raw` asks for: its body as the value, byte for byte. An empty body is an
 * empty value, never a tombstone.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST where the key is not there or is not what its encoding says; SLUICE_MALFORMED_JSON
 * where `keyPointer` has to look into a body that is not JSON
 */
export function rawRecord (topic: string, request: FastifyRequest, raw: RawRequest, body: Buffer): OutgoingRecord {
  return {
    topic,
    partition: raw.partition,
    key: keyOf(request, raw, body),
    value: body,
    timestamp: raw.timestamp,
    headers: headersNamed(request.raw, raw.headerNames)
  }
}

function keyOf (request: FastifyRequest, { query, pointer }: RawRequest, body: Buffer): Buffer | null {
  const { key, keyEncoding, keyHeader, keyPointer } = query
  if (key !== undefined) return encoded(Buffer.from(key), keyEncoding, 'key')
  if (keyHeader !== undefined) {
    const [first, second] = headersNamed(request.raw, new Set([keyHeader.toLowerCase()]))
    if (first === undefined) throw fault(`The request has no header ${keyHeader}, from which the key is to come`)
    if (second !== undefined) throw fault(`The header ${keyHeader} is there more than once, and the key is to come from it`)
    return encoded(first.value, keyEncoding, `The header ${keyHeader}`)
  }
  if (keyPointer === undefined) return null
  const encoding = request.headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw fault('keyPointer cannot look into a body that has a Content-Encoding')
  }
  const text = textAt(parseJsonText(body), pointer)
  const shown = JSON.stringify(keyPointer.slice(0, 256))
  if (text === undefined) throw fault(`There is nothing at ${shown} in the body, from where the key is to come`)
  if (text === null) throw fault(`What is at ${shown} in the body is not a string, a number or a boolean, and cannot be the key`)
  if (!isWellFormed(text)) {
    throw fault(`What is at ${shown} in the body holds half of a surrogate pair, which UTF-8 cannot write`)
  }
  return encoded(Buffer.from(text), keyEncoding, `What is at ${shown} in the body`)
}

function encoded (bytes: Buffer, encoding: string | undefined, what: string): Buffer {
  if (encoding !== 'base64') return bytes
  const decoded = fromBase64(bytes.toString('latin1'))
  if (decoded === null) throw fault(`${what} must be base64 (RFC 4648, section 4), with padding and without spaces; in a query + is %2B`)
  return decoded
}

function integer (text: string | undefined, min: number, max: number, name: string): number | null {
  if (text === undefined) return null
  const value = wholeNumber(text, min, max)
  if (Number.isNaN(value)) throw fault(`${name} must be an integer from ${min} to ${max}`)
  return value
}

const fault = (what: string): SluiceError => new SluiceError('SLUICE_INVALID_REQUEST', `${what}.`)
