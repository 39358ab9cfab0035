import { pathToFileURL } from 'node:url'
import type { RecordBatchHandler, RecordHandler } from './handler.js'

/**
 * Loads the module that KAFKA_HANDLER names.
 *
 * @throws {Error} one sentence that says which module, what is wrong and what is expected
 */
export async function loadModule<H extends RecordHandler | RecordBatchHandler = RecordHandler> (path: string): Promise<H> {
  let loaded: { default?: unknown }
  try {
    loaded = await import(pathToFileURL(path).href)
  } catch (error) {
    // A module may throw anything, `null` too.
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`KAFKA_HANDLER: the module ${path} could not be loaded: ${reason}`, { cause: error })
  }
  // A CommonJS module that was compiled from `export default` has its own `default` inside.
  const handler = (loaded.default as { default?: unknown } | undefined)?.default ?? loaded.default
  if (typeof handler !== 'function') {
    throw new Error(`KAFKA_HANDLER: the default export of ${path} must be a function (record, context) => …, but is ${handler === null ? 'null' : typeof handler}`)
  }
  return handler as H
}
