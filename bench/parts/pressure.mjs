// A thousand connections, hostile ones among them, a broker that says nothing for 20 s, and streams of a gigabyte: whether the
// process stays within its bounds, and whether what callers were told is what Kafka has.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { findRuntime, prepareRuntime, startBrokers, startWitness } from '../../scripts/lib-kafka.mjs'
import { filledTopic, uniqueName } from '../lib/kafka.mjs'
import { hostile, Ledger, residentSize, sendStream, startLoad, watchHealth } from '../lib/pressure.mjs'
import { number } from '../lib/report.mjs'

const MIB = 1024 * 1024
const server = fileURLToPath(new URL('../../dist/src/server.js', import.meta.url))
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

async function startGateway (bootstrapServers, env = {}) {
  const child = spawn(process.execPath, [server], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: '0', LOG_LEVEL: 'info', KAFKA_BOOTSTRAP_SERVERS: bootstrapServers, ...env }
  })
  const ended = new Promise(resolve => child.once('exit', (code, signal) => resolve(code ?? signal)))
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => {
      const said = JSON.parse(line)
      if (said.msg === 'Sluice is ready for requests') resolve(said.url)
    })
    ended.then(code => reject(new Error(`the gateway ended with ${code}`)))
  })
  while ((await fetch(`${url}/readyz`)).status !== 200) await pause(100)
  return {
    url,
    pid: child.pid,
    async stop () {
      const from = performance.now()
      child.kill('SIGTERM')
      const limit = setTimeout(() => child.kill('SIGKILL'), 60_000)
      const code = await ended
      clearTimeout(limit)
      return { code, seconds: (performance.now() - from) / 1000 }
    }
  }
}

/** Asks the witness, which reads with Kafka's own Java client. */
async function ask (witness, op, args) {
  const [host, port] = witness.address.split(':')
  const socket = connect({ host, port: Number(port) })
  socket.write(JSON.stringify({ id: 1, op, ...args }) + '\n')
  try {
    const [line] = await once(createInterface({ input: socket }), 'line')
    const { result, error } = JSON.parse(line)
    if (error !== undefined) throw new Error(error)
    return result
  } finally {
    socket.destroy()
  }
}

const size = gateway => residentSize(gateway.pid).highest / MIB

export async function run ({ scale, say }) {
  const runtime = await prepareRuntime(findRuntime().kind)
  // A broker of its own: it is stopped.
  const [brokers, witness] = [await startBrokers(runtime), await startWitness(runtime)]
  try {
    return [...await crowd(brokers, witness, scale, say), ...await streams(brokers, witness, scale, say)]
  } finally {
    witness.stop()
    await brokers.stop()
  }
}

