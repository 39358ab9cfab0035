import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { Piscina, queueOptionsSymbol } from 'piscina'
import type { BatchedHandler, Handler } from '../engine/types.js'
import type { KafkaRecord } from '../record.js'
import type { CreatedHandler, HandlerConfig, HandlerPorts } from './index.js'
import { packRecord } from './packed-record.js'
import { packError, unpack, unpackError } from './packing.js'
import type { Hello, ThreadData, ThreadOutcome, ThreadTask } from './thread-messages.js'
import { Thread } from './thread.js'

/** What the threads are doing. */
export interface ThreadsState {
  /** Threads whose module is loaded. */
  readonly ready: number
  /** Those of them that run an attempt. */
  readonly busy: number
  /** Attempts that wait for a thread, since one is being replaced. */
  readonly waiting: number
  /** Threads that are no more: they `ended` by themselves, or were ended because their attempt was `stuck`. */
  readonly lost: Readonly<Record<'ended' | 'stuck', number>>
}

/** The thread that an attempt ran in is no more. */
export class ThreadEndedError extends Error {
  constructor (message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ThreadEndedError'
  }
}

/**
 * The engine gives an attempt up once the grace has passed, at the next turn of its loop. The thread is ended this much later, so
 * that the engine's own rule for what never settles decides about the record.
 */
const AFTER_GRACE_MS = 500
/** What ending all threads may take: one that is inside a native call ends only when that returns. */
const CLOSE_MAX_MS = 5_000

// Built, or as it is written where the tests run.
const entryFile = ['./thread-entry.js', './thread-entry.ts'].map(name => fileURLToPath(new URL(name, import.meta.url))).find(file => existsSync(file))!

/** An attempt, from when the pool gets it until it has settled. */
class Running {
  readonly id: number
  /** `null` as long as it waits for one. */
  thread: Thread | null = null
  /** Takes it out of the queue, or ends its thread; the reason is what the attempt fails with. */
  readonly end = new AbortController()
  timer: NodeJS.Timeout | undefined

  constructor (id: number) {
    this.id = id
  }
}

/**
 * Runs a handler module in worker threads, one attempt at a time in each: attempts that share a thread would use up one another's
 * time, and fail when it has to be ended.
 *
 * A thread that ends by itself fails its attempt and is replaced. One whose attempt has not settled some time after its signal was
 * aborted is ended, and replaced as well: its slot and its key are free then.
 */
export class Workers implements CreatedHandler {
  readonly handle: Handler | BatchedHandler
  readonly #pool: Piscina<ThreadTask, ThreadOutcome>
  readonly #module: string
  readonly #graceMs: number
  readonly #ports: HandlerPorts
  readonly #threads = new Map<number, Thread>()
  readonly #running = new Set<Running>()
  readonly #lost = { ended: 0, stuck: 0 }
  #lastId = 0
  #closing = false
  /** A thread's module is loaded, or it ended before that. Only of interest while the first ones start. */
  #startMoved: (failure: Error | null) => void = () => {}

