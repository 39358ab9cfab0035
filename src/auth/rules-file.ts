import { Type, type Static, type TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { ConfigError, quoted } from '../config/config-error.js'

const topicPattern = Type.String({ pattern: '^[A-Za-z0-9._*-]{1,249}$', wants: 'a topic\'s name, in which * stands for any characters' })
const digest = Type.String({
  pattern: '^[0-9a-f]{64}$', wants: 'the SHA-256 of a key, as 64 hexadecimal digits in lower case (npm run key makes both)'
})
/** Of a principal: fit for a log line and for a list of words. The colon is for names that tokens give. */
const name = Type.String({ pattern: '^[A-Za-z0-9._@-]{1,100}$', wants: '1 to 100 of A-Z a-z 0-9 . _ @ -' })
const text = Type.String({ minLength: 1, maxLength: 500, wants: 'a text of 1 to 500 characters' })
const rate = Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1e12, wants: 'a number above 0' }))
const amount = Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, wants: 'a whole number above 0' }))

const closed = { additionalProperties: false }

const limits = Type.Object({
  requestsPerSecond: rate,
  requestsBurst: amount,
  bytesPerSecond: rate,
  bytesBurst: amount,
  recordsPerSecond: rate,
  recordsBurst: amount,
  requestsPerDay: amount,
  bytesPerDay: amount,
  recordsPerDay: amount
}, closed)

const rule = Type.Object({
  rights: Type.Array(Type.Enum(['produce', 'read', 'operate'], { wants: 'produce, read or operate' }), { minItems: 1, wants: 'a list of rights' }),
  topics: Type.Array(topicPattern, { minItems: 1, maxItems: 1_000, wants: 'a list of topics' })
}, closed)

const certificate = Type.Object({
  commonName: Type.Optional(text), dns: Type.Optional(text), uri: Type.Optional(text), email: Type.Optional(text)
}, { ...closed, minProperties: 1, maxProperties: 1, wants: 'one of commonName, dns, uri and email' })

const tokenClaim = Type.Object({ claim: text, value: text }, closed)

const principal = Type.Object({
  name,
  keys: Type.Optional(Type.Array(digest, { maxItems: 100, wants: 'a list of digests' })),
  certificates: Type.Optional(Type.Array(certificate, { maxItems: 100, wants: 'a list of certificates' })),
  tokens: Type.Optional(Type.Array(tokenClaim, { maxItems: 100, wants: 'a list of claims' })),
  rules: Type.Array(rule, { maxItems: 1_000, wants: 'a list of rules' }),
  limits: Type.Optional(limits)
}, closed)

const rulesFile = Type.Object({
  principals: Type.Array(principal, { maxItems: 10_000, wants: 'a list of principals' }),
  defaultLimits: Type.Optional(limits)
}, closed)

export type PrincipalSettings = Static<typeof principal>
export type RulesFile = Static<typeof rulesFile>

/** The largest file that is read. */
export const rulesFileMaxBytes = 4_194_304

/**
 * Reads the text of AUTH_FILE.
 *
 * @throws {ConfigError} one line that says where it is wrong, without any value of the file but names of members
 */
export function parseRulesFile (written: string): RulesFile {
  let value: unknown
  try {
    value = JSON.parse(written)
  } catch {
    // V8's own sentence quotes the text.
    throw new ConfigError('AUTH_FILE is not JSON')
  }
  check(rulesFile, value)
  return value
}

function check<Schema extends TSchema> (schema: Schema, value: unknown): asserts value is Static<Schema> {
  const errors = Value.Errors(schema, value)
  // An unknown member is told by its name, not by the schema that it fails.
  const error = errors.find(({ keyword }) => keyword === 'additionalProperties') ?? errors[0]
  if (error === undefined) return
  const where = error.instancePath === '' ? 'AUTH_FILE' : `AUTH_FILE ${error.instancePath.slice(1)}`
  const { additionalProperties, requiredProperties } = error.params as { additionalProperties?: string[], requiredProperties?: string[] }
  if (additionalProperties !== undefined) throw new ConfigError(`${where} has an unknown member ${quoted(additionalProperties[0] ?? '')}`)
  if (requiredProperties !== undefined) throw new ConfigError(`${where} needs ${requiredProperties.join(' and ')}`)
  throw new ConfigError(`${where} must be ${wantsOf(schema, error.schemaPath)}`)
}

/** What the part of a schema that a path such as `#/properties/keys/items` leads to asks for, in words. */
function wantsOf (schema: TSchema, path: string): string {
  let at: unknown = schema
  for (const step of path.split('/').slice(1)) at = (at as Record<string, unknown> | undefined)?.[step]
  const { wants, type } = (at ?? {}) as { wants?: string, type?: string }
  return wants ?? (type === 'object' ? 'an object' : `a ${type ?? 'valid value'}`)
}

/**
 * Reads AUTH_KEYS: entries `name:sha256:rights:topics` with white space between them, rights and topics with commas between
 * them.
 *
 * @throws {ConfigError} which says which entry is wrong, and none of what it holds but a name
 */
export function parseKeysVariable (written: string): PrincipalSettings[] {
  return written.trim().split(/\s+/).map((entry, n) => {
    const parts = entry.split(':')
    const [name = '', key = '', rights = '', topics = ''] = parts
    const made = { name, keys: [key], rules: [{ rights: rights.split(','), topics: topics.split(',') }] }
    if (parts.length !== 4 || !Value.Check(principal, made)) throw new ConfigError(`AUTH_KEYS: entry ${n + 1} must be name:sha256:rights:topics, as in shop:<64 hexadecimal digits>:produce,read:orders,shop-*`)
    return made
  })
}
