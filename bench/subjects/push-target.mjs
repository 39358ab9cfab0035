// Where pushes go: a plain server that answers each request after some milliseconds.

import { createServer } from 'node:http'
import { input, serve } from '../lib/subject.mjs'

const { answerMs } = await input()
const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => setTimeout(() => {
    response.statusCode = 204
    response.end()
  }, answerMs))
})
server.keepAliveTimeout = 60_000
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
serve(`http://127.0.0.1:${server.address().port}/events`, () => server.closeAllConnections())
