import type { KafkaRecord, OutgoingRecord } from '../record.js'

/** Identifies a partition of a topic. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** A commit offset of one partition: everything below `offset` is completed. */
export interface OffsetCommit extends TopicPartition {
  readonly offset: number
  /** Leader epoch of the last record below `offset`, −1 where unknown. */
  readonly leaderEpoch: number
  /** What is completed above `offset`, encoded; '' for nothing, which erases what an earlier commit said. */
  readonly metadata: string
}

/** What the group holds for a partition; `offset` is −1 where it never committed. */
export interface CommittedOffset extends TopicPartition {
  readonly offset: number
  /** What was committed with it, '' for nothing. May be anybody's. */
  readonly metadata: string
}

/** Where a partition is to be read from: an offset, a time (the first record that is not older), or one of its ends. */
export type Position = number | { readonly timestamp: number } | 'beginning' | 'end'

/** Where a partition begins that has no valid offset in the group; `error`, Kafka's `none`: it stands still. */
export type ResetPolicy = 'earliest' | 'latest' | 'error'

/** A place in a partition's log. */
export interface PartitionOffset extends TopicPartition {
  readonly offset: number
}

/**
 * Something that the group decided.
 *
 * `assigned` and `revoked` must be answered through the source, in order; until then the client keeps all of this
 * member's partitions still. `lost` means that others may own the partitions already: no waiting, no commit.
 */
export interface RebalanceEvent {
  readonly type: 'assigned' | 'revoked' | 'lost'
  readonly partitions: readonly TopicPartition[]
  /**
   * Of `assigned`: these are all that the member has now. Whatever it had before is lost, also what is named again, though no
   * other event said so.
   */
  readonly whole?: true
}

/** The end of a partition was reached: `offset` is the next one that will be written there. */
export interface PartitionEnd extends TopicPartition {
  readonly offset: number
}

/** What one poll brought. Ends are reported beside the records and hold after them. */
export interface Batch {
  readonly records: readonly KafkaRecord[]
  readonly ends: readonly PartitionEnd[]
}

/** Where records come from and offsets go to: one member of one consumer group. */
export interface Source {
  /**
   * Fetches at most `max` records, waiting up to `timeoutMs` for the first. Also serves rebalances and commit
   * acknowledgements: neither arrives while nobody polls. Never called while another poll is under way.
   */
  poll (max: number, timeoutMs: number): Promise<Batch>
  /** The oldest rebalance event that was not taken yet. */
  takeEvent (): RebalanceEvent | undefined
  /** Whether there is one. */
  readonly hasEvent: boolean
  /** Reads the group's offsets for partitions that were just assigned. */
  committed (partitions: readonly TopicPartition[]): Promise<CommittedOffset[]>
  /** Answers `assigned`. An offset of −1 starts where the reset policy says. Empty lists are answered too. */
  assign (partitions: readonly CommittedOffset[]): void
  /** Answers `revoked` or `lost`. */
  unassign (partitions: readonly TopicPartition[]): void
  pause (partitions: readonly TopicPartition[]): void
  resume (partitions: readonly TopicPartition[]): void
  /**
   * Ids of topics, by name: a topic that is deleted and made again has another. Absent: there is no such topic, or the
   * brokers do not tell ids. Needs no poll.
   */
  topicIds (topics: readonly string[]): Promise<ReadonlyMap<string, string>>
  /** Turns positions into offsets; a time beyond the last record is the end. Needs no poll. */
  offsetsAt (position: Position, partitions: readonly TopicPartition[]): Promise<PartitionOffset[]>
  /** Moves where owned partitions are read: no poll hands out what was fetched before. Not while a poll is under way. */
  seek (positions: readonly PartitionOffset[]): Promise<void>
  /**
   * Resolves when the broker has acknowledged the commit. Only a running `poll` brings that about. Rejects with a CommitError.
   *
   * @param outputs exactly once: they are written in one transaction with the offsets, in their order, all or nothing
   */
  commit (offsets: readonly OffsetCommit[], outputs?: readonly OutgoingRecord[]): Promise<void>
  /** Leaves the group. What the group still takes back arrives as `revoked` events through `poll`. */
  leave (): void
  /** True once the group has taken everything back. */
  readonly left: boolean
}

