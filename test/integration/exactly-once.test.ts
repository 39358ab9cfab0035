import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { check, committed, course, isLarge, PARTITIONS, start, write } from '../support/exactly-once-course.js'
import { noOwnKafka, uniqueName, waitFor } from '../support/kafka.js'

t.setTimeout(300_000)

t.test('an ordinary life: each result once, in order, and the end of it all is committed', { skip: noOwnKafka }, async t => {
  const one = await course(t)
  const gateway = await start(t, one)
  await write(one, 3000)
  await waitFor('everything to be committed', async () => await committed(one) === 3000, { timeoutMs: 60_000 })
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await check(t, one)
})

t.test('gateways killed, ended, joined; brokers stopped and killed: each result once', { skip: noOwnKafka }, async t => {
  const one = await course(t)
  const { kafka } = one
  const total = 6000
  let written = 0
  // There is always more than is waited for: whoever joins finds something to do, and whoever is killed is in the middle of it.
  const goals = async (share: number) => {
    const wanted = Math.min(total, Math.round((share + 0.15) * total))
    if (wanted > written) await write(one, wanted - written)
    written = wanted
    await waitFor(`${share} of all`, async () => await committed(one) >= share * total, { timeoutMs: 90_000, everyMs: 20 })
  }

  let gateway = await start(t, one)
  await goals(0.1)
  await gateway.kill()
  gateway = await start(t, one)
  await goals(0.2)
  const other = await start(t, one)
  await other.waitUntilReady(1)
  await goals(0.35)
  await gateway.kill()
  await goals(0.45)
  gateway = await start(t, one)
  await goals(0.5)
  t.strictSame(await other.stop(), { code: 0, signal: null })
  await goals(0.6)
  await kafka.broker(1).pause()
  await delay(5_000)
  await kafka.broker(1).resume()
  await goals(0.75)
  await kafka.broker(1).kill()
  await delay(500)
  await kafka.broker(1).start()
  await goals(0.85)
  await gateway.kill()
  gateway = await start(t, one)
  await goals(1)
  t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await check(t, one)
})

t.test('two with one transactional id, and records that the topic refuses: each result or its dead letter once', { skip: noOwnKafka }, async t => {
  const one = await course(t, { 'max.message.bytes': '3000' })
  const total = 800
  const env = { KAFKA_TRANSACTIONAL_ID_PREFIX: uniqueName('same'), TRANSFORM_LARGE: 100, TRANSFORM_MAX_MS: 5 }
  const gateways = [await start(t, one, env)]
  await gateways[0]!.waitUntilReady(PARTITIONS)
  await write(one, total / 2)
  await waitFor('some', async () => await committed(one) >= 50, { timeoutMs: 60_000 })
  gateways.push(await start(t, one, env))
  await write(one, total / 2)
  let written = total
  // Who has nothing to commit does not hear of the other one.
  await waitFor('one to hear of the other', async () => {
    await write(one, 10)
    written += 10
    return gateways.some(({ lines }) => lines.some(({ msg }) => msg.startsWith('another process uses the same transactional id')))
  }, { timeoutMs: 60_000, everyMs: 100 })
  await waitFor('everything to be committed', async () => await committed(one) === written, { timeoutMs: 90_000 })
  for (const gateway of gateways) t.strictSame(await gateway.stop(), { code: 0, signal: null })
  await check(t, one, isLarge)
})
