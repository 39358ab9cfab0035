import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { getProperties } from 'properties-file'
import { ConfigError, quoted } from './config-error.js'
import { anyOf, type RawVariables } from './environment.js'
import { parseJaas } from './jaas.js'
import {
  hasNoEffect, javaAliases, limitKeptBy, passedProperties, variableOfProperty, type PassedProperty
} from './librdkafka-properties.js'
import { nearest } from './nearest.js'
import { isProtectedProperty, protectedProperties } from './protected-properties.js'
import { translateStores } from './java-stores.js'

export interface FileSettings {
  /** What the file says of things that have a variable. */
  readonly variables: RawVariables
  /** Under which property the file says it, for errors. */
  readonly properties: Readonly<Record<string, string>>
  /** librdkafka properties to pass on, by the clients that take them. */
  readonly passed: Readonly<Record<PassedProperty['side'], Record<string, string | number | boolean>>>
  readonly warnings: readonly string[]
}

/** A file's properties as they are being translated. */
export type Properties = Map<string, string>

/** Makes the error of a property: `describe('linger.ms')` is "linger.ms in client.properties". */
export type Describe = (property: string) => string

// Java trims every value but a password's.
const untrimmed = new Set(['sasl.jaas.config', 'sasl.password', 'ssl.key.password', 'ssl.keystore.password', 'ssl.truststore.password'])

/**
 * Reads the file that Kafka's own command line tools take with `--command-config`, and translates what only Java's
 * clients call so. Relative paths in it are as relative as in Java: to the working directory.
 *
 * @param path as the user gave it: errors name it so
 * @throws {ConfigError} naming the file and the property, never a passed-on value
 */
export function readPropertiesFile (path: string, cwd: string): FileSettings {
  const describe: Describe = property => `${property} in ${path}`
  const properties = parse(path, cwd)
  const warnings: string[] = []
  const ignored = translateStores(properties, describe)
  translateJaas(properties, describe)
  translateValues(properties)

  const variables: RawVariables = {}
  const propertyOf: Record<string, string> = {}
  const passed: FileSettings['passed'] = { all: {}, producer: {}, consumer: {} }
  for (const [written, value] of properties) {
    if (value === '') continue
    // The client would cut it there.
    if (value.includes('\0')) throw new ConfigError(`${describe(written)} must not hold a NUL character`)
    if (isProtectedProperty(written, value, describe(written))) continue
    const name = javaAliases.get(written) ?? written
    const variable = variableOfProperty.get(name)
    const property = passedProperties.get(name)
    if (variable !== undefined) {
      variables[variable] = value
      propertyOf[variable] = describe(written)
    } else if (property !== undefined) {
      passed[property.side][name] = typed(property, value, describe(written))
    } else if (hasNoEffect(name)) {
      ignored.push(written)
    } else {
      throw unknown(written, describe)
    }
  }
  if (ignored.length > 0) warnings.push(`${path}: ${ignored.join(', ')} ${ignored.length > 1 ? 'have' : 'has'} no effect in Sluice`)
  if (passed.all['enable.ssl.certificate.verification'] === false) {
    warnings.push(`${describe('enable.ssl.certificate.verification')} is false: anybody in between can pose as the cluster`)
  }
  return { variables, properties: propertyOf, passed, warnings }
}

function parse (path: string, cwd: string): Properties {
  let text: string
  try {
    // java.util.Properties reads bytes as ISO 8859-1; what is not in it is written \uXXXX.
    text = readFileSync(resolve(cwd, path), 'latin1')
  } catch (error) {
    throw new ConfigError(`KAFKA_PROPERTIES_FILE must be a readable file, got ${quoted(path)} (${(error as NodeJS.ErrnoException).code})`)
  }
  try {
    return new Map(Object.entries(getProperties(text))
      .map(([name, value]) => [name, untrimmed.has(name) ? value : value.trim()]))
  } catch {
    // The parser's own message quotes the file, which holds secrets.
    throw new ConfigError(`${path} has a malformed \\u escape: four hexadecimal digits must follow`)
  }
}

function translateJaas (properties: Properties, describe: Describe): void {
  const text = properties.get('sasl.jaas.config')
  properties.delete('sasl.jaas.config')
  if (text === undefined || text.trim() === '') return
  const where = describe('sasl.jaas.config')
  const login = parseJaas(text)
  if (login === undefined) {
    throw new ConfigError(`${where} must be one login module: org.apache.kafka.common.security.plain.PlainLoginModule required username="…" password="…";`)
  }
  if (login.module !== 'PlainLoginModule' && login.module !== 'ScramLoginModule') {
    throw new ConfigError(`${where} must name PlainLoginModule or ScramLoginModule, got ${quoted(login.module)}`)
  }
  const { username, password, tokenauth } = login.options
  if (tokenauth === 'true') throw new ConfigError(`${where} asks for a delegation token (tokenauth), which librdkafka cannot use`)
  if (!username || !password) throw new ConfigError(`${where} must have a username and a password`)
  properties.set('sasl.username', username)
  properties.set('sasl.password', password)
}

/** Values that librdkafka, or older versions of it, call otherwise than Kafka does. */
const values: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  // An empty value is how Java switches it off.
  'ssl.endpoint.identification.algorithm': { '': 'none' },
  'auto.offset.reset': { smallest: 'earliest', beginning: 'earliest', largest: 'latest', end: 'latest', error: 'none' },
  'group.protocol': { CLASSIC: 'classic', CONSUMER: 'consumer' },
  'partition.assignment.strategy': {
    'org.apache.kafka.clients.consumer.CooperativeStickyAssignor': 'cooperative-sticky',
    'org.apache.kafka.clients.consumer.RangeAssignor': 'range',
    'org.apache.kafka.clients.consumer.RoundRobinAssignor': 'roundrobin'
  }
}

function translateValues (properties: Properties): void {
  for (const [property, words] of Object.entries(values)) {
    const value = properties.get(property)
    if (value !== undefined && Object.hasOwn(words, value)) properties.set(property, words[value]!)
  }
}

function typed ({ takes }: PassedProperty, value: string, where: string): string | number | boolean {
  if (takes === undefined) return value
  if (takes === true) {
    if (value !== 'true' && value !== 'false') throw new ConfigError(`${where} must be true or false, got ${quoted(value)}`)
    return value === 'true'
  }
  const [least, greatest] = takes
  if (typeof least === 'number' && typeof greatest === 'number') {
    const number = /^-?(0|[1-9]\d*)$/.test(value) ? Number(value) : NaN
    if (!(number >= least && number <= greatest)) {
      throw new ConfigError(`${where} must be between ${least} and ${greatest}, got ${quoted(value)}`)
    }
    return number
  }
  const words = takes as readonly string[]
  if (!words.includes(value)) throw new ConfigError(`${where} must be ${anyOf(words)}, got ${quoted(value)}`)
  return value
}

function unknown (property: string, describe: Describe): ConfigError {
  const keeper = limitKeptBy.get(property)
  if (keeper !== undefined) return new ConfigError(`${describe(property)} is a limit that Sluice keeps: set ${keeper} instead`)
  if (property.startsWith('config.providers')) {
    return new ConfigError(`${describe(property)}: configuration providers are Java's; write the value itself, or set the variable in the environment`)
  }
  const names = [
    ...passedProperties.keys(), ...variableOfProperty.keys(), ...javaAliases.keys(), ...protectedProperties.flatMap(entry => entry.names)
  ]
  const suggestion = nearest(property, names, '.')
  return new ConfigError(`${describe(property)} is not a property that Sluice knows${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`)
}
