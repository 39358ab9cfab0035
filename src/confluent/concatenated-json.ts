import { SluiceError } from '../errors.js'

/** One piece of a stream: the bytes of an object, or the fault that is in its place; reading goes on after either. */
export type Piece = { readonly bytes: Buffer, readonly fault?: never } | { readonly bytes?: never, readonly fault: SluiceError }

const quote = 0x22
const backslash = 0x5c
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d

const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/**
 * Cuts concatenated JSON into its objects as the bytes come, however they are split: `{…}{…}`, with or without white space
 * between them.
 *
 * Only brackets and strings are looked at, on which UTF-8 has no say; whether a piece is JSON is for its reader to find out. It
 * holds at most one object, and of that no more than `maxBytes`: the rest of a larger one is passed over, and a fault comes in its
 * place. Linear, whatever the sizes of the chunks.
 */
export class ConcatenatedJson {
  readonly #maxBytes: number
  /** The beginning of an object whose end has not come. */
  #held = Buffer.alloc(0)
  #heldBytes = 0
  /** How many brackets are open. 0: between two objects. */
  #depth = 0
  #inString = false
  #escaped = false
  #tooLarge = false

  constructor (maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /**
   * What is complete with this chunk, in order. The next chunk may come once all of it was taken.
   *
   * @throws {SluiceError} SLUICE_MALFORMED_JSON, through the iterator, where something else than an object begins: what comes after it
   * cannot be told apart
   */
  * push (chunk: Buffer): Generator<Piece> {
    let start = 0
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number
      if (this.#depth === 0) {
        if (isSpace(byte)) continue
        if (byte !== openBrace) throw notAnObject(byte)
        this.#depth = 1
        start = i
      } else if (this.#inString) {
        if (this.#escaped) this.#escaped = false
        else if (byte === backslash) this.#escaped = true
        else if (byte === quote) this.#inString = false
      } else if (byte === quote) {
        this.#inString = true
      } else if (byte === openBrace || byte === openBracket) {
        this.#depth++
      } else if ((byte === closeBrace || byte === closeBracket) && --this.#depth === 0) {
        yield this.#piece(chunk.subarray(start, i + 1))
        start = i + 1
      }
    }
    if (this.#depth > 0) this.#hold(chunk.subarray(start))
  }

  /** @throws {SluiceError} SLUICE_MALFORMED_JSON if the stream ends within an object */
  end (): void {
    if (this.#depth > 0) throw new SluiceError('SLUICE_MALFORMED_JSON', 'The body ends within a record.')
  }

  #piece (last: Buffer): Piece {
    const size = this.#heldBytes + last.length
    if (this.#tooLarge || size > this.#maxBytes) {
      this.#forget()
      return { fault: new SluiceError('SLUICE_BODY_TOO_LARGE', `A record may have ${this.#maxBytes} bytes of JSON (BODY_LIMIT_BYTES).`, { limit: this.#maxBytes }) }
    }
    if (this.#heldBytes === 0) return { bytes: last }
    this.#hold(last)
    const bytes = this.#held.subarray(0, this.#heldBytes)
    this.#forget()
    return { bytes }
  }

  #forget (): void {
    this.#held = Buffer.alloc(0)
    this.#heldBytes = 0
    this.#tooLarge = false
  }

  /** Copies: chunks that are a byte each would otherwise be kept as objects, a hundred times their size. */
  #hold (part: Buffer): void {
    const size = this.#heldBytes + part.length
    if (this.#tooLarge || size > this.#maxBytes) {
      this.#forget()
      this.#tooLarge = true
      return
    }
    if (size > this.#held.length) {
      const larger = Buffer.allocUnsafe(Math.min(this.#maxBytes, Math.max(size, 2 * this.#held.length)))
      this.#held.copy(larger, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    part.copy(this.#held, this.#heldBytes)
    this.#heldBytes = size
  }
}

function notAnObject (byte: number): SluiceError {
  return new SluiceError('SLUICE_MALFORMED_JSON', byte === openBracket
    ? 'The body must be JSON objects, one after the other, and not an array.'
    : 'Where a record should begin there is something else than "{".')
}
