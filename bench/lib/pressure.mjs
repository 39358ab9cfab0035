// What presses on a gateway, and the ledger of what each caller was told. For bench/parts/pressure.mjs and test/integration.

import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

/**
 * What callers were told of the records that they sent, each of which has a value of its own.
 *
 * - accepted: there is a receipt, so that it must be stored, once.
 * - refused: 503, 429 or another 4xx, so that it must not be stored.
 * - unknown: 504, or nobody was told anything: stored or not, but not twice.
 */
export class Ledger {
  statuses = {}
  #told = new Map()
  #next = 0

  newId () { return `r${this.#next++}` }

  /** @param status 0: no answer came */
  tell (id, status) {
    this.statuses[status] = (this.statuses[status] ?? 0) + 1
    this.#told.set(id, status >= 200 && status < 300
      ? 'accepted'
      : status === 503 || (status >= 400 && status < 500) ? 'refused' : 'unknown')
  }

  count (what) {
    let count = 0
    for (const told of this.#told.values()) if (told === what) count++
    return count
  }

  /** Compares with the values that are stored; ids of which nothing is known are none of the ledger's. */
  compare (values) {
    const stored = new Map()
    for (const value of values) stored.set(value, (stored.get(value) ?? 0) + 1)
    const lost = []
    const extra = []
    const doubled = []
    for (const [id, told] of this.#told) {
      const times = stored.get(id) ?? 0
      if (told === 'accepted' && times === 0) lost.push(id)
      if (told === 'refused' && times > 0) extra.push(id)
      if (times > 1) doubled.push(id)
    }
    return { lost, extra, doubled }
  }
}

/** Posts a body and resolves with the status, or 0 where there was no whole answer. */
export function post (url, body, { agent, headers = {} } = {}) {
  return new Promise(resolve => {
    const sending = request(url, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers } },
      response => {
        response.resume()
        response.on('end', () => resolve(response.statusCode))
        response.on('error', () => resolve(0))
        response.on('close', () => resolve(response.complete ? response.statusCode : 0))
      })
    sending.on('error', () => resolve(0))
    sending.end(body)
  })
}

/**
 * Keeps this many connections busy, each with one record at a time, until it is stopped. `more(id)` gives headers, `pauseMs` is
 * waited after an answer other than 200.
 */
export function startLoad (url, { connections, ledger, more = () => ({}), pauseMs = 200 }) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const state = { going: true }
  let succeeded = 0
  const one = async () => {
    while (state.going) {
      const id = ledger.newId()
      const status = await post(url, `{"key":"${id}","value":"${id}"}`, { agent, headers: more(id) })
      ledger.tell(id, status)
      if (status === 200) succeeded++
      else await pause(pauseMs)
    }
  }
  const all = Promise.all(Array.from({ length: connections }, one))
  return {
    get succeeded () { return succeeded },
    async stop () {
      state.going = false
      await all
      agent.destroy()
    }
  }
}

/** Asks for /healthz four times a second on a connection of its own; `stop` tells how often it was answered, and how. */
export function watchHealth (url) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const state = { going: true }
  const seen = { answered: 0, unhealthy: 0, unanswered: 0, slowestMs: 0 }
  const asking = (async () => {
    while (state.going) {
      const from = performance.now()
      const status = await new Promise(resolve => {
        const asked = request(`${url}/healthz`, { agent, timeout: 30_000 }, response => {
          response.resume()
          response.on('end', () => resolve(response.statusCode))
        })
        asked.on('timeout', () => asked.destroy())
        asked.on('error', () => resolve(0))
        asked.end()
      })
      seen.slowestMs = Math.max(seen.slowestMs, performance.now() - from)
      if (status === 0) seen.unanswered++
      else if (status === 200) seen.answered++
      else seen.unhealthy++
      await pause(250)
    }
    agent.destroy()
  })()
  return async () => { state.going = false; await asking; return seen }
}

