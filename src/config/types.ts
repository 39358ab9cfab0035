/** What the whole process is configured with. Types only; `loadConfig` makes the one frozen value. */

import type { SignatureRule } from '../webhook-signature.js'

import type { PrincipalSettings } from '../auth/rules-file.js'
import type { BatchPolicy } from '../engine/types.js'

/** librdkafka properties, by their librdkafka names. Never holds `undefined`: the client would send the word. */
export type ClientProperties = Readonly<Record<string, string | number | boolean>>

export interface Config {
  readonly http: HttpConfig
  readonly webhooks: WebhooksConfig
  readonly idempotency: IdempotencyConfig
  readonly streams: StreamsConfig
  /** A pino level. */
  readonly logLevel: string
  /** How long a close may take altogether before the process gives up waiting. */
  readonly shutdownTimeoutMs: number
  readonly kafka: {
    /** True where no cluster was named: an in-memory broker starts in this process. */
    readonly embedded: boolean
    /** What the routes of Confluent's REST API v3 call the cluster. */
    readonly clusterId: string
    /** Common to all clients: `bootstrap.servers` (absent when embedded), `client.id`, security, and what the properties file adds. */
    readonly client: ClientProperties
  }
  readonly producer: ProducerConfig
  readonly transactions: TransactionsConfig
  readonly reader: ReaderConfig
  /** Of different names and groups. None: this process only produces. */
  readonly consumers: readonly ConsumerConfig[]
  /** Handlers in flight at once, of all consumers together; one for each at least. `null`: each has only its own limit. */
  readonly maxInFlightTotal: number | null
}

export interface HttpConfig {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly bodyLimitBytes: number
  readonly bodiesMaxBytes: number
  readonly maxConnections: number
  /** Addresses and networks of those whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
  readonly requestTimeoutMs: number
  /** Lower-case names accepted in Host and Origin besides loopback names and IP addresses; `*` accepts any. */
  readonly allowedHosts: readonly string[]
  /**
   * `loopback`: nobody outside this machine can call. `off`: somebody chose to accept unauthenticated callers. `on`: all say
   * who they are.
   */
  readonly auth: 'off' | 'loopback' | 'on'
  /** `null` unless `auth` is `on`. */
  readonly access: AccessConfig | null
  /** What is open to all while others must say who they are. */
  readonly openPages: readonly ('metrics' | 'docs')[]
  readonly tls: TlsConfig | null
  /** Only with TLS. */
  readonly http2: boolean
  /** Origins whose pages may call, or `*`. */
  readonly corsOrigins: readonly string[]
}

export interface AccessConfig {
  /** The absolute path of the rules. */
  readonly file: string | null
  /** From the environment. */
  readonly keys: readonly PrincipalSettings[]
  readonly tokens: TokenConfig | null
}

export interface TokenConfig {
  readonly jwksUrl: string
  readonly issuer: string
  /** At least one. */
  readonly audience: readonly string[]
  readonly nameClaim: string
  readonly scopeClaim: string
  readonly clockToleranceSeconds: number
}

/** Absolute paths. */
export interface TlsConfig {
  readonly certFile: string
  readonly keyFile: string
  /** `null`: client certificates are not asked for. */
  readonly clientCaFile: string | null
  readonly clientCertRequired: boolean
}

export interface WebhooksConfig {
  /** Lower-case names of request headers that may become record headers, `*` at the end for any that begin so. */
  readonly recordHeaders: readonly string[]
  /** One for each topic that takes signed webhooks only. */
  readonly signatures: readonly SignatureRule[]
}

export interface IdempotencyConfig {
  readonly lifetimeMs: number
  readonly maxEntries: number
  readonly maxBytes: number
}

export interface StreamsConfig {
  readonly maxStreams: number
  /** Of one stream, in flight. */
  readonly maxRecords: number
  /** Of one stream, in flight. */
  readonly maxBytes: number
  readonly idleTimeoutMs: number
}

export interface ProducerConfig {
  /** Where the route without a topic sends; `null` where none is known. */
  readonly topic: string | null
  /** Producer-only properties that the properties file adds. */
  readonly client: ClientProperties
  readonly lingerMs: number
  readonly compression: string
  readonly messageMaxBytes: number
  readonly queueMaxRecords: number
  readonly queueMaxBytes: number
  readonly deliveryTimeoutMs: number
  readonly allowAutoCreateTopics: boolean
}

