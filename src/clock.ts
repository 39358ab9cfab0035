import type { Clock } from './engine/types.js'

/** Time and chance as they are. */
export const systemClock: Clock = {
  now: () => performance.now(),
  schedule (delayMs, fn) {
    const timer = setTimeout(fn, delayMs)
    return () => clearTimeout(timer)
  },
  random: Math.random
}
