import { format } from 'node:util'
import type { FastifyBaseLogger } from 'fastify'
import { packError, unpackError } from './packing.js'
import { LOG_LEVELS, type LogLevel, type LogLine } from './thread-messages.js'

/** What of one thread may be on its way to the main thread, and how long one line may be, in characters. */
const ON_ITS_WAY_MAX = 1_048_576
const LINE_MAX = 65_536
const CUT_MESSAGE = 1_024

/**
 * The logger of a worker thread: what it is told is logged by the main thread, with the logger that is there.
 *
 * Lines that are longer than 64 Ki characters lose their fields. While a million characters wait for the main thread, more is
 * dropped, and the next line that gets through is preceded by one that says how many were.
 */
export class ThreadLog {
  readonly #send: (line: LogLine) => void
  readonly #written: Int32Array
  readonly #lowest: number
  readonly #level: string
  #sent = 0
  #dropped = 0

  /** @param written how much the main thread has written, modulo 2³²; it is read even where the thread never gets to its messages */
  constructor (level: string, written: Int32Array, send: (line: LogLine) => void) {
    this.#level = level
    this.#lowest = level === 'silent' ? LOG_LEVELS.length : Math.max(0, LOG_LEVELS.indexOf(level as LogLevel))
    this.#written = written
    this.#send = send
  }

  /** A logger as Fastify's, with its methods `trace` to `fatal`, and `child`. Bindings are all that a child can have of its own. */
  logger (bindings: object = {}): FastifyBaseLogger {
    const methods = LOG_LEVELS.map(level => [level, (...told: unknown[]) => { this.#log(level, bindings, told) }] as const)
    return {
      ...Object.fromEntries(methods),
      level: this.#level,
      silent () {},
      child: (more: object) => this.logger({ ...bindings, ...more })
    } as unknown as FastifyBaseLogger
  }

  #log (level: LogLevel, bindings: object, told: unknown[]): void {
    if (LOG_LEVELS.indexOf(level) < this.#lowest) return
    const line = lineOf(level, bindings, told)
    if (this.#onItsWay + line.size > ON_ITS_WAY_MAX) {
      this.#dropped++
      return
    }
    if (this.#dropped > 0) {
      this.#post(lineOf('warn', bindings, [{ dropped: this.#dropped }, 'a thread logged more than could be written; lines were dropped']))
      this.#dropped = 0
    }
    this.#post(line)
  }

  #post (line: LogLine): void {
    this.#sent = (this.#sent + line.size) | 0
    this.#send(line)
  }

  get #onItsWay (): number { return (this.#sent - Atomics.load(this.#written, 0)) | 0 }
}

/** Logs a line of a thread. */
export function writeLine (log: FastifyBaseLogger, { level, fields, err, msg }: LogLine): void {
  const all = JSON.parse(fields) as Record<string, unknown>
  if (err !== null) all.err = unpackError(err)
  // Also where there is a %: it was formatted already.
  if (msg === null) log[level](all)
  else log[level](all, '%s', msg)
}

/** From what pino's methods take: fields or an error, then the message; or the message at once. */
function lineOf (level: LogLevel, bindings: object, told: unknown[]): LogLine {
  const [first] = told
  const hasFields = typeof first === 'object' && first !== null
  const given: { err?: unknown } = !hasFields ? {} : first instanceof Error ? { err: first } : first
  const err = given.err instanceof Error ? packError(given.err) : null
  const texts = hasFields ? told.slice(1) : told
  const msg = texts.length > 0 ? format(...texts) : first instanceof Error ? err!.message : null
  const fields = jsonOf({ ...bindings, ...given, ...(err !== null && { err: undefined }) })
  const size = fields.length + (msg?.length ?? 0) + (err === null ? 0 : jsonOf(err).length)
  if (size <= LINE_MAX) return { level, fields, err, msg, size }
  const bound = jsonOf({ ...bindings, cutCharacters: size })
  const cut = bound.length <= LINE_MAX ? bound : jsonOf({ cutCharacters: size })
  return { level, fields: cut, err: null, msg: msg?.slice(0, CUT_MESSAGE) ?? null, size: cut.length + CUT_MESSAGE }
}

/** What a handler logs may be anything. */
function jsonOf (fields: object): string {
  try {
    return JSON.stringify(fields, (name, value: unknown) => value instanceof Error ? plain(value) : typeof value === 'bigint' ? String(value) : value)
  } catch (error) {
    return JSON.stringify({ unloggable: String(error) })
  }
}

function plain (error: Error): object {
  const { name, message, stack, said } = packError(error)
  return { type: name, message, stack, ...said }
}
