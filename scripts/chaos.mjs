// `npm run chaos`: makes the checkout ready, and runs test/chaos/run.ts, which says what can be asked for.
//
// It is TypeScript, and is run from its source by the loader that runs the tests (ts-loader.mjs): what a test sees is what this sees.

import { spawn } from 'node:child_process'
import path from 'node:path'
import { findRuntime, prepareRuntime } from './lib-kafka.mjs'
import { SetupError, buildDist, main, root, say, setup, typescriptLoader } from './setup.mjs'

await main(async () => {
  await setup()
  await buildDist()
  const choice = findRuntime()
  if (choice.kind === null) throw new SetupError(`chaos needs brokers of its own: ${choice.reason}`)
  await prepareRuntime(choice.kind, say)
  const child = spawn(process.execPath, [typescriptLoader, path.join(root, 'test', 'chaos', 'run.ts'), ...process.argv.slice(2)], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, TAP_TIMEOUT: '0' }
  })
  // From a terminal it gets Ctrl-C itself; what is sent to this process alone is passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  process.exitCode = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(signal ? 1 : code))
  })
})
