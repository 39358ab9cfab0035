import t from 'tap'
import type { HandlerContext } from '../../src/handlers/handler.js'
import { logHandler } from '../../src/handlers/log.js'
import { record } from '../support/fake-source.js'

function logged (fields: Parameters<typeof record>[0]): Record<string, unknown> {
  let line: Record<string, unknown> = {}
  const log = { info (shown: Record<string, unknown>, msg: string) { line = { ...shown, msg } } }
  logHandler(record(fields), { log } as unknown as HandlerContext)
  return line
}

t.test('key and value are shown as text, headers are counted', async t => {
  const headers = [{ name: 'authorization', value: Buffer.from('secret') }]
  t.same(logged({ offset: 0, key: Buffer.from('k'), value: Buffer.from('{"a":"ü"}'), headers }),
    { key: 'k', value: '{"a":"ü"}', headers: 1, msg: 'record received' })
})

t.test('null and empty stay apart', async t => {
  t.match({ ...record({ offset: 0 }), ...logged({ offset: 0, key: null, value: Buffer.alloc(0) }) }, { key: null, value: '' })
})

t.test('a value or key is shown whole up to 1,024 bytes, and cut behind them with its size', async t => {
  const of = (bytes: number) => logged({ offset: 0, key: Buffer.alloc(bytes, 'k'), value: Buffer.alloc(bytes, 'v') })
  t.equal(of(1024).value, 'v'.repeat(1024))
  t.equal(of(1024).key, 'k'.repeat(1024))
  t.equal(of(1025).value, `${'v'.repeat(1024)}… (1025 bytes)`)
  t.equal(of(1025).key, `${'k'.repeat(1024)}… (1025 bytes)`)
})

t.test('what is no UTF-8, and a character cut in two, do no harm', async t => {
  t.equal(logged({ offset: 0, value: Buffer.from([0xff, 0x41]) }).value, '\ufffdA')
  const value = Buffer.concat([Buffer.alloc(1023, 'v'), Buffer.from('ü')])
  t.equal(logged({ offset: 0, value }).value, `${'v'.repeat(1023)}\ufffd… (1025 bytes)`)
})
