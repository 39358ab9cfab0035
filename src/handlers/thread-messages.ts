import type { MessagePort } from 'node:worker_threads'
import type { HandlerConfig } from './index.js'
import type { PackedRecord } from './packed-record.js'
import type { Packed, PackedError } from './packing.js'

/** What a worker thread is started with. */
export interface ThreadData {
  readonly config: HandlerConfig
  /** Of the main thread's logger: what is below it is not sent there. */
  readonly logLevel: string
}

/** The first that a thread says: its module is loaded, and this is how it and the main thread reach each other. */
export interface Hello {
  readonly threadId: number
  readonly link: MessagePort
  /** How much of what the thread has logged the main thread has written, in characters, modulo 2³². */
  readonly written: Int32Array
}

/** One attempt, given to a thread. */
export interface ThreadTask {
  readonly id: number
  /** One, or those of a batch. */
  readonly records: readonly PackedRecord[]
  /** The number of this attempt at each of them. */
  readonly attempts: readonly number[]
}

/** How it ended. */
export type ThreadOutcome =
  | { readonly answer: Packed }
  | { readonly error: PackedError }

export interface LogLine {
  readonly level: LogLevel
  /** The members of a JSON object, with all that was bound. */
  readonly fields: string
  readonly err: PackedError | null
  readonly msg: string | null
  /** Characters that count for the limit of what is on its way. */
  readonly size: number
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const
export type LogLevel = typeof LOG_LEVELS[number]

/** From a thread to the main thread. */
export type FromThread =
  | { readonly kind: 'log', readonly line: LogLine }
  | { readonly kind: 'send', readonly call: number, readonly record: Packed }

/** From the main thread to a thread. */
export type ToThread =
  /** An attempt's signal is to be aborted. It may come before the attempt does: they take different ways. */
  | { readonly kind: 'abort', readonly id: number, readonly reason: PackedError }
  | { readonly kind: 'sent', readonly call: number, readonly outcome: ThreadOutcome }
