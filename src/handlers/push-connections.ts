import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import { buildConnector, Client, type Dispatcher } from 'undici'
import type { Attempt } from '../engine/types.js'
import { PushError, type Answer } from './push-answer.js'

/** More than this is no verdict. */
const VERDICT_BYTES_MAX = 16_384
/** So much of an answer is read so that its connection can be used again; what is longer is cut off with it. */
const ANSWER_BYTES_MAX = 1_048_576

export interface PushConnectionsOptions {
  /** As URL.origin has it. */
  readonly origin: string
  readonly connectTimeoutMs: number
  /** PEM: the authorities that the target's certificate must come from; `null`: those that Node.js knows. */
  readonly ca: string | null
}

export type Settled = (answer: Answer | null, error: unknown) => void

/** What may end a push before its answer. */
export type Abortable = Pick<Attempt, 'signal' | 'onAbort'>

/**
 * Connections to one target: each push has one for itself, and whichever became free last is used first. There are as many as
 * pushes were ever in flight at once; those that nobody uses are closed after some seconds, before most targets would do it.
 */
export class PushConnections {
  readonly #origin: string
  // One for all: it keeps TLS sessions, so that a further connection needs no whole handshake.
  readonly #connector: buildConnector.connector
  readonly #free: Connection[] = []
  readonly #all = new Set<Connection>()

  constructor ({ origin, connectTimeoutMs, ca }: PushConnectionsOptions) {
    this.#origin = origin
    this.#connector = buildConnector({ timeout: connectTimeoutMs, ...(ca !== null && { ca }) })
  }

  /** Connections that exist or existed, and are kept to be used again. */
  get size (): number { return this.#all.size }

  /**
   * Sends one request, reads its answer to the end, and calls `settled` once: with the answer, or with `null` and why there is
   * none. That is a {@link PushError}, with `outage` where nothing was sent since there was no connection; or what `attempt` was
   * aborted with.
   */
  send (request: Dispatcher.DispatchOptions, attempt: Abortable, settled: Settled): void {
    const connection = this.#free.pop() ?? this.#open()
    const exchange = new Exchange(settled, usable => {
      if (usable) {
        this.#free.push(connection)
      } else {
        this.#all.delete(connection)
        connection.destroy()
      }
    })
    listen(attempt, exchange)
    if (!exchange.ended) connection.client.dispatch(request, exchange)
  }

  /** Ends what is in flight, and closes all connections. */
  async close (): Promise<void> {
    const all = [...this.#all]
    this.#all.clear()
    await Promise.all(all.map(connection => connection.destroy()))
  }

  #open (): Connection {
    const connection = new Connection(this.#origin, this.#connector)
    this.#all.add(connection)
    return connection
  }
}

/** One client of undici, which has one socket at a time and connects again by itself. */
class Connection {
  readonly client: Client
  #connecting: Socket | undefined

  constructor (origin: string, connector: buildConnector.connector) {
    this.client = new Client(origin, {
      pipelining: 1,
      // Whoever starts an attempt bounds all of it, and aborts it.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (options, callback) => {
        // It returns the socket, though its type does not say so.
        this.#connecting = connector(options, (...result) => {
          this.#connecting = undefined
          callback(...result)
        }) as unknown as Socket | undefined
      }
    })
  }

  /** A client that is destroyed leaves alone what it is connecting, until that is done or its time is up. */
  async destroy (): Promise<void> {
    this.#connecting?.destroy()
    await this.client.destroy()
  }
}

/** One request, from when it is handed over until its answer was read, or something ended it. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #settled: Settled
  readonly #release: (usable: boolean) => void
  ended = false
  #unlisten: (() => void) | null = null
  #sent = false
  #status = 0
  #retryAfter: string | undefined
  #date: string | undefined
  #chunks: Buffer[] = []
  #bytes = 0

  constructor (settled: Settled, release: (usable: boolean) => void) {
    this.#settled = settled
    this.#release = release
  }

  abort (reason: unknown): void {
    this.#end(reason, false)
  }

  /** Until it has ended: a batch's signal may see many. */
  listenTo (signal: AbortSignal): void {
    const aborted = () => this.abort(signal.reason)
    signal.addEventListener('abort', aborted)
    this.#unlisten = () => signal.removeEventListener('abort', aborted)
  }

  onRequestStart (): void {
    this.#sent = true
  }

  onResponseStart (_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // What comes before the answer proper says nothing.
    if (status < 200) return
    this.#status = status
    this.#retryAfter = headers['retry-after']
    this.#date = headers.date
  }

  onResponseData (_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes <= VERDICT_BYTES_MAX) this.#chunks.push(chunk)
    else this.#chunks = []
    if (this.#bytes > ANSWER_BYTES_MAX) this.#end(null, false)
  }

  onResponseEnd (): void {
    this.#end(null, true)
  }

  onResponseError (_controller: Dispatcher.DispatchController, error: Error): void {
    // Its client goes on, with a connection anew.
    this.#end(failure(error, this.#sent), true)
  }

  #end (error: unknown, usable: boolean): void {
    if (this.ended) return
    this.ended = true
    this.#unlisten?.()
    this.#release(usable)
    if (error === null || this.#isAnswered()) this.#settled(this.#answer(), null)
    else this.#settled(null, error)
  }

  /** Whether what was read decides, though the rest will not come: only within a verdict's length may a 2xx still be none. */
  #isAnswered (): boolean {
    return this.#status >= 300 || (this.#status >= 200 && this.#bytes > VERDICT_BYTES_MAX)
  }

  #answer (): Answer {
    const body = this.#bytes === 0 || this.#bytes > VERDICT_BYTES_MAX ? null : Buffer.concat(this.#chunks)
    return { status: this.#status, retryAfter: this.#retryAfter, date: this.#date, body }
  }
}

function listen (attempt: Abortable, exchange: Exchange): void {
  if (attempt.onAbort !== undefined) {
    attempt.onAbort(reason => exchange.abort(reason))
  } else {
    const { signal } = attempt
    if (signal.aborted) exchange.abort(signal.reason)
    else exchange.listenTo(signal)
  }
}

function failure (error: Error & { code?: unknown }, sent: boolean): PushError {
  if (error.code === 'UND_ERR_INVALID_ARG') return new PushError(`the record cannot be a request: ${textOf(error)}`, { retriable: false })
  // Without a connection the record cannot have been at fault, nor have been handled.
  if (!sent) return new PushError(`the push target cannot be reached: ${textOf(error)}`, { outage: true })
  return new PushError(`the push target gave no whole answer: ${textOf(error)}`)
}

/** One line. The parser's errors have bytes of the answer in other properties: they stay behind. */
function textOf (error: Error & { code?: unknown }): string {
  const text = error.message === '' ? String(error.code ?? error.name) : error.message
  return text.replace(/\s+/g, ' ').slice(0, 200)
}
