import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { PushConfig } from '../config/types.js'
import type { BatchHandler, Handler } from '../engine/types.js'
import type { Tally } from '../tally-histogram.js'
import { signingKey, standardSignature } from '../webhook-signature.js'
import { failureOf, PushError } from './push-answer.js'
import { PushConnections, type Abortable } from './push-connections.js'
import { batchedContent, binaryContent, structuredContent, type Content, type ContentOptions } from './push-content.js'
import { RecordEvents } from './push-event.js'
import { PushHeaders } from './push-headers.js'
import type { KafkaRecord } from '../record.js'

/** Seconds by the class of the answer's status, as in `2xx`; `none` where there was no answer. */
export interface PushDuration { of (status: string): Tally }

/** Pushes records to one URL over HTTP: see docs/handlers.md. */
export class HttpPush {
  readonly #connections: PushConnections
  readonly #origin: string
  readonly #path: string
  readonly #common: readonly string[]
  readonly #keys: readonly Buffer[]
  readonly #mode: PushConfig['mode']
  readonly #options: ContentOptions
  readonly #duration: PushDuration | undefined
  readonly #tallies = new Map<string, Tally>()

  constructor (config: PushConfig, duration?: PushDuration) {
    const url = new URL(config.url)
    this.#origin = url.origin
    this.#path = url.pathname + url.search
    this.#common = ['user-agent', 'sluice', ...(config.authorization === null ? [] : ['authorization', config.authorization])]
    this.#keys = config.secrets.map(secret => signingKey('standard-webhooks', secret)!)
    this.#mode = config.mode
    this.#options = {
      events: new RecordEvents(config.source), contentType: config.contentType, headers: new PushHeaders(config.headers)
    }
    this.#duration = duration
    this.#connections = new PushConnections({
      origin: url.origin,
      connectTimeoutMs: config.connectTimeoutMs,
      ca: config.caFile === null ? null : readFileSync(config.caFile, 'utf8')
    })
  }

  /** Resolves once the target has taken the record. @throws {PushError} */
  readonly handle: Handler = (record, attempt) => {
    return this.#send(this.#contentOf(record), idOf(record), attempt)
  }

  /**
   * The same for an array of events. Answers how each record ended.
   *
   * An answer that refuses an array for good does not say which of its events it is about: each is sent once more on its own then,
   * in order, so that one bad record takes no other along.
   */
  readonly handleBatch: BatchHandler = async (records, attempt) => {
    const content = batchedContent(records, this.#options)
    const failed = new Map<KafkaRecord, unknown>(content.refused)
    if (content.records.length > 0) {
      await this.#send(content, idOfBatch(content.records), attempt).catch(async (error: unknown) => {
        if (isFinal(error) && content.records.length > 1) await this.#oneByOne(content.records, attempt, failed)
        else for (const record of content.records) failed.set(record, error)
      })
    }
    return failed.size === 0 ? undefined : records.map(record => failed.has(record) ? { status: 'rejected', reason: failed.get(record) } : undefined)
  }

  close (): Promise<void> {
    return this.#connections.close()
  }

  #contentOf (record: KafkaRecord): Content {
    switch (this.#mode) {
      case 'binary': return binaryContent(record, this.#options)
      case 'structured': return structuredContent(record, this.#options)
      case 'batched': {
        const content = batchedContent([record], this.#options)
        const refused = content.refused.get(record)
        if (refused !== undefined) throw refused
        return content
      }
    }
  }

  async #oneByOne (records: readonly KafkaRecord[], attempt: Abortable, failed: Map<KafkaRecord, unknown>): Promise<void> {
    let stopped: unknown = null
    for (const record of records) {
      if (stopped === null) {
        await this.#send(batchedContent([record], this.#options), idOf(record), attempt).catch((error: unknown) => {
          failed.set(record, error)
          // What is to be tried again must not be passed by a later one of its key.
          if (!isFinal(error)) stopped = error
        })
      } else {
        failed.set(record, stopped)
      }
    }
  }

  #send ({ headers, body }: Content, id: string, attempt: Abortable): Promise<void> {
    headers.push(...this.#common)
    if (this.#keys.length > 0) {
      const time = String(Math.floor(Date.now() / 1000))
      headers.push('webhook-id', id, 'webhook-timestamp', time, 'webhook-signature', standardSignature(this.#keys, id, time, body ?? noBody))
    }
    const request = { origin: this.#origin, path: this.#path, method: 'POST' as const, headers, body }
    const startedAt = performance.now()
    return new Promise((resolve, reject) => {
      this.#connections.send(request, attempt, (answer, error) => {
        this.#observe(answer === null ? 'none' : classOf(answer.status), (performance.now() - startedAt) / 1000)
        const failure = answer === null ? error : failureOf(answer, Date.now)
        if (failure === null) resolve()
        else reject(failure)
      })
    })
  }

  #observe (status: string, seconds: number): void {
    if (this.#duration === undefined) return
    let tally = this.#tallies.get(status)
    if (tally === undefined) this.#tallies.set(status, tally = this.#duration.of(status))
    tally.observe(seconds)
  }
}

/** No other attempt would end otherwise, so that those behind it need not wait. */
const isFinal = (error: unknown): boolean => error instanceof PushError && (error.retriable === false || error.drop === true)

const noBody = Buffer.alloc(0)
const classes = ['', '', '2xx', '3xx', '4xx', '5xx']
const classOf = (status: number): string => classes[Math.floor(status / 100)] ?? 'other'

/** The same in each attempt, and another for each record. Topics may have full stops, which separate what is signed. */
const idOf = ({ topic, partition, offset }: KafkaRecord): string => `${topic.replaceAll('.', '%2E')}/${partition}/${offset}`

/** Of other records it is another: who remembers ids must not take them for those that it has. */
function idOfBatch (records: readonly KafkaRecord[]): string {
  const first = records[0]!
  if (records.length === 1) return idOf(first)
  const which = createHash('sha256').update(records.map(({ offset }) => offset).join()).digest('hex').slice(0, 16)
  return `${idOf(first)}-${records.at(-1)!.offset}/${which}`
}
