import { Readable } from 'node:stream'

/** How much is collected before it goes out at once, and how much may wait for its reader before more is asked of the sender. */
const collectedLength = 16_384
const highWaterMark = 65_536

/**
 * The lines of an answer. They are collected for a turn of the event loop, since acknowledgements come by the hundred. `full`
 * says that the reader is behind: whoever writes should wait until `onDrain` is called. What is written all the same is kept.
 */
export class NdjsonResults extends Readable {
  full = false
  onDrain: () => void = () => {}
  #lines = ''
  #scheduled: NodeJS.Immediate | null = null

  constructor () {
    super({ highWaterMark })
  }

  override _read (): void {
    this.full = false
    this.onDrain()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    if (this.#scheduled !== null) clearImmediate(this.#scheduled)
    this.#lines = ''
    done(error)
  }

  write (line: string): void {
    if (this.destroyed) return
    this.#lines += line
    if (this.#lines.length >= collectedLength) this.#flush()
    else this.#scheduled ??= setImmediate(() => { this.#flush() })
  }

  finish (): void {
    if (this.destroyed) return
    this.#flush()
    this.push(null)
  }

  #flush (): void {
    if (this.#scheduled !== null) clearImmediate(this.#scheduled)
    this.#scheduled = null
    if (this.#lines === '') return
    const lines = this.#lines
    this.#lines = ''
    if (!this.push(lines)) this.full = true
  }
}