async function crowd (brokers, witness, scale, say) {
  const { bootstrapServers } = brokers
  const connections = Math.round(1_000 * scale)
  const stoppedMs = 20_000 * Math.max(scale, 0.3)
  const topic = await filledTopic(bootstrapServers, uniqueName('bench-pressure'), { partitions: 4 })
  const unread = await filledTopic(bootstrapServers, uniqueName('bench-unread'), { partitions: 1 })
  const gateway = await startGateway(bootstrapServers, {
    KAFKA_QUEUE_MAX_RECORDS: 500, REQUEST_TIMEOUT_MS: 5_000, STREAM_IDLE_TIMEOUT_MS: 10_000
  })
  const idle = size(gateway)
  const health = watchHealth(gateway.url)
  const ledger = new Ledger()
  const load = startLoad(`${gateway.url}/topics/${topic}/records`, {
    connections, ledger, more: id => Number(id.slice(1)) % 4 === 0 ? { 'idempotency-key': id } : {}
  })
  const perSecond = async () => {
    const [from, at] = [load.succeeded, performance.now()]
    await pause(10_000 * Math.max(scale, 0.3))
    return (load.succeeded - from) / (performance.now() - at) * 1_000
  }
  await pause(5_000)
  const before = await perSecond()
  say(`${number(before)} records/s over ${connections} connections, ${number(size(gateway))} MiB`)

  const ends = []
  const halfBodies = Math.round(100 * scale)
  for (let i = 0; i < halfBodies; i++) {
    ends.push(hostile.halfHeaders(gateway.url, topic), hostile.trickle(gateway.url, topic), hostile.vanishing(gateway.url, topic),
      hostile.halfBody(gateway.url, topic, MIB))
  }
  for (let i = 0; i < 10; i++) {
    ends.push(hostile.unreadStream(gateway.url, unread), hostile.unreadStream(gateway.url, unread, {
      path: `/v3/clusters/any/topics/${unread}/records`, type: 'application/json', line: '{"value":{"type":"STRING","data":"unread"}}\n'
    }))
  }
  const [broker] = brokers.brokers
  await pause(2_000)
  await broker.pause()
  await pause(stoppedMs)
  await broker.resume()
  const then = load.succeeded
  const resumed = performance.now()
  while (load.succeeded < then + connections) {
    await pause(50)
    if (performance.now() - resumed > 120_000) throw new Error('no record was accepted for two minutes')
  }
  say(`accepted again ${number((performance.now() - resumed) / 1_000, 1)} s after the broker went on, ${number(size(gateway))} MiB`)
  for (const end of ends) end()
  await pause(10_000)
  const after = await perSecond()
  const highest = size(gateway)
  const seen = await health()
  // In the midst of it.
  const stopped = gateway.stop()
  const exit = await stopped
  await load.stop()
  const stored = await ask(witness, 'read', { bootstrap: bootstrapServers, topic, isolation: 'read_committed', timeoutMs: 120_000 })
  const { lost, extra, doubled } = ledger.compare(stored.map(({ value }) => Buffer.from(value, 'base64').toString()))
  say(`answers: ${JSON.stringify(ledger.statuses)}; ${stored.length} stored; /healthz: ${JSON.stringify(seen)}`)
  const what = `${number(connections)} connections, ${halfBodies * 4 + 20} hostile ones, broker silent for ${stoppedMs / 1_000} s`
  return [{
    what: `${what}: highest resident size`,
    result: `${number(highest)} MiB`,
    beside: `idle ${number(idle)} MiB, half-sent bodies ${halfBodies} MiB`,
    figure: number(highest)
  }, {
    what: 'the same: records lost, stored though refused, stored twice',
    result: `${number(ledger.count('accepted'))} accepted, ${number(ledger.count('refused'))} refused, ${number(ledger.count('unknown'))} unknown`,
    figure: `${lost.length}, ${extra.length}, ${doubled.length}`,
    goal: '0, 0, 0',
    reached: lost.length + extra.length + doubled.length === 0
  }, {
    what: 'the same: records a second afterwards',
    result: `${number(after)}/s`,
    beside: `before ${number(before)}/s`,
    figure: number(after / before, 2),
    goal: '≥ 0.80',
    reached: after / before >= 0.8
  }, {
    what: 'the same: /healthz',
    result: `${seen.answered} answers, the slowest after ${number(seen.slowestMs)} ms`,
    figure: `${seen.unanswered + seen.unhealthy} others`,
    goal: '0',
    reached: seen.unanswered + seen.unhealthy === 0
  }, {
    what: 'SIGTERM under that load',
    result: `code ${exit.code} after ${number(exit.seconds, 1)} s`,
    figure: String(exit.code),
    goal: '0',
    reached: exit.code === 0
  }]
}

async function streams ({ bootstrapServers }, witness, scale, say) {
  const rows = []
  const pad = 'x'.repeat(1_000)
  for (const [name, megabytes, options] of [
    ['NDJSON', 1_000, topic => ({ path: `/topics/${topic}/records`, line: n => `{"value":"${n} ${pad}"}\n` })],
    ['v3', 250, topic => ({
      path: `/v3/clusters/any/topics/${topic}/records`, type: 'application/json', line: n => `{"value":{"type":"STRING","data":"${n} ${pad}"}}\n`
    })]
  ]) {
    const topic = await filledTopic(bootstrapServers, uniqueName('bench-stream'), { partitions: 2 })
    const gateway = await startGateway(bootstrapServers)
    const health = watchHealth(gateway.url)
    const { path, ...stream } = options(topic)
    const bytes = Math.round(megabytes * 1e6 * scale)
    const records = Math.ceil(bytes / stream.line(100_000).length)
    const from = performance.now()
    const { status, answers, last } = await sendStream(gateway.url + path, { records, ...stream })
    const seconds = (performance.now() - from) / 1000
    const highest = size(gateway)
    const seen = await health()
    const { code } = await gateway.stop()
    const ends = await ask(witness, 'offsets', { bootstrap: bootstrapServers, topic, isolation: 'read_uncommitted' })
    const stored = ends.reduce((sum, { end }) => sum + end, 0)
    say(`${name}: status ${status}, ${answers} answers, the last ${last}, /healthz ${JSON.stringify(seen)}, code ${code}`)
    rows.push({
      what: `a stream of ${number(bytes / 1e6)} MB, ${name}: highest resident size`,
      result: `${number(bytes / 1e6 / seconds, 1)} MB/s; ${number(records)} lines, ${number(stored)} stored`,
      beside: `${number(highest)} MiB, /healthz not answered ${seen.unanswered + seen.unhealthy} times`,
      figure: `${number(Math.abs(records - stored))} missing`,
      goal: '0',
      reached: records === stored && status === 200
    })
  }
  return rows
}
