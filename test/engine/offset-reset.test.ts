import t from 'tap'
import { offsetResets } from '../../src/engine/offset-reset.js'
import type { ResetPolicy } from '../../src/engine/types.js'

type Offsets = (number | undefined)[]

const at = (...offsets: Offsets) => offsets
  .flatMap((offset, partition) => offset === undefined ? [] : [{ topic: 't', partition, offset }])

const resets = (policy: ResetPolicy, committed: Offsets, beginnings: Offsets, ends: Offsets) =>
  offsetResets(at(...committed), at(...beginnings), at(...ends), policy)
    .map(({ partition, reason, skipped }) => [partition, reason, skipped])

t.test('offsets within the log are no resets, from its beginning to its end', async t => {
  for (const policy of ['earliest', 'latest', 'error'] as const) {
    t.strictSame(resets(policy, [3, 5, 10, 0], [3, 3, 3, 0], [10, 10, 10, 0]), [])
  }
})

t.test('a group without an offset skips nothing with earliest, and everything that is there with latest', async t => {
  t.strictSame(resets('earliest', [-1, -1], [3, 0], [10, 0]), [[0, 'none', 0], [1, 'none', 0]])
  t.strictSame(resets('latest', [-1, -1], [3, 0], [10, 0]), [[0, 'none', 7], [1, 'none', 0]])
  t.strictSame(resets('error', [-1], [3], [10]), [[0, 'none', 0]], 'it stands still there')
})

t.test('what was deleted before it was read is skipped with any policy; latest skips the rest as well', async t => {
  t.strictSame(resets('earliest', [2], [3], [10]), [[0, 'below-start', 1]])
  t.strictSame(resets('error', [2], [3], [10]), [[0, 'below-start', 1]])
  t.strictSame(resets('latest', [2], [3], [10]), [[0, 'below-start', 8]])
})

t.test('of a log that ends before the offset nobody can tell what is skipped', async t => {
  for (const policy of ['earliest', 'latest', 'error'] as const) t.strictSame(resets(policy, [11], [3], [10]), [[0, 'beyond-end', null]])
})

t.test('of partitions whose beginning or end is not known, only that there is no offset is said', async t => {
  t.strictSame(resets('earliest', [-1, 0, 99], [], []), [[0, 'none', 0]])
  t.strictSame(resets('latest', [-1, -1, 0], [3, undefined, 3], []), [[0, 'none', null], [1, 'none', null], [2, 'below-start', null]])
  t.strictSame(offsetResets(at(1), [{ topic: 'other', partition: 0, offset: 5 }], [], 'earliest'), [])
})
