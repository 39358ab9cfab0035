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
}

export type HandlerKindName = 'module' | 'batch' | 'workers' | 'push'

const BATCH_SIZE = 8
const THREADS = 8
/**
 * Longer than the longest freeze and the longest record together: a frozen gateway finds the answer when it is back, but its time would
 * be up before it looks, and the record, which was handled, would be pushed again.
 */
const PUSH_TIMEOUT_MS = 16_000

// Every kind does what test/chaos/handler.js does, so that all of them are checked by the same ledger.
export const handlerKinds: Readonly<Record<HandlerKindName, HandlerKind>> = {
  module: { handler: '../../chaos/handler.js', env: {}, recordsPerCall: 1 },
  batch: {
    handler: '../../chaos/handler.js',
    env: { KAFKA_HANDLER_BATCH_SIZE: BATCH_SIZE, KAFKA_HANDLER_BATCH_WAIT_MS: 20 },
    recordsPerCall: BATCH_SIZE
  },
  workers: { handler: '../../chaos/handler.js', env: { KAFKA_HANDLER_THREADS: THREADS }, recordsPerCall: 1, callsAtOnce: THREADS },
  push: { handler: null, env: { KAFKA_HANDLER_TIMEOUT_MS: PUSH_TIMEOUT_MS }, recordsPerCall: 1 }
}
