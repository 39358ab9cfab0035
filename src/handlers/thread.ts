import type { MessagePort } from 'node:worker_threads'
import type { OutgoingRecord } from '../record.js'
import type { HandlerPorts } from './index.js'
import { pack, packError, unpack } from './packing.js'
import { writeLine } from './thread-log.js'
import type { FromThread, Hello, ThreadOutcome, ToThread } from './thread-messages.js'

/** A thread of the pool, as the main thread knows it. */
export class Thread {
  readonly id: number
  /** It runs an attempt. */
  busy = false
  /** What it did not catch. */
  failure: Error | null = null
  /** It is ended because its attempt does not stop. */
  stuck = false
  #link: MessagePort | null = null

  constructor (id: number) {
    this.id = id
  }

  /** Its module is loaded: it can take an attempt. */
  get ready (): boolean { return this.#link !== null }

  /** From now on it is heard: what it logs is logged, and what it sends is sent. */
  meet ({ link, written }: Hello, { log, producer }: HandlerPorts): void {
    this.#link = link
    link.on('message', (message: FromThread) => {
      if (message.kind === 'log') {
        writeLine(log, message.line)
        Atomics.add(written, 0, message.line.size)
      } else {
        this.#send(message.call, unpack(message.record) as OutgoingRecord, producer)
      }
    })
    // It must not keep the process alive.
    link.unref()
  }

  tell (message: ToThread): void {
    this.#link?.postMessage(message)
  }

  async #send (call: number, record: OutgoingRecord, producer: HandlerPorts['producer']): Promise<void> {
    let outcome: ThreadOutcome
    try {
      outcome = { answer: pack(await producer.send(record)) }
    } catch (error) {
      outcome = { error: packError(error as Error) }
    }
    this.tell({ kind: 'sent', call, outcome })
  }
}
