import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

const loader = new URL('../../scripts/ts-loader.mjs', import.meta.url).href

/** Runs a file by the loader, without what tap adds to every Node.js child. */
async function run (file: string): Promise<{ stdout: string, stderr: string }> {
  const { NODE_OPTIONS: _, ...env } = process.env
  return promisify(execFile)(process.execPath, ['--enable-source-maps', `--import=${loader}`, file], { env }).catch(error => error as { stdout: string, stderr: string })
}

t.test('TypeScript runs from its source, and what is kept of it is not used once it has changed', async t => {
  const folder = t.testdir({
    'main.ts': "import { name, type Name } from './name.js'\nimport { plain } from './plain.js'\nconst it: Name = name\nconsole.log(it, plain, import.meta.url)\n",
    'name.ts': "export type Name = string\nexport const name: Name = 'first'\n",
    'plain.js': 'export const plain = 1\n'
  })
  const main = path.join(folder, 'main.ts')
  const url = new URL(`file://${main}`).href
  t.equal((await run(main)).stdout, `first 1 ${url}\n`)
  t.equal((await run(main)).stdout, `first 1 ${url}\n`, 'as it was kept')
  writeFileSync(path.join(folder, 'name.ts'), "export type Name = string\nexport const name: Name = 'second'\n")
  t.equal((await run(main)).stdout, `second 1 ${url}\n`)
})

t.test('an error names the line of the source', async t => {
  const folder = t.testdir({ 'main.ts': 'interface Thing {\n  size: number\n}\nconst thing: Thing = { size: 1 }\nthrow new Error(String(thing.size))\n' })
  const { stderr } = await run(path.join(folder, 'main.ts'))
  t.match(stderr, /Error: 1/)
  t.match(stderr, /main\.ts:5:7/)
})
