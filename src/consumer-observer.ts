import type { FastifyBaseLogger } from 'fastify'
import type { Observer, Outcome } from './engine/types.js'
import type { GroupMetrics } from './group-metrics.js'
import type { KafkaRecord } from './record.js'
import type { Tally as DurationTally } from './tally-histogram.js'

type AttemptOutcome = Parameters<Observer['attemptEnded']>[1]

/**
 * What is counted for every record, of one topic. Plain numbers that a scrape turns into metrics: adding to a counter of
 * the library for each record would cost as much as the rest of the engine together.
 */
interface Tally {
  readonly duration: DurationTally
  readonly attempts: Record<AttemptOutcome, number>
  readonly completed: Record<Outcome, number>
}

const EXPLAINED = {
  rewound: 'the log goes on below what was read: it was truncated, or the topic was made anew; reading it again from here',
  duplicate: 'record delivered twice; dropped'
} as const

const RESETS = {
  none: 'the group has no offset for this partition; KAFKA_AUTO_OFFSET_RESET decides where it begins',
  'below-start': 'records were deleted before this group read them; KAFKA_AUTO_OFFSET_RESET decides where it goes on',
  'beyond-end': 'the log ends before the group\'s offset: it was truncated, or made anew; KAFKA_AUTO_OFFSET_RESET decides where it goes on'
} as const

/** Turns what the engine tells into logs and metrics. Call `flush` before the metrics are read. */
export function createObserver (log: FastifyBaseLogger, metrics: GroupMetrics): Observer & { flush (): void } {
  const tallies = new Map<string, Tally>()
  // Records come in runs of one topic.
  let lastTopic: string | null = null
  let last: Tally
  const of = (topic: string): Tally => {
    if (topic === lastTopic) return last
    let found = tallies.get(topic)
    if (found === undefined) tallies.set(topic, found = newTally(topic, metrics))
    lastTopic = topic
    last = found
    return last
  }

  return {
    flush () {
      for (const [topic, { attempts, completed }] of tallies) {
        moveInto(metrics.attempts, topic, attempts)
        moveInto(metrics.completed, topic, completed)
      }
    },
    attemptEnded ({ topic }, outcome, seconds) {
      const tally = of(topic)
      if (seconds !== null) tally.duration.observe(seconds)
      tally.attempts[outcome]++
    },
    attemptFailed (record, attempt, err, then, delayMs) {
      const fields = { ...place(record), attempt, err }
      switch (then) {
        case 'retry':
          metrics.retries.inc({ topic: record.topic })
          log.warn({ ...fields, delayMs: Math.round(delayMs ?? 0) }, 'record failed; retrying')
          break
        case 'defer':
          metrics.retries.inc({ topic: record.topic })
          log.warn({ ...fields, delayMs: Math.round(delayMs ?? 0) }, 'record failed; sending it to the retry topic')
          break
        case 'drop': log.warn(fields, 'record dropped, because its handler asked for that'); break
        case 'dead-letter': log.error(fields, 'record failed for good; sending it to the dead-letter topic'); break
        case 'block': log.error(fields, 'record failed for good; it holds its key, because dead letters are off'); break
        case 'skip': log.error(fields, 'record failed for good; skipped'); break
        case 'given-back': log.warn(fields, 'record failed while its partition is given up; its next owner tries again')
      }
    },
    completed ({ topic }, outcome) {
      of(topic).completed[outcome]++
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
    completedBefore ({ topic }) {
      metrics.completedBefore.inc({ topic })
    },
    unexpected (what, record) {
      metrics.unexpected.inc({ topic: record.topic, what })
      log[what === 'rewound' ? 'error' : 'warn'](place(record), EXPLAINED[what])
    },
    diverted (record) {
      metrics.diverted.inc({ topic: record.topic })
      log.error(place(record), 'record holds up its partition; it is told to end, and sent off as it is')
    },
    breakerMoved (state, reason) {
      if (state === 'open' && reason !== null) {
        metrics.breakerOpened.inc()
        log.error({ reason }, 'hardly anything succeeds; handling is paused')
      } else {
        log.info({ state }, state === 'closed' ? 'a record succeeded; handling goes on' : 'trying one record')
      }
    },
    topicMadeAnew (topic, partitions) {
      metrics.topicsMadeAnew.inc({ topic })
      log.error({ topic, partitions }, 'the topic was deleted and made again; reading it from its beginning')
    },
    suspected ({ topic, partition }, starts) {
      metrics.suspected.inc({ topic })
      log.error({ topic, partition, starts }, 'owners of this partition keep ending at the same place; its records are started one by one, and their attempts counted')
    },
    offsetReset ({ topic, partition }, reason, skipped) {
      metrics.offsetResets.inc({ topic, reason })
      const fields = { topic, partition, skipped }
      // A new group has no offsets: that is worth a warning only where it means that something is not read.
      if (reason === 'none') log[skipped === 0 ? 'debug' : 'warn'](fields, RESETS.none)
      else log.error(fields, RESETS[reason])
    },
    sought (positions) {
      log.warn({ positions }, 'reading goes on elsewhere, as somebody asked for')
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

function newTally (topic: string, { handlerDuration }: GroupMetrics): Tally {
  return {
    duration: handlerDuration.of(topic),
    attempts: { ok: 0, failed: 0, 'timed-out': 0, abandoned: 0 },
    completed: { handled: 0, 'dead-lettered': 0, skipped: 0, deferred: 0 }
  }
}

/** Adds the counts to the counter, also those of 0 so that every outcome is there to be graphed, and begins again. */
function moveInto (counter: GroupMetrics['attempts'], topic: string, counts: Record<string, number>): void {
  for (const [outcome, count] of Object.entries(counts)) {
    counter.inc({ topic, outcome }, count)
    counts[outcome] = 0
  }
}

function place ({ topic, partition, offset }: KafkaRecord): { topic: string, partition: number, offset: number } {
  return { topic, partition, offset }
}
