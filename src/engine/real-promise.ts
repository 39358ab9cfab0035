/** The very value, or a real promise of what only looks like one: that might settle twice, or answer no promise itself. */
export function withRealPromise (value: unknown): unknown {
  if (value instanceof Promise) return value
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function' ? Promise.resolve(value) : value
}
