import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const subject = name => fileURLToPath(new URL(`../subjects/${name}.mjs`, import.meta.url))

/**
 * Runs a subject in a process of its own and resolves with the one message that it sends. Each contender starts fresh:
 * nothing that an earlier one warmed up, or left behind, counts.
 */
export function runSubject (name, input, { execArgv = [] } = {}) {
  return new Promise((resolve, reject) => {
    const child = fork(subject(name), { execArgv, env: { ...process.env, UV_THREADPOOL_SIZE: '16' }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    let result
    child.on('message', message => { result = message })
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      if (result === undefined) reject(new Error(`${name} ended with ${code ?? signal} and measured nothing`))
      else resolve(result)
    })
    child.send(input)
  })
}

/** Starts a subject that serves; resolves once it listens. Ask it for its CPU time, and end it, with `ask`. */
export function startServer (name, input) {
  return new Promise((resolve, reject) => {
    const child = fork(subject(name), { env: { ...process.env, UV_THREADPOOL_SIZE: '16' }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    child.on('error', reject)
    child.on('exit', code => reject(new Error(`${name} ended with ${code}`)))
    const ask = what => new Promise(resolve => {
      child.once('message', resolve)
      child.send(what)
    })
    child.once('message', ({ url }) => resolve({
      url,
      cpu: () => ask('cpu'),
      end: () => new Promise(resolve => {
        child.once('exit', resolve)
        child.send('end')
      })
    }))
    child.send(input)
  })
}

/** Starts a subject that tells something again and again: `last` is what it told last, `end` makes it end. */
export function startMember (name, input) {
  const child = fork(subject(name), { env: { ...process.env, UV_THREADPOOL_SIZE: '16' }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  let told = { partitions: 0, handled: 0, firstAt: Infinity, lastAt: -Infinity, cpuMs: 0 }
  let failed = null
  child.on('message', message => { told = message })
  child.on('error', error => { failed = error })
  const gone = new Promise(resolve => child.on('exit', code => {
    failed ??= new Error(`${name} ended with ${code}`)
    resolve()
  }))
  child.send(input)
  return {
    last () {
      if (failed !== null) throw failed
      return told
    },
    async end () {
      if (child.connected) child.send('end')
      await gone
    }
  }
}
