import { cpSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Ledger, startLoad } from '../../bench/lib/pressure.mjs'
import { startGateway } from '../support/gateway.js'
import { noOwnKafka, startKafka, waitFor } from '../support/kafka.js'

t.setTimeout(240_000)

t.test('a broker that has lost what it acknowledged makes the client useless: another one takes its place, and it is counted', {
  skip: noOwnKafka
}, async t => {
  const kafka = await startKafka()
  t.teardown(() => kafka.stop())
  const broker = kafka.broker(1)
  const topic = await kafka.createTopic('restored', { partitions: 1 })
  const gateway = await startGateway({ kafka, env: { REQUEST_TIMEOUT_MS: 5_000 } })
  t.teardown(() => gateway.kill())
  await gateway.waitUntilReady(0, 60_000)
  const url = `${gateway.url}/topics/${topic}/records`

  // What is written after the copy is gone with it, and the broker expects sequence numbers that the client has left behind.
  const data = path.join(path.dirname(broker.logFile), 'data-1')
  const before = new Ledger()
  const first = startLoad(url, { connections: 5, ledger: before })
  await waitFor('records', () => first.succeeded > 100, { timeoutMs: 60_000 })
  await first.stop()
  await broker.stop()
  cpSync(data, `${data}.copy`, { recursive: true })
  await broker.start()
  const lost = startLoad(url, { connections: 5, ledger: new Ledger() })
  await waitFor('records that will be gone', () => lost.succeeded > 500, { timeoutMs: 60_000 })
  await lost.stop()
  await broker.kill()
  rmSync(data, { recursive: true })
  cpSync(`${data}.copy`, data, { recursive: true })
  await broker.start()

  const ledger = new Ledger()
  for (let i = 0; i < 1_000_000; i++) ledger.newId()
  const load = startLoad(url, { connections: 20, ledger })
  await waitFor('records again', () => load.succeeded > 1_000, { timeoutMs: 90_000 })
  await load.stop()
  await waitFor('the queue to be empty', async () => await gateway.metric('sluice_produce_pending_records') === 0, { timeoutMs: 60_000 })
  t.equal(await gateway.metric('sluice_produce_clients_replaced_total'), 1, JSON.stringify(ledger.statuses))
  const stored = (await kafka.readAll(topic)).map(({ value }) => String(value))
  t.same(before.compare(stored), { lost: [], extra: [], doubled: [] })
  t.same(ledger.compare(stored), { lost: [], extra: [], doubled: [] })
  t.notOk('500' in ledger.statuses, JSON.stringify(ledger.statuses))
  t.comment(JSON.stringify(ledger.statuses))
  t.same(await gateway.stop(), { code: 0, signal: null })
})
