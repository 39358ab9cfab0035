import { randomUUID } from 'node:crypto'
import type { ClientProperties, ProducerConfig } from '../config.js'
import { CommitError, OutputRefusedError } from '../engine/types.js'
import { SluiceError } from '../errors.js'
import type { OutgoingRecord } from '../record.js'
import { isRefused } from '../refused-records.js'
import type { GroupOffsets } from './driver.js'
import { prepareRecord, type PreparedRecord } from './prepared-record.js'
import { producerProperties } from './producer-properties.js'
import type { Log } from './record-producer.js'
import { isRefusedAsBatch } from './transaction-errors.js'
import { batchesOfOne, transactionalProperties, type PooledProducer } from './transactional-producer-pool.js'
import { TransactionalProducer, type TransactionalProducerOptions } from './transactional-producer.js'

export interface TransactionalCommitsOptions {
  /** librdkafka properties for any client: brokers, security. */
  readonly client: ClientProperties
  readonly producer: ProducerConfig
  readonly timeoutMs: number
  /** `null`: one that no other process has. */
  readonly transactionalId: string | null
  readonly groupId: string
  readonly log: Log
  /** Makes the producers; absent: Kafka's. */
  readonly open?: (options: TransactionalProducerOptions) => Promise<PooledProducer>
}

/** What the brokers may still have of a commit is larger than what any consumer of one process has in memory. */
const QUEUE_MAX_RECORDS = 2_147_483_647
const QUEUE_MAX_KBYTES = 2_147_483_647

/**
 * Commits of one member of a group as transactions: records and offsets, all or nothing.
 *
 * Whose offsets are taken the group decides, by the generation that this member is of, and not by the transactional id (KIP-447): it
 * only lets a process that starts again end at once what it had left open.
 */
export class TransactionalCommits {
  readonly #options: TransactionalCommitsOptions
  #transactionalId: string
  #producer: PooledProducer | null = null
  #opening: Promise<PooledProducer> | null = null
  #closing = false
  /** Each record goes in a batch of its own: in the next transaction, or from now on. */
  #oneByOne: 'once' | 'always' | null = null
  readonly #retiring = new Set<Promise<void>>()

  private constructor (options: TransactionalCommitsOptions) {
    this.#options = options
    this.#transactionalId = options.transactionalId ?? ownId(options.groupId)
  }

  /**
   * Connects, and has what was left open under the transactional id aborted.
   *
   * @throws {SluiceError} SLUICE_BROKER_UNAVAILABLE, SLUICE_NOT_AUTHORIZED
   */
  static async open (options: TransactionalCommitsOptions): Promise<TransactionalCommits> {
    const commits = new TransactionalCommits(options)
    await commits.#ready()
    return commits
  }

