import t from 'tap'
import { accessApp, newKey } from '../support/access-app.js'

const key = newKey()
const keys = { AUTH_KEYS: `shop:${key.digest}:produce:orders` }
const proxies = { ...keys, TRUSTED_PROXIES: '10.0.0.0/8, fd00::/8' }

async function asked (t: Parameters<typeof accessApp>[0], env: Readonly<Record<string, string>>) {
  const { app, logged } = await accessApp(t, env)
  let guess = 0
  /** Sends a wrong key from this address, and answers with the status and with the address that is logged, where a line is. */
  const wrong = async (remoteAddress: string, forwarded?: string | string[], more: Readonly<Record<string, string>> = {}) => {
    logged.length = 0
    const res = await app.inject({
      method: 'POST',
      url: '/topics/orders/records',
      remoteAddress,
      payload: {},
      headers: { authorization: `Bearer ${'x'.repeat(40)}${guess++}`, ...(forwarded !== undefined && { 'x-forwarded-for': forwarded }), ...more }
    })
    return { status: res.statusCode, address: logged.find(({ msg }) => msg === 'a caller was refused')?.['address'] }
  }
  const right = async (remoteAddress: string, forwarded: string) => (await app.inject({
    method: 'POST',
    url: '/topics/orders/records',
    remoteAddress,
    payload: {},
    headers: { authorization: `Bearer ${key.key}`, 'x-forwarded-for': forwarded }
  })).statusCode
  return { wrong, right }
}

t.test('the caller is the last one that is no trusted proxy; what it has written before that is not believed', async t => {
  const cases: [peer: string, forwarded: string, address: string][] = [
    ['10.0.0.1', '192.0.2.7', '192.0.2.7'],
    ['::ffff:10.0.0.1', '192.0.2.7', '192.0.2.7'],
    ['10.0.0.1', '203.0.113.9, 192.0.2.7', '192.0.2.7'],
    ['10.0.0.1', '192.0.2.7, 10.0.0.2, fd00::2', '192.0.2.7'],
    ['fd00::1', '2001:db8::7', '2001:db8::7'],
    // Some proxies write the port as well.
    ['10.0.0.1', '192.0.2.7:51234', '192.0.2.7'],
    ['10.0.0.1', '[2001:db8::7]:51234', '2001:db8::7']
  ]
  for (const [peer, forwarded, address] of cases) {
    const { wrong } = await asked(t, proxies)
    t.same(await wrong(peer, forwarded), { status: 401, address }, `${peer}: ${forwarded}`)
  }
})

t.test('what is no address counts as the proxy\'s own; so does a header that is missing', async t => {
  for (const forwarded of ['unknown', '_hidden', '', '192.0.2.7:x', '999.0.0.1', 'for=192.0.2.7', undefined]) {
    const { wrong } = await asked(t, proxies)
    t.same(await wrong('10.0.0.1', forwarded), { status: 401, address: '10.0.0.1' }, String(forwarded))
  }
  const { wrong } = await asked(t, proxies)
  t.match(await wrong('10.0.0.1', 'unknown, 10.0.0.2'), { address: '10.0.0.2' }, 'the nearest that is known')
})

t.test('a header from anybody else is not looked at, and neither is any without TRUSTED_PROXIES', async t => {
  for (const env of [proxies, keys]) {
    const { wrong } = await asked(t, env)
    t.same(await wrong('203.0.113.9', '192.0.2.7'), { status: 401, address: '203.0.113.9' })
  }
  const { wrong } = await asked(t, keys)
  t.same(await wrong('10.0.0.1', '192.0.2.7', { forwarded: 'for=192.0.2.8', 'x-real-ip': '192.0.2.9' }), { status: 401, address: '10.0.0.1' })
})

t.test('behind a trusted proxy each caller has guesses of its own', async t => {
  const { wrong, right } = await asked(t, proxies)
  for (let i = 0; i < 20; i++) t.equal((await wrong('10.0.0.1', '192.0.2.7')).status, 401)
  t.equal((await wrong('10.0.0.1', '192.0.2.7')).status, 429)
  t.equal((await wrong('10.0.0.2', `203.0.113.${1}, 192.0.2.7`)).status, 429, 'the same caller over another proxy, with a forged beginning')
  t.equal((await wrong('10.0.0.1', '192.0.2.7:4711')).status, 429)
  t.equal(await right('10.0.0.1', '192.0.2.7'), 429, 'a right key is not told from a guess there')
  t.equal((await wrong('10.0.0.1', '192.0.2.8')).status, 401)
  t.equal(await right('10.0.0.1', '192.0.2.8'), 200)
})

t.test('an untrusted caller cannot get more guesses by forging the header, or use up those of others', async t => {
  const { wrong, right } = await asked(t, proxies)
  for (let i = 0; i < 20; i++) t.equal((await wrong('203.0.113.9', `192.0.2.${i}`)).status, 401)
  t.equal((await wrong('203.0.113.9', '192.0.2.99')).status, 429)
  t.equal(await right('10.0.0.1', '192.0.2.0'), 200)
  const words = await asked(t, proxies)
  for (let i = 0; i < 20; i++) t.equal((await words.wrong('10.0.0.1', `word-${i}`)).status, 401)
  t.equal((await words.wrong('10.0.0.1', 'another-word')).status, 429, 'words behind a trusted proxy are all one')
})

t.test('no other header of a proxy changes what is asked for: Host is what was sent', async t => {
  const { app } = await accessApp(t, { TRUSTED_PROXIES: '10.0.0.0/8' })
  const get = async (headers: Readonly<Record<string, string>>) =>
    (await app.inject({ url: '/topics/orders', remoteAddress: '10.0.0.1', headers })).statusCode
  t.equal(await get({ host: 'evil.example', 'x-forwarded-host': 'localhost' }), 403)
  t.equal(await get({ host: 'localhost', 'x-forwarded-host': 'evil.example' }), 200)
})
