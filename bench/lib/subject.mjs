// What the measured processes share: they get their input as a message and answer with one.

import { once } from 'node:events'

// Whoever asked is gone: nothing that was started here may go on.
process.on('disconnect', () => process.exit(1))

export async function input () {
  const [message] = await once(process, 'message')
  return message
}

/** Milliseconds of CPU, user and system, since `from`. */
export function cpuMs (from) {
  const { user, system } = process.cpuUsage(from)
  return (user + system) / 1000
}

export function answer (result) {
  process.send(result, () => process.exit(0))
}

/** For subjects that serve: says where, then answers questions until it is told to end. */
export function serve (url, close) {
  process.send({ url })
  const from = process.cpuUsage()
  process.on('message', async what => {
    if (what === 'cpu') process.send(cpuMs(from))
    if (what === 'end') {
      await close()
      process.exit(0)
    }
  })
}

/** Counts from the first of `total` to the last: `count()` for each, `done` resolves with seconds and CPU. */
export function stopwatch (total) {
  let counted = 0
  let startedAt = 0
  let cpu
  let finish
  const done = new Promise(resolve => { finish = resolve })
  return {
    done,
    get counted () { return counted },
    count (by = 1) {
      if (counted === 0) {
        startedAt = performance.now()
        cpu = process.cpuUsage()
      }
      counted += by
      if (counted >= total) {
        const seconds = (performance.now() - startedAt) / 1000
        finish({ seconds, perSecond: total / seconds, cpuPer1000: cpuMs(cpu) / total * 1000 })
      }
    }
  }
}
