import t from 'tap'
import { StreamShares } from '../src/stream-shares.js'

t.test('a share is the stream\'s own limit, or an equal part of what all may have, and one record at least', async t => {
  const shares = new StreamShares({ maxStreams: 50, maxRecords: 40, maxBytes: 400, totalRecords: 100, totalBytes: 1_000 })
  for (const [open, records, bytes] of [[1, 40, 400], [2, 40, 400], [3, 33, 333], [10, 10, 100], [50, 2, 20]] as const) {
    while (shares.open < open) shares.enter()
    t.same([shares.records, shares.bytes], [records, bytes], `${open} streams`)
  }
  t.throws(() => shares.enter(), { code: 'SLUICE_TOO_MANY_STREAMS', details: { limit: 50 } })
  shares.leave()
  shares.enter()
  const narrow = new StreamShares({ maxStreams: 5, maxRecords: 40, maxBytes: 400, totalRecords: 0, totalBytes: 0 })
  narrow.enter()
  t.same([narrow.records, narrow.bytes], [1, 1])
})
