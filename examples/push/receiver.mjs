// An example of a receiver for HTTP push, without dependencies. It checks the signature, knows what it has seen already, and says
// by its answer what becomes of the record. Run it, and a gateway that pushes to it, from the project's root:
//
//     export PUSH_SECRET="whsec_$(openssl rand -base64 32)"
//     node examples/push/receiver.mjs
//     KAFKA_TOPIC=orders KAFKA_HANDLER=http://127.0.0.1:8080/events KAFKA_PUSH_SECRET="$PUSH_SECRET" npm start
//
// examples/README.md has a request to try it with.

import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const { PUSH_SECRET, HOST = '127.0.0.1', PORT = '8080' } = process.env
if (!PUSH_SECRET) throw new Error('PUSH_SECRET must be what KAFKA_PUSH_SECRET is')

const key = Buffer.from(PUSH_SECRET.replace(/^whsec_/, ''), 'base64')
const TOLERANCE_SECONDS = 300
const BODY_MAX_BYTES = 1_048_576
const REMEMBERED_MAX = 10_000

// What was done lately, by its id: a record may be pushed more than once. A real service keeps this where it keeps its orders.
const done = new Set()

createServer(async (request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body))
  try {
    if (request.method !== 'POST' || request.url !== '/events') return answer(404)
    const body = await bodyOf(request)
    // 413 and other 4xx: the record goes to the dead-letter topic. 401, 403 and 404 say that the configuration is wrong: Sluice waits.
    if (body === null) return answer(413)
    if (!isSigned(request.headers, body)) return answer(401)
    const id = request.headers['webhook-id']
    if (done.has(id)) return answer(200, { status: 'SUCCESS' })

    const order = parsed(body)
    if (typeof order?.id !== 'string') return answer(422)
    // The key of the record, percent-encoded as all attributes are.
    const customer = request.headers['ce-subject'] === undefined ? null : decodeURIComponent(request.headers['ce-subject'])
    console.log(JSON.stringify({ order: order.id, customer, event: request.headers['ce-id'] }))

    done.add(id)
    if (done.size > REMEMBERED_MAX) done.delete(done.values().next().value)
    answer(204)
  } catch (error) {
    // Whatever went wrong here may be better next time: 5xx is tried again.
    console.error(error.message)
    answer(503)
  }
}).listen(Number(PORT), HOST, function () {
  console.log(`listening on http://${HOST}:${this.address().port}/events`)
})

/** Standard Webhooks: HMAC-SHA256 of id, time and body, with full stops between them. The body's bytes, as they came. */
function isSigned (headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signatures = '' } = headers
  if (!(Math.abs(Date.now() / 1000 - Number(time)) <= TOLERANCE_SECONDS)) return false
  const expected = createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest()
  return signatures.split(' ').some(signature => {
    const given = Buffer.from(signature.replace(/^v1,/, ''), 'base64')
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
}

async function bodyOf (request) {
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > BODY_MAX_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parsed (body) {
  try {
    return JSON.parse(body)
  } catch {
    return null
  }
}
