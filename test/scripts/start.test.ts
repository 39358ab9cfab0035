import { EventEmitter } from 'node:events'
import t from 'tap'
import { exitCode, forwardSignals, oneSignalMs } from '../../scripts/start.mjs'

t.test('a signal that arrives twice in a moment reaches the server once; a later one reaches it too', async t => {
  const from = new EventEmitter()
  const sent: string[] = []
  let now = 1000
  forwardSignals({ kill: signal => sent.push(signal) }, from, () => now)

  from.emit('SIGINT')
  now += oneSignalMs - 1
  from.emit('SIGINT')
  t.strictSame(sent, ['SIGINT'], 'from the terminal and from npm')
  from.emit('SIGTERM')
  t.strictSame(sent, ['SIGINT', 'SIGTERM'], 'another signal is another word')
  now += 1
  from.emit('SIGINT')
  t.strictSame(sent, ['SIGINT', 'SIGTERM', 'SIGINT'])
})

t.test('the exit code is the server\'s, and a shell\'s for a signal', async t => {
  t.equal(exitCode(0, null), 0)
  t.equal(exitCode(3, null), 3)
  t.equal(exitCode(null, 'SIGTERM'), 143)
})
