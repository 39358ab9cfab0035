import { readFile, stat } from 'node:fs/promises'

export interface WatchedFileOptions {
  readonly path: string
  /** A larger file is refused unread. */
  readonly maxBytes: number
  readonly everyMs: number
  /** Called with the text whenever the file is another one; what it throws goes to `onError`. */
  readonly onChange: (text: string) => void
  /** Called when `onChange` refused the file, once for each of its states; and each time that it could not be read. */
  readonly onError: (error: Error) => void
}

/**
 * Looks again and again whether a file has changed: written in place, replaced by a rename, or reached through a symbolic
 * link that now leads elsewhere, as Kubernetes does it. Events of the file system miss some of these, and network file
 * systems have none.
 */
export class WatchedFile {
  readonly #options: WatchedFileOptions
  #state = ''
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor (options: WatchedFileOptions) { this.#options = options }

  /**
   * Reads it for the first time, and watches it from then on.
   *
   * @throws what reading it or `onChange` throws
   */
  async start (): Promise<void> {
    this.#state = await this.#stateNow()
    this.#options.onChange(await this.#read())
    this.#again()
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #again (): void {
    if (this.#closed) return
    this.#timer = setTimeout(async () => {
      await this.#look()
      this.#again()
    }, this.#options.everyMs)
    // Nothing that has to be finished.
    this.#timer.unref()
  }

  async #look (): Promise<void> {
    const state = await this.#stateNow().catch((error: NodeJS.ErrnoException) => error.code ?? 'unreadable')
    if (state === this.#state || this.#closed) return
    // Remembered before it is read: what is written meanwhile is a change again.
    this.#state = state
    let text: string
    try {
      text = await this.#read()
    } catch (error) {
      // What could not be read may be readable the next time, without having changed.
      this.#state = ''
      this.#options.onError(error as Error)
      return
    }
    try {
      if (!this.#closed) this.#options.onChange(text)
    } catch (error) {
      this.#options.onError(error as Error)
    }
  }

  async #read (): Promise<string> {
    const { path, maxBytes } = this.#options
    const { size } = await stat(path)
    if (size > maxBytes) throw new Error(`it has ${size} bytes, more than ${maxBytes}`)
    return await readFile(path, 'utf8')
  }

  async #stateNow (): Promise<string> {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(this.#options.path, { bigint: true })
    return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
  }
}
