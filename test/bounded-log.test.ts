import t from 'tap'
import { BoundedLog } from '../src/bounded-log.js'

t.test('one line a second, which says how many were left out', async t => {
  let now = 0
  const log = new BoundedLog(() => now)
  const said: [number, number][] = []
  for (const at of [0, 1, 999, 1_000, 1_500, 2_000, 9_000]) {
    now = at
    log.line(unsaid => { said.push([at, unsaid]) })
  }
  t.same(said, [[0, 0], [1_000, 2], [2_000, 1], [9_000, 0]])
})
