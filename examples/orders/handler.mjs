// An example of a handler module: orders come in as JSON, are handed to a payment service, and what it says goes on as a
// record of its own. Run it with the embedded broker, from the project's root:
//
//     KAFKA_TOPIC=orders KAFKA_ALLOW_AUTO_CREATE_TOPICS=true KAFKA_HANDLER=examples/orders/handler.mjs npm start
//
// examples/README.md has a request to try it with.

const { PAYMENTS_URL, PAID_TOPIC = 'payments' } = process.env

/**
 * Sluice calls the default export once for each attempt at a record. Returning completes the record: its offset may be
 * committed. Throwing is a failed attempt: it is tried again later, and after the last attempt it goes to the dead-letter
 * topic, with the error in its headers.
 *
 * A record may be handled more than once (after a crash, say), so what this does must bear being done twice. Here the
 * payment service recognises an order that it has seen by its Idempotency-Key.
 *
 * @param {import('../../dist/src/record.js').KafkaRecord} record key and value are Buffers, or null
 * @param {import('../../dist/src/handlers/handler.js').HandlerContext} context
 */
export default async function handleOrder (record, { attempt, signal, log, producer }) {
  const order = parseOrder(record.value)

  // The signal is aborted when KAFKA_HANDLER_TIMEOUT_MS has passed, or when this member has to give the partition up.
  // Whatever takes time should get it: what does not stop then is done a second time by somebody else.
  const payment = await pay(order, signal)

  // Resolves once Kafka has the record (acks=all). Only then is the order done. The key keeps one customer's records in
  // their order, here as there.
  const receipt = await producer.send({
    topic: PAID_TOPIC,
    key: record.key,
    value: JSON.stringify({ orderId: order.id, paymentId: payment.id }),
    headers: [{ name: 'caused-by', value: `${record.topic}/${record.partition}/${record.offset}` }]
  })

  // The logger knows topic, partition, offset and attempt already.
  log.info({ orderId: order.id, paymentOffset: receipt.offset }, attempt === 1 ? 'order paid' : 'order paid, though not at once')
}

/** Bad input stays bad however often it is read: `retriable: false` sends it to the dead-letter topic at once. */
function parseOrder (value) {
  let order
  try {
    order = JSON.parse(value)
  } catch (error) {
    throw refused('the order is not JSON', error)
  }
  if (typeof order?.id !== 'string' || !Number.isInteger(order.cents) || order.cents <= 0) {
    throw refused('an order needs an id and a positive amount in cents')
  }
  return order
}

function refused (message, cause) {
  return Object.assign(new Error(message, { cause }), { name: 'OrderRefused', retriable: false })
}

/** Everything that this throws, but for a 4xx, may be better next time: Sluice tries again, with growing waits. */
async function pay (order, signal) {
  // Without a service to ask, so that the example runs on its own.
  if (!PAYMENTS_URL) return { id: `pay-${order.id}` }
  const response = await fetch(PAYMENTS_URL, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': order.id },
    body: JSON.stringify(order),
    signal
  })
  if (response.ok) return await response.json()
  const error = new Error(`the payment service answered ${response.status}`)
  if (response.status === 429 || response.status === 503) {
    // How long to wait at least, where the service says so.
    const seconds = Number(response.headers.get('retry-after'))
    if (seconds > 0) Object.assign(error, { retryAfterMs: seconds * 1000 })
  } else if (response.status < 500) {
    Object.assign(error, { retriable: false })
  }
  throw error
}
