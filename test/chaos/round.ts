import { copyFileSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startKafka, uniqueName, waitFor, type Kafka, type StoredRecord } from '../support/kafka.js'
import { Ledger } from '../support/ledger.js'
import type { GatewayOptions } from '../support/gateway.js'
import { checks, repeated, type Findings } from './aftermath.js'
import { CommitCheck, time } from './commit-check.js'
import { Conductor, OFFSETS_TOPIC } from './conductor.js'
import { Evidence } from './evidence.js'
import { Excuses } from './excuses.js'
import { FaultLog } from './faults.js'
import { Fleet } from './fleet.js'
import { handlerKind, type Handlers } from './handler-kinds.js'
import { Lanes } from './lanes.js'
import { Ownership, countRebalances } from './ownership.js'
import { BROKERS, GATEWAYS, describe, lastBlow, makePlan, type Action, type Profile } from './plan.js'
import { Progress, STALL_LIMIT_MS } from './progress.js'
import { Random } from './random.js'
import { Receiver } from './receiver.js'
import { Traffic } from './traffic.js'

export const protocols = ['cooperative', 'eager', 'kip848'] as const
export type Protocol = typeof protocols[number]

export interface RoundOptions {
  readonly kafka: Kafka
  readonly seed: number
  readonly protocol: Protocol
  readonly profile: Profile
  /** Absent: `module`. */
  readonly handler?: Handlers
  /** How long faults are begun; what follows (mending, the last records, the checks) takes some ten seconds more. */
  readonly lengthMs: number
  /** Records a second. */
  readonly rate: number
  /** Whether what was recorded is kept although all is well. */
  readonly keep?: boolean
  /** See PlanOptions. */
  readonly first?: readonly Action['what'][]
  readonly say: (text: string) => void
}

export interface RoundResult {
  readonly seed: number
  readonly protocol: Protocol
  readonly violations: readonly string[]
  /** Milliseconds from the beginning of the round to the first violation. */
  readonly firstViolationMs: number | null
  /** One line. */
  readonly summary: string
  readonly figures: Readonly<Record<string, number>>
  /** Where the ledger, the logs and the rest were put; `null` for a round without a violation that was not to be kept. */
  readonly folder: string | null
}

/** Silence after which a group gives up a member: short where members are to be fenced, Kafka's own where none may be. */
const SESSION_TIMEOUT_MS = { full: 6000, graceful: 45_000 } as const
const PARTITIONS = 6
const OFFSETS_PARTITIONS = 8
const SETTINGS = { maxInFlight: 12, maxRecordsBeforeCommit: 50, commitIntervalMs: 500 } as const
const DRAIN_TIMEOUT_MS = 10_000
const SHUTDOWN_TIMEOUT_MS = 20_000
/** The server gives a shutdown 5 s beyond its limit, and a process that is slow to go 2 s more. */
const STOP_LIMIT_MS = SHUTDOWN_TIMEOUT_MS + 8000
const TICK_MS = 250
/** How long the clients go on after the last fault has begun. */
const LAST_BLOW_MS = 1000
/** Beyond this number the same violation tells nothing new. */
const VIOLATIONS_MAX = 200
/** With work left, but one piece after the other done, a slow machine gets this much longer at the end. */
const FINISH_MAX_MS = 180_000

/** A cluster for the rounds of one profile. */
export async function startCluster (profile: Profile): Promise<Kafka> {
  const kafka = await startKafka({
    brokers: BROKERS,
    properties: {
      // A silent broker is dropped in about the time in which a silent gateway is.
      'broker.session.timeout.ms': 4500,
      'broker.heartbeat.interval.ms': 500,
      'offsets.topic.num.partitions': OFFSETS_PARTITIONS,
      'group.consumer.session.timeout.ms': SESSION_TIMEOUT_MS[profile],
      'group.consumer.heartbeat.interval.ms': 500
    }
  })
  // Whoever asks for a group's coordinator makes the brokers create the topic of the groups' offsets: its number of partitions
  // says where a group's are, so it must be whole before anybody looks.
  await waitFor('the topic of the groups\' offsets', async () => {
    try {
      await kafka.describeGroup('first')
      return (await kafka.endOffsets(OFFSETS_TOPIC)).length === OFFSETS_PARTITIONS
    } catch {
      return false
    }
  }, { timeoutMs: 120_000 })
  return kafka
}

