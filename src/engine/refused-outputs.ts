import { asError } from './attempt-errors.js'
import type { PendingCommit } from './committer.js'
import type { Intake } from './intake.js'
import { Collected, type Output } from './outputs.js'
import type { OwnedPartition } from './owned-partition.js'
import type { Clock, Observer, OutputRefusedError, Sink } from './types.js'
import type { VerdictOptions } from './verdicts.js'

/** How long a partition waits before what Kafka refused is tried again, at first and at last. */
const HOLD_MS = 500
const HOLD_MAX_MS = 30_000

/**
 * What becomes of a record that is done, and whose outputs Kafka refuses in the transaction.
 *
 * Its completion stands; the window cannot take it back. So its outputs make way for its dead letter, at once where they are refused
 * for what they are, else when its attempts are used up. Until then its partition is not committed: the others go on.
 */
export class RefusedOutputs {
  readonly #options: Pick<VerdictOptions, 'retry' | 'exhausted'>
  readonly #intake: Intake
  readonly #sink: Sink
  readonly #clock: Clock
  readonly #observer: Observer
  readonly #stuck = new Map<OwnedPartition, string>()

  constructor (options: Pick<VerdictOptions, 'retry' | 'exhausted'>, intake: Intake, ports: { sink: Sink, clock: Clock, observer: Observer }) {
    this.#options = options
    this.#intake = intake
    this.#sink = ports.sink
    this.#clock = ports.clock
    this.#observer = ports.observer
  }

  /** What cannot be written, in sentences for an operator. */
  get problems (): string[] {
    for (const owned of this.#stuck.keys()) if (!owned.owned) this.#stuck.delete(owned)
    return [...this.#stuck.values()]
  }

  /** The partitions of a commit have been written. */
  written (partitions: readonly OwnedPartition[]): void {
    if (this.#stuck.size > 0) for (const owned of partitions) this.#stuck.delete(owned)
  }

  /** A transaction was aborted because of one of its outputs. */
  refused ({ outputs }: PendingCommit, error: OutputRefusedError): void {
    const found = at(outputs, error.index)
    if (found === null || !found.owned.owned) return
    const { owned, output } = found
    const delayMs = Math.min(HOLD_MAX_MS, HOLD_MS * 2 ** output.refusals++)
    owned.commitsHeldUntil = this.#clock.now() + delayMs
    const { record, attempts, collected } = output
    if (collected.isLetter) {
      this.#hold(owned, output, error)
      this.#observer.deadLetterRefused(record, error, delayMs)
      return
    }
    const { exhausted, retry } = this.#options
    if (!error.permanent && output.refusals < retry.maxAttempts) {
      this.#observer.attemptFailed(record, attempts, error, 'retry', delayMs)
      return
    }
    this.#observer.attemptFailed(record, attempts, error, exhausted, exhausted === 'block' ? delayMs : null)
    if (exhausted === 'block') this.#hold(owned, output, error)
    else if (exhausted === 'skip') this.#replace(owned, output, new Collected([], 0))
    else this.#deadLetter(owned, output, error)
  }

  #deadLetter (owned: OwnedPartition, output: Output, error: Error): void {
    const refused = (failure: unknown) => {
      this.#hold(owned, output, asError(failure))
      this.#observer.deadLetterRefused(output.record, asError(failure), Math.max(0, owned.commitsHeldUntil - this.#clock.now()))
    }
    // Otherwise a commit would try the same again before the dead letter is there.
    let letter
    try {
      letter = this.#sink({ record: output.record, attempts: output.attempts, error })
    } catch (failure) {
      refused(failure)
      return
    }
    letter.then(value => {
      if (value instanceof Collected) this.#replace(owned, output, value)
    }, refused)
  }

  #replace (owned: OwnedPartition, output: Output, by: Collected): void {
    const freed = output.collected.bytes - by.bytes
    output.collected = by
    output.refusals = 0
    owned.commitsHeldUntil = -Infinity
    this.#intake.written(owned, freed)
  }

  #hold (owned: OwnedPartition, { record: { topic, partition, offset }, collected }: Output, error: Error): void {
    const what = collected.isLetter ? 'the dead letter' : 'what the handler answered'
    this.#stuck.set(owned, `${topic}/${partition} is not committed: ${what} for offset ${offset} cannot be written: ${error.message}`)
  }
}

/** Whose record it is, by its place among all records of the transaction. */
function at (outputs: PendingCommit['outputs'], index: number): PendingCommit['outputs'][number] | null {
  let before = 0
  for (const one of outputs) {
    before += one.output.collected.records.length
    if (index < before) return one
  }
  return null
}
