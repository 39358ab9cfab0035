import { Engine, type EngineOptions } from '../../src/engine/engine.js'
import {
  CommitError, OutputRefusedError, PollError,
  type Attempt, type Batch, type BatchedHandler, type BatchHandler, type BatchPolicy,
  type Clock, type CommittedOffset, type Handler, type Observer, type OffsetCommit, type PartitionOffset,
  type RebalanceEvent, type TopicPartition
} from '../../src/engine/types.js'
import { decodeProgress, encodeProgress, topicIdIn } from '../../src/engine/progress.js'
import { Suspensions } from '../../src/engine/suspensions.js'
import type { KafkaRecord, OutgoingRecord } from '../../src/record.js'
import { FakeClock } from './fake-clock.js'
import { answerOf, letterOf, wrongIn } from './transaction-check.js'
import { FakeSource, idOf, record } from './fake-source.js'

/** What a handler does with an attempt; which one is taken follows from the record and the attempt. */
export interface Behaviour {
  readonly kind: 'ok' | 'sync' | 'fail' | 'throw' | 'poison' | 'later' | 'drop' | 'nonsense' | 'hang' | 'deaf'
  readonly ms: number
}

/** One thing that happens to the engine, or around it. `partitions` is a set of bits, `partition` one of them. */
export type Step =
  | { readonly what: 'append', readonly partition: number, readonly keys: readonly (string | null)[], readonly gap: number, readonly markers: number, readonly bytes: number }
  | { readonly what: 'advance', readonly ms: number }
  | { readonly what: 'revoked' | 'lost', readonly partitions: number, readonly elsewhere: number }
  | { readonly what: 'assigned', readonly partitions: number }
  | { readonly what: 'redeliver', readonly partition: number, readonly back: number }
  | { readonly what: 'commits fail', readonly how: CommitFault, readonly times: number }
  | { readonly what: 'acknowledgements late', readonly ms: number }
  | { readonly what: 'pause' | 'resume', readonly partition: number | null }
  | { readonly what: 'seek', readonly partition: number, readonly to: number | 'beginning' | 'end' }
  | { readonly what: 'limit', readonly limit: number }
  | { readonly what: 'committed fails' | 'sink refuses' | 'poll fails', readonly times: number }

/**
 * `applied`: the broker took it, and its answer was lost. Of transactions: `refused`, one of the outputs was; `refused-for-now`, and
 * may not be the next time; `unknown`: the broker did not take it, and that answer was lost.
 */
export type CommitFault = 'retriable' | 'applied' | 'lost' | 'refused' | 'refused-for-now' | 'unknown'

/**
 * From connecting until a stop, until the client fails for good, until the process is killed, or until the topic is made anew
 * while it is read; `anew-away`: it is killed, and the topic is made anew before the next life.
 */
export interface Life {
  readonly steps: readonly Step[]
  readonly end: 'stop' | 'fatal' | 'kill' | 'anew' | 'anew-away'
  readonly stopTimeoutMs: number
}

export interface Script {
  readonly options: EngineOptions
  /** `null`: the handler takes records one by one. */
  readonly batches: BatchPolicy | null
  readonly partitions: number
  readonly behaviours: readonly Behaviour[]
  readonly lives: readonly Life[]
  readonly random: number
}

const TOPIC = 't'
const ACKNOWLEDGED_AFTER_MS = 2
/** What a stop may take beyond its time: the grace of aborted handlers, last commits, leaving, each as in engine.ts. */
const STOP_SLACK_MS = 3_000
const STOP_SLACK_WITH_FAULTS_MS = 30_000
const QUIET_LIMIT_MS = 300_000
/** Until the engine has noticed that a topic is another one, and has drained. */
const NOTICED_MS = 60_000
const never = () => new Promise<never>(() => {})

/** What outlives a member of the group: the logs, the group's offsets, and what was ever completed by anyone. */
class Broker {
  readonly records = new Map<string, KafkaRecord[]>()
  readonly ends = new Map<string, number>()
  readonly committed = new Map<string, number>()
  readonly metadata = new Map<string, string>()
  readonly done = new Map<string, Set<number>>()
  /** How often the topic was made anew. */
  incarnation = 0

  constructor (readonly ids: readonly string[]) {
    for (const id of ids) {
      this.records.set(id, [])
      this.ends.set(id, 0)
      this.done.set(id, new Set())
    }
  }

  get topicId (): string { return `id-${this.incarnation}` }

  /** The topic is deleted and made again: the group keeps its offsets. */
  makeAnew (): void {
    this.incarnation++
    for (const id of this.ids) {
      this.records.set(id, [])
      this.ends.set(id, 0)
      this.done.set(id, new Set())
    }
  }

  /** Whether the last commit, if there was any, speaks of the topic as it is now. */
  isToldOf (id: string): boolean {
    const toldOf = topicIdIn(this.metadata.get(id) ?? '')
    return toldOf === '' || toldOf === this.topicId
  }

  /** Where whoever is assigned a partition has to begin, −1 where the group has no offset. */
  beginOf (id: string): number {
    if (this.isToldOf(id)) return this.committed.get(id) ?? -1
    return this.records.get(id)![0]?.offset ?? this.ends.get(id)!
  }

  /** The first record from `from` on that nobody has completed; the end of the log where there is none. */
  firstUncompleted (id: string, from = 0, done: ReadonlySet<number> = this.done.get(id)!): number {
    return this.records.get(id)!.find(({ offset }) => offset >= from && !done.has(offset))?.offset ?? this.ends.get(id)!
  }
}

/** Records handed out to the engine, with the epoch of their partition in which they were. */
interface Delivered {
  epoch: number
  incarnation: number
  attempts: number
  running: boolean
  ended: 'ok' | 'failed' | 'given back' | null
  /** Records of its last batch; 0: it was never started here. */
  together: number
  /** It failed itself, and not only a batch with it. */
  blamed: boolean
  diverted: boolean
  deadLettered: boolean
  completed: boolean
  outcome?: string
}

/** A member over the broker that says what is wrong as soon as the engine does it. One life, one member. */
class Member extends FakeSource {
  readonly epochs = new Map<string, number>()
  /** Where the epoch began: nothing below it may be handled. */
  readonly startedAt = new Map<string, number>()
  readonly completedInEpoch = new Map<string, Set<number>>()
  readonly delivered = new Map<KafkaRecord, Delivered>()
  /** Partitions that the group has given to others, though this member has not heard of it. */
  readonly fenced = new Set<string>()
  readonly elsewhere = new Map<string, number>()
  open: { event: RebalanceEvent, takenAt: number } | null = null
  fatal = false
  #acknowledgements: { at: number, run: () => void }[] = []
  #batch: KafkaRecord[] = []
  readonly #simulation: Simulation

