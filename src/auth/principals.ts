import { hash, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Principal } from '../access.js'
import { ConfigError, quoted } from '../config/config-error.js'
import { Limiter, systemClocks, type Clocks, type LimitSettings } from './limiter.js'
import { compileRules, type Rule } from './rules.js'
import type { PrincipalSettings, RulesFile } from './rules-file.js'

/** A principal whose limits are counted here. */
export interface KnownPrincipal extends Principal {
  readonly limits?: Limiter
}

/** The limiter of whoever sent a request, if it has limits: those that this module made. */
export function limiterOf ({ limits }: Principal): Limiter | undefined {
  return limits instanceof Limiter ? limits : undefined
}

/** Keys are compared as digests. Keys that are shorter are refused unread: they could be guessed from their digest. */
export const keyMinLength = 32
/** Nobody has longer ones, and every one is hashed. */
const keyMaxLength = 1_024

/** Callers known by their tokens whose limits are kept in mind at once. */
const tokenLimitersMax = 10_000

export type CertificateName = `${'commonName' | 'dns' | 'uri' | 'email'}:${string}`

/**
 * Whom the rules know. Made anew with every change of them; `Limiters` goes on, so that a change gives nobody a fresh budget.
 */
export class Principals {
  readonly #byDigest = new Map<string, { digest: Buffer, principal: KnownPrincipal }>()
  readonly #byCertificate = new Map<CertificateName, KnownPrincipal>()
  readonly #byClaim: { claim: string, value: string, settings: PrincipalSettings }[] = []
  readonly #defaultLimits: LimitSettings | undefined
  readonly #limiters: Limiters

  /** @throws {ConfigError} where two principals share a name, a key, a certificate */
  constructor ({ principals, defaultLimits }: RulesFile, limiters: Limiters) {
    this.#defaultLimits = defaultLimits
    this.#limiters = limiters
    checkDistinct(principals)
    for (const settings of principals) this.#add(settings)
    limiters.keepOnly(new Set(principals.map(({ name }) => name)))
  }

  #add (settings: PrincipalSettings): void {
    const { name, keys = [], certificates = [], tokens = [], rules } = settings
    const limiter = this.#limiters.of(name, settings.limits ?? this.#defaultLimits)
    const principal: KnownPrincipal = { name, may: compileRules(rules), ...(limiter && { limits: limiter }) }
    for (const key of keys) this.#byDigest.set(key, { digest: Buffer.from(key, 'hex'), principal })
    for (const certificate of certificates) this.#byCertificate.set(certificateName(certificate), principal)
    for (const token of tokens) this.#byClaim.push({ ...token, settings })
  }

  /**
   * Whose key this is.
   *
   * Keys are random, so one round of SHA-256 is as good as any number of rounds, and costs about a microsecond: what makes
   * passwords need slow hashes, that people choose them, does not apply. The look-up compares digests of what was sent,
   * which nobody can choose to have a certain beginning; the comparison that decides takes the same time for all.
   */
  ofKey (key: string): KnownPrincipal | null {
    if (key.length < keyMinLength || key.length > keyMaxLength) return null
    const digest = hash('sha256', key, 'hex')
    const found = this.#byDigest.get(digest)
    return found !== undefined && timingSafeEqual(found.digest, Buffer.from(digest, 'hex')) ? found.principal : null
  }

  /** Whose certificate has one of these names; `null` also where they belong to different principals. */
  ofCertificate (names: readonly CertificateName[]): KnownPrincipal | null {
    const found = new Set(names.map(name => this.#byCertificate.get(name)).filter(principal => principal !== undefined))
    const [only] = found
    return found.size === 1 ? only! : null
  }

  /** The caller that a verified token names, with the rules of its scopes and of every principal that one of its claims maps it to. */
  ofToken (name: string, scopeRules: readonly Rule[], has: (claim: string, value: string) => boolean): KnownPrincipal {
    const mapped = new Set(this.#byClaim.filter(({ claim, value }) => has(claim, value)).map(({ settings }) => settings))
    const limits = [...mapped].find(settings => settings.limits !== undefined)?.limits ?? this.#defaultLimits
    const limiter = this.#limiters.ofToken(name, limits)
    return { name, may: compileRules([...scopeRules, ...[...mapped].flatMap(({ rules }) => rules)]), ...(limiter && { limits: limiter }) }
  }
}

const certificateName = (certificate: NonNullable<PrincipalSettings['certificates']>[number]): CertificateName => {
  const [kind, value] = Object.entries(certificate)[0]!
  return `${kind}:${value}` as CertificateName
}

/** Before anything is made of them: rules that are refused must leave no trace. */
function checkDistinct (principals: readonly PrincipalSettings[]): void {
  const seen = new Set<string>()
  const check = (id: string, message: string) => {
    if (seen.has(id)) throw new ConfigError(message)
    seen.add(id)
  }
  for (const { name, keys = [], certificates = [] } of principals) {
    check(`name ${name}`, `AUTH_FILE or AUTH_KEYS: two principals are named ${quoted(name)}`)
    for (const key of keys) check(`key ${key}`, `AUTH_FILE or AUTH_KEYS: a key of ${quoted(name)} is there twice`)
    for (const certificate of certificates) check(certificateName(certificate), `AUTH_FILE: a certificate of ${quoted(name)} is there twice`)
  }
}

interface Kept { readonly settings: string, readonly limiter: Limiter }

/** What everybody has used, across changes of the rules. */
export class Limiters {
  readonly #known = new Map<string, Kept>()
  readonly #tokens = new LRUCache<string, Kept>({ max: tokenLimitersMax })
  readonly #clocks: Clocks

  constructor (clocks: Clocks = systemClocks) { this.#clocks = clocks }

  of (name: string, settings: LimitSettings | undefined): Limiter | undefined { return this.#of(this.#known, name, settings) }
  /** Of callers whose names come from tokens: as many as there are, so those that were not seen for long are forgotten. */
  ofToken (name: string, settings: LimitSettings | undefined): Limiter | undefined { return this.#of(this.#tokens, name, settings) }

  keepOnly (names: ReadonlySet<string>): void {
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name)
  }

  #of (kept: Pick<Map<string, Kept>, 'get'> & { set (name: string, one: Kept): unknown, delete (name: string): unknown },
    name: string, settings: LimitSettings | undefined): Limiter | undefined {
    const before = kept.get(name)
    if (settings === undefined || Object.keys(settings).length === 0) {
      kept.delete(name)
      return undefined
    }
    const written = JSON.stringify(settings)
    if (before?.settings === written) return before.limiter
    const limiter = new Limiter(settings, this.#clocks)
    if (before !== undefined) limiter.goOnFrom(before.limiter)
    kept.set(name, { settings: written, limiter })
    return limiter
  }
}
