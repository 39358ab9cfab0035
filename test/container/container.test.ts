// What the Dockerfile and docker-compose.yml say, held against what the code says, without an engine. That the image
// works is tried when it is built: the Dockerfile runs smoke.mjs in it.

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { kafkaVersion } from '../../scripts/lib-kafka.mjs'
import { loadConfig } from '../../src/config.js'
import { environmentSchema } from '../../src/config/environment-schema.js'

interface Service {
  image: string
  build?: string
  command?: string[]
  restart: string
  stop_grace_period?: string
  ports?: string[]
  environment?: Record<string, string | number>
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (name: string): string => readFileSync(path.join(root, name), 'utf8')

// Swagger's plugin brings a YAML parser; the project has no other use for one.
const { parse } = createRequire(createRequire(import.meta.url).resolve('@fastify/swagger'))('yaml') as { parse: (text: string) => unknown }
const { services } = parse(read('docker-compose.yml')) as { services: Record<'kafka' | 'topics' | 'sluice', Service> }

/** The Dockerfile's instructions in order, each on one line, without comments. */
const instructions = read('Dockerfile').replace(/^#.*\n/gm, '').replace(/\\\n\s*/g, '').split('\n')
  .filter(line => line !== '').map(line => ({ name: line.split(' ', 1)[0] as string, rest: line.slice(line.indexOf(' ') + 1) }))
const lastFrom = instructions.map(({ name }) => name).lastIndexOf('FROM')
const finalStage = instructions.slice(lastFrom)
const only = (name: string): string => {
  const found = finalStage.filter(instruction => instruction.name === name)
  if (found.length !== 1) throw new Error(`the final stage of the Dockerfile has ${found.length} ${name}`)
  return found[0]!.rest
}
/** What is copied from the checkout, in any stage. */
const copies = instructions.filter(({ name, rest }) => name === 'COPY' && !rest.startsWith('--from=')).map(({ rest }) => {
  const words = rest.split(' ')
  return { chmod: words[0]!.startsWith('--chmod='), sources: words.filter(word => !word.startsWith('--')).slice(0, -1) }
})
const imageEnvironment = Object.fromEntries(only('ENV').split(' ').map(pair => pair.split('=') as [string, string]))

const milliseconds = (duration: string): number => Number(/^(\d+)s$/.exec(duration)?.[1]) * 1000

t.test('the image sets only variables that Sluice, Node or libuv know', async t => {
  const others = ['NODE_ENV', 'UV_THREADPOOL_SIZE']
  t.strictSame(Object.keys(imageEnvironment).filter(name => !(name in environmentSchema.properties) && !others.includes(name)), [])
})

t.test('the image does not start without a word on AUTH, and does with one', async t => {
  t.notOk('AUTH' in imageEnvironment)
  t.throws(() => loadConfig(imageEnvironment), { message: /AUTH/ })
  t.equal(loadConfig({ ...imageEnvironment, AUTH: 'off' }).config.http.host, '0.0.0.0')
})

t.test('the image runs as somebody who is not root, ends by SIGTERM and looks after its own health', async t => {
  t.match(only('USER'), /^[1-9]\d*:[1-9]\d*$/, 'by number, or Kubernetes cannot tell that it is not root')
  t.equal(only('STOPSIGNAL'), 'SIGTERM')
  t.strictSame(JSON.parse(only('CMD')), ['node', '--enable-source-maps', 'dist/src/server.js'])
  t.equal(Number(only('EXPOSE')), loadConfig({}).config.http.port)
  const [command, flag, script] = JSON.parse(only('HEALTHCHECK').replace(/^.*? CMD /, '')) as string[]
  t.strictSame([command, flag], ['node', '-e'])
  t.match(script, '/healthz')
})

t.test('what the Dockerfile copies exists and is let into the build', async t => {
  const letIn = read('.dockerignore').split('\n').filter(line => line.startsWith('!')).map(line => line.slice(1))
  const copied = copies.flatMap(({ sources }) => sources)
  for (const name of copied) {
    t.ok(existsSync(path.join(root, name)), name)
    t.ok(letIn.includes(name), `${name} is let in`)
  }
  t.strictSame(letIn.filter(name => !copied.includes(name)), [], 'nothing else is')
})

t.test('what the image takes from the checkout as it is gets its mode, or the image\'s user might not be able to read it', async t => {
  const unchanged = finalStage.filter(({ name, rest }) => name === 'COPY' && !rest.startsWith('--from='))
  t.not(unchanged.length, 0)
  for (const { rest } of unchanged) t.match(rest, /^--chmod=/)
  t.ok(copies.find(({ sources }) => sources.includes('test/container/smoke.mjs'))!.chmod)
})

t.test('the scripts that the build copies import no others', async t => {
  const copied = copies.find(({ sources }) => sources.some(name => name.startsWith('scripts/')))!.sources
  for (const name of copied) {
    for (const [, imported] of read(name).matchAll(/from '(\.[^']*)'/g)) {
      t.ok(copied.includes(path.join(path.dirname(name), imported as string)), `${name} imports ${imported}`)
    }
  }
})

t.test('compose: Sluice\'s variables are known and make a configuration', async t => {
  const environment = services.sluice.environment!
  t.strictSame(Object.values(environment).filter(value => typeof value !== 'string'), [], 'an unquoted off would be a truth value')
  const { config, warnings } = loadConfig({ ...imageEnvironment, ...environment as Record<string, string> })
  t.strictSame(warnings, [])
  t.ok(config.http.allowedHosts.includes('sluice'), 'by the service\'s name other containers reach it')
  t.ok(milliseconds(services.sluice.stop_grace_period!) > config.shutdownTimeoutMs + 7_000, 'the process may take 7 s longer to end')
})

t.test('compose: the topics are made before Sluice starts', async t => {
  const { environment, depends_on: needs } = services.sluice
  t.match(services.topics.command!.join(' '), `for topic in ${environment!['KAFKA_TOPIC']} ${environment!['KAFKA_TOPIC']}.dlq;`)
  t.strictSame(needs, { kafka: { condition: 'service_healthy' }, topics: { condition: 'service_completed_successfully' } })
  t.strictSame(services.topics.depends_on, { kafka: { condition: 'service_healthy' } })
  t.equal(services.topics.restart, 'no')
})

t.test('compose: every published port is bound to this machine alone', async t => {
  for (const [name, { ports = [] }] of Object.entries(services)) {
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/, `${name} ${port}`)
  }
})

t.test('compose: the broker is of the version that the tests run against', async t => {
  for (const name of ['kafka', 'topics'] as const) t.equal(services[name].image, `docker.io/apache/kafka:${kafkaVersion}`)
})

t.test('compose: Sluice and the topics are pointed at the listener that the broker advertises to containers', async t => {
  const server = String(services.sluice.environment!['KAFKA_BOOTSTRAP_SERVERS'])
  t.match(String(services.kafka.environment!['KAFKA_ADVERTISED_LISTENERS']), `INSIDE://${server}`)
  t.match(services.topics.command!.join(' '), `--bootstrap-server ${server} `)
  t.match(services.kafka.healthcheck!.test.join(' '), `/${server.split(':')[1]}`)
})
