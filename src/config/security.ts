import { createPrivateKey } from 'node:crypto'
import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { ConfigError, quoted } from './config-error.js'
import type { Environment, Variable } from './environment-schema.js'

type Properties = Record<string, string | number | boolean>

/** What an error calls a variable: its name, or the property of the file that it came from. */
export type NameOf = (variable: Variable) => string

/**
 * The librdkafka properties for encryption and login, from the variables and over those that the properties file
 * passes on. Paths become absolute.
 *
 * Settings that the security protocol would ignore stop the start: who sets them believes that they are in force.
 *
 * @throws {ConfigError} for a combination that cannot work, and for files that are not there
 */
export function securityProperties (env: Environment, fromFile: Readonly<Properties>, nameOf: NameOf, cwd: string): Properties {
  const protocol = env.KAFKA_SECURITY_PROTOCOL
  return {
    'security.protocol': protocol,
    ...sasl(env, protocol.startsWith('sasl_'), nameOf),
    ...ssl(env, protocol.endsWith('ssl'), fromFile, nameOf, cwd)
  }
}

/** What to warn of: a combination that works and that hardly anybody wants. */
export function securityWarnings (env: Environment, nameOf: NameOf): string[] {
  if (env.KAFKA_SECURITY_PROTOCOL !== 'sasl_plaintext' || env.KAFKA_SASL_MECHANISM !== 'PLAIN') return []
  return [`${nameOf('KAFKA_SASL_MECHANISM')} is PLAIN over sasl_plaintext: the password crosses the network unencrypted`]
}

function sasl (env: Environment, used: boolean, nameOf: NameOf): Properties {
  const variables = ['KAFKA_SASL_MECHANISM', 'KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'] as const
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = env
  if (!used) {
    const idle = variables.find(variable => env[variable] !== undefined)
    if (idle !== undefined) {
      throw new ConfigError(`${nameOf('KAFKA_SECURITY_PROTOCOL')} must be sasl_ssl (or sasl_plaintext) where ${nameOf(idle)} is set, got '${env.KAFKA_SECURITY_PROTOCOL}'`)
    }
    return {}
  }
  if (mechanism === undefined || username === undefined || password === undefined) {
    const missing = variables.filter(variable => env[variable] === undefined)
    throw new ConfigError(`${missing.join(' and ')} must be set where ${nameOf('KAFKA_SECURITY_PROTOCOL')} is ${env.KAFKA_SECURITY_PROTOCOL}`)
  }
  return { 'sasl.mechanism': mechanism, 'sasl.username': username, 'sasl.password': password }
}

const files = {
  'ssl.ca.location': 'KAFKA_SSL_CA_LOCATION',
  'ssl.certificate.location': 'KAFKA_SSL_CERTIFICATE_LOCATION',
  'ssl.key.location': 'KAFKA_SSL_KEY_LOCATION'
} as const

// A file's other way of giving the same thing, which a variable replaces.
const replaced: Readonly<Record<string, readonly string[]>> = {
  'ssl.ca.location': ['ssl.ca.pem', 'ssl.ca.certificate.stores'],
  'ssl.certificate.location': ['ssl.certificate.pem', 'ssl.keystore.location', 'ssl.keystore.password'],
  'ssl.key.location': ['ssl.key.pem', 'ssl.keystore.location', 'ssl.keystore.password']
}

