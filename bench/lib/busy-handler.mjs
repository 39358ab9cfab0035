// Keeps its processor busy with a fixed amount of work, in the main thread or in a worker thread.

const iterations = Number(process.env.BENCH_ITERATIONS)

export function work (iterations) {
  let state = 1
  for (let n = 0; n < iterations; n++) state = Math.imul(state, 1664525) + 1013904223 | 0
  return state
}

/** How many iterations take so many milliseconds here and now: the most of several tries, so that others' work counts less. */
export function iterationsFor (ms) {
  const tried = 2e6
  work(tried)
  let perMs = 0
  for (let n = 0; n < 20; n++) {
    const from = performance.now()
    work(tried)
    perMs = Math.max(perMs, tried / (performance.now() - from))
  }
  return Math.round(perMs * ms)
}

export default function busy () {
  work(iterations)
}
