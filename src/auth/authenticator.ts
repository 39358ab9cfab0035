import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { AccessConfig } from '../config.js'
import { ConfigError } from '../config/config-error.js'
import { SluiceError } from '../errors.js'
import { remoteAddress } from '../remote-address.js'
import { clientCertificate } from './certificates.js'
import { credentialsOf, isToken } from './credentials.js'
import { Guesses } from './guesses.js'
import { Jwks } from './jwks.js'
import { Limiters, Principals, type KnownPrincipal } from './principals.js'
import type { RefusalReason } from './refusals.js'
import { parseRulesFile, rulesFileMaxBytes, type RulesFile } from './rules-file.js'
import { TokenError, TokenVerifier, type Claims } from './tokens.js'
import { WatchedFile } from './watched-file.js'

const noRules: RulesFile = { principals: [] }

/** What metrics learn. */
export interface AuthenticatorObserver {
  /** The rules in force are those of AUTH_FILE as it is now, or they are older ones. */
  readonly rulesRead: (current: boolean) => void
  /** The keys that tokens are verified with were fetched, or could not be. */
  readonly keysFetched: (fetched: boolean) => void
}

export interface AuthenticatorOptions {
  readonly access: AccessConfig
  readonly log: FastifyBaseLogger
  readonly observer: AuthenticatorObserver
  readonly lookEveryMs: number
}

/** Somebody who is not let in: the answer, and the reason for whoever runs the gateway. */
export interface Refusal {
  readonly reason: RefusalReason
  readonly error: SluiceError
}

export interface Caller {
  readonly principal: KnownPrincipal
  /** A browser would send what identifies it on behalf of any page. */
  readonly ambient: boolean
}

type Done = (refusal: Refusal | null, caller?: Caller) => void

/** Says who sent a request: by key, by token, by client certificate. */
export class Authenticator {
  readonly #log: FastifyBaseLogger
  readonly #observer: AuthenticatorObserver
  readonly #access: AccessConfig
  readonly #limiters = new Limiters()
  readonly #guesses = new Guesses()
  readonly #file: WatchedFile | null
  readonly #verifier: TokenVerifier | null
  #principals!: Principals
  #ofClaims = new WeakMap<Claims, KnownPrincipal>()
  #problem: string | null = null

  constructor ({ access, log, observer, lookEveryMs }: AuthenticatorOptions) {
    this.#access = access
    this.#log = log
    this.#observer = observer
    this.#file = access.file === null
      ? null
      : new WatchedFile({
        path: access.file,
        maxBytes: rulesFileMaxBytes,
        everyMs: lookEveryMs,
        onChange: text => this.#use(parseRulesFile(text)),
        onError: error => this.#keepOldRules(error)
      })
    const { tokens } = access
    this.#verifier = tokens === null ? null : new TokenVerifier(tokens, this.#keysOf(tokens.jwksUrl))
  }

  /** Reads the rules. @throws {ConfigError} where they cannot be used */
  async start (): Promise<void> {
    if (this.#file === null) {
      this.#use(noRules)
      return
    }
    try {
      await this.#file.start()
    } catch (error) {
      throw error instanceof ConfigError ? error : new ConfigError(`AUTH_FILE cannot be read: ${(error as Error).message}`)
    }
  }

  close (): void { this.#file?.close() }

  /** What is wrong, for an operator, without details. */
  get problems (): string[] {
    return this.#problem === null ? [] : ['AUTH_FILE has changed and cannot be used: the rules from before are in force']
  }

  /** Answers at once wherever it can, without a promise: a key costs one digest and one look-up. */
  identify (request: FastifyRequest, done: Done): void {
    const credentials = credentialsOf(request.headers)
    if (credentials.kind === 'secret') this.#bySecret(request, credentials.secret, credentials.ambient, done)
    else if (credentials.kind === 'none') this.#byCertificate(request, done)
    else done(unauthenticated('malformed', `The Authorization cannot be read: ${credentials.why}.`))
  }

  #bySecret (request: FastifyRequest, secret: string, ambient: boolean, done: Done): void {
    const principal = this.#principals.ofKey(secret)
    if (principal !== null) {
      const waitMs = this.#guesses.right(principal.name, remoteAddress(request))
      if (waitMs > 0) done(tooManyWrongKeys(waitMs))
      else done(null, { principal, ambient })
    } else if (this.#verifier !== null && isToken(secret)) {
      this.#byToken(this.#verifier, secret, ambient, done)
    } else {
      const waitMs = this.#guesses.wrong(remoteAddress(request))
      done(waitMs > 0 ? tooManyWrongKeys(waitMs) : unauthenticated('unknown-key', 'This key is not known here.'))
    }
  }

