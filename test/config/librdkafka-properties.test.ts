import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, resolve } from 'node:path'
import t from 'tap'
import { variableSchemas } from '../../src/config/environment-schema.js'
import { hasNoEffect, javaAliases, limitKeptBy, passedProperties, variableOfProperty } from '../../src/config/librdkafka-properties.js'
import { protectedProperties } from '../../src/config/protected-properties.js'

const driver = dirname(createRequire(import.meta.url).resolve('@confluentinc/kafka-javascript/package.json'))
const table = readFileSync(resolve(driver, 'deps/librdkafka/CONFIGURATION.md'), 'utf8').split('\n')
  .map(line => line.split('|').map(cell => cell.trim()))
  .filter(cells => cells.length >= 6 && /^[*CP]$/.test(cells[1]!))
  .map(([name, side, range, , , ...description]) => ({ name: name!, side: side!, range: range!, description: description.join('|') }))
const isProtected = new Set(protectedProperties.flatMap(entry => entry.names))
// What takes a C function cannot be written into a file, and is unknown.
const settable = table.filter(({ description }) => !description.includes('see dedicated API'))

t.test('the client\'s own table of properties was found', async t => {
  t.ok(settable.length > 150, String(settable.length))
})

t.test('every property of librdkafka has its place, and only one', async t => {
  for (const { name } of settable) {
    const places = [
      passedProperties.has(name), variableOfProperty.has(name), isProtected.has(name), limitKeptBy.has(name), hasNoEffect(name)
    ]
    t.equal(places.filter(Boolean).length, 1, name)
  }
})

t.test('every property that is passed on is librdkafka\'s, for the same clients and within its limits', async t => {
  // Narrower than librdkafka's, since the producer is idempotent; the client's name for a list of its own flags.
  const narrower = new Set(['max.in.flight.requests.per.connection', 'max.in.flight', 'message.send.max.retries', 'retries', 'debug'])
  const sides: Record<string, string> = { '*': 'all', C: 'consumer', P: 'producer' }
  for (const [name, { side, takes }] of passedProperties) {
    const row = settable.find(candidate => candidate.name === name)
    t.ok(row, name)
    if (row === undefined || narrower.has(name)) continue
    t.equal(side, sides[row.side], name)
    const range = /^(-?\d+) \.\. (-?\d+)$/.exec(row.range)
    if (range) t.same(takes, [Number(range[1]), Number(range[2])], name)
    else if (row.range === 'true, false') t.equal(takes, true, name)
    else t.same(takes?.toString() ?? '', row.range.replaceAll(' ', ''), name)
  }
})

t.test('names lead to variables and properties that exist', async t => {
  for (const [name, variable] of [...variableOfProperty, ...limitKeptBy]) t.ok(variableSchemas[variable], name)
  for (const [java, name] of javaAliases) {
    t.ok(passedProperties.has(name), name)
    t.notOk(settable.some(row => row.name === java), `${java} is not a name of librdkafka's`)
  }
})