  /**
   * Commits the offsets together with the records.
   *
   * @throws {CommitError} `retriable` and `lost`: it was aborted; `unknown`: nobody can tell
   */
  async commit (offsets: GroupOffsets, outputs: readonly OutgoingRecord[]): Promise<void> {
    const records = outputs.map((record, index) => this.#prepared(record, index))
    let producer
    try {
      producer = await this.#ready()
    } catch (error) {
      throw new CommitError('retriable', (error as Error).message, { cause: error })
    }
    let reason: unknown
    const { answer, ended } = producer.run(records, performance.now() + this.#options.timeoutMs, offsets)
    answer.catch((error: unknown) => { reason = error })
    const end = await ended
    const wasOneByOne = this.#oneByOne !== null
    if (this.#oneByOne === 'once') {
      // What comes next need not be slow.
      this.#oneByOne = null
      this.#throwAway(producer)
    } else if (producer.spent !== null) {
      this.#throwAway(producer)
    }
    if (end === 'committed') return
    const { message } = reason as Error
    if (end === 'unknown') throw new CommitError('unknown', message, { cause: reason })
    const index = isBlamed(reason) ? indexIn(reason) : null
    if (index !== null && isRefusedAsBatch(reason) && !wasOneByOne && outputs.length > 1) {
      // 1. A record is not valid, or a topic allows less than this gateway does. 2. The client sends many records as one batch. 3. Kafka
      // refuses the batch: which of its records is at fault, if any of them is, only a batch of each one's own can tell.
      this.#oneByOne = code(reason) === 'SLUICE_RECORD_TOO_LARGE' ? 'always' : 'once'
      if (this.#oneByOne === 'always') {
        this.#options.log.warn({ topic: outputs[index]?.topic },
          'a topic allows smaller batches than KAFKA_MESSAGE_MAX_BYTES: from now on each record of a transaction is sent by itself, which is slower')
      }
      throw new CommitError('retriable', message, { cause: reason })
    }
    if (index !== null) throw new OutputRefusedError(index, isRefused(reason), message, { cause: reason })
    const cause = (reason as { cause?: { code?: unknown } }).cause?.code
    throw new CommitError(typeof cause === 'number' && offsets.isLost(cause) ? 'lost' : 'retriable', message, { cause: reason })
  }

  /** Lets go of the client. What is open is left to Kafka to abort. Never rejects. */
  async close (): Promise<void> {
    this.#closing = true
    await this.#opening?.catch(() => {})
    const producer = this.#producer
    this.#producer = null
    if (producer !== null) this.#retire(producer)
    await Promise.allSettled(this.#retiring)
  }

  #prepared (record: OutgoingRecord, index: number): PreparedRecord {
    try {
      return prepareRecord(record, this.#options.producer.messageMaxBytes)
    } catch (error) {
      throw new OutputRefusedError(index, true, (error as Error).message, { cause: error })
    }
  }

  #ready (): Promise<PooledProducer> {
    if (this.#producer !== null) return Promise.resolve(this.#producer)
    if (this.#closing) return Promise.reject(new SluiceError('SLUICE_CLOSING', 'The producer for transactions is closed.'))
    this.#opening ??= this.#open().finally(() => { this.#opening = null })
    return this.#opening
  }

  async #open (): Promise<PooledProducer> {
    const { client, producer, timeoutMs, log, open = TransactionalProducer.open } = this.#options
    this.#producer = await open({
      properties: {
        ...transactionalProperties(producerProperties(client, producer), this.#transactionalId, timeoutMs),
        // What waits is bounded by the windows.
        'queue.buffering.max.messages': QUEUE_MAX_RECORDS,
        'queue.buffering.max.kbytes': QUEUE_MAX_KBYTES,
        ...(this.#oneByOne !== null && batchesOfOne)
      },
      transactionTimeoutMs: timeoutMs,
      messageMaxBytes: producer.messageMaxBytes,
      reportsTimestamps: true,
      log
    })
    log.info({ transactionalId: this.#transactionalId }, 'a producer for the transactions of a consumer is ready')
    return this.#producer
  }

  #throwAway (producer: PooledProducer): void {
    if (this.#producer === producer) this.#producer = null
    // Two processes with the same id would go on taking it from each other. Whoever was there first gives way.
    if (producer.spent === 'fenced') {
      this.#transactionalId = ownId(this.#options.groupId)
      this.#options.log.warn({ transactionalId: this.#transactionalId },
        'another process uses the same transactional id (KAFKA_TRANSACTIONAL_ID_PREFIX, KAFKA_GROUP_INSTANCE_ID); this one takes one of its own')
    }
    this.#retire(producer)
  }

  #retire (producer: PooledProducer): void {
    const retired = producer.close().catch((err: unknown) => { this.#options.log.warn({ err }, 'a producer for transactions could not be let go') })
      .finally(() => { this.#retiring.delete(retired) })
    this.#retiring.add(retired)
  }
}

/** The id of a consumer's transactions: the same after a restart where something says who this process is; `null`: nothing does. */
export function transactionalIdOf (groupId: string, groupInstanceId: string | null, prefix: string | null): string | null {
  if (prefix !== null) return `${prefix}-${groupId}`
  return groupInstanceId === null ? null : `sluice-${groupId}-${groupInstanceId}`
}

const ownId = (groupId: string): string => `sluice-${groupId}-${randomUUID()}`

/** Whether the record itself is to blame, and not the way to Kafka: what passes by itself must make no dead letters. */
function isBlamed (error: unknown): boolean {
  return isRefused(error) || code(error) === 'SLUICE_UNKNOWN_TOPIC' || code(error) === 'SLUICE_NOT_AUTHORIZED'
}

const code = (error: unknown): string | undefined => error instanceof SluiceError ? error.code : undefined

function indexIn (error: unknown): number | null {
  const [, index] = /^#\/records\/(\d+)$/.exec((error instanceof SluiceError && error.details.pointer) || '') ?? []
  return index === undefined ? null : Number(index)
}
