// An example of a handler that turns records into others: each order line becomes a record for its warehouse. It sends nothing
// itself, it answers. With KAFKA_DELIVERY=exactly-once what it answers and the order's offset are committed in one transaction.
//
//     KAFKA_TOPIC=orders KAFKA_ALLOW_AUTO_CREATE_TOPICS=true KAFKA_HANDLER=examples/transform/handler.mjs npm start

const { PICKS_TOPIC = 'picks' } = process.env

/**
 * @param {import('../../dist/src/record.js').KafkaRecord} record
 * @returns {import('../../dist/src/handlers/handler.js').HandlerAnswer}
 */
export default function pick ({ value, topic, partition, offset }) {
  const { id, lines } = parse(value)
  return {
    produce: lines.map(({ article, count, warehouse }) => ({
      topic: PICKS_TOPIC,
      // What one warehouse has to do stays in order.
      key: warehouse,
      value: JSON.stringify({ orderId: id, article, count }),
      headers: [{ name: 'caused-by', value: `${topic}/${partition}/${offset}` }]
    }))
  }
}

/** What cannot be read goes to the dead-letter topic at once. */
function parse (value) {
  try {
    const order = JSON.parse(value)
    if (typeof order.id === 'string' && Array.isArray(order.lines)) return order
  } catch {}
  throw Object.assign(new Error('an order needs an id and lines'), { name: 'OrderRefused', retriable: false })
}
