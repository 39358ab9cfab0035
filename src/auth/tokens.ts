import { hash } from 'node:crypto'
import { errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose'
import { LRUCache } from 'lru-cache'
import type { Right } from '../access.js'
import type { TokenConfig } from '../config.js'
import { KeysUnavailableError } from './jwks.js'
import type { Rule } from './rules.js'

/** What a token says that was verified. */
export interface Claims {
  /** `jwt:` and what the configured claim says, so that no token can pass for a principal of the rules. */
  readonly name: string
  readonly scopeRules: readonly Rule[]
  has (claim: string, value: string): boolean
}

/** A token that is not accepted: `message` is for its sender. */
export class TokenError extends Error {
  override readonly name = 'TokenError'
}

/** Signatures that need a private key: with the others, whoever can verify a token could make one. */
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

/** A token is verified again after this, so that a key that was withdrawn does not go on. */
const rememberedMs = 60_000
const rememberedMax = 2_000
const nameMaxLength = 256

/**
 * Verifies tokens: signature, issuer, audience, times. What was found is remembered for a minute, by the token's digest.
 */
export class TokenVerifier {
  readonly #config: TokenConfig
  readonly #key: JWTVerifyGetKey
  readonly #remembered = new LRUCache<string, { claims: Claims, untilMs: number }>({ max: rememberedMax })

  constructor (config: TokenConfig, key: JWTVerifyGetKey) {
    this.#config = config
    this.#key = key
  }

  /** What is remembered of a token; `null`: it has to be verified. */
  remembered (token: string): Claims | null {
    const found = this.#remembered.get(hash('sha256', token, 'hex'))
    return found !== undefined && Date.now() < found.untilMs ? found.claims : null
  }

  /**
   * @throws {TokenError} for a token that is not accepted
   * @throws {KeysUnavailableError} where that cannot be said, because the issuer's keys cannot be had
   */
  async verify (token: string): Promise<Claims> {
    const { issuer, audience, clockToleranceSeconds } = this.#config
    let payload: JWTPayload
    try {
      ({ payload } = await jwtVerify(token, this.#key, {
        issuer, audience: [...audience], algorithms, clockTolerance: clockToleranceSeconds, requiredClaims: ['exp']
      }))
    } catch (error) {
      if (error instanceof KeysUnavailableError) throw error
      throw new TokenError(whyNot(error))
    }
    const claims = this.#claims(payload)
    const untilMs = Math.min(Date.now() + rememberedMs, (payload.exp! + clockToleranceSeconds) * 1000)
    this.#remembered.set(hash('sha256', token, 'hex'), { claims, untilMs })
    return claims
  }

  #claims (payload: JWTPayload): Claims {
    const { nameClaim, scopeClaim } = this.#config
    const name = claimOf(payload, nameClaim)
    if (typeof name !== 'string' || name === '' || name.length > nameMaxLength || /\p{C}/u.test(name)) {
      throw new TokenError(`its claim ${nameClaim} must be a text of 1 to ${nameMaxLength} characters`)
    }
    return {
      name: `jwt:${name}`,
      scopeRules: words(claimOf(payload, scopeClaim)).flatMap(scopeRule),
      has: (claim, value) => {
        const held = claimOf(payload, claim)
        return held === value || (claim === scopeClaim || Array.isArray(held) ? words(held) : []).includes(value)
      }
    }
  }
}

/** A claim by its name or, where none is named so, by its path: `realm_access.roles`. */
function claimOf (payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name]
  let at: unknown = payload
  for (const part of name.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined
    at = (at as Record<string, unknown>)[part]
  }
  return at
}

/** A list, or a text of words with spaces between them. */
function words (claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter(word => word !== '')
  return Array.isArray(claim) ? claim.filter(word => typeof word === 'string') : []
}

const scopePattern = /^sluice:(produce|read|operate)(?::([A-Za-z0-9._*-]{1,249}))?$/

/** `sluice:produce:orders-*`; without a topic it is any. Other scopes are for others. */
function scopeRule (scope: string): Rule[] {
  const [, right, topic = '*'] = scopePattern.exec(scope) ?? []
  return right === undefined ? [] : [{ rights: [right as Right], topics: [topic] }]
}

/** Why a token is refused, for whoever sent it: nothing of what was expected instead. */
function whyNot (error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired'
  if (error instanceof errors.JWTClaimValidationFailed) {
    return error.reason === 'missing' ? `its claim ${error.claim} is missing` : `its claim ${error.claim} is not what this gateway takes`
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong'
  if (error instanceof errors.JWKSNoMatchingKey) return 'its issuer has no key such as it names'
  if (error instanceof errors.JWKSMultipleMatchingKeys) return 'it does not say which of its issuer\'s keys signed it'
  if (error instanceof errors.JOSEAlgNotAllowed) return 'its algorithm is not accepted'
  return 'it cannot be read'
}
