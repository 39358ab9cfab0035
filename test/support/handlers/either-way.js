// Makes a handler of single records one that takes batches as well, as an example of how: keys beside each other, the records
// of a key one after the other, and none after one that failed. What KAFKA_ORDER orders is a key here.
const order = process.env.KAFKA_ORDER ?? 'key'
let batches = 0

export function eitherWay (handle) {
  return (given, context) => Array.isArray(given) ? handleBatch(handle, given, context) : handle(given, context)
}

async function handleBatch (handle, records, { attempts, signal, log, producer }) {
  const batch = `${process.pid}-${++batches} of ${records.length}`
  const answer = new Array(records.length)
  const lanes = new Map()
  for (const [index, record] of records.entries()) {
    const lane = laneOf(record, index)
    lanes.set(lane, [...lanes.get(lane) ?? [], index])
  }
  await Promise.all([...lanes.values()].map(async indexes => {
    let failed = false
    for (const index of indexes) {
      if (failed) {
        answer[index] = new Error('not tried: one before it failed')
        continue
      }
      try {
        await handle(records[index], { attempt: attempts[index], signal, log, producer, batch })
      } catch (reason) {
        failed = true
        answer[index] = { status: 'rejected', reason }
      }
    }
  }))
  return answer
}

function laneOf ({ key }, index) {
  if (order === 'partition') return ''
  return order === 'key' && key !== null ? `key ${key.toString('latin1')}` : `${index}`
}
