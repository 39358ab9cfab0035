import type { GatewayOptions } from '../support/gateway.js'

/** How the gateways of a round handle their records: what each kind sets, beside what all have in common. */
export interface HandlerKind {
  /** A module, relative to test/support/handlers; `null`: they push to the harness (receiver.ts). */
  readonly handler: string | null
  readonly env: GatewayOptions['env']
  /** Records that one call of the handler gets, at most. */
  readonly recordsPerCall: number
  /** Calls that may be under way at once in one gateway, where that is less than KAFKA_MAX_PROC_COUNT. */
  readonly callsAtOnce?: number
  /** How long a record may be on its way to a thread or a receiver, which begin it when its gateway may have lost the partition already. */
  readonly onItsWayMs: number
}

export type HandlerKindName = 'module' | 'batch' | 'workers' | 'push'
/** `mixed`: each gateway of a round has another kind, so that a record that comes back may be handled in another way. */
export type Handlers = HandlerKindName | 'mixed'

const BATCH_SIZE = 8
const THREADS = 8
const ON_ITS_WAY_MS = 250
/**
 * Longer than the longest freeze and the longest record together: a frozen gateway finds the answer when it is back, but its time would
 * be up before it looks, and the record, which was handled, would be pushed again.
 */
const PUSH_TIMEOUT_MS = 16_000

// Every kind does what test/chaos/handler.js does, so that all of them are checked by the same ledger.
const handlerKinds: Readonly<Record<HandlerKindName, HandlerKind>> = {
  module: { handler: '../../chaos/handler.js', env: {}, recordsPerCall: 1, onItsWayMs: 0 },
  batch: {
    handler: '../../chaos/handler.js',
    env: { KAFKA_HANDLER_BATCH_SIZE: BATCH_SIZE, KAFKA_HANDLER_BATCH_WAIT_MS: 20 },
    recordsPerCall: BATCH_SIZE,
    onItsWayMs: 0
  },
  workers: {
    handler: '../../chaos/handler.js',
    env: { KAFKA_HANDLER_THREADS: THREADS },
    recordsPerCall: 1,
    callsAtOnce: THREADS,
    onItsWayMs: ON_ITS_WAY_MS
  },
  push: { handler: null, env: { KAFKA_HANDLER_TIMEOUT_MS: PUSH_TIMEOUT_MS }, recordsPerCall: 1, onItsWayMs: ON_ITS_WAY_MS }
}

// By slot: those that are there from the beginning, and the fourth that joins.
const mixed: readonly HandlerKindName[] = ['batch', 'workers', 'push', 'module']
/**
 * A record that fails at first counts its attempts with each of two parties: a module goes by the gateway's count, the receiver of
 * pushes by its own. It may fail twice with both, and hang once, before it is well.
 */
const MIXED_ATTEMPTS = 6

export const handlersNames: readonly Handlers[] = [...Object.keys(handlerKinds) as HandlerKindName[], 'mixed']

/** What the gateway in a slot (from 1) has. */
export function handlerKind (handlers: Handlers, slot: number): HandlerKind {
  if (handlers !== 'mixed') return handlerKinds[handlers]
  const kind = handlerKinds[mixed[(slot - 1) % mixed.length]]
  return { ...kind, env: { ...kind.env, KAFKA_RETRY_MAX_ATTEMPTS: MIXED_ATTEMPTS } }
}
