import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { errorTable } from '../src/errors.js'

const file = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')
const readme = file('README.md')

t.test('the settings in the README are those of the generated page, line by line', async t => {
  const page = new Set(file('docs/configuration.md').split('\n'))
  const rows = readme.split('\n').filter(line => /^\| `[A-Z_]+` \|/.test(line))
  t.ok(rows.length >= 10)
  for (const row of rows) t.ok(page.has(row), row)
})

t.test('every setting, error code and metric that the README and the guides name exists', async t => {
  const settings = new Set(Array.from(file('docs/configuration.md').matchAll(/^\| `([A-Z_]+)` \|/gm), ([, name]) => name))
  const metrics = file('src/metrics.ts')
  for (const [name] of readme.matchAll(/\bKAFKA_[A-Z_]+[A-Z]\b/g)) t.ok(settings.has(name), name)
  for (const [name] of readme.matchAll(/\bSLUICE_[A-Z_]+[A-Z]\b/g)) t.ok(name in errorTable, name)
  for (const [name] of readme.matchAll(/\bsluice_[a-z_]+[a-z]\b/g)) t.ok(metrics.includes(`'${name}`), name)
})

t.test('every file that the README links to is there', async t => {
  for (const [, link] of readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) t.ok(existsSync(new URL(`../${link}`, import.meta.url)), link)
})
