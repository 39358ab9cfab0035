import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { Guesses } from './auth/guesses.js'
import { SluiceError } from './errors.js'

export const signatureSchemes = ['github', 'stripe', 'standard-webhooks'] as const
export type SignatureScheme = typeof signatureSchemes[number]

/** What the sender of webhooks for a topic has to prove. */
export interface SignatureRule {
  readonly topic: string
  readonly scheme: SignatureScheme
  /** As the sender shows them; any of them will do, so that they can be changed while both are in use. */
  readonly secrets: readonly string[]
  /** How far the time of a signature may be from now, before or after. GitHub's have none. */
  readonly toleranceSeconds: number
  /** Whether a signature stands in for an API key. */
  readonly authenticates: boolean
}

/** The key of HMAC that a secret stands for, or `null` where it cannot be one of this scheme. */
export function signingKey (scheme: SignatureScheme, secret: string): Buffer | null {
  if (scheme !== 'standard-webhooks') return Buffer.from(secret)
  const text = secret.startsWith('whsec_') ? secret.slice('whsec_'.length) : secret
  const key = Buffer.from(text, 'base64')
  return key.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '') ? key : null
}

/**
 * Says whether requests were signed by who shares a topic's secret.
 *
 * Every comparison takes the same time wherever the difference is. What is signed are the bytes of the body, as they arrived.
 */
export class WebhookSignatures {
  /** How many bad ones came from where. Topics are the names that it knows. */
  readonly guesses = new Guesses()
  readonly #rules: ReadonlyMap<string, { readonly rule: SignatureRule, readonly keys: readonly Buffer[] }>
  readonly #now: () => number

  /** @param now milliseconds since 1970 */
  constructor (rules: readonly SignatureRule[], now: () => number = Date.now) {
    this.#rules = new Map(rules.map(rule => [rule.topic, {
      rule, keys: rule.secrets.map(secret => signingKey(rule.scheme, secret)).filter(key => key !== null)
    }]))
    this.#now = now
  }

  /** Whether no topic asks for one. */
  get isEmpty (): boolean {
    return this.#rules.size === 0
  }

  /** Whether what is produced to this topic by webhook has to be signed. */
  requires (topic: string): boolean {
    return this.#rules.has(topic)
  }

  /** Whether a signature stands in for an API key there. */
  authenticates (topic: string): boolean {
    return this.#rules.get(topic)?.rule.authenticates === true
  }

  /**
   * Returns if the topic asks for no signature, or the request has a good one.
   *
   * @throws {SluiceError} SLUICE_SIGNATURE_INVALID
   */
  verify (topic: string, headers: IncomingHttpHeaders, body: Buffer): void {
    const found = this.#rules.get(topic)
    if (found === undefined) return
    const { rule: { scheme, toleranceSeconds }, keys } = found
    const { time, prefix, signatures } = claims[scheme](headers)
    if (time !== null && Math.abs(this.#now() / 1000 - time) > toleranceSeconds) {
      throw invalid(`the time of its signature is more than ${toleranceSeconds} s from now`)
    }
    // One HMAC a secret, however many signatures the header brings. All of them are compared.
    let good = false
    for (const key of keys) {
      const expected = digest(key, prefix, body)
      for (const signature of signatures) {
        if (signature.length === expected.length && timingSafeEqual(signature, expected)) good = true
      }
    }
    if (!good) throw invalid('its signature does not fit its body and any secret of this topic')
  }
}

const invalid = (why: string): SluiceError => new SluiceError('SLUICE_SIGNATURE_INVALID', `The request was refused: ${why}. Nothing was produced.`)

/** What a request says of its signature. */
interface Claim {
  /** When it was made, in seconds since 1970; `null` where the scheme does not say. */
  readonly time: number | null
  /** What is signed before the body. */
  readonly prefix: string
  readonly signatures: readonly Buffer[]
}

const hexDigest = /^[0-9a-f]{64}$/i
const seconds = /^[1-9]\d{0,11}$/

const claims: Record<SignatureScheme, (headers: IncomingHttpHeaders) => Claim> = {
  // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
  github (headers) {
    const [, hex] = /^sha256=(.*)$/.exec(one(headers, 'x-hub-signature-256')) ?? []
    if (hex === undefined || !hexDigest.test(hex)) throw invalid('X-Hub-Signature-256 must be sha256= and 64 hexadecimal digits')
    return { time: null, prefix: '', signatures: [Buffer.from(hex, 'hex')] }
  },

  // https://docs.stripe.com/webhooks#verify-manually: t=…,v1=…[,v1=…][,v0=…], of which v1 counts.
  stripe (headers) {
    const parts = one(headers, 'stripe-signature').split(',').map(part => part.trim().split('='))
    const times = parts.filter(([name]) => name === 't').map(([, value]) => value ?? '')
    const signatures = parts.filter(([name, value]) => name === 'v1' && hexDigest.test(value ?? '')).map(([, hex]) => Buffer.from(hex!, 'hex'))
    const [time] = times
    if (times.length !== 1 || !seconds.test(time!)) throw invalid('Stripe-Signature must have one t, in seconds since 1970')
    if (signatures.length === 0) throw invalid('Stripe-Signature must have a v1 of 64 hexadecimal digits')
    return { time: Number(time), prefix: `${time}.`, signatures }
  },

  // https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
  'standard-webhooks' (headers) {
    const id = one(headers, 'webhook-id')
    const time = one(headers, 'webhook-timestamp')
    if (!seconds.test(time)) throw invalid('webhook-timestamp must be in seconds since 1970')
    const signatures = one(headers, 'webhook-signature').split(' ').filter(part => part.startsWith('v1,')).map(part => Buffer.from(part.slice(3), 'base64'))
    if (signatures.length === 0) throw invalid('webhook-signature must have a signature of version v1')
    return { time: Number(time), prefix: standardPrefix(id, time), signatures }
  }
}

/** What Standard Webhooks signs before the body. */
const standardPrefix = (id: string, time: string): string => `${id}.${time}.`

/**
 * What a body is sent with so that its receiver can tell who sent it, as the header `webhook-signature` of Standard Webhooks:
 * a signature for each key, so that receivers may have either while keys are changed.
 *
 * @param id the same in each attempt, and without a full stop
 * @param time in seconds since 1970
 */
export function standardSignature (keys: readonly Buffer[], id: string, time: string, body: Buffer): string {
  return keys.map(key => `v1,${digest(key, standardPrefix(id, time), body).toString('base64')}`).join(' ')
}

function digest (key: Buffer, prefix: string, body: Buffer): Buffer {
  return createHmac('sha256', key).update(prefix, 'latin1').update(body).digest()
}

function one (headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  if (typeof value !== 'string' || value === '') throw invalid(`it has no header ${name}, and this topic takes signed webhooks only`)
  return value
}
