/** What can be in a list: the links are the list's. */
export interface Linked<T> {
  before: T | null
  after: T | null
}

/** A list that is linked through its items themselves: O(1), and no allocation. An item is in one list at a time. */
export class LinkedList<T extends Linked<T>> {
  #first: T | null = null
  #last: T | null = null
  #size = 0

  get first (): T | null { return this.#first }
  get size (): number { return this.#size }

  /** Behind the others. */
  add (item: T): void {
    item.before = this.#last
    if (this.#last === null) this.#first = item
    else this.#last.after = item
    this.#last = item
    this.#size++
  }

  /** An item that is in it. */
  remove (item: T): void {
    const { before, after } = item
    if (before === null) this.#first = after
    else before.after = after
    if (after === null) this.#last = before
    else after.before = before
    item.before = item.after = null
    this.#size--
  }
}
