import Fastify from 'fastify'
import t from 'tap'
import { serverOptions } from '../src/server-options.js'

t.test('what a request logs carries its id, at the level that is set, in children too', async t => {
  const lines: Record<string, unknown>[] = []
  const stream = { write (line: string) { lines.push(JSON.parse(line) as Record<string, unknown>) } }
  const app = Fastify({ ...serverOptions({ bodyLimitBytes: 100 }), logger: { level: 'info', stream } })
  app.get('/', async request => {
    request.log.debug('too little to be said')
    request.log.info({ a: 1 }, 'said')
    request.log.child({ b: 2 }).error({ err: new Error('x') }, 'and this')
    return request.id
  })
  const ids = [await app.inject('/'), await app.inject('/')].map(({ body }) => body)
  t.not(ids[0], ids[1])
  t.match(lines, [
    { level: 30, reqId: ids[0], a: 1, msg: 'said' },
    { level: 50, reqId: ids[0], b: 2, err: { message: 'x' }, msg: 'and this' },
    { level: 30, reqId: ids[1] },
    { level: 50, reqId: ids[1] }
  ])
  t.equal(lines.length, 4)
  await app.close()
})
