import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { isReservedTopic, isTopicName } from '../topic-name.js'
import { signatureSchemes, signingKey, type SignatureRule, type SignatureScheme } from '../webhook-signature.js'
import { ConfigError, quoted } from './config-error.js'
import { anyOf } from './environment.js'
import { commaList } from './names.js'

const topicsMax = 1000
const secretsMax = 10
/** A shorter secret can be guessed by whoever has seen one signed request. */
const secretLengthMin = 8
const toleranceDefaultSeconds = 300
const toleranceMaxSeconds = 86_400

/**
 * What WEBHOOK_SIGNATURES holds, or the file that WEBHOOK_SIGNATURES_FILE names: an object with a member for each topic.
 *
 * @throws {ConfigError} naming the topic and the member, and never with a secret
 */
export function webhookSignatures (inline: string | undefined, file: string | undefined, cwd: string): SignatureRule[] {
  if (inline !== undefined && file !== undefined) {
    throw new ConfigError('WEBHOOK_SIGNATURES and WEBHOOK_SIGNATURES_FILE cannot both be set')
  }
  const name = inline === undefined ? 'WEBHOOK_SIGNATURES_FILE' : 'WEBHOOK_SIGNATURES'
  const text = inline ?? (file === undefined ? undefined : read(file, cwd))
  if (text === undefined) return []
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    // What the parser says quotes the text, which holds secrets.
    throw new ConfigError(`${name} must hold JSON, and what it holds is none`)
  }
  if (!isObject(json)) throw new ConfigError(`${name} must hold an object with a member for each topic`)
  const topics = Object.entries(json)
  if (topics.length > topicsMax) throw new ConfigError(`${name} may name ${topicsMax} topics, got ${topics.length}`)
  return topics.map(([topic, rule]) => signatureRule(topic, rule, name))
}

function signatureRule (topic: string, json: unknown, variable: string): SignatureRule {
  if (!isTopicName(topic) || isReservedTopic(topic)) throw new ConfigError(`${variable} must name topics, got ${quoted(topic)}`)
  const at = `${variable}: ${topic}`
  if (!isObject(json)) throw new ConfigError(`${at} must be an object with a scheme and secrets`)
  const { scheme, secrets, toleranceSeconds = toleranceDefaultSeconds, authenticates = false, ...unknown } = json
  const [other] = Object.keys(unknown)
  if (other !== undefined) throw new ConfigError(`${at} must have scheme, secrets, toleranceSeconds and authenticates only, got ${quoted(other)}`)
  if (!isScheme(scheme)) throw new ConfigError(`${at} must have a scheme: ${anyOf(signatureSchemes)}`)
  if (!Array.isArray(secrets) || secrets.length === 0 || secrets.length > secretsMax || !secrets.every(secret => typeof secret === 'string')) {
    throw new ConfigError(`${at} must have secrets: an array of 1 to ${secretsMax} texts`)
  }
  for (const secret of secrets as string[]) {
    const key = signingKey(scheme, secret)
    if (key === null) throw new ConfigError(`${at} must have secrets in base64, with or without whsec_ before them, for ${scheme}`)
    if (key.length < secretLengthMin) throw new ConfigError(`${at} must have secrets of at least ${secretLengthMin} bytes`)
  }
  if (typeof toleranceSeconds !== 'number' || !Number.isInteger(toleranceSeconds) || toleranceSeconds < 1 || toleranceSeconds > toleranceMaxSeconds) {
    throw new ConfigError(`${at} must have toleranceSeconds between 1 and ${toleranceMaxSeconds}`)
  }
  if (typeof authenticates !== 'boolean') throw new ConfigError(`${at} must have true or false for authenticates`)
  return { topic, scheme, secrets: secrets as string[], toleranceSeconds, authenticates }
}

function read (file: string, cwd: string): string {
  try {
    return readFileSync(resolve(cwd, file), 'utf8')
  } catch (error) {
    throw new ConfigError(`WEBHOOK_SIGNATURES_FILE cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'} (${quoted(file)})`)
  }
}

/** @throws {ConfigError} for an entry that is neither the name of a header nor the beginning of one with `*` at its end */
export function parseRecordHeaders (value: string): string[] {
  const entries = commaList(value.toLowerCase())
  const wrong = entries.find(entry => !/^([!#$%&'+.^_`|~0-9a-z-]{1,256}\*?|\*)$/.test(entry))
  if (wrong !== undefined) throw new ConfigError(`RECORD_HEADERS_ALLOWED must be names of headers, * at the end of one for any that begin so, or *, got ${quoted(wrong)}`)
  return entries
}

const isScheme = (scheme: unknown): scheme is SignatureScheme => (signatureSchemes as readonly unknown[]).includes(scheme)

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