  constructor (simulation: Simulation) {
    super(simulation.clock)
    this.#simulation = simulation
    for (const id of simulation.broker.ids) this.epochs.set(id, 0)
    this.ids.set(TOPIC, simulation.broker.topicId)
  }

  override async poll (max: number, timeoutMs: number): Promise<Batch> {
    const { broker, clock, faults, engine, script: { options } } = this.#simulation
    if (this.dead) return await never()
    if (this.fatal) throw new PollError('fatal', 'this member is done for')
    if (faults.poll > 0) {
      faults.poll--
      throw new PollError('passing', 'the brokers are away')
    }
    const late = this.#acknowledgements.findIndex(({ at }) => at > clock.now())
    for (const { run } of this.#acknowledgements.splice(0, late < 0 ? Infinity : late)) run()
    const bytes = new Map(engine.state.partitions.map(one => [idOf(one), one.windowBytes]))
    const { records, ends } = await super.poll(max, timeoutMs)
    this.#batch = records.map(one => ({ ...one }))
    for (const one of this.#batch) {
      const id = idOf(one)
      this.#simulation.check((bytes.get(id) ?? 0) < options.windowMaxBytes, `${id} is fetched though its window has ${bytes.get(id)} bytes`)
      this.delivered.set(one, {
        epoch: this.epochs.get(id)!,
        incarnation: broker.incarnation,
        attempts: 0,
        running: false,
        ended: null,
        together: 0,
        blamed: false,
        diverted: false,
        deadLettered: false,
        completed: false
      })
    }
    return { records: this.#batch, ends }
  }

  /** As librdkafka: the next one comes only once this one was answered. */
  override takeEvent (): RebalanceEvent | undefined {
    if (this.open !== null) return undefined
    const event = super.takeEvent()
    if (event !== undefined) this.open = { event, takenAt: this.#simulation.clock.now() }
    return event
  }

  override get hasEvent (): boolean { return this.open === null && super.hasEvent }

  revoking (id: string): boolean {
    return this.open?.event.type === 'revoked' && this.open.event.partitions.some(one => idOf(one) === id)
  }

  override async committed (partitions: readonly TopicPartition[]): Promise<CommittedOffset[]> {
    const { faults, broker } = this.#simulation
    if (faults.committed > 0) {
      faults.committed--
      throw new Error('the coordinator is away')
    }
    return partitions.map(one => {
      return { ...one, offset: broker.committed.get(idOf(one)) ?? -1, metadata: broker.metadata.get(idOf(one)) ?? '' }
    })
  }

  override assign (partitions: readonly CommittedOffset[]): void {
    super.assign(partitions)
    this.open = null
    const { broker } = this.#simulation
    for (const { topic, partition, offset } of partitions) {
      const id = idOf({ topic, partition })
      if (this.#simulation.stale.delete(id)) this.#simulation.forget(id)
      if (offset < (broker.committed.get(id) ?? -1)) this.#simulation.mayGoBack.add(id)
      this.#simulation.check(offset === broker.beginOf(id), `${id} begins at ${offset} instead of ${broker.beginOf(id)}`)
      this.fenced.delete(id)
      this.beginEpoch(id, Math.max(0, offset))
    }
  }

  override unassign (partitions: readonly TopicPartition[]): void {
    const { event, takenAt } = this.open!
    for (const one of partitions) {
      const id = idOf(one)
      if (event.type === 'revoked' && this.owned.has(id)) this.#simulation.checkGivenUp(id, takenAt)
      this.beginEpoch(id, 0)
      this.#simulation.stale.delete(id)
      this.#simulation.undoSeek(id)
    }
    super.unassign(partitions)
    this.open = null
    for (const one of partitions) {
      this.fenced.delete(idOf(one))
      this.#simulation.handleElsewhere(idOf(one), this.elsewhere.get(idOf(one)) ?? 0)
      this.elsewhere.delete(idOf(one))
    }
  }

  override async seek (positions: readonly PartitionOffset[]): Promise<void> {
    await super.seek(positions)
    for (const one of positions) {
      this.beginEpoch(idOf(one), one.offset)
      this.#simulation.sought(one)
    }
  }

  /** Everything that was handed out before belongs to an epoch that is over. */
  beginEpoch (id: string, startsAt: number): void {
    this.epochs.set(id, this.epochs.get(id)! + 1)
    this.startedAt.set(id, startsAt)
    this.completedInEpoch.set(id, new Set())
  }

  /** The engine found that the log goes on below what it had read: what follows in this batch is of a new epoch. */
  rewind (one: KafkaRecord): void {
    const id = idOf(one)
    this.beginEpoch(id, one.offset)
    for (const later of this.#batch.slice(this.#batch.indexOf(one))) {
      if (idOf(later) === id) this.delivered.get(later)!.epoch = this.epochs.get(id)!
    }
  }

  override commit (offsets: readonly OffsetCommit[], outputs: readonly OutgoingRecord[] = []): Promise<void> {
    const { clock, broker, faults } = this.#simulation
    this.#simulation.check(this.#acknowledgements.length === 0, 'two commits at once')
    if (this.dead) return never()
    for (const one of offsets) this.#simulation.checkCommit(one)
    const fault: CommitFault | null = offsets.some(one => this.fenced.has(idOf(one)))
      ? 'lost'
      : faults.commit > 0 ? faults.commitKind : this.#simulation.isRefusedForGood(outputs) ? 'refused' : null
    if (faults.commit > 0) faults.commit--
    if (fault === null || fault === 'applied') {
      this.#simulation.checkTransaction(offsets, outputs)
      for (const one of offsets) {
        const before = broker.committed.get(idOf(one)) ?? -1
        const { stale, mayGoBack } = this.#simulation
        this.#simulation.check(stale.has(idOf(one)) || one.offset >= before || mayGoBack.delete(idOf(one)),
          `${idOf(one)} goes back from ${before} to ${one.offset}`)
        broker.committed.set(idOf(one), one.offset)
        broker.metadata.set(idOf(one), one.metadata)
        this.#simulation.seekIsCommitted(idOf(one))
      }
    }
    return new Promise((resolve, reject) => {
      const at = clock.now() + ACKNOWLEDGED_AFTER_MS + faults.acknowledgedAfterMs
      this.#acknowledgements.push({
        at, run: () => fault === null ? resolve() : reject(this.#simulation.commitErrorOf(fault, outputs))
      })
    })
  }
}

/** Plays a script against the engine, and throws at the first promise that it does not keep. */
export class Simulation {
  readonly clock: FakeClock
  readonly broker: Broker
  readonly faults = { poll: 0, committed: 0, sink: 0, commit: 0, commitKind: 'retriable' as CommitFault, acknowledgedAfterMs: 0 }
  /** Partitions whose log went on below what was read: their commit offset may go back once. */
  readonly mayGoBack = new Set<string>()
  /** What happened, for those who wonder whether the scripts reach anything. */
  readonly told = new Map<string, number>()
  /** The topic was made anew, and this life's engine has not noticed for these: its commits speak of the old one. */
  readonly stale = new Set<string>()
  engine!: Engine
  #suspensions = new Suspensions()
  /** What an operator was told is paused. */
  readonly #paused = new Set<string>()
  readonly #uncommittedSeeks = new Map<
    string, { readonly to: number, readonly before: ReadonlySet<number>, readonly below: ReadonlySet<number> }
  >()

  readonly #resumed = new Map<string, number>()
  #limit = 0
  #limitPeak = 0
  /** The attempt last seen at each record: as long as commits go well, none is lower, in this life or a later one. */
  readonly #attempts = new Map<string, number>()
  #everFaulty = false
  /** Whether the last transaction of this life was committed nobody can tell: it ends as if everything was lost. */
  #nobodyKnows = false
  /** Records of which an output was refused. */
  readonly #refused = new Set<string>()
  /** Outputs that are refused whenever they come. */
  readonly #refusedForGood = new Set<string>()
  #member!: Member
  #mine = new Set<string>()
  #running = 0
  #lanes = new Map<string, number>()
  readonly #seen = new Set<string>()
  readonly #lastFirst = new Map<string, number>()
  #release: (() => void)[] = []
  #quiet = false
  #stopAt = Infinity
  /** Commits or polls were disturbed in this life: a stop waits for them. */
  #faulty = false
  readonly #violations: string[] = []

  constructor (readonly script: Script) {
    let state = script.random
    // mulberry32: the jitter follows from the script.
    this.clock = new FakeClock(() => {
      state = (state + 0x6D2B79F5) | 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
    })
    this.broker = new Broker(Array.from({ length: script.partitions }, (_, partition) => idOf({ topic: TOPIC, partition })))
    for (const id of this.broker.ids) this.#resumed.set(id, 0)
  }

  async play (): Promise<void> {
    for (const life of this.script.lives) {
      const run = this.#begin()
      for (const step of life.steps) await this.#step(step)
      if (life.end === 'stop') await this.#stop(life.stopTimeoutMs)
      else if (life.end === 'fatal') await this.#fail(run)
      else if (life.end === 'anew') await this.#makeAnewWhileRead(run)
      else await this.#kill()
      if (life.end === 'anew-away') this.#makeAnew()
    }
    const run = this.#begin()
    this.#calm()
    await this.#untilAllIsCommitted()
    await this.#stop(60_000)
    await run
    const started = this.told.get('started')
    this.#begin()
    this.#calm()
    await this.#advance(2_000)
    this.check(this.told.get('started') === started, 'after a quiet end and a stop something is handled again')
    await this.#stop(1_000)
  }

  check (holds: boolean, what: string): void {
    if (!holds) this.#violations.push(`${what} (at ${this.clock.now()} ms)`)
  }

  // ---- what the engine must not do

  checkCommit (one: OffsetCommit): void {
    const id = idOf(one)
    this.check(this.#member.owned.has(id), `${id} is committed, but not owned`)
    if (this.stale.has(id)) {
      this.check(topicIdIn(one.metadata) !== this.broker.topicId, `${id} is committed in the name of a topic that nobody has looked at`)
      return
    }
    this.check(Number.isSafeInteger(one.offset) && one.offset >= 0 && one.offset <= this.broker.ends.get(id)!, `${id} is committed at ${one.offset}`)
    const first = this.broker.firstUncompleted(id)
    this.check(one.offset <= first, `${id} is committed at ${one.offset}, but ${first} is not completed`)
    for (const [from, to] of decodeProgress(one.metadata, one.offset)?.done ?? []) {
      const open = this.broker.firstUncompleted(id, from)
      this.check(open >= to, `${id}/${open} is said to be completed, and is not`)
    }
  }

  /** A revoked partition is given up only when it is drained and committed, as far as there was time. */
  checkGivenUp (id: string, takenAt: number): void {
    if (this.#nobodyKnows) return
    const { drainTimeoutMs } = this.script.options
    const epoch = this.#member.epochs.get(id)
    const busy = [...this.#member.delivered].some(([one, delivered]) => delivered.running && idOf(one) === id && delivered.epoch === epoch)
    const abandoned = this.engine.state.abandoned > 0
    const hadTime = this.clock.now() < Math.min(takenAt + drainTimeoutMs, this.#stopAt)
    this.check(!busy || abandoned || !hadTime || this.stale.has(id), `${id} is given up with handlers in flight and time left`)
    if (this.#faulty || this.mayGoBack.has(id) || this.stale.has(id)) return
    const from = this.#member.startedAt.get(id)!
    const safe = this.broker.firstUncompleted(id, from, this.#member.completedInEpoch.get(id)!)
    const records = this.broker.records.get(id)!.filter(({ offset }) => offset >= from && offset < safe)
    const expected = records.length === 0 ? -1 : records.at(-1)!.offset + 1
    this.check((this.broker.committed.get(id) ?? -1) >= expected, `${id} is given up at ${this.broker.committed.get(id)}, though ${expected} is safe`)
  }

  /** In one transaction: what was answered for the records that it tells to be done, and nothing else. */
  checkTransaction (offsets: readonly OffsetCommit[], outputs: readonly OutgoingRecord[]): void {
    if (this.script.options.transactional !== true) return
    if (outputs.length > 0) this.#tell('written')
    for (const commit of offsets) {
      const id = idOf(commit)
      if (this.stale.has(id)) continue
      const epoch = this.#member.epochs.get(id)
      const outcomes = new Map([...this.#member.delivered]
        .filter(([one, delivered]) => idOf(one) === id && delivered.epoch === epoch && delivered.completed)
        .map(([{ offset }, { outcome }]) => [offset, outcome]))
      const sought = this.#uncommittedSeeks.get(id)
      const held = this.broker.isToldOf(id)
        ? { offset: this.broker.committed.get(id) ?? -1, metadata: this.broker.metadata.get(id) ?? '' }
        : { offset: -1, metadata: '' }
      // Who seeks back asks for all of it once more.
      const before = sought === undefined ? held : { offset: sought.to, metadata: '' }
      const wrong = wrongIn({
        before,
        commit,
        outputs,
        records: this.broker.records.get(id)!,
        outcomeOf: ({ offset }) => outcomes.get(offset),
        insteadOf: place => !this.#refused.has(place) ? null : this.script.options.exhausted === 'skip' ? '' : 'letter',
        laneOf: one => this.#laneOf(one)
      })
      for (const what of wrong) this.check(false, what)
    }
  }

  commitErrorOf (fault: CommitFault, outputs: readonly OutgoingRecord[]): CommitError {
    if (this.script.options.transactional !== true) return new CommitError(fault === 'lost' ? 'lost' : 'retriable', fault)
    if (fault === 'applied' || fault === 'unknown') {
      this.#tell('unknown')
      this.#nobodyKnows = true
      return new CommitError('unknown', fault)
    }
    if ((fault !== 'refused' && fault !== 'refused-for-now') || outputs.length === 0) return new CommitError(fault === 'lost' ? 'lost' : 'retriable', fault)
    const known = outputs.findIndex(one => this.#refusedForGood.has(String(one.value)))
    const index = known >= 0 ? known : Math.floor(this.clock.random() * outputs.length)
    this.#tell('output refused')
    const [place, what] = String(outputs[index].value).split(' ')
    this.#refused.add(place)
    const forGood = fault === 'refused' || known >= 0
    // A dead letter that nobody ever takes would hold its partition for ever, as it should.
    if (forGood && what !== 'letter') this.#refusedForGood.add(String(outputs[index].value))
    return new OutputRefusedError(index, forGood, fault)
  }

  /** Kafka refuses today what it has refused yesterday. */
  isRefusedForGood (outputs: readonly OutgoingRecord[]): boolean {
    return outputs.some(one => this.#refusedForGood.has(String(one.value)))
  }

  #checkStart (one: KafkaRecord, attempt: number, delivered: Delivered): void {
    const id = idOf(one)
    const at = `${id}/${one.offset}`
    const { state } = this.engine
    const { options } = this.script
    this.check(delivered.epoch === this.#member.epochs.get(id), `${at} starts after its epoch ended`)
    this.check(!this.#member.revoking(id), `${at} starts while its partition is being given up`)
    this.check(state.phase === 'running', `${at} starts while the engine is ${state.phase}`)
    this.check(one.offset >= this.#member.startedAt.get(id)!, `${at} starts though its epoch began at ${this.#member.startedAt.get(id)}`)
    this.check(!delivered.running && !delivered.completed, `${at} starts twice`)
    // Predecessors may have tried it before, and what fails while the breaker is open is not counted.
    const least = options.breaker.failureShare === 0 ? delivered.attempts : 1
    this.check(attempt >= least && attempt <= options.retry.maxAttempts, `${at}: attempt ${attempt} after ${delivered.attempts - 1}`)
    // The engine counts this one already.
    this.check(state.inFlight <= this.#limit, `${state.inFlight} in flight with a limit of ${this.#limit}`)
    this.check(!this.#paused.has(id), `${at} starts while it is paused`)
    const last = this.#attempts.get(at) ?? 0
    const counted = !this.#everFaulty && options.breaker.failureShare === 0 && !this.stale.has(id)
    this.check(!counted || attempt >= last, `${at}: attempt ${attempt} after ${last}`)
    if (!this.stale.has(id)) this.#attempts.set(at, attempt)
    this.check(this.#running - state.abandoned <= this.#limitPeak, `${this.#running} handlers run, ${state.abandoned} of them abandoned`)
    this.check(state.abandoned <= options.maxAbandoned, `${state.abandoned} abandoned`)
    this.#checkWindows()
  }

  #checkLane (one: KafkaRecord, attempt: number, batch: readonly KafkaRecord[]): void {
    const lane = this.#laneOf(one)
    // Of a topic that is no more, and of the one after it, records come in any order until that is noticed.
    if (lane === null || this.stale.has(idOf(one))) return
    this.check(this.#lanes.get(lane) === 1, `${this.#lanes.get(lane)} of ${lane} are in flight together`)
    const { epoch } = this.#member.delivered.get(one)!
    for (const [earlier, delivered] of this.#member.delivered) {
      const open = delivered.epoch === epoch && !delivered.completed && earlier.offset < one.offset && this.#laneOf(earlier) === lane
      const overtaken = open && !batch.includes(earlier)
      this.check(!overtaken, `${lane}: ${one.offset} starts before ${earlier.offset} is completed`)
    }
    const last = this.#lastFirst.get(lane) ?? -1
    // What was handled before comes again after a loss; what is new comes in its order.
    const again = one.offset <= last
    this.check(!again || attempt > 1 || this.#seen.has(`${idOf(one)}/${one.offset}`), `${lane}: ${one.offset} is first handled after ${last}`)
    this.#lastFirst.set(lane, Math.max(last, one.offset))
    this.#seen.add(`${idOf(one)}/${one.offset}`)
  }

  #checkCompletedInOrder (one: KafkaRecord, { epoch }: Delivered): void {
    const lane = this.#laneOf(one)
    if (lane === null || this.stale.has(idOf(one))) return
    for (const [earlier, delivered] of this.#member.delivered) {
      const open = delivered.epoch === epoch && !delivered.completed && earlier.offset < one.offset && this.#laneOf(earlier) === lane
      this.check(!open, `${lane}: ${one.offset} is handled before ${earlier.offset} is completed`)
    }
  }

  #checkWindows (): void {
    const { windowMaxRecords } = this.script.options
    for (const one of this.engine.state.partitions) {
      this.check(one.windowRecords <= windowMaxRecords, `${idOf(one)} has ${one.windowRecords} records in its window`)
      this.check(one.windowBytes >= 0 && one.inFlight >= 0, `${idOf(one)} has ${one.windowBytes} bytes, ${one.inFlight} in flight`)
    }
  }

  /** A drain leaves handlers alone as long as there is time. */
  #checkAbort (one: KafkaRecord, { message }: Error): void {
    if (message !== 'the partition has to be given up') return
    // Its topic was made anew, and it ends by itself: in a drain's time, from when it noticed.
    if (this.engine.state.phase === 'draining' && this.#stopAt === Infinity) return
    const { open } = this.#member
    const until = Math.min(this.#stopAt, open === null ? Infinity : open.takenAt + this.script.options.drainTimeoutMs)
    this.check(this.clock.now() >= until, `${idOf(one)}/${one.offset} is aborted with ${until - this.clock.now()} ms left`)
  }

  #completed (one: KafkaRecord, outcome: string): void {
    const id = idOf(one)
    const at = `${id}/${one.offset}`
    const delivered = this.#member.delivered.get(one)!
    this.check(delivered.epoch === this.#member.epochs.get(id) && this.#member.owned.has(id), `${at} completes after its epoch ended`)
    this.check(!delivered.completed, `${at} completes twice`)
    this.check(outcome === 'handled' ? delivered.ended === 'ok' : true, `${at} is ${outcome}, and its last attempt ${delivered.ended}`)
    this.check(outcome === 'dead-lettered' ? delivered.deadLettered : true, `${at} is dead-lettered before that was acknowledged`)
    // What was used up by predecessors was never tried here.
    const atFault = delivered.blamed || delivered.diverted || delivered.together === 0
    this.check(outcome === 'dead-lettered' || outcome === 'skipped' ? atFault : true, `${at} is ${outcome} by the fault of another record`)
    if (outcome === 'handled') this.#checkCompletedInOrder(one, delivered)
    delivered.completed = true
    delivered.outcome = outcome
    if (delivered.incarnation !== this.broker.incarnation) return
    this.broker.done.get(id)!.add(one.offset)
    this.#member.completedInEpoch.get(id)!.add(one.offset)
  }

  // ---- the engine's ports

  #begin (): Promise<void> {
    const { options } = this.script
    this.#member = new Member(this)
    for (const id of this.broker.ids) this.undoSeek(id)
    for (const id of this.broker.ids) this.#member.append(this.broker.records.get(id)!, this.broker.ends.get(id))
    this.#mine = new Set()
    this.#running = 0
    this.#lanes = new Map()
    this.#stopAt = Infinity
    this.#faulty = false
    this.#nobodyKnows = false
    this.stale.clear()
    this.#limit = this.#limitPeak = options.maxInFlight
    const member = this.#member
    this.engine = new Engine(options, {
      source: member,
      suspensions: this.#suspensions,
      clock: this.#clockOf(member),
      handler: options.transactional === true ? this.#answering(member) : this.#handlerOf(member),
      observer: this.#observerOf(this.#member),
      sink: async ({ record: one }) => {
        const delivered = this.#member.delivered.get(one)
        await this.clock.sleep(this.#quiet ? 0 : this.script.behaviours[one.offset % this.script.behaviours.length].ms)
        if (member.dead) await never()
        if (this.faults.sink > 0) {
          this.faults.sink--
          throw new Error('the dead-letter topic is away')
        }
        if (delivered !== undefined) delivered.deadLettered = true
        return options.transactional === true ? letterOf(one) : undefined
      }
    })
    const run = this.engine.run()
    run.catch(() => {})
    return run
  }

  /** Nothing of a process that was killed happens any more. */
  #clockOf (member: Member): Clock {
    const { clock } = this
    return {
      now: () => clock.now(),
      random: () => clock.random(),
      schedule: (delayMs, fn) => clock.schedule(delayMs, () => { if (!member.dead) fn() })
    }
  }

  #handlerOf (member: Member): Handler | BatchedHandler {
    const { batches } = this.script
    return batches === null ? this.#singleOf(member) : { batches, handle: this.#batchedOf(member, batches) }
  }

  /** A handler that answers what is to be written. */
  #answering (member: Member): Handler {
    const handle = this.#singleOf(member)
    return (one, run) => {
      const answer = handle(one, run)
      return answer instanceof Promise ? answer.then(() => answerOf(one)) : answerOf(one)
    }
  }

  #singleOf (member: Member): Handler {
    return (one, run) => {
      if (member.dead) return never()
      this.#enter(member, [one], [run.attempt])
      const leave = (ended: 'ok' | 'failed') => this.#leave(member, [one], [ended])
      const behaviour = this.#behaviourOf(one, run.attempt)
      if (behaviour.kind === 'sync') {
        leave('ok')
        return
      }
      if (behaviour.kind === 'throw') {
        leave('failed')
        throw new Error('thrown')
      }
      return this.#behave(behaviour, one, run).then(() => leave('ok'), error => {
        leave('failed')
        throw error
      }).finally(() => member.dead ? never() : undefined)
    }
  }

  #batchedOf (member: Member, { maxRecords, by }: BatchPolicy): BatchHandler {
    return (records, { attempts, signal }) => {
      if (member.dead) return never()
      const [{ partition, key, offset }] = records
      const what = `a batch of ${records.map(one => one.offset)}`
      this.#tell(records.length > 1 ? 'batch of many' : 'batch of one')
      this.check(records.length <= maxRecords, `${what} is more than ${maxRecords}`)
      this.check(attempts.length === records.length, `${what} with attempts ${attempts}`)
      this.check(records.every((one, n) => n === 0 || one.offset > records[n - 1].offset), `${what} is not in order`)
      this.check(records.every(one => one.partition === partition), `${what} is of several partitions`)
      this.check(by !== 'key' || records.every(one => String(one.key) === String(key) && (one.key === null) === (key === null)), `${what} has several keys`)
      this.check(records.length === 1 || attempts.every(attempt => attempt === 1), `${what} has attempts ${attempts}: one was to go alone`)
      this.#enter(member, records, attempts)

      const behaviours = records.map((one, n) => this.#behaviourOf(one, attempts[n]))
      const has = (kind: Behaviour['kind']) => behaviours.some(behaviour => behaviour.kind === kind)
      const wholly = (error: Error) => {
        if (records.length > 1) this.#tell('batch failed as a whole')
        this.#leave(member, records, records.map(() => 'failed'), records.length > 1)
        return error
      }
      const answer = () => {
        if (has('nonsense')) {
          wholly(new Error('nonsense'))
          return ['ok', records.map(() => undefined).slice(1), { length: records.length }, records.map(() => 0)][offset % 4]
        }
        const entries = behaviours.map(({ kind, ms }) => entryOf(kind, ms))
        this.#leave(member, records, this.#endsOf(records, entries))
        return entries.every(entry => entry === undefined) ? undefined : entries
      }
      if (has('throw')) throw wholly(Object.assign(new Error('thrown'), { retriable: offset % 2 === 0 }))
      if (behaviours.every(({ kind }) => kind === 'sync')) return answer()
      const waiting = behaviours.find(({ kind }) => kind === 'deaf' || kind === 'hang') ?? { kind: 'ok', ms: Math.max(...behaviours.map(({ ms }) => ms)) }
      return this.#behave(waiting, records[0], { attempt: 1, signal }).then(answer, error => { throw wholly(error as Error) })
        .finally(() => member.dead ? never() : undefined)
    }
  }

  /** The obvious way: of a lane nothing is done that comes after what failed. */
  #endsOf (records: readonly KafkaRecord[], entries: readonly unknown[]): ('ok' | 'failed' | 'given back')[] {
    return records.map((one, n) => {
      const lane = this.#laneOf(one)
      const overtaken = lane !== null && records.some((earlier, m) => m < n && this.#laneOf(earlier) === lane &&
        entries[m] instanceof Error && (entries[m] as { drop?: boolean }).drop !== true)
      if (overtaken) this.#tell('given back within its lane')
      return overtaken ? 'given back' : entries[n] instanceof Error ? 'failed' : 'ok'
    })
  }

  #enter (member: Member, records: readonly KafkaRecord[], attempts: readonly number[]): void {
    this.#running++
    for (const lane of new Set(records.map(one => this.#laneOf(one)))) {
      if (lane !== null) this.#lanes.set(lane, (this.#lanes.get(lane) ?? 0) + 1)
    }
    for (const [n, one] of records.entries()) {
      const delivered = member.delivered.get(one)!
      this.#tell('started')
      delivered.attempts++
      delivered.together = records.length
      this.#checkStart(one, attempts[n], delivered)
      this.#checkLane(one, attempts[n], records)
    }
    for (const one of records) member.delivered.get(one)!.running = true
  }

  #leave (member: Member, records: readonly KafkaRecord[], ended: readonly ('ok' | 'failed' | 'given back')[], asAWhole = false): void {
    for (const [n, one] of records.entries()) {
      const delivered = member.delivered.get(one)!
      delivered.running = false
      delivered.ended = ended[n]
      delivered.blamed ||= ended[n] === 'failed' && !asAWhole
      // Neither what was given back, nor the only attempt there is, is lost by the fault of another record.
      if (ended[n] === 'given back' || asAWhole) delivered.attempts--
    }
    // A new life has its own count: what the old one left behind is not its business.
    if (this.#member !== member) return
    this.#running--
    for (const lane of new Set(records.map(one => this.#laneOf(one)))) {
      if (lane !== null) this.#lanes.set(lane, this.#lanes.get(lane)! - 1)
    }
  }

  #behaviourOf ({ partition, offset }: KafkaRecord, attempt: number): Behaviour {
    if (this.#quiet) return { kind: 'ok', ms: offset % 5 }
    const { behaviours } = this.script
    return behaviours[(offset * 5 + partition * 3 + (attempt - 1) * 7) % behaviours.length]
  }

  async #behave ({ kind, ms }: Behaviour, one: KafkaRecord, run: Attempt): Promise<void> {
    if (kind === 'deaf') return await new Promise(resolve => { this.#release.push(resolve) })
    if (kind === 'hang') {
      const { signal } = run
      return await new Promise((resolve, reject) => {
        this.#release.push(resolve)
        signal.addEventListener('abort', () => {
          this.#checkAbort(one, signal.reason as Error)
          reject(new Error('aborted', { cause: signal.reason }))
        })
      })
    }
    await this.clock.sleep(ms)
    if (kind === 'fail') throw new Error('failed')
    if (kind === 'poison') throw Object.assign(new Error('no use'), { retriable: false })
    if (kind === 'later') throw Object.assign(new Error('busy'), { retryAfterMs: ms * 10 })
    if (kind === 'drop') throw Object.assign(new Error('of no use'), { drop: true })
  }

  #laneOf ({ topic, partition, key }: KafkaRecord): string | null {
    const { order } = this.script.options
    if (order === 'unordered' || (order === 'key' && key === null)) return null
    return order === 'partition' ? idOf({ topic, partition }) : `${idOf({ topic, partition })} ${key!.toString('latin1')}`
  }

  #observerOf (member: Member): Observer {
    return {
      attemptEnded: (one, outcome) => {
        this.#tell(`attempt ${outcome}`)
        const delivered = member.delivered.get(one)!
        if (outcome !== 'abandoned') return
        // Of many nobody knows which is at fault: it is not the last attempt, whatever the handler says of it later.
        if (delivered.together === 1) delivered.blamed = true
        else delivered.attempts--
      },
      attemptFailed: (_record, _attempt, _error, then) => this.#tell(`failed: ${then}`),
      completed: (one, outcome) => {
        this.#tell(outcome)
        this.check(this.#member === member, `${idOf(one)}/${one.offset} completes after its engine stopped`)
        if (this.#member === member) this.#completed(one, outcome)
      },
      completedBefore: one => {
        const id = idOf(one)
        this.#tell('completed before')
        if (this.stale.has(id)) return
        this.check(this.broker.done.get(id)!.has(one.offset), `${id}/${one.offset} is passed over, though nobody completed it`)
        member.completedInEpoch.get(id)!.add(one.offset)
        member.delivered.get(one)!.completed = true
      },
      deadLetterRefused: () => this.#tell('dead letter refused'),
      committed: () => this.#tell('committed'),
      commitFailed: () => this.#tell('commit failed'),
      rebalanced: ({ type }) => this.#tell(type),
      drained: (_partitions, _seconds, abandoned) => this.#tell(abandoned === 0 ? 'drained' : 'drain cut off'),
      unexpected: (what, one) => {
        this.#tell(what)
        if (what === 'duplicate') {
          member.delivered.delete(one)
          return
        }
        this.mayGoBack.add(idOf(one))
        member.rewind(one)
      },
      diverted: one => {
        this.#tell('diverted')
        member.delivered.get(one)!.diverted = true
      },
      breakerMoved: state => this.#tell(`breaker ${state}`),
      topicMadeAnew: (topic, partitions) => {
        this.#tell('topic made anew')
        for (const id of partitions.map(idOf)) {
          this.check(topicIdIn(this.broker.metadata.get(id) ?? '') !== this.broker.topicId, `${id} of ${topic} is taken for another topic's`)
        }
      },
      suspected: () => this.#tell('suspected'),
      sought: () => this.#tell('sought'),
      offsetReset: () => this.#tell('offset reset'),
      pausedOrResumed: what => this.#tell(what),
      pollFailed: () => this.#tell('poll failed')
    }
  }

  #tell (what: string): void {
    this.told.set(what, (this.told.get(what) ?? 0) + 1)
  }

  // ---- the script

  async #step (step: Step): Promise<void> {
    const member = this.#member
    this.#faulty ||= ['commits fail', 'acknowledgements late', 'poll fails', 'lost'].includes(step.what)
    this.#everFaulty ||= ['commits fail', 'acknowledgements late', 'poll fails', 'lost', 'redeliver'].includes(step.what)
    switch (step.what) {
      case 'append': this.#append(step); break
      case 'advance': break
      case 'revoked': case 'lost': this.#takeAway(step.what, step.partitions, step.elsewhere); break
      case 'assigned': this.#give(step.partitions); break
      case 'redeliver': {
        const id = this.#id(step.partition)
        // Only back: what it has never handed out the client does not jump over.
        const handedOut = [...member.delivered].filter(([one, { epoch }]) => idOf(one) === id && epoch === member.epochs.get(id))
        if (handedOut.length === 0 || !member.owned.has(id)) break
        member.redeliver(partitionOf(id), handedOut[Math.max(0, handedOut.length - 1 - step.back)][0].offset)
        break
      }
      case 'commits fail': Object.assign(this.faults, { commit: step.times, commitKind: step.how }); break
      case 'acknowledgements late': this.faults.acknowledgedAfterMs = step.ms; break
      case 'committed fails': this.faults.committed = step.times; break
      case 'sink refuses': this.faults.sink = step.times; break
      case 'poll fails': this.faults.poll = step.times; break
      case 'pause': case 'resume': this.#suspend(step.what, step.partition); break
      case 'seek': {
        const id = this.#id(step.partition)
        const end = this.broker.ends.get(id)!
        const to = typeof step.to === 'number' ? Math.floor(end * step.to) : step.to
        // It may be refused: not owned, stopping, outside of the log.
        this.engine.controls.seek(partitionOf(id), to).catch(() => {})
        break
      }
      case 'limit': {
        this.#limit = step.limit
        this.#limitPeak = Math.max(this.#limitPeak, step.limit)
        this.engine.limit = step.limit
        break
      }
    }
    await this.#advance(step.what === 'advance' ? step.ms : 1)
  }

  #suspend (what: 'pause' | 'resume', partition: number | null): void {
    const ids = partition === null ? this.broker.ids : [this.#id(partition)]
    const selection = partition === null ? {} : partitionOf(ids[0])
    if (what === 'resume') {
      for (const id of ids) {
        this.#paused.delete(id)
        this.#resumed.set(id, this.#resumed.get(id)! + 1)
      }
    }
    const { engine } = this
    const before = new Map(this.#resumed)
    engine.controls[what](selection).then(() => {
      if (engine !== this.engine || what === 'resume') return
      // Not one that was to be resumed after it: that is done by now, or next.
      for (const id of ids) if (this.#resumed.get(id) === before.get(id)) this.#paused.add(id)
    }, () => {})
  }

  /** Somebody has asked for another place: what is below it is done with, what is above is to be done, again where it was. */
  sought (to: PartitionOffset): void {
    const id = idOf(to)
    const below = this.broker.records.get(id)!.filter(({ offset }) => offset < to.offset).map(({ offset }) => offset)
    const before = this.#uncommittedSeeks.get(id)?.before ?? this.broker.done.get(id)!
    this.#uncommittedSeeks.set(id, { to: to.offset, before, below: new Set(below) })
    this.broker.done.set(id, new Set(below))
    this.mayGoBack.add(id)
    this.forget(id)
  }

  /** Who comes next knows of a seek by its commit only: one that was not committed is undone. */
  undoSeek (id: string): void {
    const seek = this.#uncommittedSeeks.get(id)
    if (seek === undefined) return
    const since = [...this.broker.done.get(id)!].filter(offset => !seek.below.has(offset))
    this.broker.done.set(id, new Set([...seek.before, ...since]))
    this.#uncommittedSeeks.delete(id)
    this.forget(id)
  }

  seekIsCommitted (id: string): void {
    this.#uncommittedSeeks.delete(id)
  }

  /** The order and the attempts of before say nothing of what comes now. */
  forget (id: string): void {
    for (const map of [this.#attempts, this.#lastFirst]) {
      for (const key of map.keys()) if (key === id || key.startsWith(`${id}/`) || key.startsWith(`${id} `)) map.delete(key)
    }
  }

  /** Records with a gap before them, as compaction leaves, and markers after them, as transactions do. */
  #append ({ partition, keys, gap, markers, bytes }: Extract<Step, { what: 'append' }>): void {
    const id = this.#id(partition)
    let offset = this.broker.ends.get(id)! + gap
    const added = keys.map(key => record({
      ...partitionOf(id), offset: offset++, key: key === null ? null : Buffer.from(key), value: Buffer.alloc(bytes)
    }))
    this.broker.records.get(id)!.push(...added)
    this.broker.ends.set(id, offset + markers)
    this.#member.append(added, offset + markers)
  }

  #takeAway (type: 'revoked' | 'lost', bits: number, elsewhere: number): void {
    const ids = this.#among(bits).filter(id => this.#mine.has(id))
    if (ids.length === 0) return
    for (const id of ids) {
      this.#mine.delete(id)
      this.#member.elsewhere.set(id, elsewhere)
      if (type === 'lost') this.#member.fenced.add(id)
    }
    this.#member.event(type, ids.map(partitionOf))
  }

  #give (bits: number): void {
    const ids = this.#among(bits).filter(id => !this.#mine.has(id))
    for (const id of ids) this.#mine.add(id)
    this.#member.event('assigned', ids.map(partitionOf))
  }

  /** Another member of the group takes up where the group's offset is, and commits. */
  handleElsewhere (id: string, count: number): void {
    if (count === 0) return
    this.forget(id)
    const from = Math.max(0, this.broker.beginOf(id))
    const records = this.broker.records.get(id)!.filter(({ offset }) => offset >= from).slice(0, count)
    for (const { offset } of records) {
      this.broker.done.get(id)!.add(offset)
      this.#seen.add(`${id}/${offset}`)
    }
    if (records.length > 0) {
      const base = records.at(-1)!.offset + 1
      const { topicId } = this.broker
      this.broker.committed.set(id, base)
      this.broker.metadata.set(id, encodeProgress({ base, leaderEpoch: 0, done: [], topicId, attempts: [], starts: 0, clean: true }))
    }
    this.mayGoBack.delete(id)
  }

  /** No more faults (but for commits that fail at first), every partition is here, and what hung goes on. */
  #calm (): void {
    const commit = this.script.random % 3
    Object.assign(this.faults, { poll: 0, committed: 0, sink: 0, commit, commitKind: 'retriable', acknowledgedAfterMs: 0 })
    this.#quiet = true
    this.#suspend('resume', null)
    this.#limit = this.script.options.maxInFlight
    this.engine.limit = this.#limit
    this.#letGo()
    this.#give(-1)
  }

  #letGo (): void {
    for (const release of this.#release.splice(0)) release()
  }

  async #untilAllIsCommitted (): Promise<void> {
    const limit = this.clock.now() + QUIET_LIMIT_MS
    // What is committed of a topic that is no more does not count.
    const { broker } = this
    const behind = () => broker.ids.filter(id => !broker.isToldOf(id) || Math.max(0, broker.beginOf(id)) !== broker.ends.get(id))
    while (behind().length > 0) {
      if (this.clock.now() > limit) {
        const where = behind().map(id => `${id} at ${this.broker.committed.get(id)} of ${this.broker.ends.get(id)}`)
        throw new Error(`not all is committed in the end: ${where.join(', ')}; ${JSON.stringify(this.engine.state)}`)
      }
      await this.#advance(200)
    }
    for (const id of this.broker.ids) {
      this.check(this.broker.firstUncompleted(id) === this.broker.ends.get(id), `${id}/${this.broker.firstUncompleted(id)} was never completed`)
    }
    // Time for commits that fail, and have only metadata to say: with no room a second passes until one is acknowledged.
    await this.#advance(5_000)
    const { inFlight, waiting, retrying, deadLettering, abandoned, blocked, partitions, problems } = this.engine.state
    const left = { inFlight, waiting, retrying, deadLettering, abandoned, blocked, problems: problems.length }
    this.check(Object.values(left).every(count => count === 0), `at rest: ${JSON.stringify({ ...left, problems })}`)
    this.check(partitions.every(one => one.windowRecords === 0 && one.windowBytes === 0 && one.inFlight === 0), `at rest: ${JSON.stringify(partitions)}`)
    this.#throwViolations()
  }

  async #stop (timeoutMs: number): Promise<void> {
    const from = this.clock.now()
    this.#stopAt = from + timeoutMs
    const slack = this.#faulty ? STOP_SLACK_WITH_FAULTS_MS : STOP_SLACK_MS
    await this.#awaiting(this.engine.stop(timeoutMs), timeoutMs + slack, `a stop within ${timeoutMs} ms`)
    await this.#afterwards()
  }

  async #fail (run: Promise<void>): Promise<void> {
    this.#member.fatal = true
    const failed = await this.#awaiting(run.then(() => false, () => true), STOP_SLACK_WITH_FAULTS_MS, 'the end of a run that failed')
    this.check(failed, 'a fatal failure does not end the run')
    await this.#afterwards()
  }

  /** The process ends as it is: what it had begun may be begun again, and what was written down is there. */
  async #kill (): Promise<void> {
    this.#tell('killed')
    this.#member.kill()
    this.#release = []
    await this.#advance(100)
    Object.assign(this.faults, { poll: 0, committed: 0, commit: 0, acknowledgedAfterMs: 0 })
  }

  #makeAnew (): void {
    this.broker.makeAnew()
    this.#refusedForGood.clear()
    this.#uncommittedSeeks.clear()
    for (const id of this.broker.ids) {
      this.mayGoBack.add(id)
      this.forget(id)
      for (const at of this.#seen) if (at.startsWith(`${id}/`)) this.#seen.delete(at)
    }
  }

  /** The topic is another one from one moment to the next: the engine has to notice, and to end. */
  async #makeAnewWhileRead (run: Promise<void>): Promise<void> {
    this.#makeAnew()
    for (const id of this.#member.owned) this.stale.add(id)
    this.#member.ids.set(TOPIC, this.broker.topicId)
    for (const id of this.broker.ids) this.#member.truncate(partitionOf(id))
    for (const partition of this.broker.ids.keys()) {
      this.#append({ what: 'append', partition, keys: ['a', 'b', null], gap: 0, markers: 0, bytes: 1 })
    }
    Object.assign(this.faults, { poll: 0, committed: 0, commit: 0, acknowledgedAfterMs: 0 })
    const ended = { yet: false }
    run.finally(() => { ended.yet = true }).catch(() => {})
    const limit = this.clock.now() + NOTICED_MS
    while (!ended.yet && this.stale.size > 0) {
      if (this.clock.now() > limit) throw new Error(`nobody notices that the topic of ${[...this.stale].join(', ')} was made anew`)
      await this.#advance(50)
    }
    // What is taken back by the group meanwhile may be all that there was of it.
    await this.#stop(1_000)
  }

  /** What still runs when the engine has stopped ends now, and changes nothing any more. */
  async #afterwards (): Promise<void> {
    for (const id of this.broker.ids) this.#member.beginEpoch(id, 0)
    const committed = [...this.broker.committed]
    this.#letGo()
    await this.#advance(20_000)
    const { phase, inFlight, waiting, retrying, abandoned, partitions } = this.engine.state
    this.check(phase === 'stopped' && partitions.length === 0, `the engine is ${phase}, with ${partitions.length} partitions`)
    this.check(inFlight + waiting + retrying + abandoned === 0, `left behind: ${JSON.stringify({ inFlight, waiting, retrying, abandoned })}`)
    this.check(JSON.stringify(committed) === JSON.stringify([...this.broker.committed]), 'something was committed after the stop')
    this.#throwViolations()
    Object.assign(this.faults, { poll: 0, committed: 0, commit: 0, acknowledgedAfterMs: 0 })
  }

  async #awaiting<T> (promise: Promise<T>, limitMs: number, what: string): Promise<T> {
    const settled = { yet: false }
    const noted = promise.finally(() => { settled.yet = true })
    noted.catch(() => {})
    for (const limit = this.clock.now() + limitMs; !settled.yet;) {
      if (this.clock.now() > limit) throw new Error(`${what} takes longer than ${limitMs} ms`)
      await this.#advance(50)
    }
    return await noted
  }

  async #advance (ms: number): Promise<void> {
    await this.clock.advance(ms)
    this.#throwViolations()
  }

  #throwViolations (): void {
    if (this.#violations.length > 0) throw new Error(this.#violations.slice(0, 3).join('\n'))
  }

  #id (partition: number): string {
    return this.broker.ids[partition % this.broker.ids.length]
  }

  #among (bits: number): string[] {
    return this.broker.ids.filter((_, index) => (bits & (1 << index)) !== 0)
  }
}

function partitionOf (id: string): TopicPartition {
  return { topic: TOPIC, partition: Number(id.split('/')[1]) }
}

/** What a handler of batches answers for a record. */
function entryOf (kind: Behaviour['kind'], ms: number): unknown {
  switch (kind) {
    case 'fail': return new Error('failed')
    case 'poison': return Object.assign(new Error('no use'), { retriable: false })
    case 'later': return Object.assign(new Error('busy'), { retryAfterMs: ms * 10 })
    case 'drop': return Object.assign(new Error('of no use'), { drop: true })
    case 'ok': return ms % 2 === 0 ? undefined : { status: 'fulfilled', value: ms }
    default: return undefined
  }
}
