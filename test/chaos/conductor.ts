import { setTimeout as delay } from 'node:timers/promises'
import { waitFor, type Kafka } from '../support/kafka.js'
import type { FaultLog } from './faults.js'
import type { Fleet, Life } from './fleet.js'
import { BROKERS, describe, type Action, type Step } from './plan.js'

export interface ConductorOptions {
  readonly kafka: Kafka
  readonly fleet: Fleet
  readonly faults: FaultLog
  readonly topic: string
  readonly group: string
  /** All whose copies must be in sync before another broker is touched. */
  readonly topics: readonly string[]
  readonly say: (text: string) => void
  /** Returns a function that tells how many of what is outstanding now still is. */
  readonly snapshot: () => () => number
  /** Something is wrong: there is no use in going on. */
  readonly over: () => boolean
}

export const OFFSETS_TOPIC = '__consumer_offsets'
const FOURTH = 4
const ADDED_PARTITIONS = 2
/** What a step waits for comes by itself; if not, the harness is at a loss. */
const TURN_LIMIT_MS = 120_000
/** In this time gateways that were frozen find out, join again, and begin. */
const COMING_BACK_MS = 5000
const SETTLE_LIMIT_MS = 120_000

/**
 * Carries a plan out. Each step begins at its time or as soon as it can without breaking a rule: one broker away at a time,
 * and only while all copies are in sync, so that two of three can always take a write; one gateway at least is at work, unless all
 * are frozen together. What was
 * begun is mended in the background, while the next steps come.
 */
export class Conductor {
  readonly #options: ConductorOptions
  readonly #mending = new Set<Promise<void>>()
  #failure: Error | null = null
  #brokerAway = false
  #fourth = false
  #comingBack = false

  constructor (options: ConductorOptions) {
    this.#options = options
  }