/** A commit that failed, as far as the engine must tell failures apart. */
export class CommitError extends Error {
  /**
   * `lost`: the group has gone on without this member, so the partitions are no longer its own. Of a transaction both say that it
   * was aborted. `unknown`: it may have been committed, and this member cannot find out; the next one finds it decided.
   */
  readonly kind: 'retriable' | 'lost' | 'unknown'
  constructor (kind: 'retriable' | 'lost' | 'unknown', message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CommitError'
    this.kind = kind
  }
}

/** A transaction was aborted because Kafka refused one of its outputs. */
export class OutputRefusedError extends CommitError {
  /** Which of the outputs. */
  readonly index: number
  /** It is refused for what it is: another try is no use. */
  readonly permanent: boolean
  constructor (index: number, permanent: boolean, message: string, options?: ErrorOptions) {
    super('retriable', message, options)
    this.name = 'OutputRefusedError'
    this.index = index
    this.permanent = permanent
  }
}

/** A poll that failed, as far as the engine must tell failures apart. */
export class PollError extends Error {
  /**
   * `passing`: the client goes on by itself. `standing`: it goes on, but something needs an operator (a partition
   * without an offset, say), and is over once something is assigned. `denied`: likewise, over once records arrive.
   * `fatal`: this member is done for and must be made anew.
   */
  readonly kind: 'passing' | 'standing' | 'denied' | 'fatal'
  /** With `fatal`: another process has this member's identity, and would lose it to a member that is made anew here. */
  readonly fenced: boolean
  constructor (kind: 'passing' | 'standing' | 'denied' | 'fatal', message: string, { fenced = false, ...options }: ErrorOptions & { fenced?: boolean } = {}) {
    super(message, options)
    this.name = 'PollError'
    this.kind = kind
    this.fenced = fenced
  }
}

/** What a handler is told about the attempt it makes. */
export interface Attempt {
  /** 1 for the first. */
  readonly attempt: number
  /** Aborted when the time limit has passed, or when the partition must be given up. */
  readonly signal: AbortSignal
  /**
   * Calls `listener` once the signal is aborted, at once where it is already; a second call replaces the listener. It spares
   * making the signal, which is made when it is first asked for, and costs more than the rest of the engine.
   */
  onAbort? (listener: (reason: Error) => void): void
}

/** Does the work. A resolved (or no) promise completes the record; a rejected one is a failed attempt. */
export type Handler = (record: KafkaRecord, attempt: Attempt) => Promise<unknown> | unknown

/** What a handler of batches is told about the attempt it makes. */
export interface BatchAttempt {
  /** The number of this attempt at each of the records, in their order; 1 for the first. */
  readonly attempts: readonly number[]
  /** Aborted when the time limit has passed, when the partition must be given up, or when one of the records is to make way. */
  readonly signal: AbortSignal
}

/**
 * Does the work for records of one partition, in offset order. What it answers is read by `readAnswer`: nothing, or how each of
 * them ended. A rejected promise, or an answer that is not understood, is a failed attempt at all of them.
 */
export type BatchHandler = (records: readonly KafkaRecord[], attempt: BatchAttempt) => Promise<unknown> | unknown

/** What makes a batch. */
export interface BatchPolicy {
  /** Records, at most; 2 or more. */
  readonly maxRecords: number
  /** What all of its records have in common. `key` needs the order `key`: records without a key are batched among themselves. */
  readonly by: 'partition' | 'key'
  /** How long a batch that is not full waits for more; 0: it goes with what is there. */
  readonly waitMs: number
}

