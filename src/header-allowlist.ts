import type { IncomingMessage } from 'node:http'
import { SluiceError } from './errors.js'
import type { RecordHeader } from './record.js'

/** How many headers one request may ask for. */
export const maxRequestedHeaders = 64

const token = /^[!#$%&'*+.^_`|~0-9a-z-]{1,256}$/

// Names of headers that carry secrets, whatever stands before and after. "author" and "authority" are not among them.
const secretPart = /auth(?!or(?!iz))|cookie|token|secret|passw|credential|signature|session|assertion|jwt|csrf|xsrf|(^|[-_.])sig($|[-_.])/
// x-api-key, apikey, x-functions-key, ocp-apim-subscription-key; but idempotency-key and x-partition-key are no secrets.
const secretKey = /(api|access|function|functions|subscription|private|shared|host|master|client|app|application|license|security|encryption)[-_.]?keys?($|[-_.])/

/** Whether a header of this name (in lower case) may hold a secret. Such a header never becomes part of a record. */
export function isSecretHeader (name: string): boolean {
  return secretPart.test(name) || secretKey.test(name)
}

/** Whether HTTP could have a header of this name, in lower case. */
export const isHeaderName = (name: string): boolean => token.test(name)

/** Names of headers in lower case, or beginnings of names with `*` at the end. */
export class HeaderNames {
  readonly #names: ReadonlySet<string>
  readonly #prefixes: readonly string[]

  constructor (entries: readonly string[]) {
    this.#names = new Set(entries.filter(entry => !entry.endsWith('*')))
    this.#prefixes = entries.filter(entry => entry.endsWith('*')).map(entry => entry.slice(0, -1))
  }

  get none (): boolean { return this.#names.size === 0 && this.#prefixes.length === 0 }

  has (name: string): boolean {
    return this.#names.has(name) || this.#prefixes.some(prefix => name.startsWith(prefix))
  }
}

/**
 * Which request headers may become part of a record: what the operator allows, and never those that may hold secrets.
 *
 * An entry is a name, the beginning of one with `*` at its end, or `*` for any.
 */
export class HeaderAllowlist {
  readonly #allowed: HeaderNames

  constructor (entries: readonly string[]) {
    this.#allowed = new HeaderNames(entries.map(entry => entry.toLowerCase()))
  }

  /**
   * Checks a name that a caller asked for.
   *
   * @returns it in lower case: HTTP does not tell the cases apart, Kafka does
   * @throws {SluiceError} SLUICE_INVALID_REQUEST
   */
  check (asked: string): string {
    const name = asked.toLowerCase()
    const shown = JSON.stringify(asked.slice(0, 64))
    if (!isHeaderName(name)) throw new SluiceError('SLUICE_INVALID_REQUEST', `${shown} cannot be the name of a header.`)
    if (isSecretHeader(name)) {
      throw new SluiceError('SLUICE_INVALID_REQUEST', `The header ${shown} may hold a secret, and never becomes part of a record.`)
    }
    if (!this.#allowed.has(name)) {
      throw new SluiceError('SLUICE_INVALID_REQUEST', `The header ${shown} may not become part of a record here (RECORD_HEADERS_ALLOWED).`)
    }
    return name
  }

  /**
   * Checks a comma list of names.
   *
   * @throws {SluiceError} SLUICE_INVALID_REQUEST
   */
  checkList (list: string): string[] {
    const names = list.split(',').map(name => this.check(name.trim()))
    if (names.length > maxRequestedHeaders) {
      throw new SluiceError('SLUICE_INVALID_REQUEST', `At most ${maxRequestedHeaders} headers can be asked for.`, { limit: maxRequestedHeaders })
    }
    return [...new Set(names)]
  }
}

/** Every header of these names (in lower case), as it arrived: its bytes, in the order of the request, repetitions too. */
export function headersNamed ({ rawHeaders }: IncomingMessage, names: ReadonlySet<string>): RecordHeader[] {
  const found: RecordHeader[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    // Node.js reads header values as Latin-1, which gives back every byte.
    if (names.has(name)) found.push({ name, value: Buffer.from(rawHeaders[i + 1]!, 'latin1') })
  }
  return found
}
