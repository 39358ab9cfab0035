import { readFileSync, writeFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { environmentSchema } from '../../src/config/environment-schema.js'
import { protectedProperties } from '../../src/config/protected-properties.js'
import { exampleEnvironment, withTables } from '../support/configuration-page.js'

const page = new URL('../../docs/configuration.md', import.meta.url)
const example = new URL('../../.env.example', import.meta.url)

if (process.env.TAP_SNAPSHOT === '1') {
  writeFileSync(page, withTables(readFileSync(page, 'utf8')))
  writeFileSync(example, exampleEnvironment())
}

t.test('docs/configuration.md shows the schema as it is', async t => {
  t.equal(readFileSync(page, 'utf8'), withTables(readFileSync(page, 'utf8')))
})

t.test('docs/configuration.md has every variable in exactly one row', async t => {
  const text = readFileSync(page, 'utf8')
  for (const variable of Object.keys(environmentSchema.properties)) {
    t.equal(text.split(`\n| \`${variable}\` |`).length - 1, 1, variable)
  }
})

t.test('docs/configuration.md names every protected property', async t => {
  const protectedRows = readFileSync(page, 'utf8').split('## What cannot be changed')[1] ?? ''
  for (const { names } of protectedProperties) {
    const isJavas = names.includes('partitioner.class')
    if (!isJavas) t.ok(names.some(name => protectedRows.includes(`\`${name}\``)), names.join())
  }
})

t.test('.env.example is made from the schema', async t => {
  t.equal(readFileSync(example, 'utf8'), exampleEnvironment())
})

t.test('an untouched copy of .env.example changes nothing, and its defaults are the defaults', async t => {
  const text = readFileSync(example, 'utf8')
  t.same(parseEnv(text), {})
  const uncommented = parseEnv(text.replace(/^# (?=[A-Z0-9_]+=)/gm, ''))
  t.equal(Object.keys(uncommented).length, Object.keys(environmentSchema.properties).length)
  t.same(loadConfig(uncommented).config, loadConfig({}).config)
})
