import t from 'tap'
import { TapCounts, closingLine, needsKafka, verdict } from '../../scripts/lib-tap.mjs'

function count (text: string): TapCounts {
  const counts = new TapCounts()
  for (const char of text) counts.write(char)
  counts.end()
  return counts
}

const report = `TAP version 14
# Subtest: test/a.test.ts
    # Subtest: one
        ok 1 - should be equal
        not ok 2 - should be equal
          ---
          diff: "ok 9 - not a point"
          ...
        1..2
    not ok 1 - one # time=2.942ms
    ok 2 - left out # SKIP no broker
    ok 3 - buffered # time=1ms {
        ok 1 - inner
        1..1
    }
    ok 4 - later # TODO
    1..4
not ok 1 - test/a.test.ts # time=12.131ms
# Subtest: test/integration/b.test.ts
    ok 1 - all # SKIP no broker
    1..1
ok 2 - test/integration/b.test.ts # SKIP no broker
# Subtest: test/crashed.test.ts
    1..0
not ok 3 - test/crashed.test.ts
1..3
# { total: 6, pass: 2, fail: 2, todo: 1, skip: 2 }`

t.test('assertions are counted once, whatever the nesting and the chunks', async t => {
  const counts = count(report)
  t.match(counts, { passed: 2, failed: 2, skipped: 3 })
  t.strictSame([...counts.ran], [['test/a.test.ts', 3]], 'a file that skipped everything ran nothing')
})

t.test('an assertion whose words end with a brace opens nothing', async t => {
  const counts = count('# Subtest: test/a.test.ts\n    ok 1 - 200 {\n    1..1\nok 1 - test/a.test.ts # time=2ms\n\n# Subtest: test/b.test.ts\n    ok 1 - x\nok 2 - test/b.test.ts\n')
  t.match(counts, { passed: 2, failed: 0 })
  t.same([...counts.ran], [['test/a.test.ts', 1], ['test/b.test.ts', 1]])
})

t.test('the last line says at least one failure when tap itself failed', async t => {
  t.equal(closingLine(count('ok 1 - x\n'), 0), '1 passed, 0 failed')
  t.equal(closingLine(count('ok 1 - x\n'), 1), '1 passed, 1 failed')
  t.equal(closingLine(count(report), 1), '2 passed, 2 failed, 3 skipped')
})

t.test('a test uses a real Kafka by its folder or by what it imports', async t => {
  t.equal(needsKafka('test/integration/x.test.ts', ''), true)
  // What the harness for chaos concludes is tried without a cluster.
  t.equal(needsKafka('test/chaos/x.test.ts', ''), false)
  t.equal(needsKafka('test/kafka/x.test.ts', "import { noKafka } from '../support/kafka.js'"), true)
  t.equal(needsKafka('test/kafka/x.test.ts', "import {\n  noKafka\n} from '../support/kafka.js'"), true)
  t.equal(needsKafka('test/x.test.ts', 'const text = "from \'../support/kafka.js\'"'), false)
  t.equal(needsKafka('test/kafka/x.test.ts', "import { fake } from '../support/kafka-fakes.js'"), false)
})

t.test('without a broker the last lines say so, and in CI it is a failure', async t => {
  const counts = count('# Subtest: test/a.test.ts\n    ok 1 - x\n    1..1\nok 1 - test/a.test.ts\n1..1\n')
  const run = { all: true, filtered: false, code: 0, counts, real: ['test/integration/b.test.ts'], reason: 'no Docker engine' }
  const plain = verdict({ ...run, ci: false })
  t.equal(plain.ok, true)
  t.match(plain.lines.join('\n'), /SKIPPED: no Docker engine/)
  t.equal(verdict({ ...run, ci: true }).ok, false)
})

t.test('in CI an integration file that ran nothing, for whatever reason, is a failure', async t => {
  const base = { ci: true, all: true, filtered: false, code: 0 }
  const ran = count('# Subtest: test/integration/b.test.ts\n    ok 1 - x\n    1..1\nok 1 - test/integration/b.test.ts\n1..1\n')
  t.equal(verdict({ ...base, counts: ran, real: ['test/integration/b.test.ts'] }).ok, true)
  t.equal(verdict({ ...base, counts: ran, real: ['test/integration/b.test.ts', 'test/integration/c.test.ts'] }).ok, false)
  t.equal(verdict({ ...base, counts: ran, real: [] }).ok, false, 'no integration test was found at all')
  t.equal(verdict({ ...base, counts: ran, real: ['test/integration/b.test.ts'], buildFailure: 'x' }).ok, false)
  t.equal(verdict({ ...base, ci: false, all: false, counts: count('1..0\n'), real: [] }).ok, false, 'nothing ran')
})
