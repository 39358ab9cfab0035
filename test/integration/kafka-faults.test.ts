import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { noOwnKafka, startKafka, waitFor } from '../support/kafka.js'

t.setTimeout(180_000)

t.test('a cluster of three survives a broker that is killed, paused and started again', { skip: noOwnKafka }, async t => {
  const kafka = await startKafka({ brokers: 3, properties: { 'broker.session.timeout.ms': 3000, 'broker.heartbeat.interval.ms': 500 } })
  t.teardown(() => kafka.stop())
  t.strictSame(await kafka.nodes(), [1, 2, 3])
  const topic = await kafka.createTopic('survivor', { partitions: 3 })
  await kafka.produce(topic, [{ value: 'before' }])
  t.match((await kafka.describeTopic(topic)).partitions, [{ replicas: { length: 3 } }])

  await kafka.broker(1).kill()
  await waitFor('new leaders', async () =>
    (await kafka.describeTopic(topic)).partitions.every(({ leader }) => leader !== 1 && leader !== null))
  await kafka.produce(topic, [{ value: 'while one is dead' }])
  await kafka.broker(1).start()
  const allInSync = async () => (await kafka.describeTopic(topic)).partitions.every(({ isr }) => isr.length === 3)
  await waitFor('three copies in sync', allInSync, { timeoutMs: 30_000 })

  await kafka.broker(2).pause()
  await waitFor('the silent broker to be dropped', async () =>
    (await kafka.describeTopic(topic)).partitions.every(({ isr, leader }) => leader !== 2 && !isr.includes(2)), { timeoutMs: 30_000 })
  await kafka.broker(2).resume()
  await waitFor('three copies in sync again', allInSync, { timeoutMs: 30_000 })
  t.strictSame((await kafka.readAll(topic)).map(({ value }) => String(value)).sort(), ['before', 'while one is dead'])
})

// A runner that is killed leaves no Java behind, not even a broker that SIGSTOP holds: other runs would find their
// ports taken and the machine its memory gone.
t.test('the brokers and their data go with the process that started them, even by SIGKILL', { skip: noOwnKafka }, async t => {
  const lib = new URL('../../scripts/lib-kafka.mjs', import.meta.url).href
  const script = `
    import { findRuntime, prepareRuntime, startBrokers } from ${JSON.stringify(lib)}
    const cluster = await startBrokers(await prepareRuntime(findRuntime().kind))
    await cluster.brokers[0].pause()
    console.log(cluster.folder)
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const folder = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', data => resolve(String(data).trim()))
    child.once('exit', code => reject(new Error(`ended with ${code}`)))
  })
  const mark = path.join(folder, '1.pid')
  const pid = existsSync(mark) ? Number(readFileSync(mark, 'utf8')) : undefined
  t.ok(existsSync(folder))

  child.kill('SIGKILL')
  await waitFor('the data to be deleted', () => !existsSync(folder))
  if (pid !== undefined) {
    await waitFor('the broker to be gone', () => {
      try {
        process.kill(pid, 0)
        return false
      } catch {
        return true
      }
    })
  }
})
