// `npm start`: makes the checkout ready (scripts/setup.mjs), then runs the built server.
//
// The server runs in a process of its own, because the size of libuv's thread pool is read from the environment before
// any JavaScript runs, and each Kafka client that waits for records holds one thread of it.

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildDist, main, root, setup } from './setup.mjs'

/** Repeats of one signal within this time are one: see forwardSignals. */
export const oneSignalMs = 250

/**
 * Passes SIGINT, SIGTERM and SIGHUP on to the server, each once.
 *
 * 1. Ctrl-C in a terminal signals every process of the foreground group: npm and this one. 2. npm passes what it got on to
 * this one too. The server would see two, and the second means "at once, without a drain". So the server is started in
 * a group of its own, out of the terminal's reach, and the same signal within a moment counts as one. A second Ctrl-C
 * by a person comes later than that and is passed on.
 */
export function forwardSignals (child, from = process, now = () => performance.now()) {
  const last = new Map()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    from.on(signal, () => {
      if (now() - (last.get(signal) ?? -Infinity) < oneSignalMs) return
      last.set(signal, now())
      child.kill(signal)
    })
  }
}

/** The exit code that a shell would show for how a process ended. */
export function exitCode (code, signal) {
  return code ?? 128 + constants.signals[signal]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await setup()
    await buildDist()
    const child = spawn(process.execPath, ['--enable-source-maps', path.join(root, 'dist', 'src', 'server.js'), ...process.argv.slice(2)], {
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: process.platform !== 'win32',
      env: { UV_THREADPOOL_SIZE: '16', ...process.env }
    })
    forwardSignals(child)
    process.exitCode = await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) => resolve(exitCode(code, signal)))
    })
    // The signal listeners hold nothing open, and the server is gone: this process ends by itself.
  })
}
