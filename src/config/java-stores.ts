import { ConfigError, quoted } from './config-error.js'
import type { Describe, Properties } from './properties-file.js'

/**
 * Turns Java's `ssl.truststore.*` and `ssl.keystore.*` into what librdkafka reads: PEM, and PKCS#12 for the key store.
 * The translated properties are taken out of `properties`; those without an effect are returned.
 *
 * @throws {ConfigError} for a store that librdkafka cannot read, with the command that converts it
 */
export function translateStores (properties: Properties, describe: Describe): string[] {
  return [...translateTrustStore(properties, describe), ...translateKeyStore(properties, describe)]
}

function translateTrustStore (properties: Properties, describe: Describe): string[] {
  const store = taken(properties, 'ssl.truststore', ['location', 'certificates', 'type', 'password'])
  if (store.certificates) properties.set('ssl.ca.pem', store.certificates)
  if (store.location) {
    const type = storeType(store.type)
    if (type !== 'PEM') {
      throw new ConfigError(`${describe('ssl.truststore.location')} is a ${type} store, which librdkafka cannot read: ${
        type === 'JKS' ? 'keytool -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12, then ' : ''
      }openssl pkcs12 -in STORE${type === 'JKS' ? '.p12' : ''} -nokeys -out ca.pem, and set ssl.truststore.type=PEM`)
    }
    properties.set('ssl.ca.location', store.location)
  }
  return store.password ? ['ssl.truststore.password'] : []
}

function translateKeyStore (properties: Properties, describe: Describe): string[] {
  const store = taken(properties, 'ssl.keystore', ['location', 'key', 'certificate.chain', 'type', 'password'])
  if (store.key) properties.set('ssl.key.pem', store.key)
  if (store['certificate.chain']) properties.set('ssl.certificate.pem', store['certificate.chain'])
  const type = storeType(store.type)
  if (store.location && type === 'PKCS12') {
    // The client's own condition: without it, it would not be made.
    if (!store.password) throw new ConfigError(`${describe('ssl.keystore.password')} must be set where ssl.keystore.type is PKCS12`)
    properties.set('ssl.keystore.location', store.location)
    properties.set('ssl.keystore.password', store.password)
    return []
  }
  if (store.location && type !== 'PEM') {
    throw new ConfigError(`${describe('ssl.keystore.location')} is a ${type} store, which librdkafka cannot read: keytool -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12, and set ssl.keystore.type=PKCS12`)
  }
  if (store.location) {
    // Java keeps the key and the certificate chain in one PEM file; OpenSSL finds in it what it looks for.
    properties.set('ssl.key.location', store.location)
    properties.set('ssl.certificate.location', store.location)
  }
  return store.password ? ['ssl.keystore.password'] : []
}

function taken<Part extends string> (properties: Properties, store: string, parts: readonly Part[]): Partial<Record<Part, string>> {
  const found: Partial<Record<Part, string>> = {}
  for (const part of parts) {
    found[part] = properties.get(`${store}.${part}`)
    properties.delete(`${store}.${part}`)
  }
  return found
}

/** Java takes a store whose type nobody says for JKS. */
function storeType (written: string | undefined): string {
  return written ? (/^[A-Za-z0-9]{1,20}$/.test(written) ? written.toUpperCase() : quoted(written)) : 'JKS'
}
