import type { FastifyBaseLogger, FastifyServerOptions } from 'fastify'

type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'
type ChildOptions = Parameters<FastifyBaseLogger['child']>[1]

/**
 * A request's logger, which becomes one when something is logged: most requests log nothing, and making a child logger for
 * each costs as much as reading its body.
 */
class RequestLog {
  readonly #parent: FastifyBaseLogger
  readonly #bindings: Parameters<FastifyBaseLogger['child']>[0]
  readonly #options: ChildOptions
  #own: FastifyBaseLogger | null = null

  constructor (parent: FastifyBaseLogger, bindings: Parameters<FastifyBaseLogger['child']>[0], options: ChildOptions) {
    this.#parent = parent
    this.#bindings = bindings
    this.#options = options
  }

  get level (): string { return this.#made.level }
  set level (level: string) { this.#made.level = level }

  get #made (): FastifyBaseLogger {
    this.#own ??= this.#parent.child(this.#bindings, this.#options)
    return this.#own
  }

  child (bindings: Parameters<FastifyBaseLogger['child']>[0], options?: ChildOptions): FastifyBaseLogger {
    return this.#made.child(bindings, options)
  }

  silent (): void {}
  trace (...line: unknown[]): void { this.#log('trace', line) }
  debug (...line: unknown[]): void { this.#log('debug', line) }
  info (...line: unknown[]): void { this.#log('info', line) }
  warn (...line: unknown[]): void { this.#log('warn', line) }
  error (...line: unknown[]): void { this.#log('error', line) }
  fatal (...line: unknown[]): void { this.#log('fatal', line) }

  #log (level: Level, line: unknown[]): void {
    const own = this.#made as unknown as Record<Level, (...line: unknown[]) => void>
    own[level](...line)
  }
}

/** For Fastify's option of the same name. */
export const childLoggerFactory: NonNullable<FastifyServerOptions['childLoggerFactory']> =
  (logger, bindings, options) => new RequestLog(logger, bindings, options) as unknown as FastifyBaseLogger
