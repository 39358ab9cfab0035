import t from 'tap'
import { Guesses, networkOf } from '../../src/auth/guesses.js'

t.test('a network is an IPv4 address, or the /64 of an IPv6 address', async t => {
  for (const [address, network] of [
    ['10.0.0.1', '10.0.0.1'], ['::ffff:10.0.0.1', '10.0.0.1'], ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'], ['2001:DB8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::6', '2001:db8:1:2::/64'], ['2001:db8::1', '2001:db8:0:0::/64'], ['::1', '0:0:0:0::/64'], ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'], ['', '']
  ] as const) t.equal(networkOf(address), network, address)
})

t.test('twenty wrong keys at once, then one every two seconds', async t => {
  let nowMs = 0
  const guesses = new Guesses(() => nowMs)
  for (let i = 0; i < 20; i++) t.equal(guesses.wrong('10.0.0.1'), 0)
  t.equal(guesses.wrong('10.0.0.1'), 2_000)
  t.equal(guesses.right('a', '10.0.0.1'), 2_000, 'a right key is not looked at, either')
  t.equal(guesses.right('a', '10.0.0.2'), 0)
  t.equal(guesses.right('a', '10.0.0.1'), 2_000, 'from there it was not seen')
  nowMs = 1_999
  t.ok(guesses.wrong('10.0.0.1') > 0)
  nowMs = 2_000
  t.equal(guesses.right('a', '10.0.0.1'), 0)
  t.equal(guesses.wrong('10.0.0.1'), 0)
  t.ok(guesses.wrong('10.0.0.1') > 0)
  t.equal(guesses.right('a', '10.0.0.1'), 0, 'seen there before')
  t.equal(guesses.right('a', '10.0.0.2'), 0)
  guesses.keepOnly(new Set())
})
