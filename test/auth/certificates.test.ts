import fc from 'fast-check'
import t from 'tap'
import { alternativeNames } from '../../src/auth/certificates.js'

t.test('names of the kinds that rules can have, others passed over', async t => {
  t.same(alternativeNames('DNS:a.example, URI:spiffe://c/sa/x, email:a@b.example, IP Address:10.0.0.1'),
    ['dns:a.example', 'uri:spiffe://c/sa/x', 'email:a@b.example'])
  t.same(alternativeNames(''), [])
})

t.test('a name that was made to look like two is no name at all', async t => {
  t.same(alternativeNames('DNS:"evil.example, DNS:billing.internal", DNS:ok.example'), ['dns:ok.example'])
  t.same(alternativeNames('DNS:"a\\", DNS:billing.internal"'), [])
  t.same(alternativeNames('DNS:"billing.internal'), [], 'a list that cannot be read')
  t.same(alternativeNames('DNS:a", DNS:b'), [])
})

t.test('for any text, it ends, and gives no name that holds a comma or a quote', async t => {
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom('DNS:', 'URI:', '"', '\\', ', ', ',', 'a', ' ') }), text =>
    alternativeNames(text).every(name => !/[",]/.test(name))), { numRuns: 2_000 })
  t.pass()
})
