import { test, type Test } from 'tap'
import type { TransactionsConfig } from '../../src/config.js'
import { SluiceError } from '../../src/errors.js'
import { transactionalProperties, TransactionalProducerPool, type PooledProducer } from '../../src/kafka/transactional-producer-pool.js'
import { outcomeUnknown } from '../../src/kafka/transaction-errors.js'
import type { SpentReason, TransactionEnd } from '../../src/kafka/transactional-producer.js'
import type { TransactionResult } from '../../src/kafka/transactions.js'
import type { Receipt } from '../../src/record.js'
import { producerSettings } from '../support/produce-app.js'

const receipt: Receipt = { topic: 'a', partition: 0, offset: 0, timestamp: 1 }
const silent = { debug () {}, info () {}, warn () {}, error () {} }

/** A producer whose transactions end as a test says. */
class FakeTransactional implements PooledProducer {
  spent: SpentReason | null = null
  closed = false
  readonly running: {
    commit: () => void, abort: (spent?: SpentReason, error?: SluiceError) => void, forget: () => TransactionEndLater
  }[] = []

  constructor (readonly id: string, readonly properties: Readonly<Record<string, unknown>>) {}

  run () {
    let tell!: (receipts: Receipt[]) => void
    let refuse!: (error: SluiceError) => void
    let end!: (end: TransactionEnd) => void
    const answer = new Promise<Receipt[]>((resolve, reject) => { tell = resolve; refuse = reject })
    const ended = new Promise<TransactionEnd>(resolve => { end = resolve })
    this.running.push({
      commit () { tell([receipt]); end('committed') },
      abort: (spent = 'aborted', error = new SluiceError('SLUICE_NOT_PRODUCED', 'aborted')) => {
        this.spent = spent
        refuse(error)
        end('aborted')
      },
      forget () {
        refuse(outcomeUnknown())
        return end
      }
    })
    return { answer, ended }
  }

  abandon (): void { for (const one of this.running) one.abort() }
  async close (): Promise<void> { this.closed = true }
}
type TransactionEndLater = (end: TransactionEnd) => void

function pool (t: Test, settings: Partial<TransactionsConfig> = {}, queueMaxBytes = 10_000) {
  const opened: FakeTransactional[] = []
  const ended: TransactionResult[] = []
  const replaced: SpentReason[] = []
  const world = { reachable: true, openFails: false }
  const made = new TransactionalProducerPool({
    client: {},
    producer: { ...producerSettings, messageMaxBytes: 1_000, queueMaxBytes },
    settings: { idPrefix: 'p', producers: 1, maxWaiting: 2, maxBytes: 2_000, timeoutMs: 5_000, ...settings },
    log: silent,
    observer: { ended (result) { ended.push(result) }, replaced (reason) { replaced.push(reason) } },
    isReachable: () => world.reachable,
    async open ({ properties }) {
      if (world.openFails) throw new SluiceError('SLUICE_BROKER_UNAVAILABLE', 'no')
      const producer = new FakeTransactional(String(properties['transactional.id']), properties)
      opened.push(producer)
      return producer
    }
  })
  t.teardown(() => made.close(100))
  return { pool: made, opened, ended, replaced, world }
}

const record = (bytes = 1) => ({ topic: 'a', value: 'x'.repeat(bytes) })
const turn = () => new Promise(resolve => { setImmediate(resolve) })

test('one at a time on each producer; the others wait in their order, and one more than may wait is refused', async t => {
  const { pool: transactions, opened, ended } = pool(t)
  const all = [1, 2, 3].map(() => transactions.run([record()], 60_000))
  await turn()
  t.match(transactions.state, { open: 1, waiting: 2, bytes: 3 })
  await t.rejects(transactions.run([record()], 60_000), { code: 'SLUICE_QUEUE_FULL', retryAfterSeconds: 1 })
  for (const [i, one] of all.entries()) {
    await turn()
    t.equal(opened[0]!.running.length, i + 1)
    opened[0]!.running[i]!.commit()
    t.same(await one, [receipt])
  }
  await turn()
  t.equal(opened.length, 1)
  t.same(transactions.state, { open: 0, waiting: 0, bytes: 0 })
  t.same(ended, ['refused', 'committed', 'committed', 'committed'])
})

