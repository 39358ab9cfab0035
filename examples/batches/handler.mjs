// An example of a handler of batches: orders come in as JSON and are inserted into a table, many in one statement. Run it with the
// embedded broker, from the project's root:
//
//     KAFKA_TOPIC=orders KAFKA_ALLOW_AUTO_CREATE_TOPICS=true KAFKA_HANDLER=examples/batches/handler.mjs \
//       KAFKA_HANDLER_BATCH_SIZE=100 KAFKA_HANDLER_BATCH_WAIT_MS=50 npm start
//
// examples/README.md has a request to try it with.

import { appendFile } from 'node:fs/promises'

const { TABLE_FILE = 'orders.table' } = process.env

/**
 * Sluice calls the default export with records of one partition, in offset order. Answering nothing completes them all; an array
 * says of each record how it ended. Throwing says nothing of any: each is tried again alone.
 *
 * @param {readonly import('../../dist/src/record.js').KafkaRecord[]} records
 * @param {import('../../dist/src/handlers/handler.js').BatchContext} context
 * @returns {Promise<import('../../dist/src/handlers/handler.js').BatchEntry[]>}
 */
export default async function insertOrders (records, { signal, log }) {
  // One entry a record: undefined is done, an Error is a failed attempt.
  const answer = records.map(record => {
    try {
      parseOrder(record)
    } catch (error) {
      return error
    }
    return undefined
  })
  const good = records.filter((_record, index) => answer[index] === undefined)
  if (good.length > 0) await insert(good.map(parseOrder), signal)
  log.info({ inserted: good.length }, 'orders inserted')
  return answer
}

/** Bad input stays bad: `retriable: false` sends this record, and no other, to the dead-letter topic at once. */
function parseOrder ({ partition, offset, value }) {
  let order
  try {
    order = JSON.parse(value)
  } catch (cause) {
    throw Object.assign(new Error('the order is not JSON', { cause }), { retriable: false })
  }
  if (typeof order?.id !== 'string') throw Object.assign(new Error('an order needs an id'), { retriable: false })
  return { id: order.id, cents: order.cents, source: `${partition}/${offset}` }
}

/**
 * Stands for `INSERT INTO orders … ON CONFLICT (source) DO NOTHING` with all rows at once: a record may come again, and is
 * recognised by its place in the topic. What this throws (the database is away) is thrown on, and the records are tried again.
 */
async function insert (rows, signal) {
  signal.throwIfAborted()
  await appendFile(TABLE_FILE, rows.map(row => JSON.stringify(row) + '\n').join(''))
}
