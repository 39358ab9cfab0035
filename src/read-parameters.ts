import type { Position } from './engine/types.js'
import { SluiceError } from './errors.js'
import type { Isolation } from './kafka/record-reader.js'
import { wholeNumber } from './strict-text.js'

/** How many records a page may have, and has where nobody says. */
export const maxReadRecords = 1_000
export const defaultReadRecords = 100
/** How long a read may wait for them, and does where nobody says. */
export const maxReadWaitMs = 10_000
export const defaultReadWaitMs = 5_000

export const readParameterNames = ['offset', 'timestamp', 'limit', 'isolation', 'maxWaitMs'] as const

export interface ReadParameters {
  readonly from: Position
  readonly limit: number
  readonly isolation: Isolation
  readonly maxWaitMs: number
}

/** @throws {SluiceError} SLUICE_INVALID_REQUEST, naming the parameter and what it takes */
export function readParameters (query: { readonly [name in typeof readParameterNames[number]]?: string }): ReadParameters {
  const { offset, timestamp, limit, isolation = 'read_committed', maxWaitMs } = query
  if (offset !== undefined && timestamp !== undefined) throw wrong('offset and timestamp', 'exclude each other')
  if (isolation !== 'read_committed' && isolation !== 'read_uncommitted') throw wrong('isolation', 'must be read_committed or read_uncommitted')
  return {
    from: timestamp === undefined ? position(offset) : { timestamp: integer('timestamp', timestamp, 0, Number.MAX_SAFE_INTEGER) },
    limit: limit === undefined ? defaultReadRecords : integer('limit', limit, 1, maxReadRecords),
    isolation,
    maxWaitMs: maxWaitMs === undefined ? defaultReadWaitMs : integer('maxWaitMs', maxWaitMs, 1, maxReadWaitMs)
  }
}

/** The number of a partition in a path. @throws {SluiceError} SLUICE_INVALID_REQUEST */
export function partitionNumber (text: string): number {
  const number = wholeNumber(text, 0, 0x7fffffff)
  if (Number.isNaN(number)) throw new SluiceError('SLUICE_INVALID_REQUEST', 'The partition in the path must be an integer from 0 to 2147483647.')
  return number
}

function position (offset = 'beginning'): Position {
  if (offset === 'beginning' || offset === 'end') return offset
  const number = /^-?(0|[1-9]\d{0,15})$/.test(offset) ? Number(offset) : NaN
  if (!Number.isSafeInteger(number) || Object.is(number, -0)) {
    throw wrong('offset', 'must be an offset, beginning, end, or -n for the last n offsets')
  }
  return number
}

function integer (name: string, text: string, min: number, max: number): number {
  const number = wholeNumber(text, min, max)
  if (Number.isNaN(number)) throw wrong(name, `must be an integer from ${min} to ${max}`)
  return number
}

function wrong (name: string, what: string): SluiceError {
  return new SluiceError('SLUICE_INVALID_REQUEST', `The query parameter ${name} ${what}.`.replace('parameter offset and', 'parameters offset and'))
}
