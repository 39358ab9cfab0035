// Takes a random time for each record, fails at random, and writes down when it starts and ends. From the environment:
// LEDGER_FILE, LEDGER_SEED, LEDGER_MIN_MS, LEDGER_MAX_MS, and for a share (0 to 1) of the records LEDGER_SLOW_SHARE with
// LEDGER_SLOW_MS, and LEDGER_FAIL_SHARE, whose first attempt fails.
import { setTimeout as delay } from 'node:timers/promises'
import { eitherWay } from './either-way.js'
import { chance, note } from './journal.js'

const env = process.env
const seed = env.LEDGER_SEED ?? '0'
const minMs = Number(env.LEDGER_MIN_MS ?? 0)
const maxMs = Number(env.LEDGER_MAX_MS ?? 5)
const slowMs = Number(env.LEDGER_SLOW_MS ?? 50)
const slowShare = Number(env.LEDGER_SLOW_SHARE ?? 0)
const failShare = Number(env.LEDGER_FAIL_SHARE ?? 0)

export default eitherWay(async (record, { attempt, batch }) => {
  note('start', record, attempt, { batch })
  const slow = chance(seed, record, `slow ${attempt}`) < slowShare
  const ms = slow ? slowMs : Math.floor(minMs + chance(seed, record, `time ${attempt}`) * (maxMs - minMs + 1))
  if (ms > 0) await delay(ms)
  if (attempt === 1 && chance(seed, record, 'fail') < failShare) {
    note('fail', record, attempt)
    throw new Error('fails at first')
  }
  note('end', record, attempt)
})
