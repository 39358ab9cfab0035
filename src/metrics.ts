import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { TallyHistogram } from './tally-histogram.js'

const GROUP = ['group'] as const
const TOPIC = ['group', 'topic'] as const
const PARTITION = ['group', 'topic', 'partition'] as const
const HANDLER_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * Every metric of Sluice's own, in one table. Base units, and labels that are bounded: topics and partitions of the
 * cluster, groups that this process is a member of, routes as they are declared, codes of the error table; never a key, nor
 * a path that a caller chose.
 */
export function createMetrics (registry: Registry) {
  const registers = [registry]
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name, help, labelNames, registers })
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name, help, labelNames, registers })
  const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: readonly L[] = []) =>
    new Histogram<L>({ name, help, buckets, labelNames, registers })
  const tally = (name: string, help: string, buckets: number[], labels: readonly string[] = []) =>
    new TallyHistogram(registry, { name, help, buckets, labels })

  return {
    http: {
      requests: tally('sluice_http_request_duration_seconds', 'Time from a request\'s arrival to the end of its response',
        REQUEST_BUCKETS, ['method', 'route', 'status']),
      connections: gauge('sluice_http_connections', 'Clients that are connected'),
      bodyBytes: gauge('sluice_http_body_bytes', 'Bytes of request bodies that are held, those of short ones and of streams not included'),
      connectionsRefused: counter('sluice_http_connections_refused_total', 'Connections beyond MAX_CONNECTIONS, closed at once')
    },
    auth: {
      refusals: counter('sluice_auth_refusals_total', 'Requests whose sender was turned away, by the reason', ['reason']),
      rulesCurrent: gauge('sluice_auth_rules_current', '1 while the rules in force are those of AUTH_FILE as it is, 0 while older ones are'),
      certificateEnd: gauge('sluice_tls_certificate_expiry_timestamp_seconds', 'When the server\'s certificate ends, in seconds since 1970'),
      keyFetches: counter('sluice_auth_jwks_fetches_total', 'Fetches of the keys that tokens are verified with', ['result'])
    },
    producer: {
      duration: tally('sluice_produce_duration_seconds', 'Time from taking a record to its acknowledgement by the broker (acks=all)',
        REQUEST_BUCKETS),
      records: counter('sluice_produce_records_total', 'Records acknowledged by the broker', ['topic']),
      failures: counter('sluice_produce_failures_total', 'Records refused or failed, by the code of the error', ['code']),
      asyncFailures: counter('sluice_produce_async_failures_total',
        'Records that were answered with 202 and then not written, or nobody knows, by the code of the error', ['code']),
      streams: gauge('sluice_produce_streams', 'Streams of records (NDJSON, and Confluent v3 without a bounded length) that are under way'),
      streamsEnded: counter('sluice_produce_streams_total', 'Streams of records that have ended: done, or by the code of the error', ['end']),
      idempotencyKeys: gauge('sluice_idempotency_keys', 'Idempotency keys that are remembered, those in flight included'),
      idempotencyBytes: gauge('sluice_idempotency_bytes', 'Bytes of the answers that are remembered for them'),
      idempotencyClaims: counter('sluice_idempotency_requests_total',
        'Requests with an idempotency key: new, replayed, in-flight, reused, full', ['result']),
      replaced: counter('sluice_produce_clients_replaced_total', 'Producing clients that were thrown away since an error had made them useless'),
      pendingRecords: gauge('sluice_produce_pending_records', 'Records handed over and not acknowledged yet'),
      pendingBytes: gauge('sluice_produce_pending_bytes', 'Bytes of the records handed over and not acknowledged yet'),
      reachable: gauge('sluice_produce_broker_reachable', '1 while the brokers answer the producer, else 0')
    },
    transactions: {
      duration: histogram('sluice_transaction_duration_seconds', 'Time from a transaction\'s request to its end, waiting included', REQUEST_BUCKETS),
      ended: counter('sluice_transactions_total', 'Transactions by their end: committed, aborted, unknown, refused (never begun)', ['result']),
      records: counter('sluice_transaction_records_total', 'Records of committed transactions'),
      open: gauge('sluice_transactions_open', 'Transactional producers that are in use'),
      waiting: gauge('sluice_transactions_waiting', 'Transactions that wait for a producer'),
      bytes: gauge('sluice_transactions_pending_bytes', 'Bytes of the records of both'),
      replaced: counter('sluice_transaction_producers_replaced_total', 'Transactional producers that were thrown away, by why: aborted, fenced, fatal', ['reason'])
    },
    reader: {
      reading: gauge('sluice_reads_open', 'Reads of stored records that are under way'),
      waiting: gauge('sluice_reads_waiting', 'Reads of stored records that wait for a client'),
      clients: gauge('sluice_read_clients', 'Clients for reading stored records that are connected'),
      records: counter('sluice_read_records_total', 'Stored records that were shown')
    },
    consumers: {
      inFlightLimit: gauge('sluice_consumers_in_flight_limit_records', 'Handlers that may run at once, of all consumers together (maxProcCount of KAFKA_CONSUMERS_FILE); 0: there is no such limit')
    },
    // Each has the group that its consumer is a member of: see ofGroup.
    consumer: {
      inFlightLimit: gauge('sluice_consumer_in_flight_limit_records', 'Handlers that may run at once: KAFKA_MAX_PROC_COUNT, an operator\'s limit, or an adaptive one', GROUP),
      windowLimitRecords: gauge('sluice_consumer_window_limit_records', 'Records that a partition\'s window may hold', GROUP),
      windowLimitBytes: gauge('sluice_consumer_window_limit_bytes', 'Bytes that a partition\'s window may hold', GROUP),
      inFlightTotal: gauge('sluice_consumer_in_flight_total_records', 'Handlers running now, revoked partitions included', GROUP),
      waiting: gauge('sluice_consumer_waiting_records', 'Records admitted that have not started', GROUP),
      retrying: gauge('sluice_consumer_retrying_records', 'Records that wait for their next attempt', GROUP),
      blocked: gauge('sluice_consumer_blocked_records', 'Failed records that hold their keys because dead letters are off', GROUP),
      abandoned: gauge('sluice_consumer_abandoned_handlers', 'Handlers that ignored their time limit and still run', GROUP),
      assigned: gauge('sluice_consumer_assigned_partitions', 'Partitions that this member owns', GROUP),
      breakerOpen: gauge('sluice_consumer_breaker_open', '1 while handling is paused because hardly anything succeeds, else 0', GROUP),
      breakerOpened: counter('sluice_consumer_breaker_opened_total', 'Times that handling was paused because hardly anything succeeded', GROUP),
      diverted: counter('sluice_consumer_diverted_records_total', 'Records cancelled because they held up their partition', TOPIC),
      threads: gauge('sluice_consumer_threads', 'Worker threads that have loaded the handler', GROUP),
      threadsBusy: gauge('sluice_consumer_threads_busy', 'Worker threads that run a handler now', GROUP),
      threadsWaiting: gauge('sluice_consumer_threads_waiting_attempts', 'Attempts that wait for a worker thread, since one is being replaced', GROUP),
      threadsLost: counter('sluice_consumer_threads_lost_total',
        'Worker threads that were replaced: ended by themselves (an exception, out of memory, exit), or stuck in a handler that did not stop',
        ['group', 'reason']),
      topicsMadeAnew: counter('sluice_consumer_topics_made_anew_total', 'Topics found to be deleted and made again', TOPIC),
      suspected: counter('sluice_consumer_suspected_partitions_total',
        'Partitions begun with care, because their owners kept ending at the same place', TOPIC),
      stalled: gauge('sluice_consumer_stalled',
        '1 while the consumer does not do its work though nothing stands in its way: loop, ended, silent, stuck', ['group', 'reason']),
      up: gauge('sluice_consumer_up', '1 while the consumer runs as a member of its group, else 0', GROUP),

      inFlight: gauge('sluice_consumer_in_flight_records', 'Handlers running now', PARTITION),
      windowRecords: gauge('sluice_consumer_window_records', 'Admitted records that the commit offset has not passed', PARTITION),
      windowSpan: gauge('sluice_consumer_window_span_offsets', 'From the commit offset to the last admitted record', PARTITION),
      windowBytes: gauge('sluice_consumer_window_bytes', 'Bytes of records admitted and not completed', PARTITION),
      commitOffset: gauge('sluice_consumer_commit_offset', 'Everything below it is completed', PARTITION),
      committedOffset: gauge('sluice_consumer_committed_offset', 'The commit offset that the broker last acknowledged', PARTITION),
      lag: gauge('sluice_consumer_lag_records', 'From the commit offset to the end that this isolation level can read', PARTITION),
      paused: gauge('sluice_consumer_paused', '1 while fetching is paused, else 0', PARTITION),
      suspended: gauge('sluice_consumer_suspended', '1 while an operator has paused the partition, else 0', PARTITION),

      completed: counter('sluice_consumer_records_completed_total', 'Records completed: handled, dead-lettered, skipped, or deferred to the retry topic', ['group', 'topic', 'outcome']),
      completedBefore: counter('sluice_consumer_records_completed_before_total', 'Records that a predecessor had completed: not handled again', TOPIC),
      attempts: counter('sluice_consumer_attempts_total', 'Attempts that ended: ok, failed, timed-out, abandoned', ['group', 'topic', 'outcome']),
      retries: counter('sluice_consumer_retries_total', 'Failed attempts that are tried again', TOPIC),
      deadLetterRefusals: counter('sluice_consumer_dead_letter_refusals_total', 'Dead letters that could not be sent, and are tried again', TOPIC),
      offsetResets: counter('sluice_consumer_offset_resets_total',
        'Partitions that were not read from the group\'s offset: it has none, or it lies below the start of the log or beyond its end', ['group', 'topic', 'reason']),
      unexpected: counter('sluice_consumer_unexpected_records_total', 'Records delivered twice, or below what was read already', ['group', 'topic', 'what']),
      commits: counter('sluice_consumer_commits_total', 'Commits, by whether the broker acknowledged them', ['group', 'result']),
      rebalances: counter('sluice_consumer_rebalances_total', 'Rebalance events: assigned, revoked, lost', ['group', 'type']),
      restarts: counter('sluice_consumer_restarts_total', 'Times that the consumer was made anew, after a failed connect or a fatal error', GROUP),
      pollFailures: counter('sluice_consumer_poll_failures_total', 'Polls that failed', GROUP),

      pushDuration: new TallyHistogram(registry, {
        name: 'sluice_push_duration_seconds',
        help: 'Time from a push to the end of its answer, by the class of its status: 2xx, 3xx, 4xx, 5xx, other, or none without an answer',
        buckets: HANDLER_BUCKETS,
        labels: ['group', 'status']
      }),
      handlerDuration: new TallyHistogram(registry, {
        name: 'sluice_consumer_handler_duration_seconds', help: 'Time that one attempt of a handler took', buckets: HANDLER_BUCKETS, labels: TOPIC
      }),
      commitDuration: histogram('sluice_consumer_commit_duration_seconds', 'Time from a commit to its acknowledgement', REQUEST_BUCKETS, GROUP),
      drainDuration: histogram('sluice_consumer_drain_duration_seconds', 'Time from a revoke to the end of what was in flight', HANDLER_BUCKETS, GROUP)
    }
  }
}

export type Metrics = ReturnType<typeof createMetrics>
