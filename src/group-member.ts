import type { Engine, EngineState, PartitionState } from './engine/engine.js'
import { partitionId } from './engine/partition-id.js'
import { PollError, type PartitionEnd, type Source, type TopicPartition } from './engine/types.js'

/** A source that was connected, with what goes along with the connection. */
export interface ConnectedSource extends Source {
  /** Where partitions end for this isolation level. */
  ends (partitions: readonly TopicPartition[]): Promise<PartitionEnd[]>
  /** What keeps it from reading, in sentences for an operator, besides what its polls say. */
  readonly problems: readonly string[]
  close (): Promise<void>
}

export interface GroupMemberOptions {
  readonly connect: () => Promise<ConnectedSource>
  readonly createEngine: (source: Source) => Engine
  /** Told why the member is made anew. */
  readonly onRestart: (error: Error, delayMs: number) => void
  /** Told that another process has this member's identity. It is not made anew: that would only take it back. */
  readonly onFenced: (error: PollError) => void
}

/** One partition, with its lag: `null` until its end is known. */
export type PartitionStatus = PartitionState & { readonly lag: number | null }

export type GroupMemberState = Omit<EngineState, 'phase' | 'partitions'> & {
  readonly phase: 'connecting' | EngineState['phase']
  readonly partitions: PartitionStatus[]
}

const RESTART_MIN_MS = 500
const RESTART_MAX_MS = 30_000
/** One that ran this long before it failed starts again without the waits of earlier failures. */
const RAN_WELL_MS = 60_000
/** How long a new life waits for the handlers of one that failed, and how often it looks. */
const HANDLERS_END_MAX_MS = 30_000
const HANDLERS_END_LOOK_MS = 100
/** How often the partitions' ends are asked for, and how soon for one whose end is not known yet. */
const ENDS_INTERVAL_MS = 5_000
const ENDS_AT_FIRST_MS = 500

/**
 * Keeps one member of the group running: connects, runs the engine over the connection, and makes both anew when they
 * fail for good, until it is stopped. Also asks for the partitions' ends from time to time, for the lag.
 */
export class GroupMember {
  readonly #options: GroupMemberOptions
  #source: ConnectedSource | null = null
  #engine: Engine | null = null
  #running: Promise<void> | null = null
  #stopping = false
  #ended = false
  #stopDeadline = Infinity
  #wake: (() => void) | null = null
  #failure: Error | null = null
  #fenced: PollError | null = null
  #endsTimer: NodeJS.Timeout | null = null
  #endsAskedAt = 0
  #askingEnds = false
  readonly #ends = new Map<string, number>()

  constructor (options: GroupMemberOptions) {
    this.#options = options
  }

  start (): void {
    this.#running ??= this.#run().finally(() => { this.#ended = true })
    this.#endsTimer ??= setInterval(() => { this.#askEnds() }, ENDS_AT_FIRST_MS)
  }

