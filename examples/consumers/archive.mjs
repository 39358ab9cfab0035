// Keeps a copy of what comes: a line of JSON for each record, appended to ARCHIVE_FILE. It takes batches, since one write for
// many records costs hardly more than one for a single record. consumers.yaml, beside it, says so.

import { appendFile } from 'node:fs/promises'

const { ARCHIVE_FILE = 'orders.jsonl' } = process.env

/**
 * @param {readonly import('../../dist/src/record.js').KafkaRecord[]} records at least one
 * @param {import('../../dist/src/handlers/handler.js').BatchContext} context
 */
export default async function archive (records, { log }) {
  const lines = records.map(({ topic, partition, offset, timestamp, key, value }) =>
    JSON.stringify({ topic, partition, offset, timestamp, key: key?.toString() ?? null, value: value?.toString() ?? null }) + '\n')
  await appendFile(ARCHIVE_FILE, lines.join(''))
  // Answering nothing says that all of them are done. Throwing would fail all of them.
  log.info('orders archived')
}