  /**
   * Starts the threads, and waits until each has loaded the module.
   *
   * @throws {Error} where one could not: as without threads, one sentence that says which module and what is wrong
   */
  static async start (config: HandlerConfig, ports: HandlerPorts): Promise<Workers> {
    const workers = new Workers(config, ports)
    try {
      await new Promise<void>((resolve, reject) => {
        workers.#startMoved = failure => {
          if (failure !== null) reject(failure)
          else if (workers.state.ready === config.handlerThreads) resolve()
        }
      })
      workers.#startMoved = () => {}
      return workers
    } catch (error) {
      await workers.close()
      throw error
    }
  }

  private constructor (config: HandlerConfig, ports: HandlerPorts) {
    const { handler, batches, handlerThreads, handlerThreadHeapMb, handlerGraceMs } = config
    this.handle = batches === null
      ? (record, { attempt, signal }) => this.#run([record], [attempt], signal)
      : { batches, handle: (records, { attempts, signal }) => this.#run(records, attempts, signal) }
    this.#module = handler
    this.#graceMs = handlerGraceMs
    this.#ports = ports
    const workerData: ThreadData = { config: { ...config, handlerThreads: 0 }, logLevel: ports.log.level }
    this.#pool = new Piscina({
      filename: entryFile,
      workerData,
      minThreads: handlerThreads,
      maxThreads: handlerThreads,
      idleTimeout: Infinity,
      concurrentTasksPerWorker: 1,
      stricterFIFO: true,
      // The default halts a thread between two attempts, with its timers and connections.
      atomics: 'disabled',
      recordTiming: false,
      loadBalancer: (task, workers) => {
        const isFree = (id: number) => this.#threads.get(id)?.ready === true
        const free = workers.find(({ id, currentUsage, destroyed }) => currentUsage === 0 && !destroyed && isFree(id))
        if (free === undefined) return null
        const running = task[queueOptionsSymbol] as Running
        running.thread = this.#threads.get(free.id)!
        running.thread.busy = true
        return free
      },
      ...(handlerThreadHeapMb !== null && { resourceLimits: { maxOldGenerationSizeMb: handlerThreadHeapMb } })
    })
    this.#pool.on('message', (hello: Hello) => { this.#greet(hello) })
    // Each thread is listened to.
    this.#pool.on('error', () => {})
    this.#meetNew()
  }

  get state (): ThreadsState {
    const ready = [...this.#threads.values()].filter(thread => thread.ready)
    return {
      ready: ready.length,
      busy: ready.filter(({ busy }) => busy).length,
      waiting: [...this.#running].filter(({ thread }) => thread === null).length,
      lost: { ...this.#lost }
    }
  }

  /** Ends the threads, whatever they do. Nothing that was begun goes on. */
  async close (): Promise<void> {
    this.#closing = true
    for (const running of this.#running) clearTimeout(running.timer)
    let timer
    const limit = new Promise<boolean>(resolve => { timer = setTimeout(() => resolve(false), CLOSE_MAX_MS) })
    const ended = await Promise.race([this.#pool.destroy().then(() => true), limit])
    clearTimeout(timer)
    if (!ended) this.#ports.log.warn({ limitMs: CLOSE_MAX_MS }, 'worker threads do not end: they may be inside native calls')
  }

  async #run (records: readonly KafkaRecord[], attempts: readonly number[], signal: AbortSignal): Promise<unknown> {
    const running = new Running(++this.#lastId)
    const aborted = () => { this.#abort(running, signal.reason) }
    this.#running.add(running)
    try {
      signal.throwIfAborted()
      signal.addEventListener('abort', aborted, { once: true })
      const packed = records.map(packRecord)
      const task = { id: running.id, records: packed, attempts, [queueOptionsSymbol]: running }
      const outcome = this.#pool.run(task, { transferList: packed.map(({ bytes }) => bytes), signal: running.end.signal })
      this.#meetNew()
      return answerOf(await outcome.catch((error: Error) => { throw this.#whyEnded(running, error) }))
    } finally {
      signal.removeEventListener('abort', aborted)
      clearTimeout(running.timer)
      this.#running.delete(running)
      if (running.thread !== null) running.thread.busy = false
    }
  }

  #abort (running: Running, reason: Error): void {
    const { thread } = running
    if (thread === null) {
      running.end.abort(Object.assign(new ThreadEndedError(`no worker thread was free in time: ${reason.message}`, { cause: reason }), { outage: true }))
      return
    }
    thread.tell({ kind: 'abort', id: running.id, reason: packError(reason) })
    running.timer = setTimeout(() => {
      thread.stuck = true
      running.end.abort(new ThreadEndedError(`the handler did not stop within ${this.#graceMs} ms of being told to, and its worker thread was ended: ${reason.message}`, { cause: reason }))
      this.#meetNew()
    }, this.#graceMs + AFTER_GRACE_MS)
    running.timer.unref()
  }

  /** The outcome never came. */
  #whyEnded (running: Running, error: Error): Error {
    const { signal } = running.end
    if (signal.aborted) return signal.reason as Error
    if (this.#closing) return new ThreadEndedError('the worker threads are closed')
    return new ThreadEndedError(`the worker thread ended while it handled the record: ${error.message}`, { cause: error })
  }

  /** Gets to know the threads that the pool has made since. */
  #meetNew (): void {
    for (const worker of this.#pool.threads) {
      if (worker.threadId < 0 || this.#threads.has(worker.threadId)) continue
      const thread = new Thread(worker.threadId)
      this.#threads.set(thread.id, thread)
      worker.on('error', error => { thread.failure = error })
      worker.on('exit', code => { this.#ended(thread, worker, code) })
    }
  }

  #greet (hello: Hello): void {
    this.#meetNew()
    this.#threads.get(hello.threadId)?.meet(hello, this.#ports)
    this.#startMoved(null)
  }

  #ended (thread: Thread, worker: Worker, code: number): void {
    this.#threads.delete(thread.id)
    if (this.#closing) return
    this.#meetNew()
    const fields = { thread: thread.id, exitCode: code, ...(thread.failure !== null && { err: thread.failure }) }
    this.#lost[thread.stuck ? 'stuck' : 'ended']++
    if (thread.ready) {
      this.#ports.log.error(fields, thread.stuck
        ? 'a worker thread was ended, since its handler did not stop when it was told to; another takes its place'
        : 'a worker thread ended; another takes its place')
      return
    }
    this.#ports.log.error(fields, 'a worker thread ended before its module was loaded')
    const why = `KAFKA_HANDLER: the module ${this.#module} could not be loaded: its worker thread ended with exit code ${code}`
    this.#startMoved(thread.failure ?? new Error(why))
    this.#failWaiting(thread.failure?.message ?? why)
  }

  /** Where there is no thread left, and none begins, nobody would take what waits. The next attempt makes the pool try again. */
  #failWaiting (why: string): void {
    if (this.#threads.size > 0) return
    for (const { thread, end } of this.#running) {
      if (thread === null) end.abort(Object.assign(new ThreadEndedError(`no worker thread could be started: ${why}`), { outage: true }))
    }
  }
}

function answerOf (outcome: ThreadOutcome): unknown {
  if ('error' in outcome) throw unpackError(outcome.error)
  return unpack(outcome.answer)
}
