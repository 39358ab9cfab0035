import t from 'tap'
import { codes, pages, readIndex, readPage, sections, withHead, withTable, writePages } from './support/error-pages.js'

if (process.env.TAP_SNAPSHOT === '1') writePages()

t.test('every code has a page in docs/errors, and every page a code', async t => {
  t.same(pages(), [...codes].sort())
})

t.test('a page begins with what the table says of its code', async t => {
  for (const code of codes) t.equal(readPage(code), withHead(code), code)
})

t.test('a page says what the code means, whether anything was produced, whether to try again, and what to change', async t => {
  for (const code of codes) {
    const parts = readPage(code).split(/^## /m).slice(1).map(part => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n')).trim()])
    t.same(parts.map(([title]) => title), sections, code)
    for (const [title, text] of parts) t.ok(text!.length > 2, `${code}: ${title} has to be written`)
  }
})

t.test('what a page refers to is there', async t => {
  for (const code of codes) {
    for (const [, target] of readPage(code).matchAll(/\]\((SLUICE_\w+)\.md\)/g)) t.ok((codes as string[]).includes(target!), `${code}: ${target}`)
  }
})

t.test('the index lists the table as it is', async t => {
  t.equal(readIndex(), withTable(readIndex()))
})
