// Starts the server of the working directory with the embedded broker, sends a record through it and stops it by SIGTERM.
// The Dockerfile runs this on what goes into the image, as the user that the image runs as: exit code 0 or no image.
// By hand, in a checkout that is built: node test/container/smoke.mjs

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

const limitMs = 60_000
// The caller's KAFKA_* variables would have it talk to a cluster.
const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('KAFKA_')))
const child = spawn(process.execPath, ['--enable-source-maps', 'dist/src/server.js'], {
  env: { ...inherited, HOST: '127.0.0.1', PORT: '0', LOG_LEVEL: 'info' },
  stdio: ['ignore', 'pipe', 'inherit']
})
const ended = once(child, 'exit')
let ready = false
ended.then(([code, signal]) => ready || fail(`the server ended before it was ready, with ${signal ?? `exit code ${code}`}`))
const watchdog = setTimeout(() => fail(`no end after ${limitMs / 1000} s`), limitMs)

const log = []
let handled = false
const url = await new Promise(resolve => {
  createInterface({ input: child.stdout }).on('line', line => {
    log.push(line)
    if (!line.startsWith('{')) return
    const entry = JSON.parse(line)
    if (entry.msg === 'Sluice is ready for requests') resolve(entry.url)
    if (line.includes('hello from the smoke test')) handled = true
  })
})
ready = true

await until('/readyz to answer 200', async () => (await fetch(`${url}/readyz`)).ok)
const sent = await fetch(`${url}/api/kafka/send-message`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify('hello from the smoke test')
})
if (sent.status !== 200) fail(`a record was answered ${sent.status}: ${await sent.text()}`)
await until('the record to be handled', () => handled)
child.kill('SIGTERM')
const [code, signal] = await ended
clearTimeout(watchdog)
if (code !== 0) fail(`after SIGTERM the server ended with ${signal ?? `exit code ${code}`}`)
console.log(`smoke test: Node ${process.version}, ready, a record there and back, exit code 0 after SIGTERM`)

async function until (what, holds) {
  const deadline = performance.now() + limitMs / 2
  while (!await holds()) {
    if (performance.now() > deadline) fail(`waited in vain for ${what}`)
    await delay(50)
  }
}

function fail (why) {
  console.error(`${log.join('\n')}\nsmoke test: ${why}`)
  child.kill('SIGKILL')
  process.exit(1)
}
