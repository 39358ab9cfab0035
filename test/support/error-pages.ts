import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { errorTable, SluiceError, toProblem, type ErrorCode } from '../../src/errors.js'

const folder = fileURLToPath(new URL('../../docs/errors/', import.meta.url))
const BEGIN = '<!-- The table is made from src/errors.ts: `npx tap --disable-coverage --snapshot test/error-pages.test.ts` -->'
const END = '<!-- end of the table -->'

/** What every page has to say, by hand. */
export const sections = ['What it means', 'Was anything produced?', 'May the caller try again?', 'What to change'] as const

export const codes = Object.keys(errorTable) as ErrorCode[]

const fileOf = (code: string): string => `${folder}${code}.md`

/** The codes that have a page. */
export function pages (): string[] {
  return readdirSync(folder).filter(name => name !== 'README.md').map(name => name.replace(/\.md$/, '')).sort()
}

export const readPage = (code: string): string => readFileSync(fileOf(code), 'utf8')
export const readIndex = (): string => readFileSync(`${folder}README.md`, 'utf8')

/** How a page begins: what the table says. */
export function headOf (code: ErrorCode): string {
  const { type, title, status } = toProblem(new SluiceError(code, ''))
  const { retryAfterSeconds } = new SluiceError(code, '')
  const retry = retryAfterSeconds === undefined ? '' : ', with `Retry-After`'
  return `# ${code}\n\n${title}. Status ${status}${retry}. \`${type}\`\n\n`
}

/** A page whose head is as the table has it. The rest stays; what is missing is there to be written. */
export function withHead (code: ErrorCode): string {
  let written = ''
  try { written = readPage(code) } catch { /* A new code. */ }
  const at = written.indexOf('## ')
  return headOf(code) + (at === -1 ? sections.map(section => `## ${section}\n`).join('\n') : written.slice(at))
}

/** The index with its table made anew. */
export function withTable (index: string): string {
  const begin = index.indexOf(BEGIN)
  const end = index.indexOf(END)
  if (begin === -1 || end === -1) throw new Error('docs/errors/README.md has lost the marks around its table')
  const rows = [...codes].sort((a, b) => errorTable[a].status - errorTable[b].status).map(code => {
    const { status, title } = errorTable[code]
    return `| ${status} | [\`${code}\`](${code}.md) | ${title} |`
  })
  return `${index.slice(0, begin)}${BEGIN}\n\n${['| status | code | |', '|---|---|---|', ...rows].join('\n')}\n\n${index.slice(end)}`
}

/** Writes heads and table anew, and a page to be filled in for each new code. */
export function writePages (): void {
  for (const code of codes) writeFileSync(fileOf(code), withHead(code))
  writeFileSync(`${folder}README.md`, withTable(readIndex()))
}
