// What the event loop can do at most: `limit` timers of `handlerMs` kept running, and no Kafka.

import { answer, input, stopwatch } from '../lib/subject.mjs'

const { total, limit, handlerMs } = await input()
const watch = stopwatch(total)
let started = 0
const next = async () => {
  while (started < total) {
    started++
    await new Promise(resolve => setTimeout(resolve, handlerMs))
    watch.count()
  }
}
// The first end starts the watch, as it does beside it; one wait more or less does not matter in so many.
for (let n = 0; n < limit; n++) next()
answer(await watch.done)
