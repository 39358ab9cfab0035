// A real Apache Kafka for the tests, without Docker: the jars come from Maven Central and run on the machine's own Java.
// scripts/test.mjs starts one broker for the whole suite; test/support/kafka.ts starts more where a test stops or kills them.
//
// A Docker engine, where there is one, replaces Java and Maven: the same commands run in the official image, on the
// host's network. That way was written without an engine to try it on: it is UNTESTED.

import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, cpSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cacheDir } from './lib-setup.mjs'

const exec = promisify(execFile)
const sources = fileURLToPath(new URL('../test/support/kafka-witness/', import.meta.url))

export const kafkaVersion = '4.4.0'
const dockerImage = `apache/kafka:${kafkaVersion}`
const dockerJdk = 'eclipse-temurin:17-jdk'
const startLimitMs = 60_000
const stopLimitMs = 2_000

/** The first line that a command prints, or undefined if it cannot be run. */
function probe (command, args) {
  try {
    return execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 10_000 }).toString().trim()
  } catch {
    return undefined
  }
}

/**
 * Decides what can run a broker here: 'docker', 'java', or null with the reason in words.
 *
 * SLUICE_TEST_KAFKA_RUNTIME=docker or =java allows only that one.
 *
 * @param {{ docker: boolean, jdk: number, maven: boolean, jars: boolean, only?: string }} found what the machine has
 */
export function chooseRuntime ({ docker, jdk, maven, jars, only }) {
  if (docker && only !== 'java') return { kind: 'docker' }
  if (only === 'docker') return { kind: null, reason: 'SLUICE_TEST_KAFKA_RUNTIME=docker, but no Docker engine answers' }
  if (jdk >= 17 && (maven || jars)) return { kind: 'java' }
  const lacks = [
    jdk >= 17 ? '' : jdk > 0 ? `a JDK of version 17 or later (found ${jdk})` : 'a JDK of version 17 or later',
    maven || jars ? '' : 'Maven'
  ].filter(Boolean).join(' and ')
  return { kind: null, reason: `no Docker engine answers, and ${lacks} is missing` }
}

/** The major version in what `javac -version` prints, 0 for none. */
export function jdkVersion (text) {
  const [, first, second] = /(\d+)(?:\.(\d+))?/.exec(text ?? '') ?? []
  return Number((first === '1' ? second : first) ?? 0)
}

/** Looks at this machine: see chooseRuntime. */
export function findRuntime (env = process.env) {
  const only = env.SLUICE_TEST_KAFKA_RUNTIME
  return chooseRuntime({
    only,
    docker: only !== 'java' && probe('docker', ['info', '--format', '{{.ServerVersion}}']) !== undefined,
    // javac and not java: the witness is compiled here, and a JRE alone cannot do that.
    jdk: probe('java', ['-version']) === undefined ? 0 : jdkVersion(probe('javac', ['-version'])),
    jars: existsSync(path.join(kafkaCache(env), 'libs')),
    maven: probe('mvn', ['--version']) !== undefined
  })
}

function kafkaCache (env = process.env) {
  return path.join(cacheDir(env), `kafka-${kafkaVersion}`)
}

/** Runs a step that fills a folder, so that the folder is there completely or not at all, whoever else does the same now. */
async function fillOnce (folder, fill) {
  if (existsSync(folder)) return
  mkdirSync(path.dirname(folder), { recursive: true })
  const half = mkdtempSync(`${folder}.`)
  try {
    await fill(half)
    renameSync(half, folder)
  } catch (err) {
    if (!existsSync(folder)) throw err
  } finally {
    rmSync(half, { recursive: true, force: true })
  }
}

