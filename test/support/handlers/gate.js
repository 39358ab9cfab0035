// Holds every record until the file GATE_FILE is there. Writes down each attempt in the ledger.
import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { note } from './journal.js'

export default async function handle (record, { attempt, signal }) {
  note('start', record, attempt)
  while (!existsSync(process.env.GATE_FILE)) await delay(10, undefined, { signal })
  note('end', record, attempt)
}
