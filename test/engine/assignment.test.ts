import t from 'tap'
import { Assignment } from '../../src/engine/assignment.js'

const P0 = { topic: 't', partition: 0, offset: 0, metadata: '' }
const P1 = { topic: 't', partition: 1, offset: 0, metadata: '' }

t.test('a partition that is resumed counts in the same turn: no more is asked for than it has room for', async t => {
  const assignment = new Assignment({ maxRecords: 4, maxBytes: 1_000_000 }, 1_000_000_000)
  const owned = assignment.own(P0)
  for (const offset of [0, 1, 2]) owned.window.admit(offset, 0)
  owned.paused = true
  t.match(assignment.budget(1000, 0), { max: 1000, tightest: null, resume: [] }, 'what is paused brings nothing')
  owned.window.complete(0)
  t.match(assignment.budget(1000, 0), { max: 2, tightest: owned, resume: [owned] })
})

t.test('the smallest room among the partitions that are not paused decides; without room it is 0', async t => {
  const assignment = new Assignment({ maxRecords: 4, maxBytes: 1_000_000 }, 1_000_000_000)
  const [first, second] = [assignment.own(P0), assignment.own(P1)]
  for (const offset of [0, 1, 2]) first.window.admit(offset, 0)
  t.match(assignment.budget(1000, 0), { max: 1, tightest: first, pause: [] })
  first.window.admit(3, 0)
  t.match(assignment.budget(1000, 0), { max: 0, tightest: first, pause: [] }, 'full, but only now')
  t.match(assignment.budget(1000, 999), { max: 0, pause: [] })
  t.match(assignment.budget(1000, 1000), { max: 4, tightest: second, pause: [first] }, 'full for a second')
})
