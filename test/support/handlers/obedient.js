// Does what the record's value says: {"do": …}. Writes down each attempt in the ledger.
import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { eitherWay } from './either-way.js'
import { note } from './journal.js'

const never = () => new Promise(() => {})

class TooMuchError extends Error {
  name = 'TooMuchError'
}

const orders = {
  succeed () {},
  wait: async ({ ms }) => { await delay(ms) },
  /** Fails the first attempts. */
  'fail-at-first': (order, { attempt }) => { if (attempt <= order.times) throw new Error(`failure ${attempt}`) },
  fail () { throw new TooMuchError('it is too much') },
  'fail-for-good' () { throw Object.assign(new Error('no use'), { retriable: false }) },
  /** Fails as long as a file is not there. */
  need ({ file }) { if (!existsSync(file)) throw new Error('what it needs is away') },
  'retry-after' ({ ms, times }, { attempt }) { if (attempt <= times) throw Object.assign(new Error('later'), { retryAfterMs: ms }) },
  drop () { throw Object.assign(new Error('of no use to anybody'), { drop: true }) },
  /** Ends its process before anybody can know why. */
  'kill-process' () { process.kill(process.pid, 'SIGKILL') },
  'throw-no-error' () { throw 'just text' }, // eslint-disable-line no-throw-literal -- a handler may
  /** Takes no notice of its signal, and never ends. */
  'hang-deaf': never,
  /** Ends with its signal's reason. */
  'hang-until-aborted': (order, { signal }) => new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  }),
  /** Succeeds, and leaves a promise behind that is rejected later. */
  'forget-a-promise' () { setTimeout(() => { Promise.reject(new Error('forgotten')) }, 1) },
  /** Succeeds, and throws later where nobody can catch it. */
  'throw-later' () { setTimeout(() => { throw new Error('too late') }, 1) }
}

export default eitherWay(async (record, context) => {
  note('start', record, context.attempt, { batch: context.batch })
  const order = JSON.parse(record.value)
  try {
    await orders[order.do](order, context)
  } catch (error) {
    note('fail', record, context.attempt)
    throw error
  }
  note('end', record, context.attempt)
})
