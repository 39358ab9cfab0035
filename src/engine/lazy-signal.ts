/** An abort signal that is made when first asked for: an AbortController for each record would cost more than the rest of the engine. */
export class LazySignal {
  #controller: AbortController | null = null
  #reason: Error | null = null

  get signal (): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#reason !== null) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** Why it was aborted, `null` where it was not. */
  get abortReason (): Error | null { return this.#reason }

  /** The first reason stands. */
  abort (reason: Error): void {
    if (this.#reason !== null) return
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}
