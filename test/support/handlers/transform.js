// Turns each record into none, one or two of the topic TRANSFORM_TOPIC, after a while that differs from record to record.
import { setTimeout as delay } from 'node:timers/promises'

const { TRANSFORM_TOPIC, TRANSFORM_MAX_MS = '20', TRANSFORM_POISON = '0', TRANSFORM_LARGE = '0' } = process.env

/** @param {any} given a record, or a batch of them */
export default async given => Array.isArray(given) ? await Promise.allSettled(given.map(transform)) : await transform(given)

/** @type {import('../../../src/handlers/handler.js').RecordHandler} */
async function transform ({ partition, offset, key }) {
  await delay(Math.random() < 0.01 ? 10 * Number(TRANSFORM_MAX_MS) : Math.random() * Number(TRANSFORM_MAX_MS))
  if (Number(TRANSFORM_POISON) > 0 && offset % Number(TRANSFORM_POISON) === 5) throw Object.assign(new Error('poison'), { retriable: false })
  const count = offset % 10 === 9 ? 2 : offset % 10 === 8 ? 0 : 1
  // Too large for the topic, not for the gateway.
  const headers = Number(TRANSFORM_LARGE) > 0 && offset % Number(TRANSFORM_LARGE) === 6 ? [{ name: 'large', value: Buffer.alloc(5000) }] : []
  return { produce: Array.from({ length: count }, (_, n) => ({ topic: TRANSFORM_TOPIC, key, value: `${partition}/${offset}/${n}`, headers })) }
}
