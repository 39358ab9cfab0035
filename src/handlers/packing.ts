// What is posted between threads arrives changed: Buffers as Uint8Arrays, and with all of the memory that they are a part of;
// errors without their own properties. What cannot be posted at all ends the thread that tries. Hence everything is packed
// into what arrives as it is, and unpacked again.

/** A value in a form that can be posted. */
export type Packed =
  | string | number | bigint | boolean | null | undefined
  | Uint8Array
  | { readonly list: readonly Packed[] }
  | { readonly members: Readonly<Record<string, Packed>> }
  | { readonly error: PackedError }

/** What of an error counts: for the log, the dead letter, and what it says about another attempt. */
export interface PackedError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly cause: PackedError | undefined
  readonly said: Readonly<Record<string, string | number | boolean>>
}

/** The properties of an error that are kept, where they are plain values. */
const KEPT = ['code', 'statusCode', 'retriable', 'retryAfterMs', 'drop', 'outage'] as const
const CAUSES_MAX = 4
const DEPTH_MAX = 8

const builtIn: Readonly<Record<string, ErrorConstructor>> = Object.assign(Object.create(null),
  Object.fromEntries([TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError].map(one => [one.name, one])))

/**
 * Packs plain values, Buffers, errors, arrays and objects of them, up to eight deep. Of an object its own enumerable members.
 *
 * @throws {TypeError} for what cannot get to another thread: functions, symbols, and what is nested deeper (or in itself)
 */
export function pack (value: unknown, depth = 0): Packed {
  if (typeof value === 'function' || typeof value === 'symbol') throw new TypeError(`a ${typeof value} cannot get from one thread to another`)
  if (typeof value !== 'object' || value === null) return value as Packed
  if (value instanceof Uint8Array) return ownBytes(value)
  if (value instanceof Error) return { error: packError(value) }
  if (depth === DEPTH_MAX) throw new TypeError(`what is nested more than ${DEPTH_MAX} deep, or in itself, cannot get from one thread to another`)
  if (Array.isArray(value)) return { list: Array.from(value, one => pack(one, depth + 1)) }
  return { members: Object.fromEntries(Object.entries(value).map(([name, one]) => [name, pack(one, depth + 1)])) }
}

/** Undoes `pack`; byte arrays are Buffers then. */
export function unpack (packed: Packed): unknown {
  if (typeof packed !== 'object' || packed === null) return packed
  if (packed instanceof Uint8Array) return Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength)
  if ('error' in packed) return unpackError(packed.error)
  if ('list' in packed) return packed.list.map(unpack)
  return Object.fromEntries(Object.entries(packed.members).map(([name, one]) => [name, unpack(one)]))
}

export function packError (error: Error, causesMax = CAUSES_MAX): PackedError {
  const said: Record<string, string | number | boolean> = {}
  for (const name of KEPT) {
    const value = read(error, name)
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') said[name] = value
  }
  const cause = read(error, 'cause')
  const stack = read(error, 'stack')
  return {
    name: textOf(read(error, 'name')),
    message: textOf(read(error, 'message')),
    stack: typeof stack === 'string' ? stack : undefined,
    cause: cause instanceof Error && causesMax > 0 ? packError(cause, causesMax - 1) : undefined,
    said
  }
}

/** An Error that looks and counts like the one that was packed. Only the language's own classes are that class again. */
export function unpackError ({ name, message, stack, cause, said }: PackedError): Error {
  const error = new (builtIn[name] ?? Error)(message, cause === undefined ? undefined : { cause: unpackError(cause) })
  const hidden = (value: unknown) => ({ value, writable: true, configurable: true, enumerable: false })
  if (error.name !== name) Object.defineProperty(error, 'name', hidden(name))
  Object.defineProperty(error, 'stack', hidden(stack))
  return Object.assign(error, said)
}

/** A property that may be anything, or throw when it is read. */
function read (error: Error, name: string): unknown {
  try {
    return (error as unknown as Record<string, unknown>)[name]
  } catch {
    return undefined
  }
}

function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return typeof value
  }
}

/** A view of a larger memory would be posted with all of it: small Buffers share theirs with others. */
function ownBytes (bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}
