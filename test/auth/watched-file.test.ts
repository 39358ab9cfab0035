import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { WatchedFile } from '../../src/auth/watched-file.js'
import { until } from '../support/gateway-app.js'

async function watch (t: Test, maxBytes = 100) {
  const file = path.join(t.testdir({ file: 'one' }), 'file')
  const seen: string[] = []
  const watched = new WatchedFile({
    path: file,
    maxBytes,
    everyMs: 5,
    onChange (text) {
      seen.push(text)
      if (text === 'bad') throw new Error('not this')
    },
    onError: error => seen.push(`error: ${error.message.replace(/,.*/, '')}`)
  })
  t.teardown(() => watched.close())
  await watched.start()
  const becomes = async (last: string) => await until(() => seen.at(-1) === last, last)
  return { file, seen, watched, becomes }
}

t.test('each state of a file is told once, a refused one as well', async t => {
  const { file, seen, becomes } = await watch(t)
  writeFileSync(file, 'bad')
  await becomes('error: not this')
  writeFileSync(file, 'two')
  await becomes('two')
  t.same(seen.filter(one => one !== ''), ['one', 'bad', 'error: not this', 'two'])
})

t.test('a file that is gone, or too large, is an error until it is a file again', async t => {
  const { file, becomes } = await watch(t)
  rmSync(file)
  await becomes('error: ENOENT: no such file or directory')
  writeFileSync(file, 'x'.repeat(100))
  await becomes('x'.repeat(100))
  writeFileSync(file, 'x'.repeat(101))
  await becomes('error: it has 101 bytes')
  writeFileSync(file, 'one')
  await becomes('one')
})

t.test('once closed, nothing is told', async t => {
  const { file, seen, watched } = await watch(t)
  watched.close()
  writeFileSync(file, 'two')
  const other = await watch(t)
  writeFileSync(other.file, 'three')
  await other.becomes('three')
  t.same(seen, ['one'])
})

t.test('a first state that cannot be read, or is refused, is thrown', async t => {
  const dir = t.testdir({ file: 'bad' })
  const start = async (name: string) => await new WatchedFile({
    path: path.join(dir, name), maxBytes: 100, everyMs: 5, onChange: () => { throw new Error('not this') }, onError: () => t.fail()
  }).start()
  await t.rejects(start('nowhere'), { code: 'ENOENT' })
  await t.rejects(start('file'), { message: 'not this' })
})
