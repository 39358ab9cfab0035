import t from 'tap'
import { noOwnKafka } from '../support/kafka.js'
import { runRound, startCluster } from '../chaos/round.js'

t.setTimeout(240_000)

// The short form of `npm run chaos`, with the faults that have shown most; docs/chaos.md says what is done and checked. Each gateway
// has another kind of handler. The seed decides what is done to whom and what the clients send; a failure names the folder with
// everything that was recorded.
t.test('gateways and brokers are killed, paused and stopped under load, and what was acknowledged is handled', { skip: noOwnKafka }, async t => {
  const kafka = await startCluster('full')
  t.teardown(() => kafka.stop())
  const { violations, summary, figures, folder } = await runRound({
    kafka,
    seed: 20_251,
    protocol: 'cooperative',
    profile: 'full',
    handler: 'mixed',
    lengthMs: 20_000,
    rate: 200,
    first: ['kill gateway', 'pause gateway', 'kill broker', 'stop gateway', 'fourth gateway', 'move leaders'],
    say: line => t.comment(line)
  })
  t.comment(summary)
  t.strictSame(violations, [], `all of it is in ${folder}`)
  t.ok(figures.acknowledged > 500, `${figures.acknowledged} records were acknowledged`)
  t.ok(figures.commits > 20, `${figures.commits} commits were compared with what was completed`)
})
