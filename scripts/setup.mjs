// Makes a checkout ready to run: node_modules as package-lock.json says, the native Kafka client, dist. What is ready
// already is left alone, so a second run takes a moment. `npm ci && npm run build` does the same by hand wherever the
// native client's prebuilt binary can be downloaded; this script also copes where it cannot.

import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  addon, addonKey, cacheDir, manualMessage, missingPackages, neededPackages, planPackages, sha256, sourcesDigest, whyBuild, whyInstall
} from './lib-setup.mjs'

export const root = fileURLToPath(new URL('..', import.meta.url))
/** With this Node.js runs the tests' TypeScript from its source. */
export const typescriptLoader = `--import=${new URL('ts-loader.mjs', import.meta.url)}`
const addonDir = path.join(root, 'node_modules', addon)
const logFile = path.join(root, '.cache', 'setup.log')
const probeLimitMs = 10_000
const downloadLimitMs = 300_000

export class SetupError extends Error {}

/** Says one line. On standard error: standard output belongs to the server and to the tests. */
export function say (line) {
  process.stderr.write(`setup: ${line}\n`)
}

function readJson (file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

function readText (file) {
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined
}

/** Runs a command with its output in the log file; resolves to { ok, output, timedOut }. */
function run (command, args, { cwd = root, env = process.env, timeoutMs } = {}) {
  appendFileSync(logFile, `\n$ ${command} ${args.join(' ')}\n`)
  return new Promise(resolve => {
    let output = ''
    let timedOut = false
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' })
    const timer = timeoutMs && setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
    }, timeoutMs)
    const keep = data => {
      appendFileSync(logFile, data)
      output = (output + data).slice(-20_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.once('error', err => keep(`${err.message}\n`))
    child.once('close', code => {
      clearTimeout(timer)
      resolve({ ok: code === 0, output, timedOut })
    })
  })
}

function failed (what, output) {
  const tail = output.trim().split('\n').slice(-30).map(line => `    ${line}`).join('\n')
  return new SetupError(`${what}\n${tail}\n    (all of it: ${path.relative(process.cwd(), logFile)})`)
}

export function hasCommand (name) {
  return (process.env.PATH ?? '').split(path.delimiter).some(folder => existsSync(path.join(folder, name)))
}

/** Installs Debian packages if that can be done without asking anybody; returns the plan when it cannot, null when they are there. */
export async function aptInstall (wanted, why) {
  const dpkg = hasCommand('dpkg-query')
    ? await run('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\n', ...wanted]) // eslint-disable-line no-template-curly-in-string -- dpkg's own
    : { output: '' }
  const sudo = () => hasCommand('sudo') && spawnSyncOk('sudo', ['-n', 'true'])
  const root = process.getuid?.() === 0
  const plan = planPackages({ missing: missingPackages(wanted, dpkg.output), hasApt: hasCommand('apt-get'), root, sudo: root || sudo() })
  if (plan.kind === 'nothing') return null
  if (plan.kind === 'manual') return plan
  say(`${why}: ${plan.commands.at(-1).join(' ')}`)
  for (const [command, ...args] of plan.commands) {
    const { ok, output } = await run(command, args, { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
    // A package list that cannot be brought up to date is no harm if the packages are known from an earlier one.
    if (!ok && args.at(-1) !== 'update') throw failed(`${[command, ...args].join(' ')} failed`, output)
  }
  return null
}

function spawnSyncOk (command, args) {
  try {
    execFileSync(command, args, { stdio: 'ignore', timeout: 10_000 })
    return true
  } catch {
    return false
  }
}

async function install () {
  const lockText = readFileSync(path.join(root, 'package-lock.json'))
  const stampFile = path.join(root, 'node_modules', '.sluice-setup')
  const digest = sha256(lockText, process.versions.modules, process.platform, process.arch)
  const lock = JSON.parse(lockText)
  const why = whyInstall({ digest, stamp: readText(stampFile), lock, installed: readJson(path.join(root, 'node_modules', '.package-lock.json')) })
  if (why) {
    say(`installing the dependencies, since ${why} (npm ci)`)
    // The addon is the only dependency with an install script (a test holds it to that). It is fetched or built below:
    // npm's own way would, where the download is blocked, start a build that needs more downloads.
    const { ok, output } = await run('npm', ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund'])
    if (!ok) throw failed('npm ci failed', output)
  }
  await provideAddon(lock.packages[`node_modules/${addon}`].version)
  writeFileSync(stampFile, digest)
}

/** Whether the addon loads, tried in a process of its own: a bad binary can take its process with it. */
function addonLoads () {
  return run(process.execPath, ['-e', `require(${JSON.stringify(addonDir)}); process.exit(0)`], { timeoutMs: 60_000 }).then(({ ok }) => ok)
}

async function provideAddon (version) {
  const libc = process.platform !== 'linux' ? 'any' : process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
  const key = addonKey({ version, abi: process.versions.modules, platform: process.platform, libc, arch: process.arch })
  const kept = path.join(cacheDir(), key)
  const built = path.join(addonDir, 'build')
  if (existsSync(path.join(built, 'Release')) && await addonLoads()) return keep(built, kept)

  if (existsSync(kept)) {
    rmSync(built, { recursive: true, force: true })
    cpSync(kept, built, { recursive: true })
    if (await addonLoads()) return say(`took the native Kafka client that was built earlier, from ${kept}`)
    say('the native Kafka client that was built earlier does not load here any more; getting it anew')
    rmSync(kept, { recursive: true, force: true })
  }
  rmSync(built, { recursive: true, force: true })
  const why = await download()
  if (why) await build(why)
  if (!await addonLoads()) throw failed(`${addon} was ${why ? 'built' : 'downloaded'} but does not load`, readFileSync(logFile, 'utf8'))
  keep(built, kept)
}

/** Copies what is needed to run, and not the 270 MB that a build leaves, beside the cache and then into its place in one step. */
function keep (built, kept) {
  if (existsSync(kept)) return
  mkdirSync(path.dirname(kept), { recursive: true })
  const half = mkdtempSync(`${kept}.`)
  try {
    for (const [folder, wanted] of [['Release', /\.(node|dll)$/], ['deps', /^librdkafka(\+\+)?\.(so\.\d+|\d+\.dylib)$/]]) {
      if (!existsSync(path.join(built, folder))) continue
      for (const name of readdirSync(path.join(built, folder)).filter(name => wanted.test(name))) {
        mkdirSync(path.join(half, folder), { recursive: true })
        cpSync(path.join(built, folder, name), path.join(half, folder, name), { dereference: true })
      }
    }
    chmodSync(half, 0o755)
    renameSync(half, kept)
  } catch (err) {
    // Only a convenience for the next checkout: another setup was faster, or the folder cannot be written.
    if (!existsSync(kept)) say(`the native Kafka client could not be kept for later: ${err.message}`)
  } finally {
    rmSync(half, { recursive: true, force: true })
  }
}

/** Downloads the prebuilt addon; returns null, or why not in a few words. Never waits long for a network that does not answer. */
async function download () {
  const preGyp = path.join(root, 'node_modules', '.bin', 'node-pre-gyp')
  const host = readJson(path.join(addonDir, 'package.json')).binary.host
  const goesElsewhere = Object.keys(process.env).some(name => /^(https?_proxy|npm_config_(https?_)?proxy|npm_config_.*_binary_host.*)$/i.test(name))
  if (!goesElsewhere) {
    try {
      await fetch(host, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(probeLimitMs) })
    } catch (err) {
      return `${new URL(host).host} cannot be reached: ${err.cause?.code ?? err.message}`
    }
  }
  say('downloading the native Kafka client, prebuilt')
  const { ok, output, timedOut } = await run(preGyp, ['install', '--fallback-to-build=false'], { cwd: addonDir, timeoutMs: downloadLimitMs })
  if (timedOut) return `no end after ${downloadLimitMs / 1000} s`
  if (!ok) return /failed, reason: (.*)|(response status \d+[^\n]*)/.exec(output)?.slice(1).find(Boolean) ?? `see ${logFile}`
  return await addonLoads() ? null : 'what was downloaded does not load'
}

async function build (why) {
  const wanted = neededPackages(hasCommand)
  const plan = process.platform === 'linux' && hasCommand('apt-get')
    ? await aptInstall(wanted, `the native Kafka client cannot be downloaded (${why}), so it is built here; that needs`)
    : { kind: 'manual', commands: [] }
  if (plan) throw new SetupError(manualMessage({ platform: process.platform, hasApt: hasCommand('apt-get'), why, commands: plan.commands }))
  say(`building the native Kafka client, since it cannot be downloaded (${why}): about 2 minutes, once per machine`)
  // Node's own headers, where its installation has them: node-gyp would download them.
  const prefix = path.dirname(path.dirname(process.execPath))
  const nodedir = existsSync(path.join(prefix, 'include', 'node', 'node_version.h')) ? { npm_config_nodedir: prefix } : {}
  // JOBS would make node-gyp build in parallel, and that starts to compile before librdkafka's configure has written config.h.
  const { JOBS, npm_config_jobs: jobs, ...env } = process.env
  const { ok, output } = await run('npm', ['rebuild', addon, '--foreground-scripts'], {
    env: { ...env, ...nodedir, CKJS_LINKING: 'dynamic', npm_config_build_from_source: 'true' }
  })
  if (!ok) throw failed(`building ${addon} failed`, output)
}

/** Builds dist unless it was built from these very sources. Returns whether it had to. */
export async function buildDist () {
  const dist = path.join(root, 'dist')
  const stampFile = path.join(dist, '.sluice-sources')
  const digest = sourcesDigest(root)
  const why = whyBuild({ digest, stamp: readText(stampFile), entryExists: existsSync(path.join(dist, 'src', 'server.js')) })
  if (!why) return false
  say(`building, since ${why} (npm run build)`)
  // From nothing, so that no file stays whose source is gone.
  rmSync(dist, { recursive: true, force: true })
  const { ok, output } = await run('npm', ['run', '--silent', 'build'])
  if (!ok) throw failed('the build failed', output)
  writeFileSync(stampFile, digest)
  return true
}

/** Installs what is missing. Leaves alone what is there. */
export async function setup () {
  const wanted = readJson(path.join(root, 'package.json')).engines.node.replace('>=', '')
  if (process.versions.node.localeCompare(wanted, 'en', { numeric: true }) < 0) {
    throw new SetupError(`Node.js ${wanted} or later is needed, this is ${process.versions.node}`)
  }
  mkdirSync(path.dirname(logFile), { recursive: true })
  writeFileSync(logFile, '')
  await install()
}

/** Runs a script's main function; a SetupError is said in plain words, without a stack. */
export async function main (body) {
  try {
    await body()
  } catch (err) {
    process.stderr.write(err instanceof SetupError ? `setup: ${err.message}\n` : `${err.stack}\n`)
    process.exitCode = 1
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const start = performance.now()
    await setup()
    await buildDist()
    say(`ready (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  })
}
