import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { noOwnKafka, startKafka, waitFor } from '../support/kafka.js'
import { transact, transactionGateway } from '../support/transaction-app.js'

t.setTimeout(180_000)

// A commit that was sent before the broker hung is carried out when it goes on. Where exactly it hangs is left to chance.
t.test('a broker that hangs at any moment: 503 is never written, 504 is all or nothing', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const app = await transactionGateway(kafka, { settings: { producers: 3, timeoutMs: 60_000 } })
  t.teardown(() => app.close())
  for (const topic of ['left', 'right']) await kafka.createTopic(topic)
  const told = new Map<string, number>()
  const until = { isOver: false }
  const lane = async (name: string) => {
    for (let n = 0; !until.isOver; n++) {
      const value = `${name}.${n}`
      const res = await transact(app, [{ topic: 'left', value }, { topic: 'right', value }], { 'request-timeout': '1' })
      told.set(value, res.statusCode)
      if (res.statusCode !== 200) await delay(20)
    }
  }
  const lanes = ['a', 'b', 'c'].map(lane)
  const count = (status: number) => [...told.values()].filter(one => one === status).length
  for (let round = 0; round < 8; round++) {
    const before = count(200)
    await waitFor('some transactions', () => count(200) >= before + 5 + round, { timeoutMs: 40_000 })
    await kafka.broker(1).pause()
    await delay(1_500)
    await kafka.broker(1).resume()
  }
  until.isOver = true
  await Promise.all(lanes)
  await waitFor('all transactions to have ended', () => app.transactions.state.open === 0, { timeoutMs: 60_000 })
  const read = async (topic: string) => {
    await waitFor('the markers', async () => String(await kafka.endOffsets(topic, 'read_committed')) === String(await kafka.endOffsets(topic)))
    return (await kafka.readAll(topic)).map(({ value }) => String(value))
  }
  const [left, right] = [await read('left'), await read('right')]
  t.same([...left].sort(), [...right].sort(), 'both topics have the same')
  t.equal(new Set(left).size, left.length, 'nothing is there twice')
  const found = new Set(left)
  for (const [value, status] of told) {
    if (status === 200) t.ok(found.has(value), `${value} was acknowledged`)
    else if (status === 503) t.notOk(found.has(value), `${value} was refused`)
    else t.equal(status, 504, value)
  }
  const written = [...told].filter(([value, status]) => status === 504 && found.has(value)).length
  t.comment(JSON.stringify({ 200: count(200), 503: count(503), 504: count(504), '504, written': written }))
})
