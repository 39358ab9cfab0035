import type { ClientProperties, ReaderConfig } from '../config.js'
import { SluiceError } from '../errors.js'
import { RecordReaderClient, unavailable, type ReaderClientOptions } from './record-reader-client.js'
import type { Log } from './record-producer.js'
import type { Isolation, PartitionBounds, ReadRequest, RecordPage, RecordReader, ReaderState } from './record-reader.js'

export interface RecordReaderPoolOptions {
  /** librdkafka properties for any client: brokers, security. */
  readonly client: ClientProperties
  readonly settings: ReaderConfig
  readonly log: Log
  /** Whether Kafka answers: while it does not, nothing is begun. */
  readonly isReachable: () => boolean
  /** Makes the clients; absent: Kafka's. */
  readonly open?: (options: ReaderClientOptions) => Promise<PooledReader>
}

/** What the pool asks of a client. */
export type PooledReader = Pick<RecordReaderClient, 'isolation' | 'isSpent' | 'read' | 'bounds' | 'close'>

/** How long a client that nobody needs stays connected. */
const idleMs = 60_000
/** How long a request waits for a client. */
const waitMs = 10_000

interface Slot { client: PooledReader | null, busy: boolean, idleTimer?: NodeJS.Timeout }
interface Waiting { readonly take: (slot: Slot) => void, readonly refuse: (error: SluiceError) => void, readonly timer: NodeJS.Timeout }

/**
 * Looks at stored records with a few clients, each for one request at a time; the others wait in the order of their arrival.
 *
 * Bounds: `settings.clients` under way, `maxWaiting` waiting for 10 s each. A client fetches about 4 MB ahead, and is let go a
 * minute after it was last needed.
 */
export class RecordReaderPool implements RecordReader {
  readonly #options: RecordReaderPoolOptions
  readonly #slots: Slot[]
  readonly #waiting: Waiting[] = []
  readonly #working = new Set<Promise<unknown>>()
  #closing = false

  constructor (options: RecordReaderPoolOptions) {
    this.#options = options
    this.#slots = Array.from({ length: options.settings.clients }, () => ({ client: null, busy: false }))
  }

  get state (): ReaderState {
    return {
      reading: this.#slots.filter(({ busy }) => busy).length,
      waiting: this.#waiting.length,
      clients: this.#slots.filter(({ client }) => client !== null).length
    }
  }

  read (request: ReadRequest): Promise<RecordPage> {
    return this.#with(request.isolation, client => client.read(request))
  }

  bounds (topic: string, partitions: number): Promise<PartitionBounds[]> {
    return this.#with(null, client => client.bounds(topic, partitions))
  }

  /** Refuses what waits, lets what is under way end, and lets go of the clients; for at most `timeoutMs`. */
  async close (timeoutMs: number): Promise<void> {
    this.#closing = true
    for (const { refuse, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer)
      refuse(closing())
    }
    const all = async (): Promise<void> => {
      await Promise.allSettled(this.#working)
      await Promise.allSettled(this.#slots.map(slot => this.#letGo(slot)))
    }
    let timer: NodeJS.Timeout | undefined
    await Promise.race([all(), new Promise<void>(resolve => { timer = setTimeout(resolve, timeoutMs) })])
    clearTimeout(timer)
  }

  async #with<T> (isolation: Isolation | null, work: (client: PooledReader) => Promise<T>): Promise<T> {
    if (this.#closing) throw closing()
    if (!this.#options.isReachable()) throw unavailable()
    const slot = await this.#slot(isolation)
    const working = this.#use(slot, isolation, work)
    this.#working.add(working)
    try {
      return await working
    } finally {
      this.#working.delete(working)
      this.#free(slot)
    }
  }

  async #use<T> (slot: Slot, isolation: Isolation | null, work: (client: PooledReader) => Promise<T>): Promise<T> {
    clearTimeout(slot.idleTimer)
    // The level belongs to the client: another one needs another client.
    if (slot.client !== null && isolation !== null && slot.client.isolation !== isolation) await this.#letGo(slot)
    const { client, settings: { maxBytes }, log, open = RecordReaderClient.open } = this.#options
    slot.client ??= await open({
      client, isolation: isolation ?? 'read_committed', maxBytes, onLog: line => { log.debug(line, 'Kafka client for reading') }
    })
    try {
      return await work(slot.client)
    } finally {
      if (slot.client.isSpent) await this.#letGo(slot)
    }
  }

  /** A slot that nobody uses, with a client of this level if there is one. */
  #slot (isolation: Isolation | null): Promise<Slot> {
    const idle = this.#slots.filter(({ busy }) => !busy)
    const slot = idle.find(({ client }) => client !== null && (isolation === null || client.isolation === isolation)) ??
      idle.find(({ client }) => client === null) ?? idle[0]
    if (slot !== undefined) {
      slot.busy = true
      return Promise.resolve(slot)
    }
    if (this.#waiting.length >= this.#options.settings.maxWaiting) return Promise.reject(busy())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        reject(busy())
      }, waitMs)
      const waiting: Waiting = { take: resolve, refuse: reject, timer }
      this.#waiting.push(waiting)
    })
  }

  #free (slot: Slot): void {
    const next = this.#waiting.shift()
    if (next !== undefined) {
      clearTimeout(next.timer)
      next.take(slot)
      return
    }
    slot.busy = false
    if (slot.client === null) return
    slot.idleTimer = setTimeout(() => {
      slot.busy = true
      this.#letGo(slot).finally(() => { this.#free(slot) }).catch(() => {})
    }, idleMs).unref()
  }

  async #letGo (slot: Slot): Promise<void> {
    clearTimeout(slot.idleTimer)
    const { client } = slot
    slot.client = null
    await client?.close()
  }
}

const busy = (): SluiceError => new SluiceError('SLUICE_READ_BUSY', 'Too many reads of stored records are under way.')
const closing = (): SluiceError => new SluiceError('SLUICE_CLOSING', 'This process is about to end.')
