import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Kafka, NewRecord } from './kafka.js'
import type { Ledger } from './ledger.js'

/** What makes `ledger.js` take some milliseconds for a record, and now and then 300: long enough to be in the middle of something. */
export function restless (ledger: Ledger, seed: number): Record<string, string | number> {
  return { LEDGER_FILE: ledger.file, LEDGER_SEED: seed, LEDGER_MIN_MS: 1, LEDGER_MAX_MS: 12, LEDGER_SLOW_SHARE: 0.01, LEDGER_SLOW_MS: 300 }
}

/** Writes so many records, of so many keys in turn, each with its number as its value. Returns where they went. */
export async function writeKeyed (kafka: Kafka, topic: string, records: number, keys: number): Promise<Load['written']> {
  const places = await kafka.produce(topic, Array.from({ length: records }, (_, i) => ({ key: `key-${i % keys}`, value: `${i}` })))
  return places.map(place => ({ topic, ...place }))
}

/** Records that are written for as long as a test wants. */
export interface Load {
  /** Where those went that were acknowledged so far. */
  readonly written: { topic: string, partition: number, offset: number }[]
  /** Ends it; rejects if something could not be written. */
  stop (): Promise<void>
}

/** Writes 30 records of 60 keys at a time, some hundred a second. `more` is said of the i-th of the thirty. */
export function load (
  t: Test, kafka: Kafka, topic: string, { everyMs, more = () => ({}) }: { everyMs: number, more?: (i: number) => Partial<NewRecord> }
): Load {
  const written: Load['written'] = []
  const feeding = new AbortController()
  t.teardown(() => feeding.abort())
  const feed = async () => {
    for (let n = 0; !feeding.signal.aborted; n++) {
      const records = Array.from({ length: 30 }, (_, i) => ({ ...more(i), key: `key-${(n * 7 + i) % 60}`, value: `${n}` }))
      written.push(...(await kafka.produce(topic, records)).map(place => ({ topic, ...place })))
      await delay(everyMs)
    }
  }
  const fed = feed()
  // Whoever stops it is told.
  fed.catch(() => {})
  return {
    written,
    stop () {
      feeding.abort()
      return fed
    }
  }
}
