import type { FastifyBaseLogger } from 'fastify'
import type { Counter, Histogram } from 'prom-client'
import type { Observer, Outcome } from './engine/types.js'
import type { Metrics } from './metrics.js'
import type { KafkaRecord } from './record.js'

type AttemptOutcome = Parameters<Observer['attemptEnded']>[1]

/** The metrics of one topic, looked up once: doing it for each record would cost more than counting. */
interface TopicMetrics {
  readonly duration: Histogram.Internal<'topic'>
  readonly attempts: Record<AttemptOutcome, Counter.Internal>
  readonly completed: Record<Outcome, Counter.Internal>
}

const EXPLAINED = {
  rewound: 'the log goes on below what was read: it was truncated, or the topic was made anew; reading it again from here',
  duplicate: 'record delivered twice; dropped'
} as const

/** Turns what the engine tells into logs and metrics. */
export function createObserver (log: FastifyBaseLogger, metrics: Metrics['consumer']): Observer {
  const topics = new Map<string, TopicMetrics>()
  const of = (topic: string): TopicMetrics => {
    let found = topics.get(topic)
    if (found === undefined) topics.set(topic, found = metricsOf(topic, metrics))
    return found
  }

  return {
    attemptEnded ({ topic }, outcome, seconds) {
      const { duration, attempts } = of(topic)
      duration.observe(seconds)
      attempts[outcome].inc()
    },
    attemptFailed (record, attempt, err, then, delayMs) {
      const fields = { ...place(record), attempt, err }
      switch (then) {
        case 'retry':
          metrics.retries.inc({ topic: record.topic })
          log.warn({ ...fields, delayMs: Math.round(delayMs ?? 0) }, 'record failed; retrying')
          break
        case 'dead-letter': log.error(fields, 'record failed for good; sending it to the dead-letter topic'); break
        case 'block': log.error(fields, 'record failed for good; it holds its key, because dead letters are off'); break
        case 'skip': log.error(fields, 'record failed for good; skipped'); break
        case 'given-back': log.warn(fields, 'record failed while its partition is given up; its next owner tries again')
      }
    },
    completed ({ topic }, outcome) {
      of(topic).completed[outcome].inc()
    },
    deadLetterRefused (record, err, delayMs) {
      metrics.deadLetterRefusals.inc({ topic: record.topic })
      log.error({ ...place(record), err, delayMs }, 'dead letter could not be sent; trying again, its key waits')
    },
    committed (offsets, seconds) {
      metrics.commits.inc({ result: 'acknowledged' })
      metrics.commitDuration.observe(seconds)
      log.debug({ offsets, seconds }, 'offsets committed')
    },
    commitFailed (err, seconds) {
      metrics.commits.inc({ result: 'failed' })
      log.warn({ err, seconds }, 'commit failed; it stays due')
    },
    rebalanced ({ type, partitions }) {
      metrics.rebalances.inc({ type })
      if (type === 'lost') log.warn({ partitions }, 'partitions lost: others may own them already')
      else log.info({ partitions }, type === 'assigned' ? 'partitions assigned' : 'partitions revoked')
    },
    drained (partitions, seconds, abandoned) {
      metrics.drainDuration.observe(seconds)
      if (abandoned > 0) log.warn({ partitions: partitions.length, seconds, abandoned }, 'drain ended before all handlers did; their records are delivered again')
      else log.info({ partitions: partitions.length, seconds }, 'drained')
    },
    unexpected (what, record) {
      metrics.unexpected.inc({ topic: record.topic, what })
      log[what === 'rewound' ? 'error' : 'warn'](place(record), EXPLAINED[what])
    },
    pausedOrResumed (what, partitions) {
      log.debug({ partitions: partitions.map(({ topic, partition }) => `${topic}/${partition}`) }, what === 'paused' ? 'fetching paused' : 'fetching resumed')
    },
    pollFailed (err) {
      metrics.pollFailures.inc()
      log.warn({ err }, 'the consumer reports a failure')
    }
  }
}

function metricsOf (topic: string, { handlerDuration, attempts, completed }: Metrics['consumer']): TopicMetrics {
  const attempt = (outcome: AttemptOutcome) => attempts.labels(topic, outcome)
  const outcome = (outcome: Outcome) => completed.labels(topic, outcome)
  return {
    duration: handlerDuration.labels(topic),
    attempts: { ok: attempt('ok'), failed: attempt('failed'), 'timed-out': attempt('timed-out'), abandoned: attempt('abandoned') },
    completed: { handled: outcome('handled'), 'dead-lettered': outcome('dead-lettered'), skipped: outcome('skipped') }
  }
}

function place ({ topic, partition, offset }: KafkaRecord): { topic: string, partition: number, offset: number } {
  return { topic, partition, offset }
}
