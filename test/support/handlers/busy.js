// Keeps its processor busy for BUSY_MS milliseconds a record, without ever awaiting, and writes down when it starts and ends.
// In the middle of the first attempt at a share of the records (BUSY_EXIT_SHARE, 0 to 1) it ends its thread, or its process.
// A record with the value `endless` never ends.
import { chance, note } from './journal.js'

const busyMs = Number(process.env.BUSY_MS ?? 20)
const seed = process.env.LEDGER_SEED ?? '0'
const exitShare = Number(process.env.BUSY_EXIT_SHARE ?? 0)

function keepBusy (ms) {
  for (const end = performance.now() + ms; performance.now() < end;);
}

export default function handle (record, { attempt }) {
  note('start', record, attempt)
  if (String(record.value) === 'endless') for (;;);
  keepBusy(busyMs / 2)
  if (attempt === 1 && chance(seed, record, 'exit') < exitShare) {
    note('fail', record, attempt)
    process.exit(1)
  }
  keepBusy(busyMs / 2)
  note('end', record, attempt)
}
