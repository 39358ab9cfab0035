import t from 'tap'
import { Committer } from '../../src/engine/committer.js'
import { OwnedPartition } from '../../src/engine/owned-partition.js'

const RETRY_MS = 500
const APART_MS = 20

/** A partition with this many records admitted, of which the first `completed` are done. */
function partition (admitted: number, completed: number, committed = 0, number = 0): OwnedPartition {
  const owned = new OwnedPartition({ topic: 't', partition: number, offset: committed, metadata: '' }, 1, { maxRecords: 1000, maxBytes: 1_000_000 })
  for (let n = 0; n < admitted; n++) owned.window.admit(committed + n, 7)
  for (let n = 0; n < completed; n++) owned.window.complete(n)
  return owned
}

t.test('due by count: at the limit, not one below it', async t => {
  const committer = new Committer({ maxRecords: 3, intervalMs: 1e9 }, 0)
  committer.completed()
  committer.completed()
  t.notOk(committer.due(1e8))
  committer.completed()
  t.ok(committer.due(APART_MS))
})

t.test('commits are apart, however many records there are: at the limit, not before', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 100)
  for (let n = 0; n < 1000; n++) committer.completed()
  t.notOk(committer.due(100 + APART_MS - 1))
  t.ok(committer.due(100 + APART_MS))
})

t.test('due by interval: from the last acknowledgement, at the limit, not before; and never with nothing to commit', async t => {
  const committer = new Committer({ maxRecords: 100, intervalMs: 1000 }, 50)
  t.notOk(committer.due(1e9))
  committer.completed()
  t.notOk(committer.due(1049))
  t.ok(committer.due(1050))
  const commit = committer.begin([partition(1, 1)], 0)!
  committer.succeeded(commit, 2000)
  committer.completed()
  t.notOk(committer.due(2999))
  t.ok(committer.due(3000))
})

t.test('an end that moved a commit offset is committed after the interval, without a record', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1000 }, 0)
  committer.moved()
  t.notOk(committer.due(999))
  t.ok(committer.due(1000))
})

t.test('a failed commit is due again after a wait, with no further record; as long as it waits, not', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const owned = partition(2, 1)
  committer.completed()
  t.ok(committer.begin([owned], 0))
  committer.failed(10_000)
  t.notOk(committer.due(10_000 + RETRY_MS - 1))
  committer.completed()
  t.notOk(committer.due(10_000 + RETRY_MS - 1), 'more records do not hurry it')
  t.ok(committer.due(10_000 + RETRY_MS))
  const again = committer.begin([owned], 0)
  t.match(again, { offsets: [{ offset: 1 }] })
  committer.succeeded(again!, 11_000)
  t.equal(owned.committedOffset, 1)
  t.notOk(committer.due(12_000))
})

t.test('one at a time: nothing is due while one waits for its acknowledgement', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  committer.completed()
  const commit = committer.begin([partition(5, 1)], 0)!
  committer.completed()
  t.notOk(committer.due(1e9))
  committer.succeeded(commit, 1e9)
  t.ok(committer.due(1e9 + APART_MS), 'what came meanwhile is due then')
})

t.test('it takes all partitions that moved, and none that did not, that are unknown, or that are not owned any more', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const moved = partition(3, 2, 10, 0)
  const still = partition(3, 0, 10, 1)
  const unknown = partition(0, 0, -1, 2)
  const gone = partition(3, 2, 10, 3)
  gone.owned = false
  // The group had no offset: where reading begins is worth committing, before anything is completed.
  const first = new OwnedPartition({ topic: 't', partition: 4, offset: -1, metadata: '' }, 1, { maxRecords: 1000, maxBytes: 1_000_000 })
  first.window.admit(40, 7)
  const commit = committer.begin([moved, still, unknown, gone, first], 0)!
  t.same(commit.offsets, [
    { topic: 't', partition: 0, offset: 12, leaderEpoch: 7, metadata: '' },
    { topic: 't', partition: 4, offset: 40, leaderEpoch: -1, metadata: '' }
  ])
  t.same(commit.partitions, [moved, first])
})

t.test('with nothing to commit it begins nothing, and is not due until something moves', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  committer.completed()
  t.equal(committer.begin([partition(1, 0)], 0), null)
  t.notOk(committer.due(1e9))
})

t.test('what was acknowledged is what was sent, though the window went on meanwhile', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const owned = partition(5, 2)
  const commit = committer.begin([owned], 0)!
  owned.window.complete(2)
  committer.completed()
  committer.succeeded(commit, 1)
  t.equal(owned.committedOffset, 2)
  t.match(committer.begin([owned], 0), { offsets: [{ offset: 3 }] })
})

