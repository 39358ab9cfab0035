// An example of a handler that keeps a processor busy: it never awaits, and would hold up everything else in the main thread.
// The same file works in both; KAFKA_HANDLER_THREADS says where it runs. From the project's root, with the embedded broker:
//
//     KAFKA_TOPIC=documents KAFKA_ALLOW_AUTO_CREATE_TOPICS=true KAFKA_HANDLER=examples/threads/handler.mjs \
//       KAFKA_HANDLER_THREADS=2 npm start

import { scryptSync } from 'node:crypto'

const { FINGERPRINT_TOPIC = 'fingerprints' } = process.env

// Each thread has one of its own.
let handled = 0

/**
 * Answers a fingerprint of the document, which is produced before the document counts as handled.
 *
 * @param {import('../../dist/src/record.js').KafkaRecord} record
 * @param {import('../../dist/src/handlers/handler.js').HandlerContext} context
 * @returns {import('../../dist/src/handlers/handler.js').HandlerAnswer}
 */
export default function fingerprint ({ topic, key, value }, { log }) {
  if (value === null) throw Object.assign(new Error('there is no document'), { retriable: false })
  const fingerprint = scryptSync(value, topic, 16, { N: 16_384 }).toString('hex')
  log.debug({ bytes: value.length, handledByThisThread: ++handled }, 'fingerprint made')
  return { produce: [{ topic: FINGERPRINT_TOPIC, key, value: JSON.stringify({ fingerprint }) }] }
}