  #byToken (verifier: TokenVerifier, token: string, ambient: boolean, done: Done): void {
    const remembered = verifier.remembered(token)
    if (remembered !== null) {
      done(null, { principal: this.#principalOf(remembered), ambient })
      return
    }
    verifier.verify(token).then(claims => this.#principalOf(claims)).then(principal => {
      done(null, { principal, ambient })
    }, (error: unknown) => {
      if (error instanceof TokenError) done(unauthenticated('bad-token', `The token is not accepted: ${error.message}.`))
      else done({ reason: 'keys-unavailable', error: new SluiceError('SLUICE_AUTH_UNAVAILABLE', 'Tokens cannot be verified at the moment. Nothing was produced.') })
    })
  }

  /** A token is verified anew every minute, but its principal is made anew as soon as the rules change. */
  #principalOf (claims: Claims): KnownPrincipal {
    let principal = this.#ofClaims.get(claims)
    if (principal === undefined) {
      principal = this.#principals.ofToken(claims.name, claims.scopeRules, claims.has)
      this.#ofClaims.set(claims, principal)
    }
    return principal
  }

  #byCertificate (request: FastifyRequest, done: Done): void {
    const certificate = clientCertificate(request)
    if (certificate === null) {
      done(unauthenticated('missing', 'Send a key or a token: Authorization: Bearer …, or Basic with the key as the password.'))
      return
    }
    const principal = Date.now() < certificate.validUntilMs ? this.#principals.ofCertificate(certificate.names) : null
    if (principal === null) done(unauthenticated('unknown-certificate', 'This client certificate is not known here, or has expired.'))
    else done(null, { principal, ambient: true })
  }

  #use (rules: RulesFile): void {
    const all = { ...rules, principals: [...this.#access.keys, ...rules.principals] }
    this.#principals = new Principals(all, this.#limiters)
    this.#ofClaims = new WeakMap()
    this.#guesses.keepOnly(new Set(all.principals.map(({ name }) => name)))
    this.#problem = null
    this.#observer.rulesRead(true)
    this.#log.info({ principals: all.principals.length }, 'the rules of who may do what are in force')
  }

  #keepOldRules (error: Error): void {
    if (this.#problem === error.message) return
    this.#problem = error.message
    this.#observer.rulesRead(false)
    this.#log.error({ path: this.#access.file, reason: error.message }, 'AUTH_FILE has changed and cannot be used: the rules from before are in force')
  }

  #keysOf (url: string): Jwks['key'] {
    let failing = false
    return new Jwks({
      url: new URL(url),
      onFailure: err => {
        this.#observer.keysFetched(false)
        // Only the first of a row: while the issuer is away, every few seconds somebody asks.
        if (!failing) this.#log.error({ err }, 'the keys that tokens are verified with could not be fetched')
        failing = true
      },
      onFetched: () => {
        this.#observer.keysFetched(true)
        if (failing) this.#log.info('the keys that tokens are verified with were fetched again')
        failing = false
      }
    }).key
  }
}

function unauthenticated (reason: RefusalReason, detail: string): Refusal {
  return { reason, error: new SluiceError('SLUICE_UNAUTHENTICATED', detail) }
}

function tooManyWrongKeys (waitMs: number): Refusal {
  return {
    reason: 'too-many-wrong-keys',
    error: new SluiceError('SLUICE_RATE_LIMITED', 'Too many wrong keys came from this network.', { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) })
  }
}
