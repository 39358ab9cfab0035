// `npm test`: makes the checkout ready, starts one real Kafka for the suite where that is possible, and runs tap.
// Arguments go to tap: `npm test -- test/engine`, `npm test -- --grep=drain`.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { findRuntime, prepareRuntime, startBrokers, startWitness } from './lib-kafka.mjs'
import { TapCounts, closingLine, needsKafka, verdict } from './lib-tap.mjs'
import { SetupError, aptInstall, buildDist, hasCommand, main, root, say, setup, typescriptLoader } from './setup.mjs'

/** The test files that the arguments select, as far as paths tell; all of them when no argument is a path. */
function selectedFiles (args) {
  const paths = args.filter(arg => !arg.startsWith('-') && existsSync(arg))
  const found = []
  const walk = where => {
    if (statSync(where).isDirectory()) for (const name of readdirSync(where)) walk(path.join(where, name))
    else if (where.endsWith('.test.ts')) found.push(path.relative(root, path.resolve(where)))
  }
  for (const where of paths.length > 0 ? paths : [path.join(root, 'test')]) walk(where)
  return { files: found, all: paths.length === 0 }
}

/** Starts what SLUICE_TEST_KAFKA announces to the test files (test/support/kafka.ts). */
async function startSuite () {
  const given = process.env.KAFKA_BOOTSTRAP_SERVERS
  const choice = findRuntime()
  if (choice.kind === null) {
    return { suite: { reason: `${given ? 'KAFKA_BOOTSTRAP_SERVERS is set, but for the tests\' witness ' : ''}${choice.reason}` }, stop () {} }
  }
  try {
    const runtime = await prepareRuntime(choice.kind, say)
    const witness = await startWitness(runtime)
    const own = given ? undefined : await startBrokers(runtime)
    const bootstrapServers = given ?? own.bootstrapServers
    say(given ? `testing against the cluster at ${given} (KAFKA_BOOTSTRAP_SERVERS)` : `a real Kafka broker is up at ${bootstrapServers}`)
    return {
      suite: { bootstrapServers, witness: witness.address, runtime },
      async stop () {
        witness.stop()
        await own?.stop()
      }
    }
  } catch (err) {
    return { suite: { reason: `a broker could not be started: ${err.message}` }, stop () {} }
  }
}

async function ensureKcat () {
  if (hasCommand('kcat')) return
  const plan = await aptInstall(['kcat'], 'kcat, an independent witness for the integration tests, is missing').catch(err => err)
  if (plan) say('kcat is missing and cannot be installed here: the tests that need it are skipped (Debian: apt-get install kcat)')
}

/** Runs tap and counts what it reports. On a terminal tap draws its own progress, and the counts come from its output file. */
async function runTap (args, suite) {
  const terminal = process.stdout.isTTY === true && !args.some(arg => /^(-R|--reporter)/.test(arg))
  const outputFile = path.join(root, '.cache', 'test.tap')
  mkdirSync(path.dirname(outputFile), { recursive: true })
  // The tests make their own configuration; what the caller's environment says about a Kafka must not leak into it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('KAFKA_')))
  const reporting = terminal ? [`--output-file=${outputFile}`] : args.some(arg => /^(-R|--reporter)/.test(arg)) ? [] : ['--reporter=tap']
  const child = spawn(process.execPath, [path.join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs'), 'run', ...reporting, ...args], {
    cwd: root,
    stdio: ['ignore', terminal ? 'inherit' : 'pipe', 'inherit'],
    env: { ...env, SLUICE_TEST_KAFKA: JSON.stringify(suite), NODE_OPTIONS: [env.NODE_OPTIONS, typescriptLoader].filter(Boolean).join(' ') }
  })
  const counts = new TapCounts()
  child.stdout?.on('data', data => {
    process.stdout.write(data)
    counts.write(data.toString())
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ? 1 : code))
  })
  if (terminal) counts.write(readFileSync(outputFile, 'utf8'))
  counts.end()
  return { code, counts }
}

await main(async () => {
  const args = process.argv.slice(2)
  const ci = /^(1|true)$/i.test(process.env.CI ?? '')
  await setup()
  // Tests run from the sources; only those that start the built server need dist. So the others still run.
  const buildFailure = await buildDist().then(() => undefined, err => {
    if (!(err instanceof SetupError)) throw err
    return err.message
  })
  if (buildFailure) say(buildFailure)

  const { files, all } = selectedFiles(args)
  const real = files.filter(file => needsKafka(file, readFileSync(path.join(root, file), 'utf8')))
  let kafka = { suite: { reason: 'no selected test uses it' }, stop () {} }
  if (real.length > 0) {
    await ensureKcat()
    kafka = await startSuite()
    if (kafka.suite.reason) say(`no real Kafka: ${kafka.suite.reason}`)
  }
  let code, counts
  try {
    ({ code, counts } = await runTap(args, kafka.suite))
  } finally {
    await kafka.stop()
  }

  const { lines, ok } = verdict({ ci, all, code, counts, real, reason: kafka.suite.reason, buildFailure, filtered: args.some(arg => arg.startsWith('-')) })
  for (const line of [...lines, closingLine(counts, code)]) process.stdout.write(`${line}\n`)
  if (!ok) process.exitCode = 1
})
