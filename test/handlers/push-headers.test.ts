import t from 'tap'
import { PushHeaders } from '../../src/handlers/push-headers.js'

const travelling = (allowed: string[], ...headers: [string, string | Buffer][]) => {
  const to: string[] = []
  new PushHeaders(allowed).addTo(to, headers.map(([name, value]) => ({ name, value: Buffer.from(value as string) })))
  return to
}

t.test('nothing travels unless it is allowed', async t => {
  t.same(travelling([], ['x-a', '1']), [])
  t.same(travelling(['x-a'], ['x-b', '1'], ['x-a', '2'], ['X-A', '3'], ['x-ab', '4']), ['x-a', '2', 'x-a', '3'])
  t.same(travelling(['x-*', 'tenant'], ['x-b', '1'], ['y', '2'], ['tenant', '3'], ['x-', '4']), ['x-b', '1', 'tenant', '3', 'x-', '4'])
})

t.test('what may hold a secret, or is the push\'s own, stays behind, however it is allowed', async t => {
  const names = ['x-api-key', 'x-auth-token', 'authorization', 'cookie', 'host', 'content-length', 'transfer-encoding', 'connection', 'content-type',
    'ce-id', 'webhook-id', 'webhook-signature', 'traceparent', 'proxy-authorization', 'expect', 'te', 'upgrade', 'user-agent']
  for (const name of names) t.same(travelling([name, `${name.slice(0, 2)}*`], [name, '1']), [], name)
})

t.test('a name or bytes that HTTP cannot carry stay behind: no header of a record can end the line and begin another', async t => {
  for (const value of ['a\r\nauthorization: b', 'a\nb', 'a\0b', '\x7f', ' a', 'a ', '\ta']) t.same(travelling(['x'], ['x', value]), [], JSON.stringify(value))
  for (const name of ['x y', 'x:', 'x\r\ny', 'ä']) t.same(travelling([name.toLowerCase(), 'x*'], [name, '1']), [], JSON.stringify(name))
  t.same(travelling(['x'], ['x', ''], ['x', 'a b\tc'], ['x', Buffer.from([0x80, 0xff])]), ['x', '', 'x', 'a b\tc', 'x', '\x80\xff'])
})
