import t from 'tap'
import { CommitError, OutputRefusedError } from '../../src/engine/types.js'
import { SluiceError, type ErrorCode } from '../../src/errors.js'
import { sendOffsets, type GroupOffsets, type NativeProducer } from '../../src/kafka/driver.js'
import type { SpentReason, TransactionEnd } from '../../src/kafka/transactional-producer.js'
import { TransactionalCommits, transactionalIdOf, type TransactionalCommitsOptions } from '../../src/kafka/transactional-commits.js'

type Script = { end: TransactionEnd, error?: Error, spent?: SpentReason }
const log = { debug () {}, info () {}, warn () {}, error () {} }
const refusal = (code: ErrorCode, index: number) => new SluiceError(code, 'no', { pointer: `#/records/${index}` })
const offsets: GroupOffsets = { list: [{ topic: 't', partition: 0, offset: 1 }], consumer: {} as GroupOffsets['consumer'], isLost: code => code === 22 }
const RECORDS = [{ topic: 'a', value: '0' }, { topic: 'a', value: '1' }]

async function setUp (scripts: Script[]) {
  const opened: Record<string, unknown>[] = []
  const ran: unknown[] = []
  const options = {
    client: {},
    producer: { messageMaxBytes: 100 },
    timeoutMs: 10_000,
    transactionalId: 'mine',
    groupId: 'g',
    log,
    open: async ({ properties }: { properties: Record<string, unknown> }) => {
      opened.push(properties)
      const producer = {
        spent: null as SpentReason | null,
        abandon () {},
        async close () {},
        run (records: unknown, deadline: unknown, given: unknown) {
          ran.push(given)
          const { end, error, spent = end === 'committed' ? null : 'aborted' } = scripts.shift()!
          producer.spent = spent
          return { answer: error === undefined ? Promise.resolve([]) : Promise.reject(error), ended: Promise.resolve(end) }
        }
      }
      return producer
    }
  }
  return { commits: await TransactionalCommits.open(options as unknown as TransactionalCommitsOptions), opened, ran }
}

const failureOf = (commits: TransactionalCommits, records: { topic: string, value: string }[] = RECORDS) =>
  commits.commit(offsets, records).then(() => null, (error: unknown) => error as CommitError & { index?: number, permanent?: boolean })

t.test('the id says who this process is, where something does', async t => {
  t.equal(transactionalIdOf('g', null, null), null)
  t.equal(transactionalIdOf('g', 'one', null), 'sluice-g-one')
  t.equal(transactionalIdOf('g', 'one', 'mine'), 'mine-g')
})

t.test('the offsets go with the member of the group that they are from, into the client as well', async t => {
  const { commits, ran } = await setUp([{ end: 'committed' }])
  await commits.commit(offsets, RECORDS)
  t.equal(ran[0], offsets)
  const told: unknown[] = []
  const client = { sendOffsetsToTransaction: (...given: unknown[]) => { told.push(given.slice(0, 3)); (given[3] as () => void)() } }
  t.equal(await sendOffsets(client as unknown as NativeProducer, offsets, 7), null)
  t.same(told, [[offsets.list, offsets.consumer, 7]])
  t.equal((told[0] as unknown[])[1], offsets.consumer, 'the group asks it who it is')
})

t.test('a producer is used again after a commit only, and one that is fenced leaves its id to the other', async t => {
  const { commits, opened } = await setUp([{ end: 'committed' }, { end: 'aborted', error: new Error('x'), spent: 'fenced' }, { end: 'committed' }])
  await commits.commit(offsets, RECORDS)
  t.equal(opened.length, 1)
  t.match(await failureOf(commits), { kind: 'retriable' })
  await commits.commit(offsets, RECORDS)
  t.equal(opened[0]?.['transactional.id'], 'mine')
  t.match(opened[1]?.['transactional.id'], /^sluice-g-[0-9a-f-]{36}$/)
  await commits.close()
  t.match(await failureOf(commits), { kind: 'retriable' })
})

t.test('an abort says whose fault it is, and one that nobody knows the end of is none', async t => {
  const gone = new SluiceError('SLUICE_NOT_PRODUCED', 'x', { cause: { code: 22 } })
  const { commits } = await setUp([
    { end: 'unknown', error: new Error('x') },
    { end: 'aborted', error: gone },
    { end: 'aborted', error: refusal('SLUICE_RECORD_REJECTED', 0) },
    { end: 'aborted', error: refusal('SLUICE_UNKNOWN_TOPIC', 0) },
    { end: 'aborted', error: refusal('SLUICE_NOT_PRODUCED', 0) }
  ])
  t.match(await failureOf(commits), { kind: 'unknown' })
  t.match(await failureOf(commits), { kind: 'lost' })
  t.match(await failureOf(commits, RECORDS.slice(1)), { index: 0, permanent: true })
  t.match(await failureOf(commits), { index: 0, permanent: false })
  const outage = await failureOf(commits)
  t.notOk(outage instanceof OutputRefusedError, 'a record that was not acknowledged in time is not to blame')
  t.equal(outage?.kind, 'retriable')
  t.match(await failureOf(commits, [{ topic: 'a', value: 'x'.repeat(101) }]), { index: 0, permanent: true }, 'what is too large is found before')
})

t.test('of a batch that is too large none is to blame before each was sent by itself', async t => {
  const tooLarge = { end: 'aborted' as const, error: refusal('SLUICE_RECORD_TOO_LARGE', 0) }
  const { commits, opened } = await setUp([tooLarge, { end: 'aborted', error: refusal('SLUICE_RECORD_TOO_LARGE', 1) }, { end: 'committed' }])
  t.notOk(await failureOf(commits) instanceof OutputRefusedError)
  t.match(await failureOf(commits), { index: 1, permanent: true })
  t.notOk(await failureOf(commits, RECORDS) instanceof CommitError)
  t.same(opened.map(properties => properties['batch.num.messages']), [undefined, 1, 1], 'the topic is as it is')
})

t.test('of a batch with a record that is not valid as well; what comes next goes together again', async t => {
  const rejected = (index: number) => ({ end: 'aborted' as const, error: refusal('SLUICE_RECORD_REJECTED', index) })
  const { commits, opened } = await setUp([rejected(0), rejected(1), { end: 'committed' }, rejected(0), { end: 'committed' }, { end: 'committed' }])
  const batches = () => opened.map(properties => properties['batch.num.messages'])
  t.notOk(await failureOf(commits) instanceof OutputRefusedError)
  t.match(await failureOf(commits), { index: 1, permanent: true })
  t.equal(await failureOf(commits), null)
  t.same(batches(), [undefined, 1, undefined])
  t.match(await failureOf(commits), { kind: 'retriable' })
  t.equal(await failureOf(commits), null, 'it was another one, which is gone')
  t.equal(await failureOf(commits), null)
  t.same(batches(), [undefined, 1, undefined, 1, undefined])
})