/** A handler of batches, and what it takes. One of its calls is one handler in flight. */
export interface BatchedHandler {
  readonly handle: BatchHandler
  readonly batches: BatchPolicy
}

/** A record that used up its attempts, or is to be tried again much later, and why. */
export interface DeadLetter {
  readonly record: KafkaRecord
  readonly attempts: number
  readonly error: Error
  /** It is for the retry topic, and due after this; absent or `null`: for the dead-letter topic. */
  readonly retryInMs?: number | null
}

/** What a record of the retry topic says: attempts made before, and how long it is not due yet. */
export interface Deferral {
  readonly attempts: number
  readonly waitMs: number
}

/**
 * Where dead letters and records for the retry topic go. Resolves once the broker has acknowledged the record with acks=all. Exactly
 * once: with what is to be written together with the completion, a Collected.
 */
export type Sink = (letter: DeadLetter) => Promise<unknown>

/** Time and chance, so that tests decide both. */
export interface Clock {
  /** Monotonic, in milliseconds. */
  now (): number
  /** Calls `fn` once after `delayMs`; the returned function cancels it. */
  schedule (delayMs: number, fn: () => void): () => void
  /** In [0, 1). */
  random (): number
}

/** How a record was completed. */
export type Outcome =
  | 'handled'
  | 'dead-lettered'
  | 'skipped'
  /** it goes on in the retry topic */
  | 'deferred'

/** Is told what happens, for logs and metrics. Must not throw and cannot change anything. */
export interface Observer {
  /**
   * `abandoned`: it had not settled after its time limit and grace. Of a batch it is told for each record whose attempt counts.
   *
   * @param seconds `null`: told with an earlier record of the same batch
   */
  attemptEnded (record: KafkaRecord, outcome: 'ok' | 'failed' | 'timed-out' | 'abandoned', seconds: number | null): void
  /** `given-back`: the partition is being revoked, and its next owner tries again. */
  attemptFailed (
    record: KafkaRecord, attempt: number, error: Error,
    then: 'retry' | 'defer' | 'dead-letter' | 'block' | 'skip' | 'drop' | 'given-back', delayMs: number | null
  ): void
  completed (record: KafkaRecord, outcome: Outcome, attempts: number): void
  deadLetterRefused (record: KafkaRecord, error: Error, delayMs: number): void
  committed (offsets: readonly OffsetCommit[], seconds: number): void
  commitFailed (error: Error, seconds: number): void
  rebalanced (event: RebalanceEvent): void
  /** A drain is over; `abandoned` counts what was still in flight when its time was up. */
  drained (partitions: readonly TopicPartition[], seconds: number, abandoned: number): void
  /** A record that a predecessor completed above its commit offset: not handled again. */
  completedBefore (record: KafkaRecord): void
  /** `rewound`: the log goes on below what was read. `duplicate`: delivered again, dropped. */
  unexpected (what: 'rewound' | 'duplicate', record: KafkaRecord): void
  /** It held up its partition and was told to make way. */
  diverted (record: KafkaRecord): void
  breakerMoved (state: 'closed' | 'open' | 'probing', reason: string | null): void
  /** The topic was deleted and made again; these partitions are read from their beginning. */
  topicMadeAnew (topic: string, partitions: readonly TopicPartition[]): void
  /** Owners keep ending at the same place without leaving in good order: its records are started one by one. */
  suspected (partition: TopicPartition, starts: number): void
  /** A partition is not read from where the group's offset says. `skipped` offsets are not read by anybody; `null`: not known. */
  offsetReset (partition: TopicPartition, reason: 'none' | 'below-start' | 'beyond-end', skipped: number | null): void
  /** Somebody asked for it. */
  sought (positions: readonly PartitionOffset[]): void
  pausedOrResumed (what: 'paused' | 'resumed', partitions: readonly TopicPartition[]): void
  pollFailed (error: Error): void
}
