import fc from 'fast-check'
import t from 'tap'
import { IdempotencyTable, type Answer, type Entry } from '../src/idempotency-table.js'

const answer = (body: string): Answer => ({ status: 200, headers: {}, body })

/** A table with a clock that the test moves. */
function tableOf (limits: Partial<ConstructorParameters<typeof IdempotencyTable>[0]> = {}) {
  const clock = { now: 0 }
  const table = new IdempotencyTable({ maxEntries: 10, maxBytes: 1_000_000, lifetimeMs: 1_000, ...limits }, () => clock.now)
  const claimed = (scope: string, caller = scope): Entry => {
    const claim = table.claim(scope, caller, 'f')
    if (claim.kind !== 'new') throw new Error(claim.kind)
    return claim.entry
  }
  return { table, clock, claimed }
}

t.test('a key is new, then in flight, then replayed, until its lifetime is over', async t => {
  const { table, clock, claimed } = tableOf()
  const entry = claimed('a')
  t.same(table.claim('a', 'a', 'f'), { kind: 'in-flight' })
  clock.now = 5_000
  t.same(table.claim('a', 'a', 'f'), { kind: 'in-flight' }, 'however long it takes')
  table.settle(entry, answer('x'))
  table.settle(entry, answer('y'))
  clock.now = 5_999
  t.same(table.claim('a', 'a', 'f'), { kind: 'replayed', answer: answer('x') })
  clock.now = 6_000
  t.match(table.claim('a', 'a', 'f'), { kind: 'new' })
})

t.test('another request with the same key is found out, in flight and afterwards; what is forgotten is free', async t => {
  const { table, claimed } = tableOf()
  const entry = claimed('a')
  t.same(table.claim('a', 'a', 'g'), { kind: 'reused' })
  table.settle(entry, answer('x'))
  t.same(table.claim('a', 'a', 'g'), { kind: 'reused' })
  const other = claimed('b')
  table.settle(other, null)
  t.match(table.claim('b', 'b', 'g'), { kind: 'new' })
})

t.test('the number of keys from both sides: nothing is forgotten early, and the room comes back', async t => {
  const { table, clock, claimed } = tableOf({ maxEntries: 4 })
  const first = claimed('a')
  table.settle(first, answer('x'))
  for (const scope of ['b', 'c', 'd']) claimed(scope)
  t.same(table.claim('e', 'e', 'f'), { kind: 'full', retryAfterSeconds: 1 })
  t.match(table.claim('a', 'a', 'f'), { kind: 'replayed' }, 'those that are known are answered')
  clock.now = 1_000
  t.match(table.claim('e', 'e', 'f'), { kind: 'new' })
  t.same(table.claim('f', 'f', 'f'), { kind: 'full', retryAfterSeconds: 1 }, 'what is in flight stays')
})

t.test('one caller gets half', async t => {
  const { table, claimed } = tableOf({ maxEntries: 4 })
  const [one] = [claimed('a', 'me'), claimed('b', 'me')]
  t.match(table.claim('c', 'me', 'f'), { kind: 'full' })
  t.match(table.claim('c', 'you', 'f'), { kind: 'new' })
  table.settle(one, null)
  t.match(table.claim('d', 'me', 'f'), { kind: 'new' })
})

t.test('bytes from both sides', async t => {
  const { table, claimed } = tableOf({ maxBytes: 4_096 })
  table.settle(claimed('a'), answer('x'.repeat(2_048)))
  t.equal(table.bytes, 3_072)
  const last = claimed('b')
  t.same(table.claim('c', 'c', 'f'), { kind: 'full', retryAfterSeconds: 1 })
  table.settle(last, answer('é'.repeat(1_000)))
  t.equal(table.bytes, 6_096, 'what was in flight is remembered all the same')
})

t.test('for any claims, settlements and times: a key is new once until it is forgotten or expires, and the counts are right', async t => {
  const command = fc.oneof(
    fc.record({ kind: fc.constant('claim' as const), scope: fc.constantFrom('a', 'b', 'c', 'd'), fingerprint: fc.constantFrom('f', 'g') }),
    fc.record({ kind: fc.constant('settle' as const), which: fc.nat(3), keep: fc.boolean() }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 600 }) })
  )
  fc.assert(fc.property(fc.array(command, { maxLength: 40 }), commands => {
    const { table, clock } = tableOf({ maxEntries: 6 })
    const model = new Map<string, { fingerprint: string, until: number | null }>()
    const open: Entry[] = []
    for (const one of commands) {
      for (const [scope, { until }] of model) if (until !== null && until <= clock.now) model.delete(scope)
      if (one.kind === 'wait') clock.now += one.ms
      else if (one.kind === 'claim') {
        const known = model.get(one.scope)
        const claim = table.claim(one.scope, 'me', one.fingerprint)
        const expected = known === undefined
          ? model.size >= 3 ? 'full' : 'new'
          : known.fingerprint !== one.fingerprint ? 'reused' : known.until === null ? 'in-flight' : 'replayed'
        if (claim.kind !== expected) throw new Error(`${claim.kind}, and not ${expected}`)
        if (claim.kind === 'new') { open.push(claim.entry); model.set(one.scope, { fingerprint: one.fingerprint, until: null }) }
        if (table.size !== model.size) throw new Error(`${table.size} keys, and not ${model.size}`)
      } else {
        const [entry] = open.splice(one.which % Math.max(open.length, 1), 1)
        if (entry === undefined) continue
        table.settle(entry, one.keep ? answer(entry.scope) : null)
        if (one.keep) model.set(entry.scope, { fingerprint: entry.fingerprint, until: clock.now + 1_000 })
        else model.delete(entry.scope)
      }
    }
  }), { numRuns: 1_000 })
})
