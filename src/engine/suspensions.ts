import type { TopicPartition } from './types.js'

/** What an operator speaks of: everything, a topic, or one partition of it. */
export interface Selection {
  readonly topic?: string
  /** Only together with a topic. */
  readonly partition?: number
}

/** Whether a selection includes a partition. */
export function selects ({ topic, partition }: Selection, of: TopicPartition): boolean {
  return (topic === undefined || topic === of.topic) && (partition === undefined || partition === of.partition)
}

/**
 * What operators have paused. It outlives assignments, so that a partition that comes back, or a new one of the topic, is
 * paused still: the newest word on a partition holds.
 */
export class Suspensions {
  // Oldest first. A word on more makes the earlier ones on parts of it obsolete, so there is never more than one a selection.
  #words: { readonly selection: Selection, readonly suspended: boolean }[] = []

  set (selection: Selection, suspended: boolean): void {
    this.#words = this.#words.filter(word => !covers(selection, word.selection))
    // With nothing left to except from, there is nothing to remember.
    if (suspended || this.#words.length > 0) this.#words.push({ selection, suspended })
  }

  has (partition: TopicPartition): boolean {
    return this.#words.findLast(({ selection }) => selects(selection, partition))?.suspended ?? false
  }
}

function covers (wide: Selection, narrow: Selection): boolean {
  return (wide.topic === undefined || wide.topic === narrow.topic) && (wide.partition === undefined || wide.partition === narrow.partition)
}
