// What the engine keeps for records that are admitted and not completed. Run with --expose-gc.

import { Entry } from '../../dist/src/engine/entry.js'
import { OwnedPartition } from '../../dist/src/engine/owned-partition.js'
import { Scheduler } from '../../dist/src/engine/scheduler.js'
import { answer, input } from '../lib/subject.mjs'

const { count, keys } = await input()

// The records themselves exist before the first measurement: they are the client's, not the engine's.
const records = Array.from({ length: count }, (_, offset) => ({
  topic: 't', partition: 0, offset, leaderEpoch: 0, timestamp: 0, key: Buffer.from(`key-${offset % keys}`), value: null, headers: [], size: 10
}))
const heap = () => {
  globalThis.gc()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
const before = heap()
const owned = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 1, { maxRecords: count, maxBytes: Infinity })
const scheduler = new Scheduler('key')
for (const record of records) scheduler.add(new Entry(record, owned, owned.window.admit(record.offset, 0)))
const after = heap()
answer({ ring: owned.window.ringBytes / count, waiting: (after - before - owned.window.ringBytes) / count, kept: scheduler.waiting })
