import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

interface Waiting { resolve (value: unknown): void, reject (err: Error): void }

/**
 * The test's end of the line to the witness (test/support/kafka-witness/Witness.java).
 *
 * Any number of calls may be under way. The connection keeps the process alive only while one is, so a test file needs no
 * teardown for it.
 */
export class WitnessClient {
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0

  constructor (address: string) {
    const [host, port] = address.split(':')
    this.#socket = connect({ host, port: Number(port), noDelay: true })
    createInterface({ input: this.#socket }).on('line', line => {
      const { id, result, error } = JSON.parse(line) as { id: number, result?: unknown, error?: string }
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (this.#waiting.size === 0) this.#socket.unref()
      if (error === undefined) waiting?.resolve(result)
      else waiting?.reject(new Error(error))
    })
    const gone = (err?: Error) => {
      for (const { reject } of this.#waiting.values()) reject(err ?? new Error('the witness has ended'))
      this.#waiting.clear()
    }
    this.#socket.on('error', gone)
    this.#socket.on('close', () => gone())
  }

  call<T> (op: string, args: Record<string, unknown>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error('the witness has ended'))
      const id = ++this.#lastId
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#socket.ref()
      this.#socket.write(JSON.stringify({ id, op, ...args }) + '\n')
    })
  }
}
