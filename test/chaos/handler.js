// Does with a record what its value says (see traffic.ts), and writes each attempt into the ledger, with the record's id:
//   ms      how long an attempt takes, whatever its signal says: a process that is frozen has the rest of it still to go
//   fails   so many attempts fail at first
//   poison  every attempt fails: 'retried' until its attempts are used up, or 'hopeless' at once
//   hangs   the first attempt waits until its signal is aborted
import { setTimeout as delay } from 'node:timers/promises'
import { eitherWay } from '../support/handlers/either-way.js'
import { note } from '../support/handlers/journal.js'

const STEP_MS = 50

export default eitherWay(async (record, { attempt, signal, batch }) => {
  const { id, ms, fails = 0, poison, hangs } = JSON.parse(record.value)
  const more = poison === undefined ? { id } : { id, poison }
  note('start', record, attempt, { ...more, batch })
  try {
    if (hangs && attempt === 1) await hang(signal)
    for (let leftMs = ms; leftMs > 0; leftMs -= STEP_MS) await delay(Math.min(leftMs, STEP_MS))
    if (poison !== undefined) throw Object.assign(new Error('fails for good'), poison === 'hopeless' && { retriable: false })
    if (attempt <= fails) throw new Error('fails at first')
  } catch (error) {
    note('fail', record, attempt, more)
    throw error
  }
  note('end', record, attempt, more)
})

function hang (signal) {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    // Aborted before it was looked at: no event comes.
    if (signal.aborted) reject(signal.reason)
  })
}
