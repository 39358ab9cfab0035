import { closeSync, openSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import type { LedgerEntry } from '../support/ledger.js'

/** Where one gateway, from its start to its end, pushes to. */
export interface Target { readonly url: string, readonly belongsTo: (pid: number) => void }

type Place = Pick<LedgerEntry, 'topic' | 'partition' | 'offset' | 'key'>

/**
 * What handler.js does, as the target of HTTP pushes: it does with a record what its value says, and writes each attempt into the
 * ledger before it answers. It stands in the harness, and no fault is done to it.
 *
 * A push that its gateway gives up, or that ends with its gateway, shows as a closed connection: that attempt ends there and then, and
 * has failed. A frozen gateway keeps its connections: what it pushed goes on, and is answered to nobody.
 */
export class Receiver {
  readonly #server = createServer((request, response) => {
    this.#take(request, response).catch(() => response.destroy())
  })

  readonly #fd: number
  readonly #pids: Promise<number>[] = []
  /** Pushes do not say which attempt they are: they are counted by record. */
  readonly #attempts = new Map<string, number>()
  #closed = false

  constructor (ledgerFile: string) {
    this.#fd = openSync(ledgerFile, 'a')
    // Only gateways close connections: one that was closed under a gateway costs it an attempt that nobody planned.
    this.#server.keepAliveTimeout = 0
    this.#server.requestTimeout = 0
    this.#server.headersTimeout = 0
  }

  async start (): Promise<void> {
    await new Promise<void>((resolve, reject) => this.#server.once('error', reject).listen(0, '127.0.0.1', resolve))
  }

  /** For the next gateway to be started: its process is known only afterwards, and what it pushes until then waits. */
  target (): Target {
    const { promise, resolve } = withResolver()
    const number = this.#pids.push(promise) - 1
    return { url: `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/${number}`, belongsTo: resolve }
  }

  async close (): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await new Promise(resolve => {
      this.#server.close(resolve)
      this.#server.closeAllConnections()
    })
    closeSync(this.#fd)
  }

  async #take (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { id, ms, fails = 0, poison, hangs } = JSON.parse(Buffer.concat(chunks).toString())
    const pid = await this.#pids[Number(request.url!.slice(1))]!
    // What its gateway closed before it sent this one must be seen first: both may have come in the same turn.
    await turn()
    await turn()
    if (gone.signal.aborted) return
    const place = placeOf(request)
    // Of all processes together: attempts outlive their process, and a record may have only so many.
    const record = `${place.partition}/${place.offset}`
    const attempt = (this.#attempts.get(record) ?? 0) + 1
    this.#attempts.set(record, attempt)
    const note = (what: LedgerEntry['what']) => this.#note({ what, ...place, attempt, pid, at: Date.now(), id, ...(poison !== undefined && { poison }) })
    note('start')
    try {
      if (hangs && attempt === 1) await delay(2 ** 30, undefined, { signal: gone.signal })
      await delay(ms, undefined, { signal: gone.signal })
    } catch {
      note('fail')
      return
    }
    if (poison !== undefined || attempt <= fails) {
      note('fail')
      response.statusCode = poison === 'hopeless' ? 422 : 500
    } else {
      note('end')
      response.statusCode = 204
    }
    response.end()
  }

  #note (entry: LedgerEntry): void {
    if (!this.#closed) writeSync(this.#fd, JSON.stringify(entry) + '\n')
  }
}

function placeOf ({ headers }: IncomingMessage): Place {
  const [, partition, offset] = /^partition:(\d+)\/offset:(\d+)$/.exec(String(headers['ce-id']))!
  const source = String(headers['ce-source'])
  return {
    topic: source.slice(source.lastIndexOf('/') + 1), partition: Number(partition), offset: Number(offset), key: String(headers['ce-subject'])
  }
}

function withResolver (): { promise: Promise<number>, resolve: (pid: number) => void } {
  let settle!: (pid: number) => void
  const promise = new Promise<number>(resolve => { settle = resolve })
  return { promise, resolve: settle }
}