function gatewayOptions (options: RoundOptions, slot: number, topic: string, group: string, ledger: Ledger): GatewayOptions {
  const { kafka, protocol, profile } = options
  const { handler, env } = handlerKind(options.handler ?? 'module', slot)
  const classic = protocol !== 'kip848'
  return {
    kafka,
    ...(handler !== null && { handler }),
    // Under KIP-848 the broker decides that.
    ...(classic && { properties: { 'heartbeat.interval.ms': 500 } }),
    env: {
      LOG_LEVEL: 'debug',
      SHUTDOWN_TIMEOUT_MS,
      KAFKA_GROUP_ID: group,
      KAFKA_TOPIC: topic,
      ...(classic
        ? {
            KAFKA_SESSION_TIMEOUT_MS: SESSION_TIMEOUT_MS[profile],
            KAFKA_PARTITION_ASSIGNMENT_STRATEGY: protocol === 'eager' ? 'range' : 'cooperative-sticky'
          }
        : { KAFKA_GROUP_PROTOCOL: 'consumer' }),
      KAFKA_MAX_PROC_COUNT: SETTINGS.maxInFlight,
      KAFKA_MAX_MSG_COUNT_BEFORE_COMMIT: SETTINGS.maxRecordsBeforeCommit,
      KAFKA_COMMIT_INTERVAL_SECONDS: SETTINGS.commitIntervalMs / 1000,
      KAFKA_DRAIN_TIMEOUT_MS: DRAIN_TIMEOUT_MS,
      KAFKA_HANDLER_TIMEOUT_MS: 4000,
      // Whoever was frozen is late by that much at once: it is told so, and given the time to end.
      KAFKA_HANDLER_GRACE_MS: 20_000,
      KAFKA_RETRY_MAX_ATTEMPTS: 3,
      KAFKA_RETRY_BACKOFF_MS: 50,
      LEDGER_FILE: ledger.file,
      ...env
    }
  }
}

/** One topic, one group, three gateways, one plan. Ends everything that it started, but for the cluster. */
export async function runRound (options: RoundOptions): Promise<RoundResult> {
  const round = new Round(options)
  try {
    await round.play()
  } catch (error) {
    round.violation(`the round could not be carried through: ${(error as Error).message}`)
  } finally {
    await round.end()
  }
  return round.result()
}

