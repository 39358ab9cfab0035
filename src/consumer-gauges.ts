import type { ConsumerConfig } from './config.js'
import type { Consumer } from './consumer.js'
import type { GroupMetrics } from './group-metrics.js'
import type { ThreadsState } from './handlers/workers.js'
import type { Metrics } from './metrics.js'
import { STALLS } from './watchdog.js'

/** What does not change while the process runs. */
export function setLimits (metrics: GroupMetrics, config: ConsumerConfig): void {
  metrics.windowLimitRecords.set(config.windowMaxRecords)
  metrics.windowLimitBytes.set(config.windowMaxBytes)
}

/** Forgets the partitions of all consumers: one that was given up must not go on showing its last lag. */
export function resetPartitions (metrics: Metrics['consumer']): void {
  const { inFlight, windowRecords, windowSpan, windowBytes, commitOffset, committedOffset, lag, paused, suspended } = metrics
  const gauges = [inFlight, windowRecords, windowSpan, windowBytes, commitOffset, committedOffset, lag, paused, suspended]
  for (const gauge of gauges) gauge.reset()
}

/** Gauges are read from the engine when somebody scrapes, rather than set at every change. */
export function setGauges (metrics: GroupMetrics, { state, stalls, controls }: Pick<Consumer, 'state' | 'stalls' | 'controls'>): void {
  // Between two connections there is none that works, only the most that it may be.
  metrics.inFlightLimit.set(state.limit > 0 ? state.limit : controls.limit)
  metrics.up.set(state.phase === 'running' ? 1 : 0)
  metrics.assigned.set(state.partitions.length)
  metrics.inFlightTotal.set(state.inFlight)
  metrics.breakerOpen.set(state.breaker === 'closed' ? 0 : 1)
  metrics.waiting.set(state.waiting)
  metrics.retrying.set(state.retrying)
  metrics.blocked.set(state.blocked)
  metrics.abandoned.set(state.abandoned)
  const kinds = new Set(stalls.map(({ kind }) => kind))
  for (const reason of STALLS) metrics.stalled.set({ reason }, kinds.has(reason) ? 1 : 0)
  for (const { topic, partition, ...of } of state.partitions) {
    const labels = { topic, partition }
    metrics.inFlight.set(labels, of.inFlight)
    metrics.windowRecords.set(labels, of.windowRecords)
    metrics.windowSpan.set(labels, of.windowSpan)
    metrics.windowBytes.set(labels, of.windowBytes)
    if (of.commitOffset >= 0) metrics.commitOffset.set(labels, of.commitOffset)
    if (of.committedOffset >= 0) metrics.committedOffset.set(labels, of.committedOffset)
    if (of.lag !== null) metrics.lag.set(labels, of.lag)
    metrics.paused.set(labels, of.paused ? 1 : 0)
    metrics.suspended.set(labels, of.suspended ? 1 : 0)
  }
}

/** Sets what is to be told of worker threads; to be called again and again. */
export function threadsGauge (metrics: GroupMetrics): (state: ThreadsState) => void {
  const counted = { ended: 0, stuck: 0 }
  return ({ ready, busy, waiting, lost }) => {
    metrics.threads.set(ready)
    metrics.threadsBusy.set(busy)
    metrics.threadsWaiting.set(waiting)
    for (const reason of ['ended', 'stuck'] as const) {
      metrics.threadsLost.inc({ reason }, lost[reason] - counted[reason])
      counted[reason] = lost[reason]
    }
  }
}
