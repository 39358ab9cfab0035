import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { waitFor } from './kafka.js'

const server = fileURLToPath(new URL('../../dist/src/server.js', import.meta.url))
const guard = new URL('./handlers/guard.js', import.meta.url).href
// Only to say that it hangs: beside other load a start was seen to take 20 s.
const START_LIMIT_MS = 60_000

export interface GatewayOptions {
  /** The cluster; absent: the embedded broker. */
  readonly kafka?: { readonly bootstrapServers: string }
  /** Beside PORT=0. No `KAFKA_*` variable of the test's own environment is passed on. */
  readonly env?: Readonly<Record<string, string | number | boolean>>
  /** A module in test/support/handlers, as in `ledger.js`. */
  readonly handler?: string
  /** What KAFKA_PROPERTIES_FILE says, for what has no variable. */
  readonly properties?: Readonly<Record<string, string | number | boolean>>
}

/** One line of the JSON log. */
export interface LogLine { readonly level: number, readonly msg: string, readonly [field: string]: unknown }

export interface Exit { readonly code: number | null, readonly signal: NodeJS.Signals | null }

export interface Readiness { readonly status: number, readonly reasons: string[], readonly assignedPartitions: number | null }

/** The gateway ended before it was ready for requests; `output` is all that it said. */
export class GatewayEndedError extends Error {
  readonly exit: Exit
  readonly output: string
  constructor (exit: Exit, output: string) {
    super(`the gateway ended before it was ready (${exit.signal ?? `exit code ${exit.code}`}):\n${output}`)
    this.exit = exit
    this.output = output
  }
}

const alive = new Set<ChildProcess>()

function killAll (): void {
  for (const child of alive) child.kill('SIGKILL')
}

// Whatever a test forgot; and guard.js ends those whose test was killed.
t.teardown(killAll)
process.on('exit', killAll)

/** A gateway in a process of its own, as an operator runs it. */
export class Gateway {
  readonly url: string
  /** The log as far as it was read; what is no JSON (a crash) is in `output`. */
  readonly lines: LogLine[]
  readonly exited: Promise<Exit>
  readonly #child: ChildProcess

  constructor (child: ChildProcess, url: string, lines: LogLine[], exited: Promise<Exit>) {
    this.#child = child
    this.url = url
    this.lines = lines
    this.exited = exited
  }

  get pid (): number { return this.#child.pid! }

  /** Waits for a line, also one that is there already, whose message is (or matches) this, with these fields. */
  async waitForLog (message: string | RegExp, fields: Readonly<Record<string, unknown>> = {}, timeoutMs = 15_000): Promise<LogLine> {
    let found: LogLine | undefined
    await waitFor(`the log line ${message}`, () => {
      found = this.lines.find(line => (typeof message === 'string' ? line.msg === message : message.test(line.msg)) &&
        Object.entries(fields).every(([name, value]) => line[name] === value))
      return found !== undefined
    }, { timeoutMs })
    return found!
  }

  async get (route: string): Promise<Response> {
    return fetch(this.url + route, { signal: AbortSignal.timeout(10_000) })
  }

  async readiness (): Promise<Readiness> {
    const response = await this.get('/readyz')
    const { reasons, assignedPartitions } = await response.json() as Readiness
    return { status: response.status, reasons, assignedPartitions }
  }

  /** Waits for 200 from /readyz with at least this many partitions. */
  async waitUntilReady (partitions = 1, timeoutMs = 20_000): Promise<void> {
    let last: Readiness | undefined
    try {
      await waitFor('the gateway to be ready', async () => {
        last = await this.readiness()
        return last.status === 200 && (last.assignedPartitions ?? 0) >= partitions
      }, { timeoutMs, everyMs: 50 })
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`, { cause: error })
    }
  }

  /** Waits until /readyz says 503 with a reason that matches, and returns that reason. */
  async waitForReason (reason: RegExp, timeoutMs = 20_000): Promise<string> {
    let found: string | undefined
    let last: Readiness | undefined
    try {
      await waitFor(`the reason ${reason}`, async () => {
        last = await this.readiness()
        found = last.status === 503 ? last.reasons.find(text => reason.test(text)) : undefined
        return found !== undefined
      }, { timeoutMs, everyMs: 50 })
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`, { cause: error })
    }
    return found!
  }

  /** Every sample of /metrics by its name with labels, as in `sluice_consumer_lag_records{group="g",topic="a",partition="0"}`. */
  async metrics (): Promise<Map<string, number>> {
    const text = await (await this.get('/metrics')).text()
    const samples = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
    return new Map(samples.map(line => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }))
  }

  /** The sum of a metric over all of its labels, or over those that contain a text; `undefined` where there is no sample. */
  async metric (name: string, labels = ''): Promise<number | undefined> {
    const found = [...await this.metrics()].filter(([sample]) => sample.replace(/\{.*/, '') === name && sample.includes(labels))
    return found.length === 0 ? undefined : found.reduce((sum, [, value]) => sum + value, 0)
  }

  signal (signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** SIGTERM, and how it ended. */
  async stop (): Promise<Exit> {
    this.signal('SIGTERM')
    return this.exited
  }

  /** SIGKILL; resolves once the process is gone. */
  async kill (): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }
}

/**
 * Starts the built server (`npm run build`; npm test does it) as a process of its own, on a free port, and waits until it
 * is ready for requests. It never outlives the test file; end it earlier with `t.teardown(() => gateway.kill())`.
 *
 * @throws {GatewayEndedError} if it ends instead
 */
export async function startGateway ({ kafka, env = {}, handler, properties }: GatewayOptions = {}): Promise<Gateway> {
  if (!existsSync(server)) throw new Error('dist/src/server.js is missing: npm run build')
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-gateway-'))
  const file = path.join(folder, 'client.properties')
  if (properties) writeFileSync(file, Object.entries(properties).map(([name, value]) => `${name}=${value}\n`).join(''))
  // `env` takes away what tap adds to every Node.js child: it listens for signals, and this must be the server as it is.
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, `--import=${guard}`, server], {
    cwd: folder,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(KAFKA_|_?TAP|NODE_OPTIONS|SLUICE_|npm_)/.test(name))),
      PORT: '0',
      ...(kafka && { KAFKA_BOOTSTRAP_SERVERS: kafka.bootstrapServers }),
      ...(handler !== undefined && { KAFKA_HANDLER: fileURLToPath(new URL(`./handlers/${handler}`, import.meta.url)) }),
      ...(properties && { KAFKA_PROPERTIES_FILE: file }),
      ...Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)]))
    }
  })
  alive.add(child)
  child.stdin.on('error', () => {})
  const lines: LogLine[] = []
  const output: string[] = []
  createInterface({ input: child.stdout }).on('line', line => {
    output.push(line)
    if (line.startsWith('{')) lines.push(JSON.parse(line) as LogLine)
  })
  createInterface({ input: child.stderr }).on('line', line => output.push(line))
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject)
    // Not `exit`: only at `close` everything that it said was read.
    child.once('close', (code, signal) => {
      alive.delete(child)
      rmSync(folder, { recursive: true, force: true })
      resolve({ code, signal })
    })
  })
  const ended = exited.then(exit => { throw new GatewayEndedError(exit, output.slice(-50).join('\n')) })
  ended.catch(() => {})
  let url: string | undefined
  await Promise.race([ended, waitFor('the gateway to be ready for requests', () => {
    url = lines.find(line => line.msg === 'Sluice is ready for requests')?.['url'] as string | undefined
    return url !== undefined
  }, { timeoutMs: START_LIMIT_MS })])
  return new Gateway(child, url!, lines, exited)
}
