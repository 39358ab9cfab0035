import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { until, type LogLine } from './support/gateway-app.js'

const server = fileURLToPath(new URL('../dist/src/server.js', import.meta.url))
const app = new URL('../dist/src/app.js', import.meta.url).href
const config = new URL('../dist/src/config.js', import.meta.url).href
// Its standard input ends with this process, and then it ends itself.
const guard = new URL('./support/handlers/guard.js', import.meta.url).href

if (!existsSync(server)) t.plan(0, 'dist/src/server.js is missing: npm run build (npm test does it)')
else t.jobs = 2

interface Process {
  readonly child: ChildProcess
  readonly log: LogLine[]
  readonly errors: string[]
  readonly exit: Promise<{ code: number | null, signal: NodeJS.Signals | null }>
  waitFor (msg: string): Promise<LogLine>
}

/** Starts a script as a process of its own, without what tap adds to every Node.js child. */
function start (t: Test, args: readonly string[], env: Readonly<Record<string, string>>): Process {
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, `--import=${guard}`, ...args], {
    // There is no .env.
    cwd: path.dirname(server),
    env: { PATH: process.env.PATH, PORT: '0', ...env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdin.on('error', () => {})
  const log: LogLine[] = []
  const errors: string[] = []
  createInterface({ input: child.stdout }).on('line', line => log.push(JSON.parse(line) as LogLine))
  createInterface({ input: child.stderr }).on('line', line => errors.push(line))
  const exit = new Promise<{ code: number | null, signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  return {
    child,
    log,
    errors,
    exit,
    async waitFor (msg) {
      const found = () => log.find(line => line.msg === msg)
      await until(() => found() !== undefined || child.exitCode !== null, msg)
      const line = found()
      if (line === undefined) throw new Error(`the process ended (${child.exitCode}) before it said: ${msg}\n${errors.join('\n')}`)
      return line
    }
  }
}

const serve = (t: Test, env: Readonly<Record<string, string>> = {}, args: readonly string[] = []) => start(t, [...args, server], env)

/** The path of a handler module with this text. */
function handlerOf (t: Test, text: string): string {
  return path.join(t.testdir({ 'handler.mjs': text }), 'handler.mjs')
}

async function send (ready: LogLine, value: string): Promise<number> {
  const response = await fetch(`${ready.url as string}/api/kafka/send-message`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value)
  })
  await response.text()
  return response.status
}

const READY = 'Sluice is ready for requests'

t.test('a wrong configuration is one line on standard error, and exit code 1', async t => {
  const { exit, log, errors } = serve(t, { PORT: 'many' })
  t.same(await exit, { code: 1, signal: null })
  t.equal(errors.length, 1)
  t.match(errors[0], /^PORT .*many/)
  t.same(log, [])
})

t.test('a handler module that cannot be used stops the start', async t => {
  const { exit, errors } = serve(t, { KAFKA_HANDLER: handlerOf(t, 'export default {}') })
  t.same(await exit, { code: 1, signal: null })
  t.match(errors.join('\n'), /KAFKA_HANDLER: the default export of .*handler\.mjs must be a function/)
})