/** Brings the jars and the compiled witness into the cache: seconds the first time, nothing later. */
export async function prepareRuntime (kind, say = () => {}) {
  const libs = path.join(kafkaCache(), 'libs')
  await fillOnce(libs, async half => {
    if (kind === 'docker') {
      say(`fetching the image ${dockerImage}, and its jars for the tests' witness`)
      const { stdout } = await exec('docker', ['create', dockerImage])
      await exec('docker', ['cp', `${stdout.trim()}:/opt/kafka/libs/.`, half])
      await exec('docker', ['rm', stdout.trim()])
    } else {
      say(`fetching Apache Kafka ${kafkaVersion} from Maven Central for the integration tests (43 MB, kept in ${kafkaCache()})`)
      const pom = path.join(`${half}.pom`, 'pom.xml')
      try {
        cpSync(path.join(sources, 'pom.xml'), pom)
        await exec('mvn', ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${half}`, '-DincludeScope=runtime'],
          { maxBuffer: 1 << 26, timeout: 540_000 })
      } catch (err) {
        throw new Error(`Maven could not fetch Apache Kafka: ${String(err.stdout || err.message).trim().slice(0, 2000)}`, { cause: err })
      } finally {
        rmSync(path.dirname(pom), { recursive: true, force: true })
      }
    }
  })
  const source = readFileSync(path.join(sources, 'Witness.java'))
  const classes = path.join(kafkaCache(), `witness-${createHash('sha256').update(source).digest('hex').slice(0, 16)}`)
  await fillOnce(classes, async half => {
    const javac = ['--release', '17', '-nowarn', '-cp', path.join(libs, '*'), '-d', half, path.join(sources, 'Witness.java')]
    if (kind === 'java') await exec('javac', javac)
    else await exec('docker', ['run', '--rm', ...mounts([kafkaCache(), sources]), '--entrypoint', 'javac', dockerJdk, ...javac])
  })
  return { kind, libs, classes, ...(kind === 'java' && { archive: await prepareArchive({ kind, libs, classes }) }) }
}

/**
 * Brings the classes that a broker loads at its start into the cache, in the form in which Java takes them over at once: a
 * start takes half of the time with it, and the suite makes some dozens. Where it cannot be made, it goes without.
 */
async function prepareArchive (runtime) {
  const archive = path.join(kafkaCache(), 'classes.jsa')
  if (existsSync(archive)) return archive
  const half = `${archive}.${process.pid}`
  try {
    const own = await startBrokers({ ...runtime, record: half })
    // It is written when Java ends in good order.
    await own.brokers[0].stop().finally(() => own.stop())
    renameSync(half, archive)
    return archive
  } catch {
    rmSync(half, { force: true })
    return undefined
  }
}

function mounts (folders) {
  return ['--user', `${process.getuid()}:${process.getgid()}`, ...folders.flatMap(folder => ['-v', `${folder}:${folder}`])]
}

/** The command that runs Java with the broker's jars, here or in the official image. */
function javaCommand (runtime, args, { name, folders = [], record } = {}) {
  // What is recorded holds for every class path that begins so. An archive that does not fit is passed over.
  const archive = record ? [`-XX:ArchiveClassesAtExit=${record}`] : runtime.archive ? [`-XX:SharedArchiveFile=${runtime.archive}`] : []
  const classPath = record ? `${runtime.libs}/*` : `${runtime.libs}/*:${runtime.classes}`
  const java = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', ...archive, '-cp', classPath, ...args]
  if (runtime.kind === 'java') return ['java', java]
  return ['docker', ['run', '--rm', '-i', '--network', 'host', ...(name ? ['--name', name] : []),
    ...mounts([runtime.libs, runtime.classes, ...folders]), '--entrypoint', 'java', dockerImage, ...java]]
}

/**
 * Starts the witness (test/support/kafka-witness): one for any number of clusters and connections.
 *
 * It ends when this process does, however that happens: its standard input is a pipe from here.
 */
export async function startWitness (runtime) {
  const [command, args] = javaCommand(runtime, ['-Xmx256m', '-Dorg.slf4j.simpleLogger.defaultLogLevel=off', 'Witness'])
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  let stderr = ''
  child.stderr.on('data', data => { stderr = (stderr + data).slice(-4000) })
  const port = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', code => reject(new Error(`the witness ended at once (code ${code}): ${stderr}`)))
    child.stdout.on('data', data => {
      const found = /^port (\d+)$/m.exec(data)
      if (found) resolve(Number(found[1]))
    })
  })
  child.stdin.on('error', () => {})
  for (const handle of [child, child.stdin, child.stdout, child.stderr]) handle.unref()
  return { address: `127.0.0.1:${port}`, stop: () => { child.stdin.end() } }
}

/**
 * A free port on 127.0.0.1 below the range that the kernel gives to outgoing connections.
 *
 * 1. A broker is stopped. 2. A client keeps dialling its port. 3. The kernel may give that dialling socket the very same
 * number as its source, and it connects to itself; the broker cannot come back. A port out of that range cannot be hit.
 */
async function freePort () {
  for (let tries = 0; tries < 200; tries++) {
    const port = 15_000 + Math.floor(Math.random() * 15_000)
    const server = createServer()
    const free = await new Promise(resolve => {
      server.once('error', () => resolve(false))
      server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(true))
    })
    if (!free) continue
    await new Promise(resolve => server.close(resolve))
    return port
  }
  throw new Error('no free port on 127.0.0.1 between 15000 and 30000')
}

// One shell per cluster. It waits for the end of its standard input, that is for the end of the process that started it,
// even by SIGKILL; then it kills what the pid files name, even a broker that SIGSTOP holds, and deletes the data.
const watchdog = [
  'trap "" INT TERM HUP',
  'read -r _',
  'for f in "$0"/*.pid; do [ -e "$f" ] && kill -9 "$(cat "$f")" 2>/dev/null; done',
  'for f in "$0"/*.container; do [ -e "$f" ] && docker rm -f "$(cat "$f")" >/dev/null 2>&1; done',
  'rm -rf "$0"', 'sleep 0.1', 'rm -rf "$0"'
].join('\n')

/**
 * The properties of broker `id`; every broker is a controller too. What a test asks for comes last and wins; its values may
 * have several lines, as PEM has.
 *
 * @param {{ listeners?: Record<string, string> }} more further listeners' names with their security protocols
 */
export function brokerProperties ({ id, ports, folder, listeners = {}, extra = {} }) {
  const many = ports.length > 1
  const open = [`PLAINTEXT://127.0.0.1:${ports[id - 1].client}`,
    ...Object.keys(listeners).map(name => `${name}://127.0.0.1:${ports[id - 1].more[name]}`)]
  const copies = many ? 3 : 1
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': id,
    'controller.quorum.voters': ports.map((port, i) => `${i + 1}@127.0.0.1:${port.controller}`).join(','),
    listeners: [...open, `CONTROLLER://127.0.0.1:${ports[id - 1].controller}`].join(','),
    'advertised.listeners': open.join(','),
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': ['CONTROLLER:PLAINTEXT', 'PLAINTEXT:PLAINTEXT',
      ...Object.entries(listeners).map(([name, protocol]) => `${name}:${protocol}`)].join(','),
    'log.dirs': path.join(folder, `data-${id}`),
    'auto.create.topics.enable': false,
    'default.replication.factor': copies,
    'min.insync.replicas': many ? 2 : 1,
    'offsets.topic.replication.factor': copies,
    'offsets.topic.num.partitions': 8,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': many ? 2 : 1,
    'transaction.state.log.num.partitions': 8,
    'share.coordinator.state.topic.replication.factor': copies,
    'share.coordinator.state.topic.min.isr': many ? 2 : 1,
    'group.initial.rebalance.delay.ms': 0,
    // Lower floors only: a test that wants a short session can ask for one, the defaults stay Kafka's own.
    'group.min.session.timeout.ms': 1000,
    'group.consumer.min.session.timeout.ms': 1000,
    'group.consumer.min.heartbeat.interval.ms': 200,
    'log.cleaner.dedupe.buffer.size': 4 << 20,
    'num.network.threads': 2,
    'num.io.threads': 4,
    ...extra
  }
  return Object.entries(properties).map(([name, value]) => `${name}=${String(value).replaceAll('\n', '\\n')}\n`).join('')
}

/** Threads of a process that SIGSTOP has not reached yet; 0 where the system does not tell. */
function runningThreads (pid) {
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return 0
  return readdirSync(tasks).filter(id => {
    try {
      // The state follows the command in brackets, which may hold anything.
      return !/^.*\) [Tt] /s.test(readFileSync(`${tasks}/${id}/stat`, 'utf8'))
    } catch {
      return false
    }
  }).length
}

