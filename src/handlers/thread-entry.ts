// What a worker thread runs: it loads the handler module as the main thread would, and answers one attempt at a time. The native
// Kafka client stays out of it: loading that in a thread ends the process.

import { MessageChannel, parentPort, threadId, workerData, type MessagePort } from 'node:worker_threads'
import { asError } from '../engine/attempt-errors.js'
import { LazySignal } from '../engine/lazy-signal.js'
import type { Attempt, BatchAttempt } from '../engine/types.js'
import type { OutgoingRecord, Receipt } from '../record.js'
import { createHandler } from './index.js'
import { unpackRecord } from './packed-record.js'
import { pack, packError, unpack, unpackError, type PackedError } from './packing.js'
import { producing } from './producing.js'
import { ThreadLog } from './thread-log.js'
import type { FromThread, Hello, ThreadData, ThreadOutcome, ThreadTask, ToThread } from './thread-messages.js'

/** What one thread may have handed over to be sent without an answer: beyond it `send` rejects, as it does where the queue is full. */
const SENDS_MAX = 10_000
const SENDS_MAX_BYTES = 67_108_864

interface Call { readonly bytes: number, resolve (receipt: Receipt): void, reject (error: Error): void }

/** What the thread and the main thread say to each other, beside attempts and their outcomes. */
class Link {
  readonly #port: MessagePort
  readonly #calls = new Map<number, Call>()
  #lastCall = 0
  #bytes = 0
  /** The attempt that runs, `null` between two. */
  current: ThreadAttempt | null = null
  /** The last attempt that was to be aborted: it may come after that. */
  aborted: { readonly id: number, readonly reason: Error } | null = null

  constructor (port: MessagePort) {
    this.#port = port
    port.on('message', (message: ToThread) => { this.#heard(message) })
  }

  say (message: FromThread): void {
    this.#port.postMessage(message)
  }

  async send (record: OutgoingRecord): Promise<Receipt> {
    const packed = pack(record)
    const bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0)
    if (this.#calls.size >= SENDS_MAX || (this.#bytes > 0 && this.#bytes + bytes > SENDS_MAX_BYTES)) {
      throw Object.assign(new Error('this thread waits for as many acknowledgements as it may'), { code: 'SLUICE_QUEUE_FULL' })
    }
    const call = ++this.#lastCall
    return new Promise<Receipt>((resolve, reject) => {
      this.#calls.set(call, { bytes, resolve, reject })
      this.#bytes += bytes
      this.say({ kind: 'send', call, record: packed })
    })
  }

  #heard (message: ToThread): void {
    if (message.kind === 'abort') this.#abort(message.id, message.reason)
    else this.#sent(message.call, message.outcome)
  }

  #abort (id: number, reason: PackedError): void {
    this.aborted = { id, reason: unpackError(reason) }
    if (this.current?.id === id) this.current.abort(this.aborted.reason)
  }

  #sent (call: number, outcome: ThreadOutcome): void {
    const { bytes, resolve, reject } = this.#calls.get(call)!
    this.#calls.delete(call)
    this.#bytes -= bytes
    if ('error' in outcome) reject(unpackError(outcome.error))
    else resolve(unpack(outcome.answer) as Receipt)
  }
}

/** What the handler is told of the attempt. */
class ThreadAttempt extends LazySignal implements Attempt, BatchAttempt {
  readonly id: number
  readonly attempts: readonly number[]

  constructor ({ id, attempts }: ThreadTask, link: Link) {
    super()
    this.id = id
    this.attempts = attempts
    if (link.aborted?.id === id) this.abort(link.aborted.reason)
  }

  get attempt (): number { return this.attempts[0] }
}

async function start (): Promise<(task: ThreadTask) => Promise<ThreadOutcome>> {
  const { config, logLevel } = workerData as ThreadData
  const { port1, port2 } = new MessageChannel()
  const written = new Int32Array(new SharedArrayBuffer(4))
  const link = new Link(port1)
  const log = new ThreadLog(logLevel, written, line => link.say({ kind: 'log', line })).logger()
  const { handle } = await createHandler(config, { log, producer: { send: record => link.send(record) } })
  // Answers are read here, since not everything that is none could get to the main thread. Records in them are produced there.
  const handler = producing(handle, async lists => lists.map(produce => ({ failed: false, value: { produce } })))
  // As in the main thread. An exception that nobody catches ends the thread: its attempt would never settle.
  process.on('unhandledRejection', err => {
    log.error({ err }, 'a promise was rejected and nobody handled it: a handler module should await, or catch, what it starts')
  })
  const hello: Hello = { threadId, link: port2, written }
  parentPort!.postMessage(hello, [port2])

  return async task => {
    const attempt = new ThreadAttempt(task, link)
    link.current = attempt
    try {
      const records = task.records.map(unpackRecord)
      const answer = await (typeof handler === 'function' ? handler(records[0], attempt) : handler.handle(records, attempt))
      return { answer: pack(Array.isArray(answer) ? answer.map(entryOf) : answer) }
    } catch (thrown) {
      return { error: packError(asError(thrown)) }
    } finally {
      link.current = null
    }
  }
}

/** How a record of a batch ended. What it failed with may be anything. */
function entryOf (entry: { readonly status: string, readonly reason?: unknown }): object {
  return entry.status === 'rejected' ? { ...entry, reason: asError(entry.reason) } : entry
}

// Not awaited here: a module that awaits while it is loaded could not be required, which is what the pool tries first.
export default start()
