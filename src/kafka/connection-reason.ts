import type { ClientProperties } from '../config.js'

const secretName = /password|secret|\.pem$|token|jaas|oauthbearer\.config/

/** Takes the values of secret properties out of a line of the client's log. Two characters or fewer cannot be told from the text. */
export function scrubber (properties: ClientProperties): (line: string) => string {
  const secrets = Object.entries(properties)
    .filter(([name, value]) => secretName.test(name) && typeof value === 'string' && value.length > 2)
    .map(([, value]) => value as string)
  return line => secrets.reduce((text, secret) => text.replaceAll(secret, '***'), line)
}

/** A line of the client's log without the name of the thread that wrote it. */
export const withoutThread = (line: string): string => line.replace(/^\[thrd:[^\]]*\]: /, '')

const reasons: readonly (readonly [RegExp, string])[] = [
  [/authenticat|SASL/i, 'it does not accept this gateway\'s credentials'],
  [/SSL|TLS|certificate/i, 'the TLS connection to it fails'],
  [/resolve/i, 'its address cannot be resolved'],
  [/refused/i, 'it refuses the connection'],
  [/timed out|timeout/i, 'it does not answer']
]

/** Why Kafka cannot be reached, in words that are fit for callers: no addresses, no users. */
export function reasonForCallers (line: string | null): string {
  if (line === null) return 'the gateway has not connected to it yet'
  return reasons.find(([pattern]) => pattern.test(line))?.[1] ?? 'the connection to it fails'
}
