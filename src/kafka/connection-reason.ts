import type { ClientProperties } from '../config.js'

const secretName = /password|secret|\.pem$|token|jaas|oauthbearer\.config/

/** Takes the values of secret properties out of a line of the client's log. Two characters or fewer cannot be told from the text. */
export function scrubber (properties: ClientProperties): (line: string) => string {
  const secrets = Object.entries(properties)
    .filter(([name, value]) => secretName.test(name) && typeof value === 'string' && value.length > 2)
    .map(([, value]) => value as string)
  return line => secrets.reduce((text, secret) => text.replaceAll(secret, '***'), line)
}

/** Whether a line of the client's log tells of a failed connection. Those for debugging tell of every client that is let go, too. */
export const isFailure = ({ fac, severity }: { fac?: string, severity?: number }): boolean => fac === 'FAIL' && (severity ?? 0) < 7

/** A line of the client's log without the name of the thread that wrote it. */
export const withoutThread = (line: string): string => line.replace(/^\[thrd:[^\]]*\]: /, '')

// Each is said to a client that has never been connected: a broker that is restarted closes connections, too.
const advice: readonly (readonly [RegExp, string])[] = [
  [/^(?!(sasl_)?(ssl|plaintext):\/\/).*connection closed by peer/i, 'does this listener expect another KAFKA_SECURITY_PROTOCOL?'],
  [/certificate verify failed/i, 'is its authority in KAFKA_SSL_CA_LOCATION, and is the certificate for this host name?'],
  [/alert (bad certificate|certificate required|certificate unknown|unknown ca)/i,
    'the broker wants a certificate from this gateway (KAFKA_SSL_CERTIFICATE_LOCATION), or does not trust the one it has']
]

/** A line of the client's log on why it cannot connect, with what to look at where the line does not say it. */
export function withAdvice (line: string): string {
  const found = advice.find(([pattern]) => pattern.test(line))?.[1]
  return found === undefined ? line : `${line}: ${found}`
}

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
  // The broker's address begins with the protocol, whatever the failure.
  const text = line.replace(/^(sasl_)?(ssl|plaintext):\/\/\S+/i, '')
  return reasons.find(([pattern]) => pattern.test(text))?.[1] ?? 'the connection to it fails'
}
