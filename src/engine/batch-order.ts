import type { BatchResult } from './batch-answer.js'
import type { Entry } from './entry.js'
import type { Lane } from './lanes.js'
import { isDrop } from './retry.js'

/**
 * Of which records of a batch the answer stands. Where one of an exclusive lane is not done, those that came after it in that
 * lane have overtaken it: whatever was answered for them, they are to run again after it. One that is dropped is done.
 *
 * @param results in the order of the records; `null`: all are done
 */
export function whichStand (entries: readonly Entry[], results: readonly BatchResult[] | null): boolean[] {
  const stopped = new Set<Lane>()
  return entries.map((entry, index) => {
    const lane = entry.lane!
    if (stopped.has(lane)) return false
    const result = results?.[index]
    const open = entry.decided || (result?.failed === true && !isDrop(result.error))
    if (open && lane.key !== null) stopped.add(lane)
    return true
  })
}
