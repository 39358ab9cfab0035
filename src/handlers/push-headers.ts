import { HeaderNames, isHeaderName, isSecretHeader } from '../header-allowlist.js'
import type { RecordHeader } from '../record.js'

// What HTTP allows in a value: printable bytes, those above 0x7f too, spaces and tabs in between.
const fieldValue = /^[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/

// What frames the request, is meant for the next hop only, or is written by the push itself.
const own = new Set([
  'host', 'content-length', 'content-type', 'content-encoding', 'transfer-encoding', 'connection', 'keep-alive', 'upgrade', 'te', 'trailer', 'expect',
  'user-agent', 'traceparent', 'tracestate'
])

/** Whether a push has (or must not have) such a header of itself; `name` in lower case. */
export function isOwnPushHeader (name: string): boolean {
  return own.has(name) || /^(ce|webhook|proxy)-/.test(name)
}

/** Which headers of a record become headers of its request, and what of them HTTP can carry. */
export class PushHeaders {
  readonly #allowed: HeaderNames

  /** @param allowed names in lower case, or beginnings of names with `*` at the end */
  constructor (allowed: readonly string[]) {
    this.#allowed = new HeaderNames(allowed)
  }

  /**
   * Appends those that are allowed to `to`, name and value in turn, in the record's order and with repetitions.
   *
   * One that may hold a secret, that the push has of itself, or whose name or bytes cannot be in an HTTP header stays behind.
   */
  addTo (to: string[], headers: readonly RecordHeader[]): void {
    if (this.#allowed.none) return
    for (const { name: written, value } of headers) {
      const name = written.toLowerCase()
      if (!this.#allowed.has(name)) continue
      if (!isHeaderName(name) || isSecretHeader(name) || isOwnPushHeader(name)) continue
      const text = value.toString('latin1')
      if (text === '' || fieldValue.test(text)) to.push(name, text)
    }
  }
}
