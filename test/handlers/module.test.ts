import path from 'node:path'
import t, { type Test } from 'tap'
import { loadModule } from '../../src/handlers/module.js'

/** The path of a module with this text. */
function moduleOf (t: Test, name: string, text: string): string {
  return path.join(t.testdir({ [name]: text }), name)
}

t.test('the default export of a module is the handler', async t => {
  const file = moduleOf(t, 'handler.mjs', 'export default record => record.offset + 1')
  t.equal((await loadModule(file) as (record: object) => unknown)({ offset: 1 }), 2)
})

t.test('CommonJS: what is exported, also where it was compiled from an export default', async t => {
  for (const [name, text] of [
    ['plain.cjs', 'module.exports = record => record.offset + 1'],
    ['compiled.cjs', 'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = record => record.offset + 1']
  ]) {
    t.equal((await loadModule(moduleOf(t, name, text)) as (record: object) => unknown)({ offset: 1 }), 2, name)
  }
})

t.test('a path with characters that a URL would take for its own', async t => {
  const file = moduleOf(t, 'a #1 %20 ?.mjs', 'export default () => {}')
  t.type(await loadModule(file), 'function')
})

t.test('a module may await before it exports', async t => {
  t.type(await loadModule(moduleOf(t, 'top.mjs', 'await new Promise(r => setImmediate(r)); export default () => {}')), 'function')
})

t.test('what cannot be used is refused in one sentence that names the module and what is wrong', async t => {
  for (const [name, text, wrong] of [
    ['syntax.mjs', 'export default (', /could not be loaded: /],
    ['throws.mjs', 'throw new Error("no database")', /could not be loaded: no database/],
    ['throws-text.mjs', 'throw "no database"', /could not be loaded: no database/],
    ['throws-null.mjs', 'throw null', /could not be loaded: null/],
    ['rejects.mjs', 'await Promise.reject(new Error("no database"))', /could not be loaded: no database/],
    ['imports.mjs', 'import "./missing.mjs"', /could not be loaded: .*missing\.mjs/],
    ['none.mjs', 'export const handler = () => {}', /must be a function \(record, context\) => …, but is undefined/],
    ['object.mjs', 'export default { handle () {} }', /must be a function .* but is object/],
    ['null.mjs', 'export default null', /must be a function .* but is null/],
    ['text.mjs', 'export default "handler"', /must be a function .* but is string/],
    ['empty.cjs', '', /must be a function .* but is object/]
  ] as const) {
    const file = moduleOf(t, name, text)
    await t.rejects(loadModule(file), { message: wrong }, name)
    await t.rejects(loadModule(file), { message: new RegExp(`^KAFKA_HANDLER: .*${name.replaceAll('.', '\\.')}`) }, name)
  }
})

t.test('a missing file is refused, with the reason as the cause', async t => {
  const missing = path.join(t.testdir(), 'missing.mjs')
  await t.rejects(loadModule(missing), { message: /^KAFKA_HANDLER: the module .*missing\.mjs could not be loaded: /, cause: Error })
})
