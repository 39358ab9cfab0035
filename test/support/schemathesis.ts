import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheDir } from '../../scripts/lib-setup.mjs'

const requirements = fileURLToPath(new URL('../contract/requirements.txt', import.meta.url))
const hooks = fileURLToPath(new URL('../contract/hooks.py', import.meta.url))
const INSTALL_LIMIT_MS = 300_000

/** The reason to skip a test that needs Schemathesis, or false. In CI it must run. */
export const noSchemathesis: string | false = /^(1|true)$/i.test(process.env['CI'] ?? '') ||
  spawnSync('python3', ['-c', 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'], { stdio: 'ignore' }).status === 0
  ? false
  : 'Schemathesis needs Python 3.10 or later with venv (Debian: apt-get install python3-venv)'

/** A request and its answer, as they went over the wire. */
export interface Exchange {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly contentType: string
  /** How many `WWW-Authenticate` there were. */
  readonly challenges: number
}

/**
 * What is too large, or too long, is refused all the same: Schemathesis counts these statuses as acceptances unless told. And what is
 * as the document says may still be larger than the server takes, which is for its operator to say. All else is in hooks.py.
 */
const CONFIGURATION = `[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 413, 429]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 428, 429, 431]
`

export interface SchemathesisOptions {
  /** For `schemathesis run`. */
  readonly args: readonly string[]
  /** What every path that names a topic is filled with; absent: anything. */
  readonly topic?: string
  readonly timeoutMs: number
}

/**
 * Runs Schemathesis (from PyPI, kept in the cache, with every check on) over the document of a running gateway.
 *
 * @returns its exit code, what it said, and every exchange
 */
export async function schemathesis (url: string, { args, topic, timeoutMs }: SchemathesisOptions):
Promise<{ code: number | null, output: string, exchanges: Exchange[] }> {
  const tool = await installed()
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-contract-'))
  const config = path.join(folder, 'schemathesis.toml')
  const har = path.join(folder, 'exchanges.har')
  try {
    writeFileSync(config, topic === undefined ? CONFIGURATION : `${CONFIGURATION}\n[parameters]\n"path.topic" = "${topic}"\n`)
    const { code, output } = await run(tool, [
      '--config-file', config, 'run', `${url}/openapi.json`, '--checks', 'all', '--no-color',
      '--report-har-path', har, '--generation-database', 'none', ...args
    ], { cwd: folder, timeoutMs, env: { SCHEMATHESIS_HOOKS: hooks } })
    const log = existsSync(har) ? JSON.parse(readFileSync(har, 'utf8')) as { log: { entries: HarEntry[] } } : { log: { entries: [] } }
    const exchanges = log.log.entries.map(({ request, response }) => ({
      method: request.method,
      path: new URL(request.url).pathname,
      status: response.status,
      contentType: header(response, 'content-type')[0] ?? '',
      challenges: header(response, 'www-authenticate').length
    }))
    return { code, output, exchanges }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface HarResponse { status: number, headers: { name: string, value: string }[] }
interface HarEntry { request: { method: string, url: string }, response: HarResponse }

const header = ({ headers }: HarResponse, wanted: string): string[] =>
  headers.filter(({ name }) => name.toLowerCase() === wanted).map(({ value }) => value)

/** Makes an environment with the versions of requirements.txt: seconds the first time, nothing later. */
async function installed (): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12)
  const home = path.join(cacheDir(), `schemathesis-${digest}`)
  const tool = path.join(home, 'bin', 'schemathesis')
  if (existsSync(path.join(home, 'complete'))) return tool
  // What is half made is made again; an environment cannot be moved, its scripts know where they are.
  rmSync(home, { recursive: true, force: true })
  mkdirSync(path.dirname(home), { recursive: true })
  for (const [command, args] of [
    ['python3', ['-m', 'venv', home]],
    [path.join(home, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', '-r', requirements]]
  ] as const) {
    const { code, output } = await run(command, args, { cwd: tmpdir(), timeoutMs: INSTALL_LIMIT_MS })
    if (code !== 0) throw new Error(`Schemathesis cannot be installed: ${command} ${args.join(' ')} ended with ${code}:\n${output}`)
  }
  mkdirSync(path.join(home, 'complete'))
  return tool
}

interface RunOptions { readonly cwd: string, readonly timeoutMs: number, readonly env?: Readonly<Record<string, string>> }

function run (command: string, args: readonly string[], { cwd, timeoutMs, env = {} }: RunOptions):
Promise<{ code: number | null, output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, timeout: timeoutMs, killSignal: 'SIGKILL' })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', data => { output += data })
    child.once('error', reject)
    child.once('close', code => resolve({ code, output }))
  })
}
