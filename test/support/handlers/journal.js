import { openSync, writeSync } from 'node:fs'

// One descriptor in append mode, written synchronously: what a line says has happened, whatever becomes of the process,
// and the lines of several processes stand in the file in the order in which they were written.
const fd = openSync(process.env.LEDGER_FILE, 'a')

/** Writes one line about a record to the ledger. */
export function note (what, { topic, partition, offset, key }, attempt, more = {}) {
  writeSync(fd, JSON.stringify({
    what, topic, partition, offset, key: key === null ? null : String(key), attempt, pid: process.pid, at: Date.now(), ...more
  }) + '\n')
}

/** A number in [0, 1) that follows from the seed and the record's place alone, in whatever order records are handled. */
export function chance (seed, { topic, partition, offset }, salt) {
  let hash = 2166136261
  for (const character of `${seed}/${topic}/${partition}/${offset}/${salt}`) hash = Math.imul(hash ^ character.charCodeAt(0), 16777619)
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507)
  hash = Math.imul(hash ^ (hash >>> 13), 3266489909)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}
