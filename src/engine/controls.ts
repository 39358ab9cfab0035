import { PartitionGivenUpError } from './attempt-errors.js'
import type { Committer } from './committer.js'
import type { Intake } from './intake.js'
import type { OwnedPartition } from './owned-partition.js'
import { byPartition, partitionId } from './partition-id.js'
import type { Runner } from './runner.js'
import { selects, type Selection, type Suspensions } from './suspensions.js'
import { PollError, type Observer, type PartitionOffset, type Position, type Source, type TopicPartition } from './types.js'

/** Something was asked for that cannot be done; nothing was changed. */
export class ControlError extends Error {
  /** `invalid`: what was asked for makes no sense. `unavailable`: it may later, or elsewhere. */
  readonly kind: 'invalid' | 'unavailable'
  constructor (kind: 'invalid' | 'unavailable', message: string) {
    super(message)
    this.name = 'ControlError'
    this.kind = kind
  }
}

/**
 * What operators may do to a running consumer. Everything happens in the loop, between two polls: nobody else changes what
 * is owned, or where it is read.
 */
export class Controls {
  readonly #source: Source
  readonly #intake: Intake
  readonly #runner: Runner
  readonly #committer: Committer
  readonly #observer: Observer
  readonly #suspensions: Suspensions
  readonly #commitFirst: (() => Promise<void>) | undefined
  #requests: { serve: () => Promise<void>, refuse: (error: Error) => void }[] = []
  #ended: ControlError | null = null

  constructor (
    intake: Intake, runner: Runner, committer: Committer,
    ports: { source: Source, observer: Observer, suspensions: Suspensions, /** Before a seek. */ commitFirst?: () => Promise<void> }
  ) {
    this.#commitFirst = ports.commitFirst
    this.#source = ports.source
    this.#observer = ports.observer
    this.#suspensions = ports.suspensions
    this.#intake = intake
    this.#runner = runner
    this.#committer = committer
  }

  /** Something was asked for and is not done yet. */
  get pending (): boolean { return this.#requests.length > 0 }

  /**
   * Stops fetching and starting what is selected; what is in flight goes on. It also holds for partitions that are assigned later.
   *
   * @returns what it applies to here and now
   * @throws {ControlError} `unavailable` where the consumer stops
   */
  pause (selection: Selection): Promise<TopicPartition[]> {
    return this.#suspend(selection, true)
  }

  /** Undoes `pause`, also for a part of what was paused. */
  resume (selection: Selection): Promise<TopicPartition[]> {
    return this.#suspend(selection, false)
  }

  /**
   * Reads what is selected, and owned here, from another place on: a new epoch. What waits is forgotten, what is in flight is
   * told to end, and where it settles later that changes nothing. The new place is committed at once.
   *
   * @returns where each partition is read from
   * @throws {ControlError} `invalid` for an offset outside of what a partition holds, `unavailable` where nothing selected is owned here
   */
  seek (selection: Selection, position: Position): Promise<PartitionOffset[]> {
    return this.#between(async () => {
      const owned = this.#owned(selection)
      if (owned.length === 0) throw new ControlError('unavailable', 'no partition of this selection is assigned to this process')
      const positions = await this.#positionsOf(owned, position)
      await this.#commitFirst?.().catch((error: Error) => { throw new ControlError('unavailable', error.message) })
      // Meanwhile a commit may have failed in a way that ends everything.
      if (owned.some(one => !one.owned)) throw new ControlError('unavailable', 'the partitions were lost meanwhile')
      for (const [index, one] of owned.entries()) this.#intake.beginAnew(one, positions[index].offset, new PartitionGivenUpError('somebody sought another place'))
      try {
        await this.#source.seek(positions)
      } catch (error) {
        // The client may be at the one place or at the other, and the windows are at the new one.
        throw new PollError('fatal', `a seek failed: ${(error as Error).message}`, { cause: error })
      }
      this.#committer.note()
      this.#observer.sought(positions)
      return positions
    })
  }

  /** Does what was asked for. Called between polls. */
  async serve (): Promise<void> {
    for (let request = this.#requests.shift(); request !== undefined; request = this.#requests.shift()) await request.serve()
  }

  /** Nothing is served any more. */
  end (): void {
    this.#ended = new ControlError('unavailable', 'the consumer is stopping')
    for (const { refuse } of this.#requests.splice(0)) refuse(this.#ended)
  }

  #suspend (selection: Selection, suspended: boolean): Promise<TopicPartition[]> {
    return this.#between(async () => {
      this.#suspensions.set(selection, suspended)
      const changed = this.#owned(selection).filter(owned => owned.suspended !== suspended)
      for (const owned of changed) {
        owned.suspended = suspended
        this.#runner.scheduler.suspend(owned.topic, owned.partition, suspended)
      }
      // Fetching is resumed like after any other pause: where there is room.
      if (suspended) this.#intake.pause(changed.filter(owned => !owned.paused))
      this.#runner.pump()
      return changed.map(({ topic, partition }) => ({ topic, partition }))
    })
  }

  async #positionsOf (owned: readonly OwnedPartition[], position: Position): Promise<PartitionOffset[]> {
    try {
      const positions = await this.#source.offsetsAt(position, owned)
      const offsets = byPartition(positions)
      const sorted = owned.flatMap(({ topic, partition }): PartitionOffset[] => {
        const offset = offsets.get(partitionId(topic, partition))
        return offset !== undefined && Number.isSafeInteger(offset) && offset >= 0 ? [{ topic, partition, offset }] : []
      })
      // Before anything is changed: a seek of some of them would be none that was asked for.
      if (sorted.length < owned.length && typeof position !== 'number') throw new Error('the offsets of some partitions cannot be read')
      if (typeof position === 'number') await this.#checkBounds(owned, position)
      return sorted
    } catch (error) {
      throw error instanceof ControlError ? error : new ControlError('unavailable', (error as Error).message)
    }
  }

  async #checkBounds (owned: readonly OwnedPartition[], offset: number): Promise<void> {
    if (!Number.isSafeInteger(offset) || offset < 0) throw new ControlError('invalid', `not an offset: ${offset}`)
    const [beginnings, ends] = await Promise.all([this.#source.offsetsAt('beginning', owned), this.#source.offsetsAt('end', owned)])
    const beginsAt = byPartition(beginnings)
    for (const { topic, partition, offset: end } of ends) {
      const beginning = beginsAt.get(partitionId(topic, partition))!
      if (offset < beginning || offset > end) {
        throw new ControlError('invalid', `offset ${offset} is outside of what ${topic}/${partition} holds: ${beginning} to ${end}`)
      }
    }
  }

  #owned (selection: Selection): OwnedPartition[] {
    return [...this.#intake.assignment].filter(owned => !owned.draining && selects(selection, owned))
  }

  #between<T> (act: () => Promise<T>): Promise<T> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    return new Promise<T>((resolve, reject) => {
      const serve = async () => {
        try {
          resolve(await act())
        } catch (error) {
          reject(error)
          if (error instanceof PollError) throw error
        }
      }
      this.#requests.push({ serve, refuse: reject })
      this.#intake.wake()
    })
  }
}
