import type { AdaptiveLimit } from '../../src/engine/adaptive-limit.js'
import { Engine, type EngineOptions } from '../../src/engine/engine.js'
import { decodeProgress } from '../../src/engine/progress.js'
import type { Suspensions } from '../../src/engine/suspensions.js'
import type { Attempt, BatchAttempt, BatchedHandler, BatchPolicy, DeadLetter, Deferral, Handler, Observer, Outcome } from '../../src/engine/types.js'
import type { KafkaRecord } from '../../src/record.js'
import { FakeClock } from './fake-clock.js'
import { FakeSource, idOf, record } from './fake-source.js'

export const defaults: EngineOptions = {
  order: 'key',
  maxInFlight: 4,
  handlerTimeoutMs: 60_000,
  handlerGraceMs: 5_000,
  maxAbandoned: 3,
  retry: { maxAttempts: 3, backoffMs: 100, backoffMaxMs: 1000 },
  exhausted: 'dead-letter',
  maxRecordsBeforeCommit: 100,
  commitIntervalMs: 1000,
  autoOffsetReset: 'earliest',
  windowMaxRecords: 1000,
  windowMaxBytes: 1_000_000,
  windowTotalMaxBytes: 1_000_000_000,
  diversionMaxPerMinute: 0,
  deferAfterMs: null,
  breaker: { failureShare: 0, records: 20, probeMs: 1000, probeMaxMs: 30_000 },
  drainTimeoutMs: 5_000
}

export interface Harness {
  readonly clock: FakeClock
  readonly source: FakeSource
  readonly engine: Engine
  /** `topic/partition/offset` of every record that was completed, in that order. */
  readonly completed: string[]
  readonly outcomes: Outcome[]
  /** `topic/partition/offset` of every attempt that was started, in that order. */
  readonly started: string[]
  /** Offsets of every batch that was started, in that order. */
  readonly batches: number[][]
  readonly letters: DeadLetter[]
  /** Names of what the observer was told, with counts. */
  readonly told: Map<string, number>
  readonly run: Promise<void>
  /** The most that ever ran at once. */
  readonly peak: number
}

export interface HarnessPorts {
  readonly sink?: (letter: DeadLetter) => Promise<unknown>
  readonly random?: () => number
  /** Told of the error of every attempt that failed. */
  readonly failed?: (error: Error) => void
  readonly deferralOf?: (record: KafkaRecord) => Deferral | null
  readonly suspensions?: Suspensions
  readonly adaptive?: AdaptiveLimit
  /** A process that was here before, over the same broker, and whose clock is not moved any more: it was killed. */
  readonly after?: Harness
}

/** A handler of batches, and what it takes. */
export interface TestBatchHandler extends Partial<BatchPolicy> {
  readonly handle: (records: readonly KafkaRecord[], attempt: BatchAttempt, clock: FakeClock) => Promise<unknown> | unknown
}

export type TestHandler = (record: KafkaRecord, attempt: Attempt, clock: FakeClock) => Promise<unknown> | unknown

export function place ({ topic, partition, offset }: { topic: string, partition: number, offset: number }): string {
  return `${idOf({ topic, partition })}/${offset}`
}

