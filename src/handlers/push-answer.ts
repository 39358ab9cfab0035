import { retryAfterMs } from './retry-after.js'

/** What a push was answered with. */
export interface Answer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly date: string | undefined
  /** `null`: none, or too much to be a verdict. */
  readonly body: Buffer | null
}

/** A push that did not complete its record. Its message shows nothing of the answer's body, which may repeat the record. */
export class PushError extends Error {
  readonly retriable?: false
  readonly outage?: true
  readonly drop?: true
  readonly retryAfterMs?: number

  constructor (message: string, advice: Pick<PushError, 'retriable' | 'outage' | 'drop' | 'retryAfterMs'> = {}) {
    super(message)
    this.name = 'PushError'
    Object.assign(this, advice)
  }
}

/**
 * What an answer means for its record: `null` completes it.
 *
 * 2xx completes, unless the body is an object whose `status` is RETRY or DROP (Dapr's words, in any case). Whatever else the body
 * says, the status line stands: many services answer {"status":"ok"}. 408, 409, 429 and 5xx are tried again, and `Retry-After`
 * says when. 401, 403, 404 and redirects mean that the address or the rights are wrong, which no record can help: see
 * `outage`. Any other 4xx is about the record, and no other attempt would end otherwise.
 *
 * @param now milliseconds since 1970
 */
export function failureOf (answer: Answer, now: () => number): PushError | null {
  const { status } = answer
  const wait = (): Pick<PushError, 'retryAfterMs'> => {
    const ms = retryAfterMs(answer.retryAfter, answer.date, now())
    return ms === undefined ? {} : { retryAfterMs: ms }
  }
  if (status >= 200 && status < 300) {
    switch (verdictOf(answer.body)) {
      case 'RETRY': return new PushError(`the push target answered ${status} and asks for another attempt (RETRY)`, wait())
      case 'DROP': return new PushError(`the push target answered ${status} and wants the record dropped (DROP)`, { drop: true })
      default: return null
    }
  }
  const answered = `the push target answered ${status}`
  if (status >= 300 && status < 400) return new PushError(`${answered}: redirects are not followed, KAFKA_HANDLER must name the place itself`, { outage: true, ...wait() })
  if (status === 401 || status === 403) return new PushError(`${answered}: what it is sent does not let it in (KAFKA_PUSH_AUTHORIZATION, KAFKA_PUSH_SECRET)`, { outage: true, ...wait() })
  if (status === 404) return new PushError(`${answered}: there is nothing at the path of KAFKA_HANDLER`, { outage: true, ...wait() })
  if (status < 400 || status > 499 || status === 408 || status === 409 || status === 429) return new PushError(answered, wait())
  return new PushError(answered, { retriable: false })
}

/** The `status` of a JSON object, in upper case; '' for anything else. */
function verdictOf (body: Buffer | null): string {
  if (body === null || body.length === 0) return ''
  const text = body.toString()
  // Most answers are no JSON, and need not cost an exception.
  if (!text.trimStart().startsWith('{')) return ''
  try {
    const { status } = JSON.parse(text) as { status?: unknown }
    return typeof status === 'string' ? status.toUpperCase() : ''
  } catch {
    return ''
  }
}