  /**
   * What has not begun after `lengthMs` is left out: steps that wait for one another take longer on a slow machine.
   *
   * @throws {Error} when something could not be done or mended: the cluster's or the harness's fault, no violation
   */
  async play (steps: readonly Step[], lengthMs: number): Promise<void> {
    const startedAt = performance.now()
    for (const [index, { atMs, action }] of steps.entries()) {
      await delay(Math.max(0, startedAt + atMs - performance.now()))
      if (this.#options.over()) break
      if (performance.now() - startedAt > lengthMs) {
        this.#options.say(`the time is up: ${steps.length - index} of ${steps.length} steps are left out`)
        break
      }
      await this.#turn(describe(action), () => this.#failure !== null || this.#options.over() || this.#possible(action))
      if (this.#failure !== null || this.#options.over()) break
      this.#options.say(describe(action))
      await this.#begin(action)
    }
    await Promise.all(this.#mending)
    if (this.#failure !== null) throw this.#failure
    this.#options.say('all is mended')
  }

  #possible (action: Action): boolean {
    const { fleet } = this.#options
    if (this.#comingBack) return false
    switch (action.what) {
      case 'kill gateway':
      case 'stop gateway':
      case 'pause gateway': {
        const life = fleet.in(action.slot)
        const able = fleet.working
        return life !== undefined && able.includes(life) && able.length > 1
      }
      case 'pause all gateways': return !this.#brokerAway && fleet.working.length > 1 && fleet.working.length === fleet.reachable.length
      case 'fourth gateway': return !this.#fourth
      case 'kill broker':
      case 'stop broker':
      case 'pause broker':
      case 'move leaders': return !this.#brokerAway
      case 'add partitions': return !this.#brokerAway
      case 'settle': return this.#mending.size === 0
    }
  }

  async #begin (action: Action): Promise<void> {
    const { fleet, faults, kafka, topic } = this.#options
    switch (action.what) {
      case 'kill gateway': return this.#mend(() => this.#away(action, 'kill'))
      case 'stop gateway': return this.#mend(() => this.#away(action, 'stop'))
      case 'pause gateway': {
        const life = fleet.in(action.slot)!
        return this.#mend(() => this.#freeze([life], action.forMs))
      }
      case 'pause all gateways': {
        this.#comingBack = true
        return this.#mend(async () => {
          await this.#freeze(fleet.working, action.forMs)
          // Undisturbed, so that they join again while what they had in flight still runs.
          await delay(COMING_BACK_MS)
          this.#comingBack = false
        })
      }
      case 'fourth gateway': {
        this.#fourth = true
        return this.#mend(() => this.#visit(action))
      }
      case 'kill broker':
      case 'stop broker':
      case 'pause broker': {
        this.#brokerAway = true
        return this.#mend(() => this.#breakBroker(action))
      }
      case 'move leaders': {
        this.#brokerAway = true
        return this.#mend(async () => {
          const fault = faults.begin('leaders')
          const moved = await kafka.moveLeaders(action.of === 'topic' ? topic : OFFSETS_TOPIC)
          await this.#inSync()
          faults.end(fault)
          this.#brokerAway = false
          this.#options.say(`${moved} leaders have moved`)
        })
      }
      case 'add partitions': return this.#mend(async () => {
        const fault = faults.begin('partitions')
        const { partitions } = await kafka.describeTopic(topic)
        await kafka.addPartitions(topic, partitions.length + ADDED_PARTITIONS)
        faults.end(fault)
      })
      case 'settle': {
        const left = this.#options.snapshot()
        await this.#turn('everything acknowledged so far to be handled', () => left() === 0 || this.#options.over(), SETTLE_LIMIT_MS)
      }
    }
  }

  /** Kills or stops a gateway, and starts it again. */
  async #away ({ slot, forMs }: { slot: number, forMs: number }, how: 'kill' | 'stop'): Promise<void> {
    const { fleet, faults } = this.#options
    const life = fleet.in(slot)!
    const fault = faults.begin(how, life.pid)
    await fleet[how](life)
    await delay(forMs)
    await fleet.start(slot)
    faults.end(fault)
  }

  async #freeze (lives: readonly Life[], forMs: number): Promise<void> {
    const { fleet, say } = this.#options
    const frozen = lives.map(life => ({ life, fault: fleet.pause(life) }))
    await delay(forMs)
    for (const { life, fault } of frozen) {
      fleet.resume(life, fault)
      say(`gateway ${life.slot} (process ${life.pid}) goes on`)
    }
  }

  async #visit ({ forMs, end }: { forMs: number, end: 'SIGTERM' | 'SIGKILL' }): Promise<void> {
    const { fleet, faults } = this.#options
    const coming = faults.begin('join')
    const life = await fleet.start(FOURTH)
    faults.end(coming)
    await delay(forMs)
    if (life.exit === null) {
      const leaving = faults.begin(end === 'SIGKILL' ? 'kill' : 'stop', life.pid)
      await fleet[end === 'SIGKILL' ? 'kill' : 'stop'](life)
      faults.end(leaving)
    }
    this.#fourth = false
  }

  async #breakBroker ({ what, broker, forMs }: { what: string, broker: number | 'coordinator', forMs: number }): Promise<void> {
    const { kafka, faults, say } = this.#options
    const id = broker === 'coordinator' ? await this.#coordinator() : broker
    const fault = faults.begin('broker')
    if (broker === 'coordinator') say(`the group's coordinator is broker ${id}`)
    const it = kafka.broker(id)
    if (what === 'pause broker') await it.pause()
    else if (what === 'stop broker') await it.stop()
    else await it.kill()
    await delay(forMs)
    if (what === 'pause broker') await it.resume()
    else await it.start()
    say(`broker ${id} is there again`)
    await this.#inSync()
    faults.end(fault)
    this.#brokerAway = false
    say(`broker ${id} has caught up`)
  }

  /** The broker that leads the partition with this group's offsets, as Kafka computes it. */
  async #coordinator (): Promise<number> {
    const { partitions } = await this.#options.kafka.describeTopic(OFFSETS_TOPIC)
    let hash = 0
    for (let i = 0; i < this.#options.group.length; i++) hash = (Math.imul(hash, 31) + this.#options.group.charCodeAt(i)) | 0
    const at = Math.abs(hash) % partitions.length
    return partitions.find(({ partition }) => partition === at)?.leader ?? 1
  }

  async #inSync (): Promise<void> {
    const { kafka, topics } = this.#options
    await waitFor('all copies to be in sync', async () => {
      try {
        for (const topic of [...topics, OFFSETS_TOPIC]) {
          const { partitions } = await kafka.describeTopic(topic)
          if (partitions.some(({ isr, leader }) => isr.length < BROKERS || leader === null)) return false
        }
        return true
      } catch {
        return false
      }
    }, { timeoutMs: TURN_LIMIT_MS, everyMs: 250 })
  }

  async #turn (what: string, holds: () => boolean, timeoutMs = TURN_LIMIT_MS): Promise<void> {
    await waitFor(what, holds, { timeoutMs, everyMs: 50 })
  }

  /** Runs beside the steps that follow. */
  #mend (work: () => Promise<void>): void {
    const mending = work().catch((error: Error) => { this.#failure ??= error }).finally(() => this.#mending.delete(mending))
    this.#mending.add(mending)
  }
}