export interface TransactionsConfig {
  /** What the transactional ids begin with: `<prefix>-0`, `<prefix>-1`, …; `null`: this process makes up one of its own. */
  readonly idPrefix: string | null
  /** How many transactions may be open at once: each has a client of its own. */
  readonly producers: number
  /** How many requests may wait for one of them. */
  readonly maxWaiting: number
  /** Bytes of key, value and headers in one transaction. */
  readonly maxBytes: number
  /** After how long Kafka aborts a transaction whose producer is gone. */
  readonly timeoutMs: number
}

/** For looking at stored records. */
export interface ReaderConfig {
  /** How many reads may be under way at once: each has a client of its own. */
  readonly clients: number
  /** How many requests may wait for one of them. */
  readonly maxWaiting: number
  /** Bytes of key, value and headers in one answer. */
  readonly maxBytes: number
}

export interface ConsumerConfig {
  /** What tells it from the other consumers of the process. */
  readonly name: string
  readonly groupId: string
  /** `null`: not a static member. */
  readonly groupInstanceId: string | null
  /** At least one. A name that begins with `^` is a pattern (JavaScript's). */
  readonly topics: readonly string[]
  /** Consumer-only properties that the properties file adds. */
  readonly client: ClientProperties
  readonly groupProtocol: 'classic' | 'consumer'
  readonly assignmentStrategy: 'cooperative-sticky' | 'range' | 'roundrobin'
  /** `error` is what librdkafka calls Kafka's `none`. */
  readonly autoOffsetReset: 'earliest' | 'latest' | 'error'
  readonly isolationLevel: 'read_committed' | 'read_uncommitted'
  readonly sessionTimeoutMs: number
  readonly maxPollIntervalMs: number
  /** With threads at most as many as there are. */
  readonly maxInFlight: number
  /** `exactly-once`: what a handler answers and the offsets are committed in one transaction. */
  readonly delivery: 'at-least-once' | 'exactly-once'
  /** Exactly once: how far transactions are apart. */
  readonly transactionIntervalMs: number
  /** Where the limit is adaptive, what it begins with; `null`: it is fixed. */
  readonly minInFlight: number | null
  readonly maxRecordsBeforeCommit: number
  readonly commitIntervalMs: number
  readonly order: 'unordered' | 'key' | 'partition'
  /** Per partition. */
  readonly windowMaxRecords: number
  /** Per partition. */
  readonly windowMaxBytes: number
  /** Of all partitions together. */
  readonly windowTotalMaxBytes: number
  /** 0 where the order does not allow it, or there is nowhere to send them. */
  readonly diversionMaxPerMinute: number
  readonly drainTimeoutMs: number
  /** `log`, the absolute path of a module, or the URL that records are pushed to. */
  readonly handler: string
  /** `null`: the handler takes records one by one. */
  readonly batches: BatchPolicy | null
  /** Worker threads that the module runs in; 0: it runs in the main thread. */
  readonly handlerThreads: number
  /** What the heap of each may hold; `null`: what Node.js gives it. */
  readonly handlerThreadHeapMb: number | null
  /** `null`: the handler is no URL. */
  readonly push: PushConfig | null
  readonly handlerTimeoutMs: number
  readonly handlerGraceMs: number
  readonly maxAbandoned: number
  readonly stallTimeoutMs: number
  readonly retry: {
    /** Attempts altogether: 1 means that nothing is tried again. */
    readonly maxAttempts: number
    readonly backoffMs: number
    readonly backoffMaxMs: number
  }
  readonly deadLetterTopic: DeadLetterTarget
  /** `null`: whatever waits for its next attempt waits in place. */
  readonly retryTopic: { readonly name: string, readonly afterMs: number } | null
  readonly breaker: {
    /** 0: it never opens. */
    readonly failureShare: number
    readonly records: number
    readonly probeMs: number
    readonly probeMaxMs: number
  }
}

export interface PushConfig {
  /** http or https, without user, password and fragment. Its path and query may hold a secret: only its origin may be shown. */
  readonly url: string
  readonly mode: 'binary' | 'structured' | 'batched'
  /** Of values whose record does not say it. */
  readonly contentType: string
  /** What the events' `source` begins with. */
  readonly source: string
  /** Names in lower case, or beginnings of names with `*` at the end. */
  readonly headers: readonly string[]
  readonly authorization: string | null
  /** Each as Standard Webhooks writes it; a body is signed with all of them. */
  readonly secrets: readonly string[]
  readonly caFile: string | null
  readonly connectTimeoutMs: number
}

/**
 * Where a record goes that used up its attempts: one topic for all, its own topic's name with a suffix, or nowhere
 * (then its partition stands still, or the record is passed over).
 */
export type DeadLetterTarget =
  | { readonly kind: 'topic', readonly name: string }
  | { readonly kind: 'suffix', readonly suffix: '.dlq' }
  | { readonly kind: 'off', readonly then: 'block' | 'skip' }