for (const [signal, second] of [['SIGTERM', 143], ['SIGINT', 130]] as const) {
  t.test(`${signal}: it drains, commits, leaves, and ends by itself with exit code 0`, async t => {
    // Were anything left that keeps the process alive, server.ts would call this after two seconds.
    const watch = 'data:text/javascript,' + encodeURIComponent(`
      const { exit } = process
      process.exit = code => {
        console.log(JSON.stringify({ level: 60, msg: 'process.exit was called', code }))
        exit(code)
      }`)
    const { child, exit, log, errors, waitFor } = serve(t, {}, [`--import=${watch}`])
    const ready = await waitFor(READY)
    t.equal(await send(ready, 'hello'), 200)
    await waitFor('record received')
    child.kill(signal)
    t.same(await exit, { code: 0, signal: null })
    const said = log.map(({ msg }) => msg)
    const order = ['closing: no new requests, the consumer drains', 'draining the consumer', 'the consumer has left its group', 'closed']
    t.same(said.filter(msg => order.includes(msg)), order)
    t.notOk(said.includes('process.exit was called'), 'nothing was left that would keep it alive')
    t.same(errors, [])
    t.notOk(log.some(({ level }) => level >= 50), 'and nothing went wrong')
  })

  t.test(`${signal} twice while a handler hangs: it ends at once, with exit code ${second}`, async t => {
    const handler = handlerOf(t, `export default (record, { log }) => new Promise(() => {
      log.info('hanging')
    })`)
    const { child, exit, log, waitFor } = serve(t, { KAFKA_HANDLER: handler })
    t.equal(await send(await waitFor(READY), 'hello'), 200)
    await waitFor('hanging')
    child.kill(signal)
    await waitFor('closing: no new requests, the consumer drains')
    const from = performance.now()
    child.kill(signal)
    t.same(await exit, { code: second, signal: null })
    t.ok(performance.now() - from < 5_000, 'not after the 20 s that the drain may take')
    // It may still be on its way through the pipe. Whether the drain had begun, and said so, is open: the second came at once.
    await until(() => log.some(({ msg }) => msg === 'second signal: ending at once, what is not committed is delivered again'), 'its last word')
      .catch(() => t.fail(JSON.stringify(log.map(({ msg }) => msg))))
  })
}

t.test('a port that is in use is said in one line; what was started closes, and the exit code is 1', async t => {
  const other = createServer()
  await new Promise<void>(resolve => { other.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const { exit, log, errors } = serve(t, { PORT: String(port) })
  t.same(await exit, { code: 1, signal: null })
  t.same(errors, [`PORT: listen EADDRINUSE: address already in use 127.0.0.1:${port}`])
  t.ok(log.some(({ msg }) => msg === 'the consumer has left its group'), 'so that the group does not wait for it')
})

t.test('a promise that a handler forgot does not end the process: it is logged', async t => {
  const handler = handlerOf(t, `export default (record, { log }) => {
    Promise.reject(new Error('forgotten'))
    log.info({ value: record.value.toString() }, 'handled')
  }`)
  const { child, exit, log, waitFor } = serve(t, { KAFKA_HANDLER: handler })
  const ready = await waitFor(READY)
  t.equal(await send(ready, 'one'), 200)
  await waitFor('handled')
  const line = await waitFor('a promise was rejected and nobody handled it: a handler module should await, or catch, what it starts')
  t.match(line, { level: 50, err: { message: 'forgotten' } })
  t.equal(await send(ready, 'two'), 200)
  await until(() => log.filter(({ msg }) => msg === 'handled').length === 2, 'the next record')
  t.equal((await fetch(`${ready.url as string}/healthz`)).status, 200)
  child.kill('SIGTERM')
  t.same(await exit, { code: 0, signal: null })
})

t.test('an app that was closed, or could not be built, leaves nothing that keeps a process alive', async t => {
  const directory = t.testdir({
    'handler.mjs': 'throw new Error("no database")',
    'main.mjs': `
      import { buildApp } from ${JSON.stringify(app)}
      import { loadConfig } from ${JSON.stringify(config)}
      const say = msg => console.log(JSON.stringify({ msg }))
      const build = async env => await buildApp(loadConfig(env).config, { logger: false })
      const app = await build({})
      await app.ready()
      await app.close()
      say('closed')
      await build({ KAFKA_HANDLER: process.env.HANDLER }).catch(error => say(error.message))`
  })
  const { exit, log, errors } = start(t, [path.join(directory, 'main.mjs')], { HANDLER: path.join(directory, 'handler.mjs') })
  t.same(await exit, { code: 0, signal: null })
  t.match(log, [{ msg: 'closed' }, { msg: /no database$/ }])
  t.same(errors, [])
})