class Broker {
  #runtime
  #folder
  #child
  #name

  constructor (runtime, folder, id, port) {
    this.#runtime = runtime
    this.#folder = folder
    this.id = id
    this.port = port
    this.logFile = path.join(folder, `broker-${id}.log`)
    this.#name = `sluice-test-${path.basename(folder)}-${id}`
  }

  get running () {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Starts the broker, also again after stop() or kill(); returns when it says that it is ready. */
  async start () {
    if (this.running) return
    const properties = path.join(this.#folder, `server-${this.id}.properties`)
    const from = existsSync(this.logFile) ? statSync(this.logFile).size : 0
    const log = openSync(this.logFile, 'a')
    const [command, args] = javaCommand(this.#runtime, ['-Xms64m', '-Xmx512m', 'kafka.Kafka', properties],
      { name: this.#name, folders: [this.#folder], record: this.#runtime.record })
    const child = spawn(command, args, { stdio: ['ignore', log, log], detached: true })
    closeSync(log)
    let failed
    child.once('error', err => { failed = err })
    const mark = path.join(this.#folder, `${this.id}.${this.#runtime.kind === 'docker' ? 'container' : 'pid'}`)
    if (child.pid !== undefined) writeFileSync(mark, this.#runtime.kind === 'docker' ? this.#name : String(child.pid))
    child.once('exit', () => rmSync(mark, { force: true }))
    child.unref()
    this.#child = child
    const deadline = performance.now() + startLimitMs
    while (!readFileSync(this.logFile).subarray(from).includes('Kafka Server started')) {
      if (failed || !this.running || performance.now() > deadline) {
        const tail = readFileSync(this.logFile).subarray(from).toString().trim().split('\n').slice(-15).join('\n')
        if (this.running) await this.kill()
        throw new Error(`broker ${this.id} did not start: ${failed?.message ?? ''}\n${tail}`)
      }
      await delay(50)
    }
  }

  /** SIGKILL: as if the machine's power went. */
  kill () { return this.#end('KILL') }

  /** SIGTERM: leadership moves away first, the logs are closed. */
  stop () { return this.#end('TERM') }

  /** SIGSTOP: alive, its connections open, silent. Returns when it is: a thread that runs may still answer before it stops. */
  async pause () {
    await this.#signal('STOP')
    const deadline = performance.now() + stopLimitMs
    while (this.#runtime.kind === 'java' && runningThreads(this.#child.pid) > 0 && performance.now() < deadline) await delay(5)
  }

  /** SIGCONT. */
  resume () { return this.#signal('CONT') }

  async #end (signal) {
    if (!this.running) return
    const gone = new Promise(resolve => this.#child.once('exit', resolve))
    this.#child.ref()
    await this.#signal(signal)
    await gone
  }

  async #signal (signal) {
    if (!this.running) throw new Error(`broker ${this.id} is not running`)
    if (this.#runtime.kind === 'docker') await exec('docker', ['kill', `--signal=${signal}`, this.#name])
    else this.#child.kill(`SIG${signal}`)
  }
}

/**
 * Starts a cluster on 127.0.0.1 with its data in a temporary folder.
 *
 * The brokers and the data are gone after stop(), and as well when this process ends in any other way.
 *
 * @param {{ listeners?: Record<string, string>, scram?: string[] }} options further listeners' names with their security
 *   protocols, and users as the storage tool's `--add-scram` takes them
 */
export async function startBrokers (runtime, { brokers = 1, properties = {}, listeners = {}, scram = [] } = {}) {
  for (let attempt = 1; ; attempt++) {
    const ports = []
    for (let i = 0; i < brokers; i++) {
      const more = {}
      for (const name of Object.keys(listeners)) more[name] = await freePort()
      ports.push({ client: await freePort(), controller: await freePort(), more })
    }
    const folder = mkdtempSync(path.join(tmpdir(), 'sluice-kafka-'))
    const guard = spawn('/bin/sh', ['-c', watchdog, folder], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
    guard.stdin.on('error', () => {})
    guard.stdin.unref()
    guard.unref()
    const stop = () => new Promise(resolve => {
      if (guard.exitCode !== null) return resolve()
      guard.ref()
      guard.once('exit', () => resolve())
      guard.stdin.end()
    })
    const list = ports.map((port, i) => new Broker(runtime, folder, i + 1, port.client))
    try {
      const clusterId = randomBytes(16).toString('base64url').replace(/^-/, 'A') // an id that starts with a dash reads as an option
      await Promise.all(list.map(async ({ id }) => {
        const file = path.join(folder, `server-${id}.properties`)
        writeFileSync(file, brokerProperties({ id, ports, folder, listeners, extra: properties }))
        const [command, args] = javaCommand(runtime, ['-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
          'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', file, ...scram.flatMap(user => ['--add-scram', user])], { folders: [folder] })
        await exec(command, args)
      }))
      await Promise.all(list.map(broker => broker.start()))
      const serversOf = portOf => ports.map(port => `127.0.0.1:${portOf(port)}`).join(',')
      return {
        bootstrapServers: serversOf(port => port.client),
        listeners: Object.fromEntries(Object.keys(listeners).map(name => [name, serversOf(port => port.more[name])])),
        brokers: list,
        folder,
        stop
      }
    } catch (err) {
      await stop()
      // Another process may take a port between our look and the broker's bind: new ports, then.
      if (attempt >= 3 || !/Address already in use|BindException/.test(err.message)) throw err
    }
  }
}
