import fc from 'fast-check'
import t from 'tap'
import { idempotencyKey, idempotencyKeyPattern } from '../src/idempotency-key.js'

t.test('a key is the same bare and in quotes', async t => {
  t.equal(idempotencyKey('order-4711'), 'order-4711')
  t.equal(idempotencyKey('"order-4711"'), 'order-4711')
  t.equal(idempotencyKey('"a\\"b\\\\c"'), 'a"b\\c')
  t.equal(idempotencyKey('a"b'), 'a"b')
  for (const long of ['x'.repeat(255), `"${'x'.repeat(255)}"`, `"${'\\"'.repeat(255)}"`]) t.equal(idempotencyKey(long).length, 255)
})

t.test('what is no key is refused', async t => {
  for (const bad of ['', ' ', '""', '"', '"a', 'a b', '"a b"', 'a, b', 'é', 'a\x7f', '"a"b"', '"\\a"', '"a";x=1', 'x'.repeat(256), `"${'x'.repeat(256)}"`]) {
    t.throws(() => idempotencyKey(bad), { code: 'SLUICE_INVALID_REQUEST' }, bad)
  }
})

t.test('for any text, the documented pattern says what is taken', async t => {
  const pattern = new RegExp(idempotencyKeyPattern, 'u')
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom('"', '\\', 'a', ' ', '!', '~', '[', ']', '#', ',', 'é'), maxLength: 6 }), text => {
    let taken = true
    try { idempotencyKey(text) } catch { taken = false }
    return taken === pattern.test(text)
  }), { numRuns: 5_000 })
})
