import type { GatewayOptions } from '../support/gateway.js'

/** How the gateways of a round handle their records: what each kind sets, beside what all have in common. */
export interface HandlerKind {
  /** A module, relative to test/support/handlers. */
  readonly handler: string
  readonly env: GatewayOptions['env']
  /** Records that one call of the handler gets, at most. */
  readonly recordsPerCall: number
}

const BATCH_SIZE = 8

// Every kind runs test/chaos/handler.js, so that all of them are checked by the same ledger.
const kinds = {
  module: { handler: '../../chaos/handler.js', env: {}, recordsPerCall: 1 },
  batch: {
    handler: '../../chaos/handler.js',
    env: { KAFKA_HANDLER_BATCH_SIZE: BATCH_SIZE, KAFKA_HANDLER_BATCH_WAIT_MS: 20 },
    recordsPerCall: BATCH_SIZE
  }
} as const satisfies Record<string, HandlerKind>

export type HandlerKindName = keyof typeof kinds
export const handlerKinds: Readonly<Record<HandlerKindName, HandlerKind>> = kinds