test('where none may wait, a producer that is idle is still used', async t => {
  const { pool: transactions, opened } = pool(t, { maxWaiting: 0 })
  const one = transactions.run([record()], 60_000)
  await turn()
  await t.rejects(transactions.run([record()], 60_000), { code: 'SLUICE_QUEUE_FULL' })
  opened[0]!.running[0]!.commit()
  await one
})

test('bytes of one transaction, and of all: the limits from both sides', async t => {
  const { pool: transactions, opened } = pool(t, { producers: 3, maxWaiting: 100 }, 4_000)
  const full = transactions.run([record(1_000), record(1_000)], 60_000)
  await t.rejects(transactions.run([record(1_000), record(1_000), record(1)], 60_000), { code: 'SLUICE_BATCH_TOO_LARGE', details: { limit: 2_000 } })
  await t.rejects(transactions.run([record(1_000), record(1_001)], 60_000), { code: 'SLUICE_RECORD_TOO_LARGE', details: { pointer: '#/records/1' } })
  const second = transactions.run([record(1_000), record(1_000)], 60_000)
  await t.rejects(transactions.run([record(1)], 60_000), { code: 'SLUICE_QUEUE_FULL' })
  await turn()
  for (const { running } of opened) running[0]!.commit()
  await Promise.all([full, second])
  await turn()
  t.equal(transactions.state.bytes, 0)
})

test('whoever waits longer than it wants to is withdrawn; its transaction is never begun', async t => {
  const { pool: transactions, opened, ended } = pool(t)
  const first = transactions.run([record()], 60_000)
  await t.rejects(transactions.run([record()], 1), { code: 'SLUICE_NOT_PRODUCED' })
  t.match(transactions.state, { open: 1, waiting: 0, bytes: 1 })
  opened[0]!.running[0]!.commit()
  await first
  await turn()
  t.equal(opened[0]!.running.length, 1)
  t.same(ended, ['refused', 'committed'])
})

test('a caller that was told nothing more is certain keeps the producer busy until its transaction has ended', async t => {
  const { pool: transactions, opened, ended } = pool(t)
  const first = transactions.run([record()], 60_000)
  await turn()
  const end = opened[0]!.running[0]!.forget()
  await t.rejects(first, { code: 'SLUICE_TRANSACTION_UNKNOWN' })
  const second = transactions.run([record()], 60_000)
  await turn()
  t.match(transactions.state, { open: 1, waiting: 1 })
  end('committed')
  await turn()
  await turn()
  opened[0]!.running[1]!.commit()
  t.same(await second, [receipt])
  t.same(ended, ['unknown', 'committed'])
})

test('only after a commit is a producer used again; one that was fenced gives way with another prefix', async t => {
  const { pool: transactions, opened, replaced } = pool(t)
  for (const spent of ['aborted', 'fatal', 'fenced'] as const) {
    const one = transactions.run([record()], 60_000)
    await turn()
    const producer = opened.at(-1)!
    t.equal(producer.id, 'p-0')
    producer.running[0]!.abort(spent)
    await t.rejects(one, { code: 'SLUICE_NOT_PRODUCED' })
    await turn()
    t.ok(producer.closed)
  }
  const last = transactions.run([record()], 60_000)
  await turn()
  t.match(opened.at(-1)!.id, /^sluice-[0-9a-f-]{36}-0$/)
  opened.at(-1)!.running[0]!.commit()
  await last
  t.same(replaced, ['aborted', 'fatal', 'fenced'])
})

