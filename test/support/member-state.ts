import type { EngineState } from '../../src/engine/engine.js'
import type { PartitionStatus } from '../../src/group-member.js'

/** An engine that runs and has nothing to do. */
export const running: EngineState = {
  phase: 'running',
  partitions: [],
  inFlight: 0,
  waiting: 0,
  retrying: 0,
  deadLettering: 0,
  abandoned: 0,
  blocked: 0,
  limit: 50,
  breaker: 'closed',
  problems: [],
  lastTurnAt: 0
}

/** A partition that was just assigned. */
export const untouched: Omit<PartitionStatus, 'lag'> = {
  topic: 't',
  partition: 0,
  inFlight: 0,
  windowRecords: 0,
  windowSpan: 0,
  windowBytes: 0,
  commitOffset: -1,
  committedOffset: -1,
  lastAdmitted: -1,
  paused: false,
  suspended: false
}
