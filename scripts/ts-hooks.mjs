// Compiles the tests' TypeScript for Node.js, file by file, and keeps what it compiled: see ts-loader.mjs.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))
const folder = path.join(root, '.cache', 'compiled')
const { compilerOptions } = JSON.parse(readFileSync(path.join(root, 'tsconfig.json'), 'utf8'))
// Whatever changes what is compiled from a source.
const basis = [readFileSync(new URL(import.meta.url)), require('typescript/package.json').version, JSON.stringify(compilerOptions)]

/** Of what tap loads TypeScript with nothing is left; a module is found by the name that it would have once it is compiled. */
export async function resolve (specifier, context, next) {
  if (specifier === '@isaacs/ts-node-temp-fork-for-pr-2009/import') return { url: 'data:text/javascript,', format: 'module', shortCircuit: true }
  if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.startsWith('file:')) {
    const url = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL)
    if (existsSync(url)) return next(url.href, context)
  }
  return next(specifier, context)
}

export async function load (url, context, next) {
  const { protocol, pathname } = new URL(url)
  if (protocol !== 'file:' || !pathname.endsWith('.ts')) return next(url, context)
  return { format: 'module', source: compiled(fileURLToPath(url)), shortCircuit: true }
}

function digestOf (...parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex')
}

/** One file is kept for each source, the digest of what it was made of in its last line. */
function compiled (file) {
  const source = readFileSync(file, 'utf8')
  const mark = `\n// ${digestOf(...basis, source)}\n`
  const kept = path.join(folder, `${digestOf(file)}.js`)
  if (existsSync(kept)) {
    const text = readFileSync(kept, 'utf8')
    if (text.endsWith(mark)) return text
  }
  // Only here, and not at the top: to load it takes longer than most test files do.
  const ts = require('typescript')
  const { options } = ts.convertCompilerOptionsFromJson({
    ...compilerOptions,
    // nodenext would look for the package.json that says that these are modules, and one file alone has none.
    module: 'esnext',
    // For tap's report of a failure: the line in the source, and what is there.
    outDir: undefined,
    inlineSources: true,
    inlineSourceMap: true,
    sourceMap: false
  }, root)
  const text = ts.transpileModule(source, { fileName: file, compilerOptions: options }).outputText + mark
  mkdirSync(folder, { recursive: true })
  // Several test files may come to the same source at once: each puts a whole file into its place.
  const half = `${kept}.${process.pid}`
  writeFileSync(half, text)
  renameSync(half, kept)
  return text
}
