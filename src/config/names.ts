import { BlockList, isIP, isIPv6 } from 'node:net'
import { ConfigError, quoted } from './config-error.js'
import { patternExpression } from '../kafka/subscription.js'
import { literalTopic } from './environment-schema.js'

const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** True for 127.0.0.0/8, ::1 and localhost: only this machine reaches them. */
export function isLoopback (host: string): boolean {
  if (isIP(host) === 0) return host.toLowerCase() === 'localhost'
  return loopback.check(host, isIPv6(host) ? 'ipv6' : 'ipv4')
}

export function isHost (host: string): boolean {
  // All digits and dots, and yet not an address: 127.1 or 300.0.0.1 is a typing error, not a name.
  return isIP(host) !== 0 || (hostName.test(host) && !/^[\d.]+$/.test(host))
}

/** The entries of a comma list, without the white space around them and without repetitions. */
export function commaList (value: string | undefined): string[] {
  return [...new Set((value ?? '').split(',').map(entry => entry.trim()).filter(entry => entry !== ''))]
}

/** @throws {ConfigError} for an entry that is not a bare host name or `*` */
export function parseAllowedHosts (value: string | undefined): string[] {
  const hosts = commaList(value?.toLowerCase())
  const wrong = hosts.find(host => host !== '*' && !isHost(host))
  if (wrong !== undefined) throw new ConfigError(`ALLOWED_HOSTS must be host names without scheme and port, or *, got ${quoted(wrong)}`)
  return hosts
}

/** @throws {ConfigError} for an entry that is neither an address nor a network, or that is every address */
export function parseTrustedProxies (value: string | undefined): string[] {
  const proxies = commaList(value)
  const wrong = proxies.find(proxy => !isNetwork(proxy))
  if (wrong !== undefined) {
    throw new ConfigError(`TRUSTED_PROXIES must be IP addresses or networks such as 10.0.0.0/8, and not every address, got ${quoted(wrong)}`)
  }
  return proxies
}

function isNetwork (text: string): boolean {
  const [address = '', prefix, ...more] = text.split('/')
  const version = isIP(address)
  if (version === 0 || address.includes('%') || more.length > 0) return false
  return prefix === undefined || (/^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= (version === 6 ? 128 : 32))
}

/** The list as librdkafka takes it. @throws {ConfigError} for an entry that is not host:port */
export function parseBootstrapServers (value: string, name: string): string {
  const servers = commaList(value)
  const wrong = servers.find(server => !isServer(server))
  if (wrong !== undefined || servers.length === 0) {
    // Who writes user:password@host:9092 must not find the password in a log.
    const got = wrong === undefined ? quoted(value) : wrong.includes('@') ? 'an entry with an @' : quoted(wrong)
    throw new ConfigError(`${name} must be a comma list of host:port, got ${got}`)
  }
  return servers.join(',')
}

function isServer (server: string): boolean {
  // Java's clients allow a protocol in front, librdkafka as well; the security protocol says it already.
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(server) ?? []
  const portOk = Number(port) >= 1 && Number(port) <= 65535
  return portOk && (bracketed === undefined ? isHost(plain ?? '') : isIPv6(bracketed))
}

/**
 * The entries of KAFKA_TOPIC.
 *
 * Patterns are JavaScript's expressions, which are close to those that Kafka's own consumer takes.
 *
 * @throws {ConfigError} for a name that no topic can have, and for a pattern that does not compile
 */
export function parseTopics (value: string): string[] {
  const topics = commaList(value)
  if (topics.length === 0) throw new ConfigError(`KAFKA_TOPIC must name at least one topic, got ${quoted(value)}`)
  for (const topic of topics) {
    if (!topic.startsWith('^')) {
      if (!literalTopic.pattern.test(topic)) throw new ConfigError(`KAFKA_TOPIC must be ${literalTopic.wants}, got ${quoted(topic)}`)
      continue
    }
    if (topic.startsWith('^__')) throw new ConfigError(`KAFKA_TOPIC must not match internal topics (__*), got ${quoted(topic)}`)
    if (!compiles(topic)) throw new ConfigError(`KAFKA_TOPIC must be a pattern that compiles (a comma ends it), got ${quoted(topic)}`)
  }
  return topics
}

function compiles (pattern: string): boolean {
  try {
    // What a comma within {1,3} leaves behind does not compile, either.
    return new RegExp(pattern, 'u') !== undefined && patternExpression(pattern) !== undefined
  } catch {
    return false
  }
}