t.test('what is completed above a commit offset that does not move is committed as well, once', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const owned = partition(5, 0, 10)
  owned.window.complete(2)
  const commit = committer.begin([owned], 0)!
  t.match(commit.offsets, [{ offset: 10, metadata: /^sluice1:/ }])
  committer.succeeded(commit, 1)
  t.equal(committer.begin([owned], 0), null, 'it is known')
  for (const sequence of [0, 1, 3, 4]) owned.window.complete(sequence)
  t.match(committer.begin([owned], 0)!.offsets, [{ offset: 15, metadata: '' }], 'and it is erased once all of it is below')
})

t.test('who waits for something to be written down waits for 5 s, and not for a group that does not answer', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const [waiting] = [committer.note()]
  const commit = committer.begin([partition(5, 1)], 100)!
  const next = committer.note()
  t.notOk(committer.giveUpWriting(5099))
  t.ok(committer.settled < waiting)
  t.ok(committer.giveUpWriting(5100))
  t.ok(committer.settled >= next, 'nor for the commit after it')
  t.ok(committer.note() <= committer.settled, 'nor does anybody else, as long as it lasts')
  committer.succeeded(commit, 9000)
  t.notOk(committer.giveUpWriting(20_000))
  committer.begin([partition(5, 2)], 20_000)
  t.ok(committer.note() > committer.settled, 'from then on it is waited for again')
})

t.test('what was acknowledged after a failure is committed once more: the failed one may be taken after it', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const owned = partition(5, 1)
  committer.completed()
  t.match(committer.begin([owned], 100), { offsets: [{ offset: 1 }] })
  committer.failed(5000)
  committer.succeeded(committer.begin([owned], 6000)!, 6000)
  t.notOk(committer.due(7999))
  t.ok(committer.due(8000))
  const repeated = committer.begin([owned], 8000)
  t.match(repeated, { offsets: [{ offset: 1 }] })
  committer.succeeded(repeated!, 8000)
  t.notOk(committer.due(1e9), 'and that is all')
})

t.test('a commit stays below what a broker takes: so many partitions, and so much metadata in all; the rest comes next', async t => {
  const committer = new Committer({ maxRecords: 1, intervalMs: 1 }, 0)
  const many = Array.from({ length: 2500 }, (_, number) => {
    const owned = new OwnedPartition({ topic: 't', partition: number, offset: 0, metadata: '' }, 1, { maxRecords: 1000, maxBytes: 1_000_000 })
    // Every other one is done: the costliest there is.
    for (let offset = 0; offset < 1000; offset++) {
      const sequence = owned.window.admit(offset, 0)
      if (offset % 2 === 0 || offset % 7 === 3) owned.window.complete(sequence)
    }
    return owned
  })
  const seen = new Set<number>()
  let commits = 0
  for (let commit = committer.begin(many, 0); commit !== null; commit = committer.begin(many, 0)) {
    t.ok(commit.offsets.length <= 1000)
    const bytes = commit.offsets.reduce((sum, { topic, metadata }) => sum + topic.length + metadata.length + 150, 0)
    t.ok(bytes < 1_000_000, `${bytes} bytes`)
    for (const { partition } of commit.offsets) seen.add(partition)
    committer.succeeded(commit, 0)
    if (++commits > 10) break
  }
  t.equal(seen.size, 2500)
  t.equal(commits, 3)
})

t.test('exactly once: where the metadata does not hold all that is done the partition is not committed, until it does; at least once it is', async t => {
  for (const transactional of [true, false]) {
    const owned = new OwnedPartition({ topic: 't', partition: 0, offset: 0, metadata: '' }, 1, { maxRecords: 100_000, maxBytes: 1_000_000 })
    let state = 1
    for (let n = 0; n < 40_000; n++) owned.window.admit(n, 7)
    // No pattern that could be said in fewer bytes.
    owned.window.complete(0)
    for (let n = 2; n < 40_000; n++) {
      state = (state * 48_271) % 2_147_483_647
      if (state % 2 === 0) owned.window.complete(n)
    }
    const committer = new Committer({ maxRecords: 1, intervalMs: 1, transactional }, 0)
    const commit = committer.begin([owned], 0)
    if (transactional) t.equal(commit, null)
    else t.match(commit?.offsets, [{ offset: 1 }])
    t.equal(owned.unfit, transactional)
    for (let n = 0; n < 30_000; n++) owned.window.complete(n)
    t.match(new Committer({ maxRecords: 1, intervalMs: 1, transactional }, 0).begin([owned], 0)?.offsets, [{ metadata: /^sluice1:/ }])
    t.notOk(owned.unfit)
  }
})