test('while Kafka is away nothing is begun, and a producer that cannot be made is tried by the next request', async t => {
  const { pool: transactions, opened, world } = pool(t)
  world.reachable = false
  await t.rejects(transactions.run([record()], 60_000), { code: 'SLUICE_BROKER_UNAVAILABLE', retryAfterSeconds: 2 })
  world.reachable = world.openFails = true
  await t.rejects(transactions.run([record()], 60_000), { code: 'SLUICE_BROKER_UNAVAILABLE' })
  world.openFails = false
  const one = transactions.run([record()], 60_000)
  await turn()
  opened[0]!.running[0]!.commit()
  await one
})

test('a prefix that is configured: all producers are made at once', async t => {
  const { pool: transactions, opened } = pool(t, { producers: 3 })
  transactions.prepare()
  for (let i = 0; i < 10; i++) await turn()
  t.same(opened.map(({ id }) => id), ['p-0', 'p-1', 'p-2'])
  t.equal(transactions.state.open, 0)
})

test('a close refuses what waits, aborts what is open, and lets go of the producers', async t => {
  const { pool: transactions, opened } = pool(t)
  const open = transactions.run([record()], 60_000)
  const waiting = transactions.run([record()], 60_000)
  await turn()
  await Promise.all([
    transactions.close(60_000), t.rejects(open, { code: 'SLUICE_NOT_PRODUCED' }), t.rejects(waiting, { code: 'SLUICE_CLOSING' })
  ])
  t.ok(opened[0]!.closed)
  await t.rejects(transactions.run([record()], 60_000), { code: 'SLUICE_CLOSING' })
})

test('the client\'s own times are not longer than the transaction\'s', async t => {
  t.match(transactionalProperties({ 'message.timeout.ms': 120_000 }, 'id', 5_000),
    { 'transactional.id': 'id', 'transaction.timeout.ms': 5_000, 'message.timeout.ms': 5_000, 'socket.timeout.ms': 4_900 })
  t.match(transactionalProperties({ 'message.timeout.ms': 1_000, 'socket.timeout.ms': 3_000 }, 'id', 5_000),
    { 'message.timeout.ms': 1_000, 'socket.timeout.ms': 3_000 })
})

test('a transaction whose batch is too large runs once more, each record by itself; of one record there is nothing to try', async t => {
  const tooLarge = new SluiceError('SLUICE_RECORD_TOO_LARGE', 'large', { pointer: '#/records/0' })
  const { pool: transactions, opened, ended } = pool(t)
  const written = transactions.run([record(), record()], 60_000)
  await turn()
  opened[0]!.running[0]!.abort('aborted', tooLarge)
  await turn()
  t.equal(opened[1]?.properties['batch.num.messages'], 1)
  t.match(transactions.state, { open: 1, bytes: 2 })
  opened[1]!.running[0]!.commit()
  t.same(await written, [receipt])
  await turn()
  t.ok(opened[1]!.closed, 'the next transaction has a usual one')
  t.same([transactions.state.bytes, ended], [0, ['committed']])

  const refused = t.rejects(transactions.run([record(), record()], 60_000), tooLarge)
  await turn()
  t.equal(opened[2]?.properties['batch.num.messages'], undefined)
  opened[2]!.running[0]!.abort('aborted', tooLarge)
  await turn()
  opened[3]!.running[0]!.abort('aborted', tooLarge)
  await refused

  const single = t.rejects(transactions.run([record()], 60_000), tooLarge)
  await turn()
  opened[4]!.running[0]!.abort('aborted', tooLarge)
  await single
  const late = t.rejects(transactions.run([record(), record()], 0), { code: 'SLUICE_NOT_PRODUCED', message: /no time/ })
  await turn()
  opened[5]?.running[0]?.abort('aborted', tooLarge)
  await late
  await turn()
  t.same([transactions.state.bytes, opened.length, ended.slice(1)], [0, 6, ['aborted', 'aborted', 'aborted']])
})
