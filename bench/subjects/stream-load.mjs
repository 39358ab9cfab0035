// Clients that stream: each writes its lines as fast as they are taken, and reads a result for each.

import { request } from 'node:http'
import { answer, input } from '../lib/subject.mjs'

const { url, streams, records, line } = await input()
const LINES = 500
const chunk = Buffer.from(`${line}\n`.repeat(LINES))

function stream () {
  return new Promise((resolve, reject) => {
    const client = request(url, { method: 'POST', headers: { 'content-type': 'application/x-ndjson' } })
    let tail = ''
    client.on('response', response => {
      if (response.statusCode !== 200) reject(new Error(`answered ${response.statusCode}`))
      response.setEncoding('utf8')
      response.on('data', text => { tail = (tail + text).slice(-1000) })
      response.on('end', () => {
        const last = JSON.parse(tail.trimEnd().split('\n').at(-1))
        if (last.done === true) resolve(last.succeeded)
        else reject(new Error(`ended with ${JSON.stringify(last)}`))
      })
    })
    client.on('error', reject)
    let left = records
    const write = () => {
      while (left > 0) {
        const lines = Math.min(LINES, left)
        left -= lines
        if (!client.write(lines === LINES ? chunk : Buffer.from(`${line}\n`.repeat(lines)))) return client.once('drain', write)
      }
      client.end()
    }
    write()
  })
}

const startedAt = performance.now()
const succeeded = (await Promise.all(Array.from({ length: streams }, stream))).reduce((sum, count) => sum + count, 0)
answer({ seconds: (performance.now() - startedAt) / 1000, succeeded })
