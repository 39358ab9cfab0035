import t, { type Test } from 'tap'
import { startGateway } from '../support/gateway.js'
import { noKafka, sharedKafka, uniqueName } from '../support/kafka.js'
import { noSchemathesis, schemathesis } from '../support/schemathesis.js'

t.setTimeout(400_000)

const skip = noKafka !== false ? noKafka : noSchemathesis
/** Bodies as long as the checks like to make them are refused by their length, and need not be read. */
const env = { BODY_LIMIT_BYTES: 100_000 }
const LONGEST = 500

/** Says what it found, without the bodies, which may have half a megabyte. */
function foundNothing (t: Test, { code, output }: { code: number | null, output: string }): void {
  t.equal(code, 0, 'Schemathesis finds nothing')
  if (code === 0) return
  for (const line of output.slice(Math.max(0, output.indexOf('= FAILURES ='))).split('\n')) t.comment(line.slice(0, LONGEST))
}

t.test('whatever is sent to a documented route is answered as the document says', { skip }, async t => {
  const kafka = await sharedKafka()
  const topic = await kafka.createTopic(uniqueName('contract'), { partitions: 3 })
  const gateway = await startGateway({ kafka, env: { ...env, KAFKA_PRODUCE_TOPIC: topic } })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(0)

  await t.test('with any topic', async t => {
    const run = await schemathesis(gateway.url, { args: ['--seed', '1', '--max-examples', '30'], timeoutMs: 180_000 })
    foundNothing(t, run)
    t.ok(run.exchanges.length > 200, `${run.exchanges.length} exchanges`)
  })
  await t.test('with a topic that exists', async t => {
    const run = await schemathesis(gateway.url, {
      args: ['--seed', '2', '--max-examples', '60', '--include-path-regex', 'topic'], topic, timeoutMs: 180_000
    })
    foundNothing(t, run)
    t.ok(run.exchanges.some(({ method, status }) => method === 'POST' && status === 200), 'some of it was produced')
  })
  t.strictSame(gateway.lines.filter(({ level }) => level >= 50), [], 'no error was logged')
})
