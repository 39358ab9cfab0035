/** How often and how patiently a failing record is tried again. */
export interface RetryPolicy {
  /** Attempts in all, the first included. 1: no retry. */
  readonly maxAttempts: number
  /** Upper bound of the wait before the second attempt; it doubles with each further one. */
  readonly backoffMs: number
  /** What the doubling stops at. */
  readonly backoffMaxMs: number
}

/** Milliseconds to wait before the next attempt, or `null`: there is none. */
export type RetryDelay = number | null

/**
 * A wait that a handler asks for is honoured up to this, so that a slip in its unit cannot hold a key for ever; nor does anything
 * of the retry topic wait longer, whatever its headers say.
 */
export const ASKED_DELAY_MAX_MS = 24 * 60 * 60 * 1000

/** What a thrown value may say about itself. */
interface Advice {
  /** `false`: another attempt would fail as well. */
  readonly retriable?: unknown
  /** Wait at least this long. */
  readonly retryAfterMs?: unknown
  /** `true`: the record is of no use to anybody, not even as a dead letter. */
  readonly drop?: unknown
  /** `true`: what the handler depends on is away or set up wrongly. It says nothing of the record, and beats `retriable: false`. */
  readonly outage?: unknown
}

/**
 * Decides what becomes of a record whose attempt failed.
 *
 * Exponential backoff with full jitter: a wait drawn from [0, min(max, base · 2^(attempt − 1))), which spreads retries
 * better than a jitter around a fixed wait. An error with `retriable: false` is not worth another attempt; one with
 * `retryAfterMs` says how long to wait, at least.
 *
 * Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 *
 * @param attempt the one that failed, from 1
 * @param random in [0, 1)
 * @param uncounted attempts that failed as well and do not count: the wait grows with them
 */
export function retryDelay (policy: RetryPolicy, attempt: number, error: unknown, random: number, uncounted = 0): RetryDelay {
  const { retryAfterMs } = adviceOf(error)
  if (!isRetriable(error) || attempt >= policy.maxAttempts) return null
  const backoff = random * Math.min(policy.backoffMaxMs, policy.backoffMs * 2 ** (attempt + uncounted - 1))
  const asked = typeof retryAfterMs === 'number' && retryAfterMs > 0 ? Math.min(retryAfterMs, ASKED_DELAY_MAX_MS) : 0
  return Math.max(backoff, asked)
}

/** Whether the error leaves it open that another attempt succeeds. */
export function isRetriable (error: unknown): boolean {
  const { retriable, drop, outage } = adviceOf(error)
  return drop !== true && (retriable !== false || outage === true)
}

/** Whether the error blames what the handler depends on, and not the record. */
export function isOutage (error: unknown): boolean {
  const { drop, outage } = adviceOf(error)
  return outage === true && drop !== true
}

/** Whether the error asks for the record to be passed over, without a dead letter. */
export function isDrop (error: unknown): boolean {
  return adviceOf(error).drop === true
}

/** What a thrown value says about itself; one whose properties cannot even be read says nothing. */
export function adviceOf (thrown: unknown): Advice {
  if (typeof thrown !== 'object' || thrown === null) return {}
  try {
    const { retriable, retryAfterMs, drop, outage } = thrown as Advice
    return { retriable, retryAfterMs, drop, outage }
  } catch {
    return {}
  }
}