  /**
   * Stops admitting, drains within `timeoutMs`, commits, leaves the group, disconnects. Never rejects.
   */
  async stop (timeoutMs: number): Promise<void> {
    this.#stopping = true
    this.#stopDeadline = performance.now() + timeoutMs
    if (this.#endsTimer !== null) clearInterval(this.#endsTimer)
    this.#wake?.()
    await this.#engine?.stop(timeoutMs)
    await this.#running
  }

  /** The one that runs now, `null` between two connections. */
  get engine (): Engine | null { return this.#engine }

  get state (): GroupMemberState {
    const engine = this.#engine?.state
    if (this.#fenced !== null) return { ...NOT_RUNNING, phase: 'stopped', problems: [this.#fenced.message] }
    if (engine === undefined) {
      if (this.#stopping || this.#ended) return { ...NOT_RUNNING, phase: 'stopped', problems: [] }
      const connecting = this.#failure === null ? 'the consumer is connecting' : `the consumer cannot connect: ${this.#failure.message}`
      return { ...NOT_RUNNING, phase: 'connecting', problems: [connecting] }
    }
    const problems = [...this.#source?.problems ?? [], ...engine.problems]
    return { ...engine, problems, partitions: engine.partitions.map(partition => ({ ...partition, lag: this.#lagOf(partition) })) }
  }

  async #run (): Promise<void> {
    let delayMs = RESTART_MIN_MS
    while (!this.#stopping) {
      const startedAt = performance.now()
      try {
        await this.#live()
      } catch (error) {
        if (this.#fenced !== null) return
        if (performance.now() - startedAt > RAN_WELL_MS) delayMs = RESTART_MIN_MS
        this.#failure = error as Error
        this.#options.onRestart(this.#failure, delayMs)
        await this.#wait(delayMs)
        delayMs = Math.min(RESTART_MAX_MS, delayMs * 2)
      }
    }
  }

  /** One life of the member, from connecting to leaving. */
  async #live (): Promise<void> {
    const source = await this.#options.connect()
    this.#source = source
    try {
      if (this.#stopping) return
      this.#failure = null
      const engine = this.#engine = this.#options.createEngine(source)
      await engine.run().catch(async (error: Error) => {
        if (error instanceof PollError && error.fenced) {
          this.#fenced = error
          this.#options.onFenced(error)
        }
        await this.#handlersToEnd(engine)
        throw error
      })
    } finally {
      this.#source = null
      this.#engine = null
      this.#ends.clear()
      await source.close()
    }
  }

  /**
   * A new engine knows nothing of the handlers that an old one left running, neither of their keys nor of their slots: it
   * begins when they have ended. They were told to; those that take no notice are waited for within bounds. Where nothing
   * new begins because the process ends, they may still need what ends after this.
   */
  async #handlersToEnd (engine: Engine): Promise<void> {
    for (let waitedMs = 0; waitedMs < HANDLERS_END_MAX_MS; waitedMs += HANDLERS_END_LOOK_MS) {
      if (engine.state.inFlight === 0 || performance.now() > this.#stopDeadline) return
      await new Promise(resolve => { setTimeout(resolve, HANDLERS_END_LOOK_MS) })
    }
  }

  async #askEnds (): Promise<void> {
    const partitions = this.#engine?.state.partitions ?? []
    if (this.#source === null || partitions.length === 0 || this.#askingEnds) return
    const waited = performance.now() - this.#endsAskedAt
    if (waited < ENDS_INTERVAL_MS && partitions.every(({ topic, partition }) => this.#ends.has(partitionId(topic, partition)))) return
    this.#askingEnds = true
    this.#endsAskedAt = performance.now()
    try {
      for (const { topic, partition, offset } of await this.#source.ends(partitions)) this.#ends.set(partitionId(topic, partition), offset)
    } catch {
      // The lag stays what it was; that the brokers are away is told by those who need them more.
    } finally {
      this.#askingEnds = false
    }
  }

  #lagOf ({ topic, partition, commitOffset, lastAdmitted }: PartitionState): number | null {
    const asked = this.#ends.get(partitionId(topic, partition)) ?? -1
    // What was read since the end was last asked for moves it, too.
    const end = Math.max(asked, lastAdmitted + 1)
    if (commitOffset < 0) return asked < 0 ? null : asked
    return asked < 0 && lastAdmitted < 0 ? null : Math.max(0, end - commitOffset)
  }

  #wait (ms: number): Promise<void> {
    if (this.#stopping) return Promise.resolve()
    return new Promise(resolve => {
      const timer = setTimeout(() => this.#wake?.(), ms)
      this.#wake = () => {
        this.#wake = null
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

const NOT_RUNNING = {
  partitions: [], inFlight: 0, waiting: 0, retrying: 0, deadLettering: 0, abandoned: 0, blocked: 0, limit: 0, breaker: 'closed', lastTurnAt: 0
} as const satisfies Omit<GroupMemberState, 'phase' | 'problems'>
