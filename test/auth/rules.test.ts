import fc from 'fast-check'
import t from 'tap'
import { compileRules, matchesPattern } from '../../src/auth/rules.js'

const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*', '-'), maxLength: 8 })

t.test('for any pattern and name, a star stands for any characters or none, and everything else for itself', async t => {
  fc.assert(fc.property(letters, letters, (pattern, name) => {
    const expression = new RegExp(`^${pattern.split('*').map(part => part.replace(/[.-]/g, '\\$&')).join('[^]*')}$`)
    return matchesPattern(pattern, name) === expression.test(name)
  }), { numRuns: 5_000 })
  t.pass()
})

t.test('a pattern of many stars does not take forever', async t => {
  t.notOk(matchesPattern('*a'.repeat(124), 'a'.repeat(120) + 'b'.repeat(129)))
})

t.test('rights and topics of a rule belong together', async t => {
  const may = compileRules([{ rights: ['produce'], topics: ['a'] }, { rights: ['read', 'operate'], topics: ['b*'] }, { rights: ['read'], topics: ['c'] }])
  t.ok(may('produce', 'a') && may('produce') && may('read', 'bb') && may('operate', 'b') && may('read', 'c'))
  t.notOk(may('produce', 'b') || may('read', 'a') || may('operate', 'c') || may('produce', 'A') || may('produce', ''))
  t.notOk(compileRules([])('produce'))
  t.notOk(compileRules([{ rights: ['read'], topics: ['*'] }])('produce'))
})