class Round {
  readonly #options: RoundOptions
  readonly #startedAt = Date.now()
  readonly #ledger = new Ledger()
  readonly #violations: string[] = []
  readonly #log: string[] = []
  readonly #faults = new FaultLog()
  readonly #commitCheck = new CommitCheck({
    violation: text => this.violation(`commit: ${text}`),
    disturbed: at => this.#faults.commitsMayFail(at)
  })

  readonly #progress = new Progress(this.#faults, text => this.violation(`progress: ${text}`))
  readonly #lanes = new Lanes(text => this.violation(`order: ${text}`))
  readonly #topic: string
  readonly #group: string
  readonly #receiver = new Receiver(this.#ledger.file)
  readonly #fleet: Fleet
  #evidence: Evidence | null = null
  #traffic: Traffic | null = null
  #ticking: NodeJS.Timeout | undefined
  #stored: StoredRecord[] = []
  #repeated = 0
  #firstViolationMs: number | null = null

  constructor (options: RoundOptions) {
    this.#options = options
    this.#topic = uniqueName(`chaos-${options.seed}`)
    this.#group = this.#topic
    this.#fleet = new Fleet({
      receiver: this.#receiver,
      options: slot => gatewayOptions(options, slot, this.#topic, this.#group, this.#ledger),
      faults: this.#faults,
      stopLimitMs: STOP_LIMIT_MS,
      violation: text => this.violation(text),
      say: text => this.#say(text)
    })
  }

  violation (text: string): void {
    this.#firstViolationMs ??= Date.now() - this.#startedAt
    if (this.#violations.length === VIOLATIONS_MAX) this.#violations.push('… and more')
    if (this.#violations.length >= VIOLATIONS_MAX) return
    this.#violations.push(text)
    if (this.#violations.length <= 10) this.#say(`VIOLATION ${text}`)
  }

  /** Who has what, as the group's coordinator sees it: for whoever asks why nothing goes on. */
  async #sayGroup (): Promise<void> {
    try {
      const { state, members } = await this.#options.kafka.describeGroup(this.#group)
      const list = (places: { partition: number }[] | null) => places === null ? '?' : `[${places.map(({ partition }) => partition).sort().join(' ')}]`
      this.#say(`the group is ${state}`)
      for (const { clientId, memberId, epoch, partitions, target } of members) {
        this.#say(`  ${clientId} (${memberId}, epoch ${epoch}) has ${list(partitions)}, is to have ${list(target)}`)
      }
    } catch (error) {
      this.#say(`the group cannot be described: ${(error as Error).message}`)
    }
    for (const { slot, gateway } of this.#fleet.working) {
      const said = await gateway.readiness().then(JSON.stringify, error => (error as Error).message)
      this.#say(`  gateway ${slot} says of itself: ${said}`)
    }
  }

  async play (): Promise<void> {
    const { kafka, seed, profile, protocol, lengthMs, rate, first } = this.#options
    const random = new Random(seed)
    const steps = makePlan(random.fork(1), { profile, lengthMs, sessionTimeoutMs: SESSION_TIMEOUT_MS.full, ...(first && { first }) })
    this.#say(`seed ${seed}, ${protocol}, profile ${profile}, ${Math.round(lengthMs / 1000)} s, topic and group ${this.#topic}`)
    for (const { atMs, action } of steps) this.#say(`planned at ${(atMs / 1000).toFixed(1)} s: ${describe(action)}`)

    // A broker of the round before may still be on its way back: three copies need three.
    await waitFor('all brokers to be there', async () => {
      try {
        await kafka.createTopic(this.#topic, { partitions: PARTITIONS })
        return true
      } catch (error) {
        if (/replication factor/.test((error as Error).message)) return false
        throw error
      }
    }, { timeoutMs: 60_000, everyMs: 500 })
    const deadLetterTopic = await kafka.createTopic(`${this.#topic}.dlq`, { partitions: 2 })
    this.#ticking = setInterval(() => this.#tick(), TICK_MS)
    await this.#receiver.start()
    const starting = this.#faults.begin('join')
    await this.#fleet.start(1)
    this.#evidence = new Evidence({
      kafka,
      group: this.#group,
      deadLetterTopic,
      ledger: this.#ledger,
      committed: commit => this.#commitCheck.look(commit, this.#evidence!),
      noted: entry => this.#lanes.look(entry),
      completed: ({ partition, offset }) => this.#progress.completed(partition, offset)
    })
    this.#traffic = new Traffic({
      topic: this.#topic,
      fleet: this.#fleet,
      random: random.fork(2),
      rate,
      acknowledged: ({ partition, offset }) => {
        // What is completed already, before its receipt came, waits for nobody.
        if (offset >= 0 && this.#evidence!.completedAt(`${this.#topic}/${partition}/${offset}`) === undefined) {
          this.#progress.acknowledged(partition, offset)
        }
      },
      violation: text => this.violation(`produce: ${text}`)
    })
    for (let slot = 2; slot <= GATEWAYS; slot++) await this.#fleet.start(slot)
    this.#faults.end(starting)
    const conductor = new Conductor({
      kafka,
      fleet: this.#fleet,
      faults: this.#faults,
      topic: this.#topic,
      group: this.#group,
      topics: [this.#topic, deadLetterTopic],
      say: text => this.#say(text),
      snapshot: () => this.#progress.snapshot(),
      over: () => this.#violations.length > 0
    })
    await conductor.play(steps, lengthMs)
    if (profile === 'full' && this.#violations.length === 0) {
      const blow = conductor.play([{ atMs: 0, action: lastBlow(random) }], lengthMs)
      await Promise.race([blow, delay(LAST_BLOW_MS)])
      await Promise.all([blow, this.#traffic.stop()])
    }
    await this.#finish()
  }

  /** Everything acknowledged must be handled and committed now, and every gateway must be able to leave. */
  async #finish (): Promise<void> {
    const { kafka } = this.#options
    const traffic = this.#traffic!
    const evidence = this.#evidence!
    const whole = this.#violations.length === 0
    if (!whole) await this.#sayGroup()
    await traffic.stop()
    this.#say(`the clients have stopped: ${this.#progress.outstanding} acknowledged records are outstanding`)
    if (whole) {
      let lag: string[] = []
      // Progress tells of a stall; here it is only that it does not take for ever.
      await waitFor('everything to be handled and committed', async () => {
        if (this.#progress.outstanding > 0) return false
        lag = await this.#lag()
        return lag.length === 0
      }, { timeoutMs: STALL_LIMIT_MS, everyMs: 200 }).catch(async error => {
        if (this.#progress.outstanding === 0) return this.violation(`progress: ${error.message}: lag is left in ${lag.join(', ')}`)
        await waitFor('everything to be handled', () => this.#progress.outstanding === 0 || this.#violations.length > 0, { timeoutMs: FINISH_MAX_MS })
      })
      this.#say('everything acknowledged is handled, and committed')
    }
    if (whole && this.#violations.length > 0) await this.#sayGroup()
    // As much as there was, however the round went: what a failure left behind is read, too.
    await Promise.all(this.#fleet.working.map(life => this.#fleet.stop(life)))
    await evidence.stop()
    evidence.readLedger()
    this.#commitCheck.finish(evidence)
    this.#stored = await kafka.readAll(this.#topic, { timeoutMs: 60_000 })
    this.#judge(evidence, traffic, whole)
  }

  #judge (evidence: Evidence, traffic: Traffic, whole: boolean): void {
    const { lives } = this.#fleet
    const entries = this.#ledger.entries
    const ownership = new Ownership(lives, this.#topic)
    const handlers = this.#options.handler ?? 'module'
    const maxInFlight = (slot: number) => {
      const { recordsPerCall, callsAtOnce = SETTINGS.maxInFlight } = handlerKind(handlers, slot)
      return callsAtOnce * recordsPerCall
    }
    const findings: Findings = {
      topic: this.#topic,
      profile: this.#options.profile,
      whole,
      sent: traffic.sent,
      stored: this.#stored,
      entries,
      evidence,
      lives,
      faults: this.#faults,
      ownership,
      excuses: new Excuses(lives, entries, ownership, this.#faults, slot => handlerKind(handlers, slot).onItsWayMs),
      settings: { ...SETTINGS, maxInFlight, sessionTimeoutMs: SESSION_TIMEOUT_MS[this.#options.profile] }
    }
    this.#repeated = repeated(findings).length
    for (const [name, check] of checks) {
      for (const text of check(findings)) this.violation(`${name}: ${text}`)
    }
    if (this.#commitCheck.compared < 10) this.violation(`commit: only ${this.#commitCheck.compared} commits were seen: nothing was shown`)
  }

  /** Where the group's offsets are not the ends of the partitions. */
  async #lag (): Promise<string[]> {
    const { kafka } = this.#options
    const [ends, committed] = await Promise.all([kafka.endOffsets(this.#topic), kafka.committedOffsets(this.#group)])
    return ends.flatMap((end, partition) => {
      const offset = committed.find(at => at.topic === this.#topic && at.partition === partition)?.offset ?? 0
      return offset === end ? [] : [`partition ${partition} (${offset} of ${end})`]
    })
  }

  async end (): Promise<void> {
    await this.#fleet.end()
    await this.#receiver.close()
    clearInterval(this.#ticking)
    this.#evidence?.abandon()
    await this.#traffic?.stop()
  }

  result (): RoundResult {
    const { seed, protocol, profile, handler = 'module' } = this.#options
    const sent = this.#traffic?.sent ?? []
    const having = (outcome: string) => sent.filter(record => record.outcome === outcome).length
    const faults = this.#faults
    const figures = {
      acknowledged: having('acknowledged'),
      refused: having('refused'),
      unknown: having('unknown'),
      deadLetters: this.#evidence?.letters.length ?? 0,
      repeated: this.#repeated,
      kills: faults.count('kill'),
      stops: faults.count('stop'),
      pauses: faults.count('pause'),
      brokerFaults: faults.count('broker') + faults.count('leaders'),
      rebalances: countRebalances(this.#fleet.lives),
      longestIdleMs: Math.round(this.#progress.longestIdleMs),
      commits: this.#commitCheck.compared,
      lateCommits: this.#commitCheck.late
    }
    const summary = `${this.#violations.length === 0 ? 'ok' : 'FAILED'} ${protocol} ${profile} ${handler} seed ${seed}: ${figures.acknowledged} records acknowledged ` +
      `(${figures.refused} refused, ${figures.unknown} unknown), ${figures.deadLetters} dead-lettered, ${figures.repeated} handled again; ` +
      `${figures.kills} kills, ${figures.stops} stops, ${figures.pauses} pauses, ${figures.brokerFaults} broker faults, ${figures.rebalances} rebalance events; ` +
      `longest stall ${(figures.longestIdleMs / 1000).toFixed(1)} s; ${figures.commits} commits compared, ${figures.lateCommits} late; ${Math.round((Date.now() - this.#startedAt) / 1000)} s`
    const folder = this.#violations.length > 0 || this.#options.keep ? this.#save(summary) : null
    this.#ledger.remove()
    return { seed, protocol, violations: this.#violations, firstViolationMs: this.#firstViolationMs, summary, figures, folder }
  }

  /** Everything that helps to understand a failure. */
  #save (summary: string): string {
    const folder = mkdtempSync(path.join(tmpdir(), `sluice-chaos-${this.#options.protocol}-${this.#options.seed}-`))
    const put = (name: string, lines: readonly unknown[]) =>
      writeFileSync(path.join(folder, name), lines.map(line => (typeof line === 'string' ? line : JSON.stringify(line)) + '\n').join(''))
    if (existsSync(this.#ledger.file)) copyFileSync(this.#ledger.file, path.join(folder, 'ledger.jsonl'))
    put('violations.txt', [summary, ...this.#violations])
    put('conductor.log', this.#log)
    put('sent.jsonl', this.#traffic?.sent ?? [])
    put('commits.jsonl', this.#evidence?.commits ?? [])
    put('faults.jsonl', this.#faults.faults)
    put('topic.jsonl', this.#stored.map(({ partition, offset, timestamp, key, value }) => ({ partition, offset, timestamp, key: String(key), value: String(value) })))
    for (const { slot, pid, gateway } of this.#fleet.lives) put(`gateway-${slot}-${pid}.log`, gateway.lines)
    for (const { id, logFile } of this.#options.kafka.brokers) if (existsSync(logFile)) copyFileSync(logFile, path.join(folder, `broker-${id}.log`))
    return folder
  }

  #tick (): void {
    this.#evidence?.readLedger()
    this.#progress.tick()
  }

  #say (text: string): void {
    const line = `${time(Date.now())} ${((Date.now() - this.#startedAt) / 1000).toFixed(1).padStart(6)} s  ${text}`
    this.#log.push(line)
    this.#options.say(line)
  }
}