function ssl (env: Environment, used: boolean, fromFile: Readonly<Properties>, nameOf: NameOf, cwd: string): Properties {
  const properties: Properties = Object.fromEntries(Object.entries(fromFile).filter(([name]) => name.startsWith('ssl.')))
  for (const [property, variable] of Object.entries(files)) {
    const path = env[variable]
    if (path === undefined) continue
    properties[property] = readable(path, nameOf(variable), cwd, property === 'ssl.ca.location')
    for (const other of replaced[property]!) delete properties[other]
  }
  if (typeof properties['ssl.keystore.location'] === 'string') {
    properties['ssl.keystore.location'] = readable(properties['ssl.keystore.location'], inFile('ssl.keystore.location', env), cwd, false)
  }
  if (env.KAFKA_SSL_KEY_PASSWORD !== undefined) properties['ssl.key.password'] = env.KAFKA_SSL_KEY_PASSWORD

  if (!used) {
    const idle = Object.keys(properties)[0]
    if (idle !== undefined) {
      const variable = Object.entries({ ...files, 'ssl.key.password': 'KAFKA_SSL_KEY_PASSWORD' } as const)
        .find(([property]) => property === idle)?.[1]
      throw new ConfigError(`${nameOf('KAFKA_SECURITY_PROTOCOL')} must be ssl or sasl_ssl where ${
        variable === undefined ? inFile(idle, env) : nameOf(variable)} is set, got '${env.KAFKA_SECURITY_PROTOCOL}'`)
    }
    return {}
  }
  const certificate = 'ssl.certificate.location' in properties || 'ssl.certificate.pem' in properties
  const key = 'ssl.key.location' in properties || 'ssl.key.pem' in properties
  if (certificate !== key) {
    const [given, missing] = certificate
      ? ['KAFKA_SSL_CERTIFICATE_LOCATION', 'KAFKA_SSL_KEY_LOCATION'] as const
      : ['KAFKA_SSL_KEY_LOCATION', 'KAFKA_SSL_CERTIFICATE_LOCATION'] as const
    throw new ConfigError(`${missing} must be set where ${nameOf(given)} is: a client certificate is a certificate and its key`)
  }
  checkKeyPassword(properties, env, nameOf)
  return { ...properties, 'ssl.endpoint.identification.algorithm': env.KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM }
}

/**
 * Kafka's client would say "PEM lib" of it, for ever. Only what is certain is refused: what else may be wrong with a key is
 * the client's to say, whose OpenSSL may know more than Node's.
 */
function checkKeyPassword (properties: Readonly<Properties>, env: Environment, nameOf: NameOf): void {
  const { 'ssl.key.location': location, 'ssl.key.pem': pem, 'ssl.key.password': password } = properties
  const key = pem ?? (location === undefined ? '' : readFileSync(String(location), 'utf8'))
  if (typeof key !== 'string' || !/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(key)) return
  const where = pem === undefined ? nameOf('KAFKA_SSL_KEY_LOCATION') : inFile('ssl.key.pem', env)
  const variable = nameOf('KAFKA_SSL_KEY_PASSWORD')
  if (password === undefined) throw new ConfigError(`${variable} must be set: the key in ${where} is encrypted`)
  try {
    createPrivateKey({ key, passphrase: String(password) })
  } catch (error) {
    if (!/BAD_DECRYPT/.test((error as NodeJS.ErrnoException).code ?? '')) return
    throw new ConfigError(`${variable} must be the password of the key in ${where}, got a value that is not shown and does not open it`)
  }
}

function inFile (property: string, env: Environment): string {
  return `${property} in ${env.KAFKA_PROPERTIES_FILE}`
}

/** The absolute path of a file that can be read. @throws {ConfigError} */
export function readable (path: string, name: string, cwd: string, orDirectory: boolean): string {
  // librdkafka's own word for trying the usual places of CA certificates.
  if (orDirectory && path === 'probe') return path
  const absolute = resolve(cwd, path)
  const stats = statSync(absolute, { throwIfNoEntry: false })
  if (stats === undefined) throw new ConfigError(`${name} must be a file, got ${quoted(path)}, which does not exist`)
  if (!stats.isFile() && !(orDirectory && stats.isDirectory())) throw new ConfigError(`${name} must be a file, got ${quoted(path)}, which is none`)
  try {
    accessSync(absolute, constants.R_OK)
  } catch {
    throw new ConfigError(`${name} must be a file that this process may read, got ${quoted(path)}`)
  }
  return absolute
}