/** The highest resident size that a process has had, and the one that it has now, in bytes; null where the system does not tell. */
export function residentSize (pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const of = name => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)[1]) * 1024
    return { highest: of('VmHWM'), now: of('VmRSS') }
  } catch {
    return null
  }
}

/** A connection on which something is written by hand; what comes back is gathered, unless nobody reads. Errors are none. */
export function rawConnection (url, { reads = true } = {}) {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  const connection = { socket, text: '', closed: new Promise(resolve => socket.once('close', resolve)) }
  socket.on('error', () => {})
  if (reads) {
    socket.setEncoding('latin1')
    // Enough to see an answer's status; a hostile client's memory is bounded too.
    socket.on('data', text => { if (connection.text.length < 65_536) connection.text += text })
    socket.on('end', () => { socket.end() })
  } else {
    socket.pause()
  }
  return connection
}

const head = (topic, rest) => `POST /topics/${topic}/records HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${rest}\r\n`

/** Clients that never mean well. Each returns what ends it. */
export const hostile = {
  /** Headers that never end. */
  halfHeaders (url, topic) {
    const { socket } = rawConnection(url)
    socket.write(head(topic, 'application/json') + 'X-Slow: ')
    return () => socket.destroy()
  },
  /** A body of which the last byte never comes. */
  halfBody (url, topic, bytes) {
    const { socket } = rawConnection(url)
    socket.write(head(topic, 'application/json') + `Content-Length: ${bytes}\r\n\r\n`)
    socket.write(Buffer.alloc(bytes - 1, ' '))
    return () => socket.destroy()
  },
  /** A byte a second. */
  trickle (url, topic) {
    const { socket } = rawConnection(url)
    const text = head(topic, 'application/json') + 'Content-Length: 100\r\n\r\n'
    let at = 0
    const timer = setInterval(() => { socket.write(text[at++] ?? ' ') }, 1_000)
    socket.once('close', () => clearInterval(timer))
    return () => { clearInterval(timer); socket.destroy() }
  },
  /** Gone in the midst of its body. */
  vanishing (url, topic) {
    const { socket } = rawConnection(url)
    socket.write(head(topic, 'application/json') + 'Transfer-Encoding: chunked\r\n\r\n5\r\n{"val\r\n', () => socket.resetAndDestroy())
    return () => socket.destroy()
  },
  /** A stream whose results nobody reads: it goes on writing as long as it is let. */
  unreadStream (url, topic, { path = `/topics/${topic}/records`, type = 'application/x-ndjson', line = '{"value":"unread"}\n' } = {}) {
    const { socket } = rawConnection(url, { reads: false })
    socket.write(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`)
    const data = line.repeat(Math.ceil(16_384 / line.length))
    const chunk = `${data.length.toString(16)}\r\n${data}\r\n`
    const write = () => { while (!socket.destroyed && socket.write(chunk)); }
    socket.on('drain', write)
    socket.on('connect', write)
    return () => socket.destroy()
  }
}

/**
 * Sends a stream of `records` lines that `line(n)` gives, as fast as it is taken, and reads every answer.
 *
 * @returns its status, how many answers there were, and the last one; `status` 0 where it broke off
 */
export function sendStream (url, { records, line, type = 'application/x-ndjson', agent }) {
  return new Promise(resolve => {
    let answers = 0
    let tail = ''
    const end = status => resolve({ status, answers, last: tail.trimEnd().split('\n').at(-1) })
    const sending = request(url, { method: 'POST', agent, headers: { 'content-type': type } })
    sending.on('response', response => {
      response.setEncoding('utf8')
      response.on('data', text => {
        for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) answers++
        tail = (tail + text).slice(-2_000)
      })
      response.on('error', () => end(0))
      response.on('end', () => end(response.statusCode))
    })
    sending.on('error', () => end(0))
    let n = 0
    const write = () => {
      while (n < records) {
        let part = ''
        while (n < records && part.length < 65_536) part += line(n++)
        if (!sending.write(part)) { sending.once('drain', write); return }
      }
      sending.end()
    }
    write()
  })
}
