import { SluiceError } from './errors.js'

const maxSeconds = 3600

/** As a JSON Schema has it. Its first part rules out zero. */
export const requestTimeoutPattern =
  '^(?!0+(?:\\.0+)?$)(?:(?:0?[0-9]{1,3}|[12][0-9]{3}|3[0-5][0-9]{2})(?:\\.[0-9]{1,6})?|3600(?:\\.0{1,6})?)$'
const decimal = /^\d{1,4}(\.\d{1,6})?$/

/**
 * How long to wait for Kafka: the header `Request-Timeout` in seconds, or the default.
 *
 * @returns whole milliseconds, at least 1
 * @throws {SluiceError} SLUICE_INVALID_REQUEST if the header is not a decimal number above 0 and at most 3600
 */
export function requestTimeoutMs (header: string | string[] | undefined, defaultMs: number): number {
  if (header === undefined) return defaultMs
  const seconds = typeof header === 'string' && decimal.test(header) ? Number(header) : 0
  if (seconds <= 0 || seconds > maxSeconds) {
    throw new SluiceError('SLUICE_INVALID_REQUEST', `The header Request-Timeout must be a number of seconds above 0 and at most ${maxSeconds}.`)
  }
  return Math.ceil(seconds * 1000)
}
