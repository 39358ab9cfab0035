import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose'

/** Keys that are older than this are fetched again, behind the back of those who ask. */
const freshMs = 600_000
/** For how long keys go on being used while they cannot be fetched. */
const usableMs = 86_400_000
/** How soon after a fetch a token may cause another one: with a key that is not known, or because the last fetch failed. */
const unknownKeyCoolDownMs = 30_000
const failureCoolDownMs = 5_000
const timeoutMs = 5_000
const maxBytes = 262_144

/** The keys cannot be had, so that nothing can be said of a token. */
export class KeysUnavailableError extends Error {
  override readonly name = 'KeysUnavailableError'
}

export interface JwksOptions {
  readonly url: URL
  readonly onFailure: (error: Error) => void
  readonly onFetched: () => void
  readonly now?: () => number
}

/**
 * The keys that an issuer publishes under a URL: fetched when first needed, kept, and fetched again when they are old or a
 * token names one that is not among them. One fetch at a time, bounded in time and size; redirects are not followed.
 *
 * `createRemoteJWKSet` of jose throws away good keys when a fetch fails, and fetches with every token as long as none succeeded.
 */
export class Jwks {
  readonly #options: JwksOptions
  readonly #now: () => number
  #keys: JWTVerifyGetKey | null = null
  #fetchedAt = -Infinity
  #failedAt = -Infinity
  #pending: Promise<void> | null = null

  constructor (options: JwksOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** For `jwtVerify`. @throws {KeysUnavailableError} where there are no keys to be had */
  readonly key: JWTVerifyGetKey = async (header, token) => {
    const age = this.#now() - this.#fetchedAt
    if (this.#keys === null || age > usableMs) await this.#fetch()
    // Nobody waits for it; should it fail, the old keys are used until `usableMs`.
    else if (age > freshMs && !this.#justFailed) this.#fetch().catch(() => {})
    try {
      return await this.#keys!(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || this.#now() - this.#fetchedAt < unknownKeyCoolDownMs) throw error
      await this.#fetch()
      return await this.#keys!(header, token)
    }
  }

  get #justFailed (): boolean { return this.#now() - this.#failedAt < failureCoolDownMs }

  async #fetch (): Promise<void> {
    if (this.#justFailed) throw new KeysUnavailableError('the keys could not be fetched')
    this.#pending ??= this.#fetchOnce().finally(() => { this.#pending = null })
    await this.#pending
  }

  async #fetchOnce (): Promise<void> {
    try {
      this.#keys = createLocalJWKSet(await fetchKeys(this.#options.url))
    } catch (error) {
      this.#failedAt = this.#now()
      this.#options.onFailure(error as Error)
      throw new KeysUnavailableError('the keys could not be fetched')
    }
    this.#fetchedAt = this.#now()
    this.#options.onFetched()
  }
}

async function fetchKeys (url: URL): Promise<JSONWebKeySet> {
  const response = await fetch(url, {
    signal: AbortSignal.timeout(timeoutMs), redirect: 'error', headers: { accept: 'application/jwk-set+json, application/json' }
  })
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel()
    throw new Error(`the answer has status ${response.status}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  // Leaving the loop cancels the body.
  for await (const chunk of response.body) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new Error(`the answer has more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as JSONWebKeySet
}
