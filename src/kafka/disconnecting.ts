let underWay = 0

/**
 * Whether a client is being disconnected now. That happens in a thread of libuv's pool, and `process.exit` waits for those
 * threads: where it never ends, neither does the process.
 */
export function isDisconnecting (): boolean {
  return underWay > 0
}

/**
 * Disconnects, but waits for it no longer than `limitMs`. What takes longer goes on.
 *
 * @param disconnect calls back once it is done
 */
export function disconnectWithin (limitMs: number, disconnect: (done: () => void) => void): Promise<void> {
  underWay++
  return new Promise(resolve => {
    const timer = setTimeout(resolve, limitMs)
    disconnect(() => {
      underWay--
      clearTimeout(timer)
      resolve()
    })
  })
}