/** An engine over a fake source and a fake clock, running, with nothing assigned yet. */
export function harness (
  handle: TestHandler | TestBatchHandler,
  options: Partial<EngineOptions> = {},
  { sink, random, failed, deferralOf, suspensions, adaptive, after }: HarnessPorts = {}
): Harness {
  // A clock of its own: that of a predecessor stands still for good, and with it everything of its process.
  const clock = new FakeClock(random)
  const source = new FakeSource(clock)
  if (after !== undefined) source.takeOver(after.source)
  const completed: string[] = []
  const outcomes: Outcome[] = []
  const started: string[] = []
  const batches: number[][] = []
  const letters: DeadLetter[] = []
  const told = new Map<string, number>()
  const tell = (what: string) => told.set(what, (told.get(what) ?? 0) + 1)
  let running = 0
  let peak = 0

  const count = (records: readonly KafkaRecord[], call: () => unknown) => {
    for (const record of records) started.push(place(record))
    peak = Math.max(peak, ++running)
    return (async () => await call())().finally(() => { running-- })
  }
  const single = (handle: TestHandler): Handler => (record, attempt) => count([record], () => handle(record, attempt, clock))
  const batched = ({ handle, ...policy }: TestBatchHandler): BatchedHandler => ({
    batches: { maxRecords: 10, by: 'partition', waitMs: 0, ...policy },
    handle (records, attempt) {
      batches.push(records.map(({ offset }) => offset))
      return count(records, () => handle(records, attempt, clock))
    }
  })
  const observer: Observer = {
    attemptEnded (record, outcome) { tell(`attempt ${outcome}`) },
    attemptFailed (record, attempt, error, then) {
      tell(`failed: ${then}`)
      failed?.(error)
    },
    completed (record, outcome) {
      tell(outcome)
      completed.push(place(record))
      outcomes.push(outcome)
    },
    deadLetterRefused () { tell('dead letter refused') },
    committed () { tell('committed') },
    commitFailed () { tell('commit failed') },
    rebalanced ({ type }) { tell(type) },
    drained () { tell('drained') },
    diverted () { tell('diverted') },
    breakerMoved (state) { tell(`breaker ${state}`) },
    topicMadeAnew () { tell('topic made anew') },
    suspected () { tell('suspected') },
    sought () { tell('sought') },
    offsetReset (partition, reason) { tell(`reset: ${reason}`) },
    completedBefore () { tell('completed before') },
    unexpected (what) { tell(what) },
    pausedOrResumed (what) { tell(what) },
    pollFailed () { tell('poll failed') }
  }
  const engine = new Engine({ ...defaults, ...options }, {
    source,
    handler: typeof handle === 'function' ? single(handle) : batched(handle),
    sink: async letter => {
      const value = await sink?.(letter)
      letters.push(letter)
      return value
    },
    clock,
    observer,
    ...(deferralOf !== undefined && { deferralOf }),
    ...(suspensions !== undefined && { suspensions }),
    ...(adaptive !== undefined && { adaptive })
  })
  const run = engine.run()
  return { clock, source, engine, completed, outcomes, started, batches, letters, told, run, get peak () { return peak } }
}

/** Stops the engine, moving the clock until it has. */
export async function stop ({ engine, clock }: Harness, timeoutMs = 5_000): Promise<void> {
  let stopped = false
  const stopping = engine.stop(timeoutMs).then(() => { stopped = true })
  await clock.until(() => stopped, 'the engine to stop')
  await stopping
}

export const P0 = { topic: 't', partition: 0 }
export const P1 = { topic: 't', partition: 1 }

/** So many records of a partition from an offset on, each with a key of its own. */
export function distinct (count: number, from = 0, partition: { topic: string, partition: number } = P0): KafkaRecord[] {
  return Array.from({ length: count }, (_, n) => record({ ...partition, offset: from + n, key: Buffer.from(`k${from + n}`) }))
}

/** What the group holds for a partition: the commit offset, and what was said with it. */
export function committedOf ({ source }: Harness, partition: { topic: string, partition: number } = P0) {
  const offset = source.committedOffsets.get(idOf(partition)) ?? -1
  return { offset, progress: decodeProgress(source.committedMetadata.get(idOf(partition)) ?? '', offset) }
}

/** A harness whose source has these records, with both partitions assigned. */
export function harnessOf (
  handler: Handler | TestBatchHandler, records: readonly KafkaRecord[], options: Partial<EngineOptions> = {}, ports: HarnessPorts = {}
): Harness {
  const h = harness(handler, options, ports)
  h.source.append(records)
  h.source.event('assigned', [P0, P1])
  return h
}

/** Waits until so many records are completed. */
export const completed = async (h: Harness, count: number) => await h.clock.until(() => h.completed.length === count, `${count} completed`)
